"""Equipment in a model's place: commanded, measured with its age, and left as it was found."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from banked import put
from emulated import described, equipped
from fleets import S, context, stepped
from obeying import Physics, obeying
from registers_only import RegistersOnly, served, string_inverter

from derloop.errors import Interlocked, Rejected, Unreachable
from derloop.kind import EquipmentMissing, Permissions, PlaceError, Terminal
from federates.der.battery import BatteryFleet, BatterySettings
from federates.der.pv import PvFleet, PvSettings
from hil.bench.fleet import BenchFleet
from hil.bench.realisation import bench
from hil.bench.smart import standing_of
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.frames.evidence import Evidence
from hil.inverter.group import DeviceGroup
from hil.inverter.mapped import shipped_maps
from hil.modbus.endpoint import Tcp
from hil.modbus.pdu import Function
from hil.safety.stop import EmergencyStopped
from hil.serving.fleet import BankServer
from hil.serving.responder import BankResponder, Units
from hil.serving.server import Line, Server

STEP_NS = S // 10
DEADLINE_S = 20.0
"""Nobody waits for it: who is silent here refuses connections. A busy machine may need some of it to answer."""
TERMINALS = tuple(Terminal(f"bat_{i}", "671", (1, 2, 3), 100.0) for i in range(2))
BOTH = ("bat-1", "bat-2")
Fleets = Callable[..., BenchFleet]
LetPass = Callable[[float], None]


@pytest.fixture
def ratings() -> tuple[Ratings, ...]:
    """Two storages of 100 kW that hold 200 kWh."""
    return tuple(
        Ratings(f"bat_{i}", 100e3, 100e3, 44e3, 44e3, 2400.0, 3, p_max_charge_w=100e3, energy_wh=200e3) for i in (1, 2)
    )


@pytest.fixture
def living(bank: RegisterBank) -> Iterator[Physics]:
    with obeying(bank) as physics:
        yield physics


@pytest.fixture
def let_pass(living: Physics, bank: RegisterBank, monkeypatch: pytest.MonkeyPatch) -> LetPass:
    """Return what lets time pass, s, for the fleet and its devices: no busy machine is late for a lease of a second."""
    now_s = time.monotonic()
    living.is_by_hand = True

    def pass_(dt_s: float) -> None:
        nonlocal now_s
        now_s += dt_s
        bank.advance(dt_s)

    monkeypatch.setattr("hil.bench.fleet.monotonic", lambda: now_s)
    return pass_


@pytest.fixture
def batteries(emulator: BankServer, living: Physics) -> dict[str, Any]:
    """Entries of a bench file."""
    return {
        name: {"endpoint": address.endpoint.model_dump(mode="json"), "timing": {"deadline_s": DEADLINE_S}}
        for name, address in zip(BOTH, emulator.addresses, strict=True)
    }


def battery_settings(**settings: Any) -> BatterySettings:
    given = {"at": [{"bus": "671"}] * 2, "rated_kva": 100, "energy_kwh": 200, "mode": "commanded", **settings}
    return BatterySettings.model_validate(given)


def battery(**settings: Any) -> BatteryFleet:
    return BatteryFleet(battery_settings(**settings), battery_context())


def battery_context(bench_file: Path | None = None, armed: tuple[str, ...] = ()) -> Any:
    places = {"terminals": {"fleet": TERMINALS}, "labels": {"fleet": tuple(t.label for t in TERMINALS)}}
    return context(STEP_NS, permissions=Permissions(bench=bench_file, armed=armed), **places)


def realised(bench_file: Path | None, via: str = "bat-*", armed: tuple[str, ...] = BOTH, **settings: Any) -> BenchFleet:
    given = battery_context(bench_file, armed)
    return bench(battery(**settings), BatterySettings(at=({"bus": "671"},)), TERMINALS, via, given)  # type: ignore[arg-type]


@pytest.fixture
def fleet(write_bench: Any, batteries: dict[str, Any]) -> Iterator[Fleets]:
    """Return what builds a fleet of the two batteries; entries changed by `each`. It is stopped at the end."""
    built: list[BenchFleet] = []

    def build(
        each: dict[str, Any] | None = None, file: dict[str, Any] | None = None, armed: tuple[str, ...] = BOTH, **s: Any
    ) -> BenchFleet:
        entries = {name: {**entry, **(each or {})} for name, entry in batteries.items()}
        built.append(realised(write_bench(entries, **(file or {})), armed=armed, **s))
        return built[-1]

    yield build
    for each in built:
        if not is_stopped(each):
            each.stop()


def is_stopped(fleet: BenchFleet) -> bool:
    return fleet._thread is not None and fleet._thread.closed


def steps(fleet: BenchFleet, count: int, **inputs: Any) -> dict[str, np.ndarray]:
    """Step every 0.1 s and return the last outputs."""
    for number in range(count):
        found = stepped(fleet, number * STEP_NS, **inputs)
        time.sleep(0.06)
    return found


def test_devices_do_what_they_are_told_and_tell_how_old_their_measurements_are(fleet: Fleets) -> None:
    made = fleet()
    first = made.start()
    assert first["p_kw"].tolist() == [0, 0]
    assert first["soc_pu"].tolist() == [0.5, 0.5]
    found = steps(made, 4, p_set_kw=np.array([30.0, -20.0]))
    assert found["p_kw"] == pytest.approx([30, -20], abs=0.02)
    assert found["p_max_kw"] == pytest.approx([100, 100])
    assert (found["age_s"] > 0).all()
    assert (found["age_s"] < 5).all()
    assert found["modbus_s"].shape == (1,)
    assert made.interface.paced
    assert made.interface.outputs["age_s"].labels == ("bat_0", "bat_1")
    assert made.statistics()["modbus_registers_written"] > 0


def test_reactive_power_that_a_control_sets_is_told_to_equipment(fleet: Fleets, bank: RegisterBank) -> None:
    """0.2 and -0.1 of 100 kVA."""
    made = fleet(q_commanded=True)
    made.start()
    steps(made, 2, p_set_kw=10.0, q_set_pu=np.array([0.2, -0.1]))
    assert [(each["704.VarSetEna"], each["704.VarSet"]) for each in held(bank)] == [(1, 20e3), (1, -10e3)]
    made.stop()
    assert [each["704.VarSetEna"] for each in held(bank)] == [0, 0]


def test_a_limit_is_not_told_to_a_device_that_does_not_say_what_it_is_a_part_of(write_bench: Any) -> None:
    """Its register map has no p_max_w: the limit would be NaN, which is none, and nobody would hear of it."""
    text = json.loads(shipped_maps()["example_string_inverter"].read_text(encoding="utf-8"))
    del text["nameplate"]["p_max_w"]
    terminal = Terminal("pv_0", "671", (1, 2, 3), 5.5)
    with served(string_inverter()) as address:
        entry = {"endpoint": address.endpoint.model_dump(mode="json"), "speaks": "roof.json"}
        path = write_bench({"roof": entry})
        path.with_name("roof.json").write_text(json.dumps(text), encoding="utf-8")
        given = context(
            STEP_NS,
            permissions=Permissions(bench=path, armed=("roof",)),
            terminals={"fleet": (terminal,)},
            labels={"fleet": (terminal.label,)},
        )
        settings = PvSettings.model_validate({"at": [{"bus": "671"}], "rated_kva": 5.5, "curtailable": True})
        made = bench(PvFleet(settings, given), settings, (terminal,), "roof", given)
        try:
            with pytest.raises(Rejected, match=r"does not say its greatest power \(p_max_w\)"):
                made.start()
        finally:
            made.stop()


def test_everything_is_as_it_was_found_when_the_fleet_is_stopped(
    write_bench: Any, batteries: dict[str, Any], bank: RegisterBank
) -> None:
    before = held(bank)
    made = realised(write_bench(batteries), smart={"volt_var": "category-b"})
    made.start()
    steps(made, 3, p_set_kw=50.0)
    during = held(bank)
    made.stop()
    assert [each["704.WSetEna"] for each in during] == [1, 1]
    assert [each["705.Ena"] for each in during] == [1, 1]
    assert held(bank) == before


def held(bank: RegisterBank) -> list[dict[str, Any]]:
    """Return what each device holds in the models that commands write."""
    return [
        {n: m.value(n, bank.image(i)) for n in m.points if n.startswith(("704.", "705.")) and not n.endswith("Rslt")}
        for i, m in enumerate(bank.maps)
    ]


def test_a_device_that_is_not_armed_is_not_written_to_and_the_run_says_how_to_arm_it(
    fleet: Fleets, bank: RegisterBank
) -> None:
    made, before = fleet(armed=("bat-1",)), held(bank)[1]
    made.start()
    with pytest.raises(Interlocked, match="needs `--arm bat-2`"):
        steps(made, 1, p_set_kw=5.0)
    assert held(bank)[1] == before


def test_a_limit_of_a_point_that_a_device_lacks_protects_nothing_so_it_is_not_commanded(
    fleet: Fleets, bank: RegisterBank
) -> None:
    before, safety = held(bank), {"limits": {"points": {"704.WSett": {"high": 1000}}}}
    with pytest.raises(
        Interlocked, match=r"no point '704\.WSett', which its safety rules name; did you mean '704\.WSet'"
    ):
        fleet({"safety": safety}).start()
    assert held(bank) == before
    fleet({"safety": safety}, armed=()).start()


def test_two_fleets_cannot_command_one_device(fleet: Fleets) -> None:
    fleet().start()
    with pytest.raises(Interlocked, match="two runs cannot command one device"):
        fleet().start()


def test_a_dead_controllers_commands_end_with_their_lease(fleet: Fleets, bank: RegisterBank, let_pass: LetPass) -> None:
    made = fleet({"safety": {"lease": {"kind": "reversion", "seconds": 1}}}, smart={"volt_var": "category-b"})
    made.start()
    stepped(made, 0, p_set_kw=50.0)
    let_pass(0.9)
    assert [(each["704.WSetEna"], each["705.Ena"]) for each in held(bank)] == [(1, 1)] * 2
    let_pass(0.2)
    assert [(each["704.WSetEna"], each["705.Ena"]) for each in held(bank)] == [(0, 0)] * 2


def test_a_lease_is_renewed_while_the_fleet_is_stepped(fleet: Fleets, bank: RegisterBank, let_pass: LetPass) -> None:
    made = fleet({"safety": {"lease": {"kind": "reversion", "seconds": 1}}}, smart={"volt_var": "category-b"})
    made.start()
    for number in range(25):
        stepped(made, number * STEP_NS, p_set_kw=50.0)
        let_pass(0.1)
    assert [(each["704.WSetEna"], each["705.Ena"]) for each in held(bank)] == [(1, 1)] * 2
    assert made.statistics()["lapsed_commands"] == 0


def test_measurements_of_a_silent_device_are_held_and_grow_old_and_then_the_run_ends(
    fleet: Fleets, emulator: BankServer
) -> None:
    made = fleet({"silence": {"policy": "hold", "max_age_s": 1.5}, "safety": {"restore_s": 0.2}}, armed=())
    made.start()
    emulator.stop()
    seen: list[dict[str, np.ndarray]] = []
    with pytest.raises(Unreachable, match=r"has not answered for \d+\.\d s, longer than max_age_s 1\.5"):
        step_until_it_fails(made, seen)
    assert len(seen) >= 2
    assert (np.diff([each["age_s"] for each in seen], axis=0) > 0).all()
    assert {tuple(each["p_kw"]) for each in seen} == {(0, 0)}


def step_until_it_fails(fleet: BenchFleet, seen: list[dict[str, np.ndarray]]) -> None:
    for number in range(100):
        seen.append(copied(fleet.step(number * STEP_NS, monitored())))
        time.sleep(0.1)


def copied(values: Any) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in values.items()}


def monitored() -> dict[str, np.ndarray]:
    """Inputs that command nothing."""
    return {"v_pu": np.ones(2)}


def test_without_a_policy_a_silent_device_ends_the_run(fleet: Fleets, emulator: BankServer) -> None:
    made = fleet(armed=())
    made.start()
    emulator.stop()
    with pytest.raises(Unreachable, match="bat-1"):
        made.step(0, monitored())


def test_a_file_that_appears_stops_everything_within_one_step_and_devices_are_safe(
    fleet: Fleets, bank: RegisterBank, tmp_path: Path
) -> None:
    made = fleet(file={"emergency_stop": {"file": "STOP"}})
    made.start()
    steps(made, 2, p_set_kw=50.0)
    (tmp_path / "STOP").touch()
    with pytest.raises(EmergencyStopped, match=r"the file .*STOP is there"):
        steps(made, 1, p_set_kw=60.0)
    assert [each["704.WSetEna"] for each in held(bank)] == [0, 0]


def test_a_command_that_does_not_show_ends_the_run_by_name(fleet: Fleets, living: Physics) -> None:
    proof = {"response_s": 0.2, "p_tolerance_w": 100, "source_limited": False}
    made = fleet({"safety": {"proof": proof}})
    made.start()
    living.most_w = 20e3
    with pytest.raises(
        Rejected, match=r"bat-1.*active power was commanded to 50000 W; 0.2 s later .* measures 20000 W"
    ):
        steps(made, 8, p_set_kw=np.array([50.0, 10.0]))


def test_what_a_silent_device_could_not_be_told_need_not_show_when_it_is_back(
    fleet: Fleets, emulator: BankServer, bank: RegisterBank
) -> None:
    """Charging is commanded while it is away, for longer than it may take to answer a command."""
    proof = {"response_s": 0.5, "p_tolerance_w": 2000, "source_limited": False}
    made = fleet({"silence": {"policy": "hold", "max_age_s": 30}, "safety": {"proof": proof, "restore_s": 5}})
    lines = [Line(a.endpoint, Units({1: BankResponder(bank, i)})) for i, a in enumerate(emulator.addresses)]
    made.start()
    steps(made, 10, p_set_kw=30.0)
    emulator.stop()
    steps(made, 12, p_set_kw=-20.0)
    with Server(lines):
        assert steps(made, 15, p_set_kw=-20.0)["p_kw"] == pytest.approx([-20, -20], abs=0.02)
        made.stop()


class AnswersLate(BankResponder):
    """A device that does at once what is written to it, and may say so late or never."""

    late_s = 0.0
    is_silent_after: tuple[int, ...] = ()
    """Functions that are done and not answered."""

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        answer = super().respond(unit, pdu)
        if pdu[0] != Function.READ_HOLDING:
            time.sleep(self.late_s)
        return None if pdu[0] in self.is_silent_after else answer


@pytest.fixture
def late(emulator: BankServer, bank: RegisterBank) -> Iterator[list[AnswersLate]]:
    """The two batteries, in the place of those that were there."""
    emulator.stop()
    devices = [AnswersLate(bank, i) for i in range(len(emulator.addresses))]
    pairs = zip(emulator.addresses, devices, strict=True)
    with Server([Line(address.endpoint, Units({1: device})) for address, device in pairs]):
        yield devices


def told_between_steps(fleet: BenchFleet, late: list[AnswersLate], p_set_kw: float) -> None:
    """From 30 kW, by a command that is taken, as is the poll behind it, long after its step and before the next."""
    fleet.start()
    steps(fleet, 15, p_set_kw=30.0)
    for device in late:
        device.late_s = 0.1
    stepped(fleet, 0, p_set_kw=p_set_kw)
    time.sleep(0.8)
    for device in late:
        device.late_s = 0.0


HELD_AND_PROVEN: dict[str, Any] = {
    "silence": {"policy": "hold", "max_age_s": 30},
    "safety": {"proof": {"response_s": 0.5, "p_tolerance_w": 2000, "source_limited": False}},
}


def test_a_device_that_obeys_between_two_steps_is_not_accused(late: list[AnswersLate], fleet: Fleets) -> None:
    """What it measured had been commanded then, though only the next step learns that the command was taken."""
    made = fleet(HELD_AND_PROVEN)
    told_between_steps(made, late, -20.0)
    assert stepped(made, 0, p_set_kw=-20.0)["p_kw"] == pytest.approx([-20, -20], abs=0.02)
    assert steps(made, 10, p_set_kw=-20.0)["p_kw"] == pytest.approx([-20, -20], abs=0.02)


def test_a_device_that_is_told_between_two_steps_and_does_not_obey_is_named(
    late: list[AnswersLate], fleet: Fleets, living: Physics
) -> None:
    made = fleet(HELD_AND_PROVEN)
    living.most_w = 30e3
    told_between_steps(made, late, 60.0)
    with pytest.raises(Rejected, match=r"commanded to 60000 W; 0\.5 s later the device measures 30000 W"):
        steps(made, 15, p_set_kw=60.0)


@pytest.mark.parametrize(
    "unanswered", [(Function.WRITE_ONE, Function.WRITE_SEVERAL), (Function.READ_HOLDING,)], ids=["write", "reading"]
)
def test_a_device_that_obeyed_a_command_and_could_not_say_so_is_on_its_way_from_it(
    unanswered: tuple[int, ...], late: list[AnswersLate], fleet: Fleets, living: Physics
) -> None:
    """Told to turn from 30 to -20 kW it did, and nobody learnt it; told 30 kW again, it is measured at -20 first."""
    proof = {**HELD_AND_PROVEN["safety"]["proof"], "response_s": 1.0}
    made = fleet({**HELD_AND_PROVEN, "timing": {"deadline_s": 0.2}, "safety": {"proof": proof}})
    made.start()
    steps(made, 25, p_set_kw=30.0)
    for device in late:
        device.is_silent_after = unanswered
    stepped(made, 0, p_set_kw=-20.0)
    time.sleep(0.5)
    for device in late:
        device.is_silent_after = ()
    living.is_stuck = True
    assert steps(made, 4, p_set_kw=30.0)["p_kw"] == pytest.approx([-20, -20], abs=0.02)
    living.is_stuck = False
    assert steps(made, 25, p_set_kw=30.0)["p_kw"] == pytest.approx([30, 30], abs=0.02)


def test_a_command_that_does_not_show_can_be_a_doubt(fleet: Fleets, living: Physics) -> None:
    proof = {"response_s": 0.2, "p_tolerance_w": 100, "source_limited": False, "when_not": "doubt"}
    made = fleet({"safety": {"proof": proof}})
    made.start()
    living.most_w = 20e3
    assert steps(made, 8, p_set_kw=np.array([50.0, 10.0]))["unproven"].tolist() == [1, 0]


def test_every_frame_is_kept_by_device(fleet: Fleets, tmp_path: Path) -> None:
    made = fleet()
    made.keep_in(tmp_path / "run")
    made.start()
    steps(made, 2, p_set_kw=1.0)
    made.stop()
    entries = [*Evidence(tmp_path / "run").entries()]
    assert {entry.peer.device for entry in entries} == set(BOTH)
    assert {entry.instant_ns for entry in entries} == {None, 0, STEP_NS}
    assert {entry.direction for entry in entries} == {"sent", "received"}


def test_a_run_keeps_who_its_devices_were(fleet: Fleets, tmp_path: Path) -> None:
    made = fleet(armed=("bat-1",))
    made.keep_in(tmp_path / "run")
    made.start()
    said = json.loads((tmp_path / "run" / "bench" / "fleet.json").read_text("utf-8"))
    first, second = (said["devices"][name] for name in BOTH)
    assert (first["manufacturer"], first["version"], first["serial"], first["armed"]) == ("derloop", "1", "bat_1", True)
    assert first["rated"]["s_max_va"] == 100e3
    assert not second["armed"]


def test_devices_behind_one_endpoint_share_its_connection(
    bank: RegisterBank, living: Physics, write_bench: Any
) -> None:
    units = Units({3: BankResponder(bank, 0), 7: BankResponder(bank, 1)})
    with Server([Line(Tcp(port=0), units)]) as server:
        (endpoint,) = server.endpoints
        at = {"endpoint": endpoint.model_dump(mode="json")}
        made = realised(write_bench({"bat-1": {**at, "unit": 3}, "bat-2": {**at, "unit": 7}}))
        try:
            made.start()
            assert steps(made, 4, p_set_kw=np.array([30.0, 40.0]))["p_kw"] == pytest.approx([30, 40], abs=0.02)
            session = made._session
            assert session
            assert sum(device.link.traffic.connects for device in session.devices) == 1
        finally:
            made.stop()


def shifted(bank: RegisterBank) -> RegistersOnly:
    """Return the registers of the first device of a bank, with a model of ten registers more before 701."""
    found, image = bank.maps[0], bank.image(0).tolist()
    at = found.block(701).address - found.base
    words = [*image[:at], 64001, 10, *[0] * 10, *image[at:]]
    return RegistersOnly(functions=(3, 16), holding=dict(enumerate(words, found.base)))


def test_a_device_whose_registers_have_moved_behind_its_gateway_ends_the_run(
    bank: RegisterBank, living: Physics, write_bench: Any
) -> None:
    """New firmware: the gateway goes on, so no connection is lost, and what is read is ten registers beside."""
    behind: dict[int, Any] = {3: BankResponder(bank, 0), 7: BankResponder(bank, 1)}
    gateway = SimpleNamespace(respond=lambda unit, pdu: behind[unit].respond(unit, pdu))
    with Server([Line(Tcp(port=0), gateway)]) as server:
        at = {"endpoint": server.endpoints[0].model_dump(mode="json"), "safety": {"restore_s": 5}}
        made = realised(write_bench({"bat-1": {**at, "unit": 3}, "bat-2": {**at, "unit": 7}}))
        try:
            made.start()
            steps(made, 2, p_set_kw=30.0)
            behind[3] = shifted(bank)
            with pytest.raises(Rejected, match=r"bat-1.*registers are not what they were"):
                steps(made, 1, p_set_kw=30.0)
        finally:
            made.stop()


def test_a_device_that_is_rated_otherwise_than_the_scenario_says_is_not_commanded(
    fleet: Fleets, bank: RegisterBank
) -> None:
    made, before = fleet(), held(bank)
    made._terminals = (Terminal("bat_0", "671", (1, 2, 3), 250.0), TERMINALS[1])
    with pytest.raises(Rejected, match=r"'bat-1': says that it is rated 100 kVA; the scenario has 250 kVA"):
        made.start()
    made.stop()
    assert held(bank) == before


def test_a_device_without_a_lease_is_a_caution_before_the_run(write_bench: Any) -> None:
    entry = {"endpoint": {"transport": "tcp"}, "safety": {"lease": {"kind": "none", "because": "a fuse of 10 A"}}}
    made = realised(write_bench({"bat-1": entry, "bat-2": {**entry, "unit": 2}}), armed=("bat-2",))
    (caution,) = made.cautions
    assert "device 'bat-2' has no lease" in caution
    assert "a fuse of 10 A" in caution


@pytest.mark.parametrize("mode", ["idle", "commanded"])
def test_a_mode_in_which_equipment_is_told_no_power_is_a_caution(write_bench: Any, mode: str) -> None:
    entry = {"endpoint": {"transport": "tcp"}}
    made = realised(write_bench({"bat-1": entry, "bat-2": {**entry, "unit": 2}}), armed=(), mode=mode)
    assert [text for text in made.cautions if "no control sets the power" in text] == list(made.cautions)
    assert bool(made.cautions) == (mode != "commanded")


# --- refused before anything is touched --------------------------------------------------------------


def refused(path: Path | None, via: str = "bat-*", armed: tuple[str, ...] = ()) -> tuple[type[Exception], str]:
    with pytest.raises(PlaceError) as error:
        realised(path, via, armed)
    ((where, what),) = error.value.problems
    assert where == ("via",)
    return type(error.value), what


def test_a_scenario_whose_equipment_is_not_here_lacks_equipment(write_bench: Any) -> None:
    path = write_bench({"bat-1": {"endpoint": {"transport": "tcp"}}})
    assert refused(None) == (EquipmentMissing, "'bat-*' is equipment of a bench, and none is given: --bench FILE")
    kind, what = refused(path, "bat-7")
    assert kind is EquipmentMissing
    assert what == "bench 'lab' (lab.json) has no device 'bat-7'; did you mean 'bat-1'?"
    kind, what = refused(path)
    assert kind is EquipmentMissing
    assert what == "'bat-*' is bat-1: 1, and there are 2 devices in the scenario"


def test_what_does_not_fit_the_scenario_is_wrong(write_bench: Any) -> None:
    entry = {"endpoint": {"transport": "tcp"}}
    two = {"bat-1": entry, "bat-2": {**entry, "unit": 2}}
    three = {**two, "bat-3": {**entry, "unit": 3}}
    assert refused(write_bench(three)) == (
        PlaceError,
        "'bat-*' is bat-1, bat-2, bat-3: 3, and there are 2 devices in the scenario",
    )
    big = {**two, "bat-1": {**entry, "rated_kva": 50}}
    assert refused(write_bench(big))[1] == "'bat-1' stands for 50 kVA, and 'bat_0' is rated 100"
    assert "patterns arm nothing" in refused(write_bench(two), armed=("*",))[1]
    assert "needs the name of a device" in refused(write_bench(two), "")[1]


def test_devices_of_a_fleet_stand_in_power_hardware_together(write_bench: Any) -> None:
    entry, limits = {"endpoint": {"transport": "tcp"}}, {"v_ln_v": {"low": 0, "high": 280}}
    grid = {"kind": "ac-source", "at": {"transport": "tcp"}, "commands": "scpi-99-ac-source", **limits}
    powered = {**entry, "unit": 2, "power": {"ac_source": "grid", "nominal_v": 240}}
    path = write_bench({"bat-1": entry, "bat-2": powered}, instruments={"grid": grid})
    assert refused(path)[1] == (
        "'bat-2' stands in power hardware ('power') and 'bat-1' does not: give them fleets of their own"
    )


def test_functions_that_equipment_is_not_given_are_told(write_bench: Any) -> None:
    entry = {"endpoint": {"transport": "tcp"}}
    path = write_bench({"bat-1": entry, "bat-2": {**entry, "unit": 2}})
    with pytest.raises(PlaceError, match=r"the scenario sets enter_service \('smart'\); equipment is given volt_var"):
        realised(path, armed=(), smart={"volt_watt": {}, "enter_service": {}})


SMART: dict[str, Any] = {
    "volt_watt": {"v1_pu": 1.055, "v2_pu": 1.09, "p2_pu": 0.3, "response_s": 8},
    "frequency_droop": {"db_over_hz": 0.03, "k_over": 0.04},
    "watt_var": {"p2_pu": 0.6, "q3_pu": -0.3},
}
HELD = {
    **{"706.Ena": 1, "706.Crv.0.Pt.0.V": 105.5, "706.Crv.0.Pt.1.V": 109, "706.Crv.0.Pt.1.W": 30, "706.Crv.0.RspTms": 8},
    **{"711.Ena": 1, "711.Ctl.0.DbOf": 0.03, "711.Ctl.0.KOf": 0.04},
    **{"712.Ena": 1, "712.Crv.0.Pt.4.W": 60, "712.Crv.0.Pt.5.Var": -30},
    **{"706.RvrtTms": 1, "711.RvrtTms": 1, "712.RvrtTms": 1, "706.RvrtCrv": 0},
}


def of_first(bank: RegisterBank, names: Any) -> dict[str, Any]:
    return {name: bank.maps[0].value(name, bank.image(0)) for name in names}


def test_functions_of_a_scenario_are_given_to_equipment_verified_renewed_and_taken_back(
    fleet: Fleets, bank: RegisterBank, let_pass: LetPass
) -> None:
    before = of_first(bank, HELD)
    assert (before["706.Ena"], before["706.Crv.0.Pt.0.V"]) == (0, 106)
    made = fleet({"safety": {"lease": {"kind": "reversion", "seconds": 1}}}, smart=SMART)
    made.start()
    assert of_first(bank, HELD) == pytest.approx(HELD)
    for number in range(4):
        let_pass(0.4)
        assert of_first(bank, HELD) == pytest.approx(HELD), "in the end more time has passed than the lease lasts"
        stepped(made, number * STEP_NS, p_set_kw=1.0)
    made.stop()
    assert of_first(bank, HELD) == before


def test_functions_end_with_the_run_that_gave_them_and_stay_where_the_safe_state_has_them(
    fleet: Fleets, bank: RegisterBank, let_pass: LetPass
) -> None:
    safety = {"lease": {"kind": "reversion", "seconds": 1}, "safe_state": {"points": {"706.Ena": 1}}}
    made = fleet({"safety": safety}, smart={name: SMART[name] for name in ("volt_watt", "frequency_droop")})
    made.start()
    assert of_first(bank, ("706.Ena", "706.RvrtTms", "711.Ena")) == {"706.Ena": 1, "706.RvrtTms": 0, "711.Ena": 1}
    let_pass(1.1)
    assert of_first(bank, ("706.Ena", "711.Ena")) == {"706.Ena": 1, "711.Ena": 0}


def test_a_power_factor_a_reactive_power_and_a_limit_are_given_too(fleet: Fleets, bank: RegisterBank) -> None:
    made = fleet(smart={"constant_pf": {"pf": 0.95}, "active_power_limit": {"p_max_pu": 0.7}})
    made.start()
    held = of_first(bank, ("704.PFWInjEna", "704.PFWInj.PF", "704.PFWInj.Ext", "704.PFWAbsEna", "704.WMaxLimPct"))
    assert [*held.values()] == [1, 0.95, 1, 1, 70]
    made.stop()
    made = fleet(smart={"constant_q": {"q_pu": -0.2}})
    made.start()
    held = of_first(bank, ("704.PFWInjEna", "704.WMaxLimPctEna", "704.VarSetEna", "704.VarSetMod", "704.VarSet"))
    assert [*held.values()] == [0, 0, 1, 4, -20e3]


@pytest.mark.parametrize(
    ("set_to", "least_w_pct"),
    [({"VAMaxRtg": 110e3, "WMaxRtg": 110e3}, 30.0), ({"WMax": 80e3}, 37.5)],
)
def test_functions_are_of_the_apparent_power_that_a_device_is_set_to(
    ratings: tuple[Ratings, ...], set_to: dict[str, float], least_w_pct: float
) -> None:
    """100 kVA are what the scenario has in its place, of 110 that it is rated for; 30 kW are 37.5 % of 80."""
    smart = {"watt_var": {"q3_pu": -0.3}, "volt_watt": {"p2_pu": 0.3}, "constant_q": {"q_pu": -0.2}}
    description = described(ratings[0])
    bank = RegisterBank([{**description, 702: {**description[702], **set_to}}])
    with BankServer(bank) as server, DeviceGroup({"bat_1": server.addresses[0]}) as group:
        given = [
            each
            for name, numbers in smart.items()
            for each in standing_of(battery(smart={name: numbers}).inverters, 0, group.devices[0])
        ]
    watt_var, volt_watt, constant_q = given
    assert watt_var.curve["Pt.5.Var"] == pytest.approx(-30.0)
    assert volt_watt.curve["Pt.1.W"] == pytest.approx(least_w_pct)
    assert constant_q.values["704.VarSet"] == pytest.approx(-20e3)


def test_a_device_that_holds_another_function_of_reactive_power_is_named_and_not_written_to(
    fleet: Fleets, bank: RegisterBank
) -> None:
    """A power factor goes before volt-var in this one: the curve would be there, and nothing of it be seen."""
    assert bank.write(1, bank.maps[1]["704.PFWInjEna"].address, [1]) is None
    refusal = r"bat-2.*has constant_pf on \(704.PFWInjEna\), beside which the scenario's volt_var need not show"
    refused = fleet(smart={"volt_var": "category-b"})
    with pytest.raises(Rejected, match=refusal):
        refused.start()
    refused.stop()
    assert refused.statistics()["modbus_registers_written"] == 0
    fleet(smart={"constant_pf": {"pf": 0.95}}).start()
    assert [bank.number(d, "704.PFWInj.PF") for d in range(2)] == [0.95, 0.95]


@contextmanager
def of_old_devices(folder: Path, **smart: Any) -> Iterator[tuple[BenchFleet, RegisterBank]]:
    """Give a fleet of two devices that have the old models alone, and their registers; it is stopped at the end."""
    old = equipped(
        [Ratings("bat_1", 100e3, 100e3, 44e3, 44e3, 2400.0, 3, p_max_charge_w=100e3, energy_wh=200e3)] * 2,
        models="legacy",
    )
    with obeying(old), BankServer(old) as server:
        entries = {
            name: {"endpoint": at.endpoint.model_dump(mode="json")}
            for name, at in zip(BOTH, server.addresses, strict=True)
        }
        (folder / "old.json").write_text(json.dumps({"name": "old", "devices": entries}))
        made = realised(folder / "old.json", smart=smart)
        try:
            yield made, old
        finally:
            made.stop()


@pytest.mark.parametrize(
    ("held", "named"),
    [
        ({"123.OutPFSet": -0.9, "123.OutPFSet_Ena": 1.0}, r"constant_pf on \(123.OutPFSet_Ena\)"),
        ({"123.VArPct_Mod": 2.0, "123.VArMaxPct": 30.0, "123.VArPct_Ena": 1.0}, r"constant_q on \(123.VArPct_Ena\)"),
    ],
)
def test_an_old_device_that_holds_another_function_of_reactive_power_is_named(
    tmp_path: Path, held: dict[str, float], named: str
) -> None:
    with of_old_devices(tmp_path, volt_var="category-b") as (made, old):
        assert put(old, held, device=1) is None
        with pytest.raises(Rejected, match=rf"bat-2.*has {named}, beside which the scenario's volt_var need not show"):
            made.start()
    assert made.statistics()["modbus_registers_written"] == 0


def test_a_function_that_a_device_does_not_have_is_named_before_anything_is_written(tmp_path: Path) -> None:
    with of_old_devices(tmp_path, volt_watt={}) as (made, old):
        before = old.image(0)
        with pytest.raises(Rejected, match=r"not have what the scenario's 'smart' sets: volt_watt \(706.Ena\)"):
            made.start()
        assert (old.image(0)[:400] == before[:400]).mean() > 0.9


def test_a_wrong_bench_file_is_told_with_its_own_pointers(tmp_path: Path) -> None:
    path = tmp_path / "lab.json"
    path.write_text(json.dumps({"name": "lab", "devices": {"bat-1": {}}}), encoding="utf-8")
    assert refused(path)[1] == f"bench file {path}: /devices/bat-1/endpoint: is missing"


def test_a_lease_that_does_not_outlast_two_steps_is_refused(write_bench: Any) -> None:
    entry = {"endpoint": {"transport": "tcp"}, "safety": {"lease": {"kind": "reversion", "seconds": 60}}}
    path = write_bench({"bat-1": entry, "bat-2": {**entry, "unit": 2}})
    minute = context(60 * S, permissions=Permissions(bench=path), terminals={"fleet": TERMINALS})
    with pytest.raises(PlaceError, match=r"the lease of 'bat-1', 60 s, does not outlast 2 steps, 120 s"):
        bench(battery(), BatterySettings(at=({"bus": "671"},)), TERMINALS, "bat-*", minute)  # type: ignore[arg-type]


def test_nothing_of_a_run_is_left_in_the_state_folder(fleet: Fleets) -> None:
    made = fleet()
    made.start()
    steps(made, 1, p_set_kw=1.0)
    records = Path(os.environ["DERLOOP_STATE"]) / "records"
    assert len([*records.iterdir()]) == 2
    made.stop()
    assert [*records.iterdir()] == []


def test_an_emergency_stop_does_not_wait_for_the_next_step(
    write_bench: Any, batteries: dict[str, Any], bank: RegisterBank, tmp_path: Path
) -> None:
    path = write_bench(batteries, emergency_stop={"file": "STOP"})
    slow = context(10 * S, permissions=Permissions(bench=path, armed=BOTH), terminals={"fleet": TERMINALS})
    model = BatteryFleet(battery_settings(), replace(slow, labels={"fleet": tuple(t.label for t in TERMINALS)}))
    made = bench(model, battery_settings(), TERMINALS, "bat-*", slow)
    try:
        made.start()
        stepped(made, 0, p_set_kw=50.0)
        assert [each["704.WSetEna"] for each in held(bank)] == [1, 1]
        (tmp_path / "STOP").touch()
        end = time.monotonic() + 8
        while [each["704.WSetEna"] for each in held(bank)] != [0, 0] and time.monotonic() < end:
            time.sleep(0.1)
        assert [each["704.WSetEna"] for each in held(bank)] == [0, 0]
        with pytest.raises(EmergencyStopped):
            stepped(made, 10 * S, p_set_kw=60.0)
    finally:
        made.stop()
    assert [each["704.WSetEna"] for each in held(bank)] == [0, 0]
