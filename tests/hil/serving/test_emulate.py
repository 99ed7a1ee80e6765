"""`derloop emulate`, as a process: devices on the clock of the wall for clients from outside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from derloop.errors import ScenarioError
from derloop.options import Options
from derloop.running import run
from hil.serving.file import emulator_schema

SCENARIOS = Path(__file__).parents[3] / "scenarios"
PATIENCE_S = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A scenario of two batteries on a street, with its files."""
    for name in ("feeders", "profiles"):
        shutil.copytree(SCENARIOS / name, tmp_path / name)
    scenario = json.loads((SCENARIOS / "kind_emulator.json").read_text())
    scenario["federates"]["inverter"] |= {
        "via": "model",
        "at": [{"bus": "671.1.2.3", "rated_kva": 300}, {"bus": "675.1.2.3", "rated_kva": 200}],
    }
    (tmp_path / "street.json").write_text(json.dumps(scenario))
    return tmp_path


@contextmanager
def emulating(file: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], list[dict[str, Any]]]]:
    """Run `derloop emulate` and return it with its devices; it is gone afterwards."""
    command = [sys.executable, "-m", "derloop.cli", "emulate", str(file), "--json", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=file.parent)
    try:
        yield process, list(_devices(process))
    finally:
        process.kill()
        process.communicate()


def _devices(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout
    assert process.stderr
    for line in process.stdout:
        device = json.loads(line)
        yield device
        if device["left"] == 0:
            return
    raise AssertionError(process.stderr.read())


@contextmanager
def independent(device: dict[str, Any]) -> Iterator[SunSpecModbusClientDeviceTCP]:
    """pysunspec2's own client."""
    at = device["endpoint"]
    client = SunSpecModbusClientDeviceTCP(device["unit"], ipaddr=at["host"], ipport=at["port"], timeout=10)
    try:
        client.scan()
        client.connect()
        yield client
    finally:
        client.disconnect()


def _soon(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def test_what_an_independent_client_writes_is_what_a_device_on_its_feeder_does(folder: Path) -> None:
    with emulating(folder / "street.json", "--step", "0.1") as (process, devices):
        assert [(d["device"], d["part_of"]) for d in devices] == [
            ("inverter_0", "inverter"),
            ("inverter_1", "inverter"),
        ]
        with independent(devices[0]) as first, independent(devices[1]) as second:
            controls, measured = first.DERCtlAC[0], first.DERMeasureAC[0]
            controls.WSetRvrtTms.value, controls.WSetRvrt.cvalue, controls.WSetEnaRvrt.value = 1, 0, 0
            controls.write()
            controls.WSet.cvalue, controls.WSetMod.value, controls.WSetEna.value = 120_000, 1, 1
            controls.write()

            def power_w() -> float:
                measured.read()
                return float(measured.W.cvalue)

            _soon(lambda: power_w() == pytest.approx(120_000, abs=500))
            assert 2000 < measured.LNV.cvalue < 2600
            second.DERMeasureAC[0].read()
            assert abs(second.DERMeasureAC[0].W.cvalue) < 500
            _soon(
                lambda: power_w() == pytest.approx(0, abs=500)
            )  # the reversion timer has run out, on the wall's clock
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def test_an_emulator_file_says_where_and_with_which_quirks(folder: Path) -> None:
    file = folder / "devices.json"
    profile = {"inverter_1": {"models": "all"}}
    fleet = {
        "bus": True,
        "unit": 5,
        "profile_of": profile,
        "quirks_of": {"inverter_1": {"not_implemented": ["701.Hz"]}},
    }
    file.write_text(json.dumps({"scenario": "street.json", "fleets": {"inverter": fleet}}))
    with emulating(file, "--for", "600") as (process, devices):
        assert [(d["device"], d["unit"]) for d in devices] == [("inverter_0", 5), ("inverter_1", 6)]
        assert devices[0]["endpoint"] == devices[1]["endpoint"]
        found = []
        for device in devices:
            with independent(device) as client:
                found.append((client.DERMeasureAC[0].Hz.cvalue, 103 in client.models, client.common[0].DA.value))
        assert found == [(pytest.approx(60, abs=0.1), False, 5), (None, True, 6)]
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


def test_a_run_in_lock_step_takes_transport_and_quirks_from_an_emulator_file(folder: Path, tmp_path: Path) -> None:
    fleet = {
        "listen": {"transport": "rtu-over-tcp", "port": 0},
        "bus": True,
        "quirks": {"busy": 0.05, "split": {"pieces": 3}, "latency": {"mean_ms": 0.2}},
        "timing": {"deadline_s": 60, "busy_pause_s": 0.001, "attempts": 8},
    }
    (folder / "awkward.json").write_text(json.dumps({"fleets": {"inverter": fleet}}))

    def powers(via: str) -> Any:
        options = Options(out=tmp_path / via.replace(":", "-"), report=False)
        result = run(folder / "street.json", [f"federates.inverter.via={via}", "duration_s=1800", "checks=[]"], options)
        assert result.outcome == "completed", result.failure
        return result["inverter.p_kw"]

    assert powers("emulator:awkward.json").tolist() == powers("emulator").tolist()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"fleets": {"invertr": {}}}, "did you mean 'inverter'?"),
        (
            {"fleets": {"inverter": {"quirks": {"silense": 1}}}},
            "/fleets/inverter/quirks/silense: unknown; did you mean",
        ),
        ({"fleets": {"inverter": {"listen": {"transport": "serial", "path": "x"}}}}, "bus must be true"),
        ({"fleets": {"inverter": {"roles": {"viewer": ["read"]}}}}, "roles are those of certificates"),
        ({}, "has nothing that could be served: neither a scenario, nor clones, nor replays"),
        (
            {"fleets": {"inverter": {"profile": {"scale_factors": {"702.WMax": 0}}}}},
            "/fleets/inverter/profile/scale_factors/702.WMax: must be a scale factor, as 702.W_SF is",
        ),
        (
            {"fleets": {"inverter": {"profile": {"scale_factors": {"999.W_SF": 1}}}}},
            "/fleets/inverter/profile: inverter_0: scale factor '999.W_SF': the device has no such model",
        ),
        (
            {"fleets": {"inverter": {"profile": {"models": "all", "scale_factors": {"123.VArPct_SF": -3}}}}},
            "/fleets/inverter/profile: inverter_0: point '123.VArWMaxPct': -100.0 is out of range (-32.767 to 32.767",
        ),
        (
            {"fleets": {"inverter": {"quirks_of": {"inverter_2": {"mute": 1.0}}}}},
            "/fleets/inverter/quirks_of/inverter_2: no device of the fleet; did you mean 'inverter_1'?",
        ),
    ],
)
def test_a_wrong_emulator_file_is_explained(content: dict[str, Any], said: str, folder: Path) -> None:
    from hil.commands.emulation import Emulation
    from hil.commands.opened import Wishes

    file = folder / "devices.json"
    file.write_text(json.dumps({**({"scenario": "street.json"} if content else {}), **content}))
    with pytest.raises(Exception, match="problem") as error:
        Emulation(file, Wishes(), lambda _: None)
    assert said in str(error.value)


def test_devices_that_nobody_in_the_scenario_commands_are_open_to_those_outside(folder: Path) -> None:
    from hil.commands.emulation import Emulation
    from hil.commands.opened import Wishes

    scenario = json.loads((folder / "street.json").read_text())
    grid, inverter = (scenario["federates"][name] for name in ("grid", "inverter"))
    scenario |= {"federates": {"grid": grid, "inverter": inverter | {"mode": "commanded"}}, "checks": []}
    (folder / "alone.json").write_text(json.dumps(scenario))
    found: list[Any] = []
    Emulation(folder / "alone.json", Wishes(for_s=0.0), found.extend).run()
    assert [device.name for device in found] == ["inverter_0", "inverter_1"]


def test_a_scenario_in_which_nobody_has_inverters_is_told_which_kinds_have(folder: Path) -> None:
    from hil.commands.emulation import Emulation
    from hil.commands.opened import Wishes

    shutil.copy(SCENARIOS / "demand_response_event.json", folder)
    with pytest.raises(ScenarioError) as error:
        Emulation(folder / "demand_response_event.json", Wishes(), lambda _: None)
    why = "no federate of demand_response_event.json has inverters; of kind battery, chp, ev, pv, wind it would"
    assert [problem.what for problem in error.value.problems] == [f"has nothing that could be served: {why}"]


def test_what_clients_write_is_obeyed_within_the_longest_step(folder: Path) -> None:
    """Also by a fleet that has a step of its own, and where the longest one divides neither step nor duration."""
    from hil.commands.emulation import Emulation
    from hil.commands.opened import Wishes

    def steps_s(*changes: str, longest_s: float) -> tuple[float, float]:
        opened = Emulation(folder / "street.json", Wishes(changes, longest_s), lambda _: None)._opened
        assert opened is not None
        of_fleet = opened.fleets["inverter"].interface.step_ns
        return opened.scenario.file.step_s, of_fleet / 1e9

    assert steps_s(longest_s=1.0) == (1.0, 1.0)
    assert steps_s("federates.inverter.step_s=null", longest_s=1.0) == (1.0, 1.0)
    assert steps_s("federates.inverter.step_s=30", longest_s=1.0) == (1.0, 1.0)
    assert steps_s("step_s=3.5", "duration_s=10.5", longest_s=1.0) == (0.875, 0.875)
    assert steps_s(longest_s=0.7) == (0.625, 0.625)
    assert steps_s("step_s=0.5", "federates.inverter.step_s=0.25", longest_s=1.0) == (0.5, 0.25)


def test_checks_of_what_devices_do_not_tell_keep_nobody_from_serving_them(folder: Path) -> None:
    """Half of the shipped scenarios with inverters have such; there are no verdicts here."""
    from hil.commands.emulation import Emulation
    from hil.commands.opened import Wishes

    scenario = json.loads((folder / "street.json").read_text())
    check = {"kind": "stays-within", "signal": "inverter.loss_kw", "max": 100.0}
    (folder / "judged.json").write_text(json.dumps({**scenario, "checks": [check]}))
    served = Emulation(folder / "judged.json", Wishes(), lambda _: None)
    assert [*served._fleets] == ["inverter"]


def test_a_scenario_cannot_name_an_emulator_file_outside_of_its_folder(folder: Path) -> None:
    from derloop.errors import ScenarioError
    from derloop.scenario.assembly import assemble
    from derloop.scenario.loading import load

    loaded = load(folder / "street.json", ["federates.inverter.via=emulator:../devices.json"])
    with pytest.raises(ScenarioError, match="outside of the scenario's folder"):
        assemble(loaded)


def test_the_schema_takes_what_the_reader_takes() -> None:
    schema = emulator_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert not list(validator.iter_errors({"scenario": "x.json", "fleets": {"pv": {"quirks": {"busy": 0.1}}}}))
    assert list(validator.iter_errors({"fleets": {"pv": {"quirks": {"busy": 2}}}}))


def test_many_devices_may_take_longer_to_be_there_than_few(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand take a minute where a machine has else to do: they ended as a fleet that hangs."""
    from hil.commands import emulation
    from hil.commands.opened import Wishes

    given: list[float] = []

    def begun(federation: Any, units: Any, record: Any, deadlines: Any) -> None:
        given.append(deadlines.join_s)
        raise KeyboardInterrupt

    monkeypatch.setattr(emulation, "Worker", begun)
    emulation.Emulation(folder / "street.json", Wishes(("deadlines.join_s=20",)), lambda _: None).run()
    assert given == [pytest.approx(20.0 + 2 * 0.05)]
