"""Power hardware in the loop: a feeder in OpenDSS, an AC source and a meter over SCPI, a device over Modbus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from emulated import described
from typer.testing import CliRunner

import derloop
from derloop.cli import app
from derloop.engines import worker
from hil.bench import rescue
from hil.bench.file import Bench, read_bench
from hil.bench.logbook import Logbook
from hil.bench.session import Session
from hil.bench.sources import SourceLocks
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.frames.evidence import Evidence
from hil.frames.exchanges import exchanges
from hil.instruments.command_map import read_command_map
from hil.instruments.emulated import EmulatedInstrument
from hil.inverter.measurements import Measurements
from hil.safety.folder import Run, StateFolder
from hil.safety.lock import DeviceLock
from hil.safety.place import places
from hil.serving.fleet import BankServer

R_OHM = 5.76
"""The lab's device is a resistor that draws 10 kW at 240 V; ten times as large it draws 100 kW of the feeder."""
SOURCE_OHM, LOAD_OHM = 0.08 + 0.16j, 1.6
"""In the feeder, a phase: what stands behind the device, and 100 kW at 400 V."""
V_SETTLED_PU = abs(LOAD_OHM / (SOURCE_OHM + LOAD_OHM))
FEEDER = """clear
new circuit.street basekv=0.4 pu=1.0 phases=3 bus1=source r1=0.0001 x1=0.0001 r0=0.0001 x0=0.0001
new linecode.cable nphases=3 r1=0.0799 x1=0.1599 r0=0.0799 x0=0.1599 c1=0 c0=0 units=km
new line.one bus1=source bus2=end linecode=cable length=1 units=km
set voltagebases=[0.4]
calcvoltagebases
"""


def leave_safe(bench: Bench, names: Sequence[str]) -> list[rescue.Left]:
    with Logbook(bench, "safe") as logbook:
        return rescue.leave_safe(bench, names, logbook)


class Rig:
    """A resistor at an AC source, and a meter between the two."""

    def __init__(self, stack: ExitStack) -> None:
        self.ac = stack.enter_context(EmulatedInstrument(_map("scpi-99-ac-source"), self.measure))
        self.meter = stack.enter_context(EmulatedInstrument(_map("scpi-99-power-meter"), self.measure))
        rated = (10e3, 10e3, 4.4e3, 4.4e3, 240.0, 1, 10e3, 20e3)
        bank = RegisterBank([described(Ratings(name, *rated)) for name in ("res", "next")])
        self.modbus = stack.enter_context(BankServer(bank))
        none = np.zeros(2)
        bank.set_measurements(Measurements.of(none, none, none + 240.0, soc_pct=50.0))

    def measure(self, what: str, phase: int) -> float:
        volts = self.ac.held.get(("v_ln_v", phase), 0.0) if self.ac.is_on else 0.0
        return {"p_w": -volts * volts / R_OHM, "v_ln_v": volts, "f_hz": 60.0}.get(what, 0.0)

    def bench(self, **power: Any) -> dict[str, Any]:
        wired = {"ac_source": "grid-sim", "meter": "meter", "nominal_v": 240, "scale": 10, "settle_s": 0.05, **power}
        endpoint = self.modbus.addresses[0].endpoint.model_dump(mode="json")
        return {
            "name": "power-lab",
            "devices": {"res": {"endpoint": endpoint, "rated_kva": 10, "power": wired}},
            "instruments": {
                "grid-sim": _instrument("ac-source", self.ac.port, v_ln_v={"low": 0, "high": 300}),
                "meter": _instrument("meter", self.meter.port, commands="scpi-99-power-meter", phases=[1]),
            },
        }


def _map(name: str) -> Any:
    return read_command_map(name, Path(__file__).parent)


def _instrument(kind: str, port: int, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "at": {"transport": "tcp", "port": port}, "commands": f"scpi-99-{kind}", **more}


@pytest.fixture
def rig() -> Iterator[Rig]:
    with ExitStack() as stack:
        yield Rig(stack)


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DERLOOP_STATE", str(tmp_path / "state"))
    (tmp_path / "street.dss").write_text(FEEDER)
    device = {
        **{"kind": "battery", "via": "bench:res", "at": [{"bus": "end", "rated_kva": 100}], "energy_kwh": 200},
        **{"mode": "time-of-use", "time_of_use": {"periods": [{"from_h": 1, "to_h": 2, "action": "discharge"}]}},
    }
    device["time_of_use"]["exports"] = True  # type: ignore[index]
    data = {
        **{"name": "power", "start": "2025-07-15T12:00:00Z", "duration_s": 3, "step_s": 0.1},
        "federates": {"grid": {"kind": "opendss", "feeder": "street.dss"}, "device": device},
    }
    (tmp_path / "power.json").write_text(json.dumps(data))
    return tmp_path / "power.json"


def run(scenario: Path, bench: dict[str, Any]) -> Any:
    path = scenario.parent / "lab.json"
    path.write_text(json.dumps(bench))
    return derloop.run(scenario, engine="local", bench=path, report=False, out=scenario.parent / "run")


def test_the_loop_over_hardware_settles_where_the_circuit_does(rig: Rig, scenario: Path) -> None:
    result = run(scenario, rig.bench())
    assert result.failure == ""
    assert result["grid.device.v_pu"][-1, 0] == pytest.approx(V_SETTLED_PU, abs=2e-4)
    assert result["device.v_applied_pu"][-1, 0] == pytest.approx(V_SETTLED_PU, abs=2e-4)
    assert result["device.p_kw"][-1, 0] == pytest.approx(-100.0 * V_SETTLED_PU**2, abs=0.05)
    assert (result["device.age_s"] >= 0.0).all()
    assert not rig.ac.is_on


def test_what_was_said_to_the_instruments_is_kept_until_they_are_off(rig: Rig, scenario: Path) -> None:
    result = run(scenario, rig.bench())
    said: dict[str, list[tuple[str, str]]] = {}
    for each in exchanges(Evidence(result.folder.path).entries()):
        if each.peer.speaks_scpi:
            words = each.request.decode(), (each.answer or b"").decode().strip()
            said.setdefault(each.peer.device, []).append(words)
    assert set(said) == {"grid-sim", "meter"}
    assert said["grid-sim"][0][0] == said["meter"][0][0] == "*IDN?"
    told = [asked for asked, _ in said["grid-sim"] if "?" not in asked]
    assert told.index("OUTP ON") < told.index("OUTP OFF")
    assert [answer for asked, answer in said["grid-sim"] if asked == "OUTP?"][-1] == "OFF"
    watts = [float(answer) for asked, answer in said["meter"] if asked.startswith("MEAS1:POW:AC:REAL?")]
    assert watts[-1] == pytest.approx(-((240 * V_SETTLED_PU) ** 2) / R_OHM, rel=1e-3)
    assert len(watts) > 20


def test_a_session_on_power_hardware_is_not_replayed_and_why_is_said(rig: Rig, scenario: Path) -> None:
    """It was said of a bench file that nobody has that it lacks the source."""
    result = run(scenario, rig.bench())
    said = CliRunner().invoke(
        app, ["frames", "replay", str(result.folder.path), "--out", str(scenario.parent / "again")]
    )
    assert said.exit_code == 2
    assert "lab.json: res stood in power hardware, whose sources and meters cannot be replayed" in said.output
    assert not (scenario.parent / "again").exists()


def test_a_filter_slows_the_way_there_and_changes_nothing_of_its_end(rig: Rig, scenario: Path) -> None:
    result = run(scenario, rig.bench(filter_s=0.3))
    v_pu = result["grid.device.v_pu"][:, 0]
    assert v_pu[-1] == pytest.approx(V_SETTLED_PU, abs=2e-3)
    assert np.abs(np.diff(v_pu[2:])).max() < 0.05


def test_a_volt_watt_curve_under_which_the_loop_would_swing_is_not_energised(rig: Rig, scenario: Path) -> None:
    """0.08 ohm are 0.05 pu of 100 kVA; from 1.06 to 1.10 pu a storage goes from all of its power to none: -25."""
    data = json.loads(scenario.read_text())
    data["federates"]["device"]["smart"] = {"volt_watt": {}}
    scenario.write_text(json.dumps(data))
    refused = run(scenario, rig.bench())
    assert "'res': is not energised: the loop does not settle: gain -1.25" in refused.failure
    assert rig.ac.held == {}


def test_a_source_that_does_not_say_who_it_is_is_switched_off_all_the_same(rig: Rig, scenario: Path) -> None:
    rig.ac.identity = ""
    result = run(scenario, rig.bench())
    assert result.failure == ""
    assert not rig.ac.is_on


def test_slow_sources_have_the_time_that_they_need_to_be_switched_off(
    rig: Rig, scenario: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.4 s for each answer, of which there are two a source; the run had waited for as long as restoring may take."""
    monkeypatch.setattr(worker, "STOP_S", 0.1)
    with EmulatedInstrument(_map("scpi-99-dc-source"), rig.measure) as dc:
        for source in (rig.ac, dc):
            monkeypatch.setattr(source, "answer", _slow_once_off(source))
        bench = rig.bench(dc={"source": "array", "v_dc_v": 400, "i_dc_a": 10})
        limits = {"v_dc_v": {"low": 0, "high": 500}, "i_dc_a": {"low": 0, "high": 20}}
        bench["instruments"]["array"] = _instrument("dc-source", dc.port, **limits)
        bench["devices"]["res"]["safety"] = {"restore_s": 0.2}
        result = run(scenario, bench)
        assert result.failure == ""
        assert (rig.ac.is_on, dc.is_on) == (False, False)


def _slow_once_off(source: EmulatedInstrument) -> Callable[[str], str | None]:
    answer = source.answer

    def slow(line: str) -> str | None:
        if line.endswith("?") and source.held.get(("output", 1)) == 0.0:
            sleep(0.4)
        return answer(line)

    return slow


def test_a_source_of_two_fleets_is_on_until_the_devices_of_both_are_left(
    rig: Rig, scenario: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = rig.bench()
    bench["instruments"]["grid-sim"]["phases"] = [1, 2]
    at = rig.modbus.addresses[1]
    endpoint = at.endpoint.model_dump(mode="json")
    bench["devices"]["next"] = {**bench["devices"]["res"], "endpoint": endpoint, "unit": at.unit}
    bench["devices"]["next"]["power"] = {**bench["devices"]["res"]["power"], "phases": [2]}
    del bench["devices"]["next"]["power"]["meter"]
    data = json.loads(scenario.read_text())
    other = {**data["federates"]["device"], "via": "bench:next"}
    scenario.write_text(json.dumps({**data, "duration_s": 1, "federates": {**data["federates"], "other": other}}))
    had_power: list[bool] = []
    close = Session.close

    async def closed(session: Session) -> None:
        had_power.append(rig.ac.is_on)
        await close(session)

    monkeypatch.setattr(Session, "close", closed)
    result = run(scenario, bench)
    assert result.failure == ""
    assert had_power == [True, True]
    assert not rig.ac.is_on


def test_a_loop_that_would_swing_is_not_energised_and_the_run_says_why(rig: Rig, scenario: Path) -> None:
    weak = FEEDER.replace("length=1 units", "length=8 units")
    (scenario.parent / "street.dss").write_text(weak)
    result = run(scenario, rig.bench())
    assert result.status == 3
    assert "device 'res': is not energised: the loop" in result.failure
    assert rig.ac.held == {}


def test_a_source_that_does_not_obey_ends_the_run_by_name_with_its_output_off(rig: Rig, scenario: Path) -> None:
    rig.ac.ignores = {"v_ln_v"}
    result = run(scenario, rig.bench())
    assert result.status == 3
    assert "device 'grid-sim': v_ln_v of phase 1 was set to 240 and is 0" in result.failure
    assert not rig.ac.is_on


def test_an_emergency_stop_cuts_the_power_between_two_steps(rig: Rig, scenario: Path) -> None:
    data = json.loads(scenario.read_text())
    scenario.write_text(json.dumps({**data, "duration_s": 60, "step_s": 30}))
    stop = scenario.parent / "stop"
    off_at_ns: list[int] = []

    def ask(now_ns: int | None, until_ns: int) -> None:
        del until_ns
        if now_ns is not None and rig.ac.is_on:
            stop.touch()
        elif now_ns is not None and stop.exists():
            off_at_ns.append(now_ns)
            raise KeyboardInterrupt  # what would follow takes until the next step

    path = scenario.parent / "lab.json"
    path.write_text(json.dumps({**rig.bench(), "emergency_stop": {"file": str(stop)}}))
    derloop.run(scenario, engine="local", bench=path, report=False, out=scenario.parent / "run", on_progress=ask)
    assert off_at_ns == [0], "not at the next step, half a minute later"


def test_nothing_is_energised_while_the_emergency_stop_is_there(rig: Rig, scenario: Path) -> None:
    (scenario.parent / "stop").touch()
    result = run(scenario, {**rig.bench(), "emergency_stop": {"file": "stop"}})
    assert result.status == 3
    assert "EMERGENCY STOP: the file" in result.failure
    assert rig.ac.held == {}


def test_an_emergency_stop_cuts_the_power_while_devices_settle(rig: Rig, scenario: Path) -> None:
    bench, off_after_s = {**rig.bench(settle_s=3.0), "emergency_stop": {"file": "stop"}}, []

    def press() -> None:
        until(lambda: rig.ac.is_on)
        (scenario.parent / "stop").touch()
        began_s = monotonic()
        until(lambda: not rig.ac.is_on)
        off_after_s.append(monotonic() - began_s)

    somebody = Thread(target=press)
    somebody.start()
    result = run(scenario, bench)
    somebody.join()
    assert off_after_s[0] < 2.0
    assert (result.status, "EMERGENCY STOP: the file" in result.failure) == (3, True)


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, for half a minute at most."""
    end_s = monotonic() + 30
    while not holds() and monotonic() < end_s:
        sleep(0.02)


def test_a_bench_whose_instruments_do_not_fit_is_refused_with_every_pointer(rig: Rig, scenario: Path) -> None:
    bench = rig.bench(ac_source="gridsim", meter="grid-sim", phases=[1, 2])
    bench["instruments"]["meter"]["commands"] = "scpi-99-ac-sauce"
    with pytest.raises(derloop.errors.ScenarioError) as refused:
        run(scenario, bench)
    said = str(refused.value)
    assert "/devices/res/power/ac_source: no instrument 'gridsim'; did you mean 'grid-sim'?" in said
    assert "/devices/res/power/meter: 'grid-sim' is of kind ac-source, not meter" in said
    assert "/instruments/meter/commands: 'scpi-99-ac-sauce': there is no such file" in said
    assert "did you mean 'scpi-99-ac-source'?" in said


def test_what_a_killed_run_left_energised_is_switched_off(rig: Rig, scenario: Path) -> None:
    path = scenario.parent / "lab.json"
    path.write_text(json.dumps(rig.bench()))
    command = [sys.executable, "-m", "derloop.cli", "run", str(scenario), "--bench", str(path), "--engine", "local"]
    options = ["--set", "duration_s=3600", "--out", str(scenario.parent / "run"), "--no-report"]
    with subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        until = monotonic() + 30
        while not rig.ac.is_on and process.poll() is None and monotonic() < until:
            sleep(0.02)
        process.kill()
    assert rig.ac.is_on
    assert [(each.device, each.is_safe, each.what) for each in leave_safe(read_bench(path), ["res"])] == [
        ("res", True, "brought to its safe state; no run has left it without restoring it"),
        ("grid-sim", True, "switched off"),
    ]
    assert not rig.ac.is_on
    (logbook,) = StateFolder.of_user().frames.glob("*-safe.frames")
    said = [(entry.peer.device, entry.data) for entry in Evidence(logbook).entries() if entry.direction == "sent"]
    assert said[0][0] == "res"
    assert ("grid-sim", b"OUTP OFF") in said


def test_a_source_stays_on_for_a_run_that_has_the_only_connection_of_its_device(rig: Rig, scenario: Path) -> None:
    """Whoever comes second is not answered by many devices, and cannot ask who has them."""
    path = scenario.parent / "lab.json"
    bench = rig.bench()
    bench["devices"]["res"]["timing"] = {"deadline_s": 0.3}
    path.write_text(json.dumps(bench))
    rig.ac.answer("OUTP 1")
    rig.modbus.stop()
    where = places("res", rig.modbus.addresses[0])
    with DeviceLock("res", where, StateFolder.of_user().locks) as lock:
        lock.acquire(Run(scenario.parent / "run", path))
        source = leave_safe(read_bench(path), ["res"])[1]
    assert (source.is_safe, source.what) == (False, "left as it is: it feeds 'res', which was not left")
    assert rig.ac.is_on
    assert leave_safe(read_bench(path), ["res"])[1].what == "switched off"
    assert not rig.ac.is_on


def test_a_record_that_cannot_be_read_leaves_no_source_on(rig: Rig, scenario: Path) -> None:
    path, folder = scenario.parent / "lab.json", StateFolder.of_user()
    path.write_text(json.dumps(rig.bench()))
    rig.ac.answer("OUTP 1")
    folder.records.mkdir(parents=True)
    (folder.records / f"{places('res', rig.modbus.addresses[0])[0]}.json").write_text("torn")
    device, source = leave_safe(read_bench(path), ["res"])
    assert (device.is_safe, source.what) == (False, "switched off")
    assert not rig.ac.is_on


def test_what_keeps_a_source_on_is_told_beside_how_devices_were_left(
    rig: Rig, scenario: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scenario.parent / "lab.json"
    path.write_text(json.dumps(rig.bench()))
    monkeypatch.setitem(sys.modules, "pyvisa", None)
    device, source = leave_safe(read_bench(path), ["res"])
    assert (device.is_safe, source.is_safe) == (True, False)
    assert "instruments need pyvisa and pyvisa-py" in source.what


def test_a_source_that_does_not_answer_is_told_beside_how_devices_were_left(rig: Rig, scenario: Path) -> None:
    path, bench = scenario.parent / "lab.json", rig.bench()
    bench["instruments"]["grid-sim"]["at"]["port"] = 1
    path.write_text(json.dumps(bench))
    device, source = leave_safe(read_bench(path), ["res"])
    assert (device.is_safe, source.device, source.is_safe) == (True, "grid-sim", False)


def test_a_source_is_one_runs_alone_and_is_left_on_for_it(rig: Rig, scenario: Path) -> None:
    """A run that only reads its devices locks none of them, and gives them their voltage all the same."""
    path = scenario.parent / "lab.json"
    path.write_text(json.dumps(rig.bench()))
    bench = read_bench(path)
    power, first = bench.device("res").power, Run(scenario.parent / "first", path)
    assert power is not None
    locks = SourceLocks(bench, [power], first)
    locks.acquire()
    try:
        rig.ac.answer("OUTP 1")
        source = leave_safe(bench, ["res"])[1]
        assert (source.is_safe, source.is_held, rig.ac.is_on) == (False, True, True)
        assert f"left as it is: is held by process {os.getpid()} (run {first.folder}" in source.what
        result = run(scenario, rig.bench())
        held = f"device 'grid-sim': is held by process {os.getpid()} (run {first.folder}"
        assert (result.status, held in result.failure) == (3, True)
        assert rig.ac.is_on
    finally:
        locks.release()
    assert leave_safe(bench, ["res"])[1].what == "switched off"


def test_fleets_of_one_run_may_share_a_source(rig: Rig, scenario: Path) -> None:
    path = scenario.parent / "lab.json"
    path.write_text(json.dumps(rig.bench()))
    bench, both = read_bench(path), Run(scenario.parent / "run", path)
    power = bench.device("res").power
    assert power is not None
    one, other = SourceLocks(bench, [power], both), SourceLocks(bench, [power], both)
    one.acquire()
    one.feed()
    other.acquire()
    assert other.give_up() == frozenset({"grid-sim"})
    other.release()
    other.acquire()
    assert one.give_up() == frozenset(), "the other one has not switched it on, and would not switch it off"
    one.release()
    assert leave_safe(bench, ["res"])[1].is_held
    other.release()
    assert not leave_safe(bench, ["res"])[1].is_held


FEEDING = """
import sys
from pathlib import Path
from hil.bench.file import read_bench
from hil.bench.sources import SourceLocks
from hil.safety.folder import Run
bench = read_bench(Path(sys.argv[1]))
locks = SourceLocks(bench, [bench.device("res").power], Run(Path(sys.argv[2]), bench.path))
locks.acquire()
locks.feed()
print("feeding", flush=True)
sys.stdin.read()
"""


def test_processes_of_one_run_may_share_a_source_and_the_last_one_that_lives_switches_it_off(
    rig: Rig, scenario: Path
) -> None:
    """The first to end switched it off under the other's devices; and where one is killed the other still must."""
    path = scenario.parent / "lab.json"
    path.write_text(json.dumps(rig.bench()))
    bench, both = read_bench(path), Run(scenario.parent / "run", path)
    power = bench.device("res").power
    assert power is not None
    here = SourceLocks(bench, [power], both)
    told = [sys.executable, "-c", FEEDING, str(path), str(both.folder)]
    with subprocess.Popen(told, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "feeding\n"
        here.acquire()
        here.feed()
        assert here.give_up() == frozenset({"grid-sim"})
        here.release()
        assert leave_safe(bench, ["res"])[1].is_held
        here.acquire()
        here.feed()
        other.kill()
    assert leave_safe(bench, ["res"])[1].is_held
    assert here.give_up() == frozenset()
    here.release()
    assert not leave_safe(bench, ["res"])[1].is_held


def test_a_source_that_feeds_a_device_which_goes_on_stays_on(rig: Rig, scenario: Path) -> None:
    bench = rig.bench()
    bench["instruments"]["grid-sim"]["phases"] = [1, 2]
    bench["devices"]["other"] = {**bench["devices"]["res"], "unit": 2}
    bench["devices"]["other"]["power"] = {**bench["devices"]["res"]["power"], "phases": [2], "meter": None}
    path = scenario.parent / "lab.json"
    path.write_text(json.dumps(bench))
    rig.ac.answer("OUTP 1")
    source = leave_safe(read_bench(path), ["res"])[1]
    assert (source.device, source.is_safe) == ("grid-sim", False)
    assert source.what == "left as it is: it feeds 'other', which was not left"
    assert rig.ac.is_on


def beside(bench: dict[str, Any], **power: Any) -> dict[str, Any]:
    """Return a bench with another device on phase 2 of the source, which no fleet uses."""
    bench["instruments"]["grid-sim"]["phases"] = [1, 2]
    wired = {**bench["devices"]["res"]["power"], "phases": [2], "meter": None, **power}
    bench["devices"]["other"] = {**bench["devices"]["res"], "unit": 2, "power": wired}
    return bench


def test_a_device_that_no_fleet_uses_is_at_nominal_voltage_when_its_source_goes_on(rig: Rig, scenario: Path) -> None:
    """It stood at whatever was set last, and one switch turns all phases on."""
    rig.ac.answer("SOUR2:VOLT 277")
    on, said = dict[Any, float](), rig.ac.answer

    def heard(line: str) -> str | None:
        if line == "OUTP ON":
            on.update(rig.ac.held)
        return said(line)

    rig.ac.answer = heard  # type: ignore[method-assign]
    assert run(scenario, beside(rig.bench(), nominal_v=120)).failure == ""
    assert (on["v_ln_v", 1], on["v_ln_v", 2]) == (240.0, 120.0)


def test_the_voltage_of_a_device_beside_is_left_to_the_fleet_that_its_source_feeds(rig: Rig, scenario: Path) -> None:
    path = scenario.parent / "lab.json"
    path.write_text(json.dumps(beside(rig.bench())))
    bench = read_bench(path)
    power = bench.device("other").power
    assert power is not None
    addresses = bench.addresses
    other = SourceLocks(bench, [power], Run((scenario.parent / "run").resolve(), bench.path, addresses))
    other.acquire()
    try:
        other.feed()
        rig.ac.answer("SOUR2:VOLT 230")
        rig.ac.answer("OUTP ON")
        assert run(scenario, beside(rig.bench())).failure == ""
        assert rig.ac.held["v_ln_v", 2] == 230.0
        assert rig.ac.is_on
    finally:
        other.release()


@pytest.mark.long(about_s=16)
@pytest.mark.parametrize("placement", ["together", "apart"])
def test_a_device_that_settles_for_longer_than_starting_may_take_others_is_waited_for(
    rig: Rig, scenario: Path, placement: str
) -> None:
    """The run ended as if the device hung, with it energised."""
    path = scenario.parent / "lab.json"
    path.write_text(json.dumps(rig.bench(settle_s=12)))
    sets = ["deadlines.join_s=10", f"placement={placement}"]
    result = derloop.run(scenario, sets, bench=path, report=False, out=scenario.parent / "run")
    assert result.outcome == "completed"


def checked(scenario: Path, bench: dict[str, Any], *names: str) -> Any:
    path = scenario.parent / "lab.json"
    path.write_text(json.dumps(bench))
    return CliRunner().invoke(app, ["bench", "check", str(path), *names])


def test_check_asks_instruments_who_they_are_and_changes_nothing_of_them(rig: Rig, scenario: Path) -> None:
    """It ended with 0 where another source stood there, or none."""
    rig.ac.errors.append('-222,"Data out of range"')
    bench, address = beside(rig.bench()), rig.modbus.addresses[1]
    bench["devices"]["other"] |= {"endpoint": address.endpoint.model_dump(mode="json"), "unit": address.unit}
    bench["instruments"]["grid-sim"]["identity"] = "emulated instrument"
    good = checked(scenario, bench)
    assert (good.exit_code, len(rig.ac.errors)) == (0, 1), good.output
    assert "bench 'power-lab': 2 of 2 instruments are what the file says" in good.output
    bench["instruments"]["grid-sim"]["identity"] = "SN 1234"
    bench["instruments"]["meter"]["at"]["port"] = 1
    bad = checked(scenario, bench)
    assert bad.exit_code == 3
    assert "is 'derloop,emulated instrument,0,1', which does not contain 'SN 1234'" in bad.output
    assert "bench 'power-lab': 0 of 2 instruments are what the file says" in bad.output
    assert "0 of 1 instruments" in checked(scenario, bench, "other").output, "no meter is at that device"


def test_check_does_not_ask_the_instruments_of_a_run(rig: Rig, scenario: Path) -> None:
    """Many take one connection only: a second one would be the end of the run's."""
    path = scenario.parent / "lab.json"
    path.write_text(json.dumps(rig.bench()))
    bench = read_bench(path)
    power = bench.device("res").power
    assert power is not None
    locks = SourceLocks(bench, [power], Run(scenario.parent / "run", path))
    locks.acquire()
    try:
        said = checked(scenario, rig.bench())
    finally:
        locks.release()
    assert said.exit_code == 3
    assert said.output.count(f"was not asked: is held by process {os.getpid()}") == 2


def test_fleets_in_processes_of_their_own_energise_one_source_at_the_same_time(rig: Rig, scenario: Path) -> None:
    """Whoever comes second finds it on, and goes on; each phase has its voltage before the first switches it on."""
    rig.ac.answer("SOUR2:VOLT 277")
    bench, address = beside(rig.bench(scale=2)), rig.modbus.addresses[1]
    bench["devices"]["other"] |= {"endpoint": address.endpoint.model_dump(mode="json"), "unit": address.unit}
    data = json.loads(scenario.read_text())
    fleet = data["federates"]["device"]
    data["federates"]["second"] = {**fleet, "via": "bench:other", "at": [{"bus": "end.2", "rated_kva": 20}]}
    data["federates"]["device"] = {**fleet, "at": [{"bus": "end.1", "rated_kva": 20}]}
    scenario.write_text(json.dumps({**data, "placement": "apart", "duration_s": 1}))
    said, on = rig.ac.answer, list[float]()

    def heard(line: str) -> str | None:
        if line == "OUTP ON":
            on.append(rig.ac.held["v_ln_v", 2])
        return said(line)

    rig.ac.answer = heard  # type: ignore[method-assign]
    path = scenario.parent / "lab.json"
    path.write_text(json.dumps(bench))
    assert derloop.run(scenario, bench=path, report=False, out=scenario.parent / "run").failure == ""
    assert on == [240.0, 240.0]
    assert not rig.ac.is_on
