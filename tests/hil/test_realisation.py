"""A fleet behind real Modbus servers does what its model does, to within what registers resolve."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import pytest
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from derloop.contract import FloatArray, Values
from derloop.kind import Bus, Context, FeederLoad, PlaceError, Terminal
from federates.der.battery import BatteryFleet, BatterySettings
from federates.der.pv import PvFleet, PvSettings
from hil.fleet.emulated import EmulatedFleet
from hil.realisation import emulator, served
from hil.serving.file import FleetEntry

S = 1_000_000_000
STEP_NS = 60 * S
TERMINALS = tuple(Terminal(f"inv_{i}", "b", (1, 2, 3), 100.0) for i in range(2))
RESOLUTION_KW = 0.01
"""One step of 701 W and 704 WSet for a device of 100 kW (scale factor 10 W)."""


class Street:
    buses = {"b": Bus("b", (1, 2, 3), 2.4018)}  # noqa: RUF012 - a constant of the test
    loads: dict[str, FeederLoad] = {}  # noqa: RUF012


def context() -> Context:
    made = Context("inv", Path(), datetime(2025, 7, 15, tzinfo=UTC), STEP_NS, 3600 * S, 1, feeder=Street())
    return replace(made, terminals={"inv": TERMINALS}, labels={"inv": ("inv_0", "inv_1")})


def battery() -> BatteryFleet:
    settings = BatterySettings.model_validate(
        {
            "at": [{"bus": "b"}, {"bus": "b"}],
            "rated_kva": 100,
            "energy_kwh": 200,
            "mode": "commanded",
            "smart": {"volt_var": "category-b"},
        }
    )
    return BatteryFleet(settings, context())


def pv() -> PvFleet:
    settings = PvSettings.model_validate({"at": [{"bus": "b"}, {"bus": "b"}], "rated_kva": 100, "curtailable": True})
    return PvFleet(settings, context())


def emulated(model: BatteryFleet | PvFleet) -> EmulatedFleet:
    return emulator(model, BatterySettings(at=({"bus": "b"},)), TERMINALS, "", context())  # type: ignore[arg-type]


def inputs_at(step: int) -> dict[str, FloatArray]:
    """Setpoints and voltages that cover charge, discharge and the whole volt-var curve."""
    return {
        "p_set_kw": np.array([80 * np.sin(step / 5), -60 * np.cos(step / 7)]),
        "v_pu": np.array([1 + 0.1 * np.sin(step / 3), 1 - 0.1 * np.sin(step / 4)]),
    }


def copied(values: Values) -> dict[str, FloatArray]:
    return {name: value.copy() for name, value in values.items()}


def test_what_must_be_known_of_a_model_is_so_of_its_emulated_devices() -> None:
    smart = {"enter_service": {"delay_s": 0.001}}
    settings = PvSettings.model_validate({"at": [{"bus": "b"}, {"bus": "b"}], "rated_kva": 100, "smart": smart})
    model = PvFleet(settings, context())
    assert emulated(model).cautions == model.cautions != ()
    assert emulated(pv()).cautions == ()


def test_an_emulated_battery_follows_its_model_for_an_hour() -> None:
    model, fleet = battery(), emulated(battery())
    try:
        model.start()
        fleet.start()
        for step in range(60):
            expected = copied(model.step(step * STEP_NS, inputs_at(step)))
            found = copied(fleet.step(step * STEP_NS, inputs_at(step)))
            assert found["p_kw"] == pytest.approx(expected["p_kw"], abs=2 * RESOLUTION_KW)
            assert found["q_kvar"] == pytest.approx(expected["q_kvar"], abs=2 * RESOLUTION_KW)
            assert found["soc_pu"] == pytest.approx(expected["soc_pu"], abs=2e-4)
            assert found["stored_kwh"] == pytest.approx(expected["stored_kwh"], abs=2e-4 * 200.0)
    finally:
        fleet.stop()


def test_the_volt_var_curve_is_the_one_that_registers_hold() -> None:
    fleet = emulated(battery())
    try:
        fleet.start()
        assert fleet._lockstep._server
        high = {"p_set_kw": np.zeros(2), "v_pu": np.full(2, 1.10)}
        assert fleet.step(0, high)["q_kvar"] == pytest.approx([-44.0, -44.0], abs=0.1)
        address = fleet._lockstep._server.addresses[0]
        client = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr=address.endpoint.host, ipport=address.endpoint.port)
        client.scan()
        client.connect()
        client.DERVoltVar[0].Ena.value = 0
        client.DERVoltVar[0].Ena.write()
        client.disconnect()
        found = [fleet.step(k * STEP_NS, high)["q_kvar"].copy() for k in range(1, 4)]
        assert found[-1] == pytest.approx([0.0, -44.0], abs=0.1)
    finally:
        fleet.stop()


def test_a_limit_reaches_the_array_over_modbus() -> None:
    fleet = emulated(pv())
    sun = {"v_pu": np.ones(2), "irradiance_wm2": np.full(2, 900.0), "p_limit_kw": np.array([30.0, 100.0])}
    try:
        fleet.start()
        found = fleet.step(0, sun)["p_kw"]
        assert found[0] == pytest.approx(30.0, abs=0.1)
        assert found[1] > 60
        assert "p_available_kw" not in fleet.interface.outputs
    finally:
        fleet.stop()


def test_two_runs_give_equal_bytes() -> None:
    def run() -> list[bytes]:
        fleet = emulated(battery())
        try:
            seen = [b"".join(v.tobytes() for v in fleet.start().values())]
            for step in range(20):
                seen.append(b"".join(v.tobytes() for v in fleet.step(step * STEP_NS, inputs_at(step)).values()))
            return seen
        finally:
            fleet.stop()

    assert run() == run()


def test_what_went_over_the_wire_is_counted() -> None:
    fleet = emulated(battery())
    try:
        fleet.start()
        before = fleet.statistics()["modbus_exchanges"]
        fleet.step(0, inputs_at(1))
        after = fleet.statistics()
        assert after["modbus_exchanges"] >= before + 2 * 3  # for each device: a write, its read-back, a poll
        assert after["modbus_registers_written"] > 0
    finally:
        fleet.stop()


def test_nothing_is_left_open_after_a_stop_and_nothing_listens_beyond_loopback() -> None:
    me = psutil.Process()
    before = {c.laddr for c in me.net_connections()}
    fleet = emulated(battery())
    fleet.start()
    opened = [c for c in me.net_connections() if c.laddr not in before]
    assert {c.laddr.ip for c in opened} == {"127.0.0.1"}
    assert len([c for c in opened if c.status == psutil.CONN_LISTEN]) == 2
    fleet.stop()
    assert {c.laddr for c in me.net_connections() if c.status == psutil.CONN_LISTEN} <= before


def test_a_start_that_fails_can_be_stopped() -> None:
    fleet = emulated(battery())
    fleet.stop()


def test_it_cannot_repeat_a_step_and_says_so() -> None:
    interface = emulated(battery()).interface
    assert not interface.repeatable
    assert interface.blocking


def test_an_emulator_file_that_is_not_there_is_named() -> None:
    with pytest.raises(PlaceError, match="x: cannot be read: No such file"):
        emulator(battery(), BatterySettings(at=({"bus": "b"},)), TERMINALS, "x", context())  # type: ignore[arg-type]


def test_a_scale_factor_that_a_device_does_not_have_is_refused_before_the_run(tmp_path: Path) -> None:
    """The second array has no storage, so no model 713."""
    fine, wrong = {"scale_factors": {"702.W_SF": 2}}, {"scale_factors": {"713.WH_SF": 1}}
    fleet = {"profile": fine, "profile_of": {"inv_1": wrong}}
    (tmp_path / "devices.json").write_text(json.dumps({"fleets": {"inv": fleet}}))
    here = replace(context(), folder=tmp_path)
    with pytest.raises(PlaceError) as refused:
        emulator(pv(), BatterySettings(at=({"bus": "b"},)), TERMINALS, "devices.json", here)  # type: ignore[arg-type]
    ((path, what),) = refused.value.problems
    assert path == ("via",)
    assert what.startswith("devices.json/fleets/inv/profile: inv_1: scale factor '713.WH_SF': the device has no such")


@pytest.mark.parametrize("scale", ["123.VArPct_SF", "704.VarSetPct_SF", "126.DeptRef_SF", "705.DeptRef_SF"])
def test_steps_that_are_too_fine_for_what_is_written_to_another_view_are_refused(tmp_path: Path, scale: str) -> None:
    """100 % in steps of 0.001 are beyond 16 bits; where no older model shows them, nobody need write so much."""
    settings = {"at": [{"bus": "b"}, {"bus": "b"}], "rated_kva": 100, "smart": {"volt_var": "category-a"}}
    model, here = PvFleet(PvSettings.model_validate(settings), context()), replace(context(), folder=tmp_path)

    def build(models: str) -> None:
        fleet = {"profile": {"models": models, "scale_factors": {scale: -3}}}
        (tmp_path / "devices.json").write_text(json.dumps({"fleets": {"inv": fleet}}))
        emulator(model, BatterySettings(at=({"bus": "b"},)), TERMINALS, "devices.json", here)  # type: ignore[arg-type]

    with pytest.raises(PlaceError, match=r"inv_0: point .* is out of range \(-32\.767 to 32\.767"):
        build("all")
    if scale.startswith("70"):
        build("der")


@pytest.mark.parametrize(
    ("scale", "step", "point"),
    [
        ("701.W_SF", 0, r"701\.W': 100000\.0 is out of range \(-32767 to 32767 W\)"),
        ("701.Var_SF", -1, r"701\.Var': 44000\.0"),
        ("701.V_SF", -2, r"701\.LNV': 2113\..* is out of range \(0 to 655\.34 V\)"),  # else the most is shown
        ("701.PF_SF", -5, r"701\.PF': 1\.0 is out of range \(-?0"),
        ("103.Hz_SF", -4, r"103\.Hz': 60\.0"),
    ],
)
def test_steps_that_are_too_fine_for_what_is_measured_are_refused(
    tmp_path: Path, scale: str, step: int, point: str
) -> None:
    """The run ended when that was measured, hours later, or showed the most that a register holds in its place."""
    settings = {"at": [{"bus": "b"}, {"bus": "b"}], "rated_kva": 100, "smart": {"volt_var": "category-b"}}
    model, here = PvFleet(PvSettings.model_validate(settings), context()), replace(context(), folder=tmp_path)

    def build(step: int) -> None:
        fleet = {"profile": {"models": "all", "scale_factors": {scale: step}}}
        (tmp_path / "devices.json").write_text(json.dumps({"fleets": {"inv": fleet}}))
        emulator(model, BatterySettings(at=({"bus": "b"},)), TERMINALS, "devices.json", here)  # type: ignore[arg-type]

    with pytest.raises(PlaceError, match=f"inv_0: point '{point}"):
        build(step)
    build(step + 2)


@pytest.mark.parametrize(
    ("scale", "step", "beyond"),
    [
        ("701.V_SF", -2, r"701\.LLV': 660\.\d+ is out of range \(0 to 655\.34 V\)"),  # 600 V at 1.1 pu
        ("103.A_SF", -2, r"103\.A': 656\.\d+ is out of range \(0 to 655\.34 A\)"),  # the phases together, 577 A at 1 pu
    ],
)
def test_steps_reach_as_far_as_voltages_and_currents_of_continuous_operation(
    tmp_path: Path, scale: str, step: int, beyond: str
) -> None:
    class Plant(Street):
        buses = {"b": Bus("b", (1, 2, 3), 0.6 / 3**0.5)}  # noqa: RUF012 - a constant of the test

    here = replace(context(), folder=tmp_path, feeder=Plant())
    fleet = {"profile": {"models": "all", "scale_factors": {scale: step}}}
    (tmp_path / "devices.json").write_text(json.dumps({"fleets": {"inv": fleet}}))
    terminals = tuple(replace(each, rated_kva=200.0) for each in TERMINALS)
    settings = PvSettings.model_validate({"at": [{"bus": "b"}, {"bus": "b"}], "rated_kva": 200})
    with pytest.raises(PlaceError, match=f"inv_0: point '{beyond}"):
        emulator(PvFleet(settings, here), settings, terminals, "devices.json", here)


def test_a_fleet_that_cannot_enter_service_again_is_not_to_cease_with_its_controller(tmp_path: Path) -> None:
    """It ended the run when a heartbeat was lost."""
    fleet = {"profile_of": {"inv_1": {"on_heartbeat_loss": "cease"}}}
    (tmp_path / "devices.json").write_text(json.dumps({"fleets": {"inv": fleet}}))
    here = replace(context(), folder=tmp_path)

    def build(**smart: object) -> None:
        settings = {"at": [{"bus": "b"}, {"bus": "b"}], "rated_kva": 100, "smart": smart}
        model = PvFleet(PvSettings.model_validate(settings), context())
        emulator(model, BatterySettings(at=({"bus": "b"},)), TERMINALS, "devices.json", here)  # type: ignore[arg-type]

    build(enter_service={})
    with pytest.raises(PlaceError, match=r"inv_1: on_heartbeat_loss 'cease': .* set enter_service in its 'smart'"):
        build(volt_var="category-b")


@pytest.mark.parametrize("key", ["quirks_of", "profile_of"])
def test_a_device_that_an_emulator_file_names_and_the_fleet_does_not_have_is_refused(tmp_path: Path, key: str) -> None:
    """What was meant to be wrong with it was wrong with none."""
    (tmp_path / "devices.json").write_text(json.dumps({"fleets": {"inv": {key: {"inv1": {}}}}}))
    here = replace(context(), folder=tmp_path)
    why = rf"devices.json/fleets/inv/{key}/inv1: no device of the fleet; did you mean 'inv_1'\?"
    with pytest.raises(PlaceError, match=why):
        emulator(battery(), BatterySettings(at=({"bus": "b"},)), TERMINALS, "devices.json", here)  # type: ignore[arg-type]


def test_a_device_that_is_not_reached_keeps_its_last_measurement_and_lets_go_of_its_setpoint() -> None:
    """A lease of three steps: told last at 0 s, the first device lets go at 180 s; reached again, it is told again.

    Its power is what it does, for the feeder has it; its state of charge is what was last read.
    """
    fleet = emulated(battery())
    reached = [[1, 1], [0, 1], [0, 1], [0, 1], [0, 1], [1, 1], [1, 1]]
    fleet.start()
    try:
        found = []
        for k, each in enumerate(reached):
            asked = {"v_pu": np.ones(2), "p_set_kw": np.full(2, 40.0), "reached": np.array(each, dtype=float)}
            before = fleet.statistics()["modbus_exchanges"]
            values = {port: value.copy() for port, value in fleet.step(k * STEP_NS, asked).items()}
            found.append((values, fleet.statistics()["modbus_exchanges"] - before))
        assert [values["age_s"].tolist() for values, _ in found] == [
            *([60.0 * k, 0.0] for k in range(5)),
            *[[0.0, 0.0]] * 2,
        ]
        first, second = np.array([values["p_kw"] for values, _ in found]).T
        assert first == pytest.approx([40.0] * 3 + [0.0] * 2 + [40.0] * 2, abs=RESOLUTION_KW)
        assert second == pytest.approx([40.0] * 7, abs=RESOLUTION_KW)
        soc = np.array([values["soc_pu"] for values, _ in found])
        assert (soc[:5, 0] == soc[0, 0]).all()
        assert soc[-1, 0] - soc[-1, 1] == pytest.approx(2 * 40.0 / 60.0 / 200.0, abs=0.002)  # two steps at rest
        assert min(exchanges for (_, exchanges), each in zip(found, reached, strict=True) if each[0]) > found[2][1] > 0
    finally:
        fleet.stop()


def _told_vars(kind: str) -> BatteryFleet | PvFleet:
    at = {"at": [{"bus": "b"}, {"bus": "b"}], "rated_kva": 100, "q_commanded": True}
    if kind == "pv":
        return PvFleet(PvSettings.model_validate(at), context())
    return BatteryFleet(BatterySettings.model_validate({**at, "energy_kwh": 200, "mode": "commanded"}), context())


@pytest.mark.parametrize("kind", ["battery", "pv"])
def test_reactive_power_that_a_control_sets_goes_over_the_wire_too(kind: str) -> None:
    """Without it the device lets go, as of any setpoint; beyond its 44 % it is told what a model would do."""
    fleet = emulated(_told_vars(kind))
    fleet.start()
    found = []
    try:
        for k, reached in enumerate([1.0, 0.0, 0.0, 0.0, 1.0]):
            inputs = {"v_pu": np.ones(2), "p_set_kw": np.zeros(2), "irradiance_wm2": np.full(2, 300.0)}
            told = {"q_set_pu": np.array([-0.2, 0.9]), "reached": np.array([reached, 1.0])}
            given = {name: value for name, value in {**inputs, **told}.items() if name in fleet.interface.inputs}
            found.append(fleet.step(k * STEP_NS, given)["q_kvar"].copy())
    finally:
        fleet.stop()
    first, second = np.array(found).T
    assert first == pytest.approx([-20.0, -20.0, -20.0, 0.0, -20.0], abs=RESOLUTION_KW)
    assert second == pytest.approx([44.0] * 5, abs=RESOLUTION_KW)


@pytest.mark.parametrize("models", ["der", "legacy", "legacy-float"])
def test_all_of_the_reactive_power_is_taken_though_nameplates_round_it(models: str) -> None:
    """44.0044 kvar are 100.01 % of what the old models say of 100.01 kVA: that was an illegal value, and ended the run.

    Their 100 % are those 44.00 kvar.
    """
    terminals = (Terminal("inv_0", "b", (1, 2, 3), 100.01),)
    at = {"at": [{"bus": "b"}], "rated_kva": 100.01, "q_commanded": True}
    there = replace(context(), terminals={"inv": terminals}, labels={"inv": ("inv_0",)})
    entry = FleetEntry.model_validate({"profile": {"models": models}})
    fleet = EmulatedFleet(PvFleet(PvSettings.model_validate(at), there), terminals, there, entry)
    fleet.start()
    try:
        for k, (asked_pu, q_kvar) in enumerate([(0.44, 44.0), (-1.0, -44.0), (0.1, 10.0)]):
            inputs = {"v_pu": np.ones(1), "irradiance_wm2": np.full(1, 300.0), "q_set_pu": np.array([asked_pu])}
            assert fleet.step(k * STEP_NS, inputs)["q_kvar"] == pytest.approx([q_kvar], abs=RESOLUTION_KW)
    finally:
        fleet.stop()


@pytest.mark.parametrize("kind", ["battery", "pv"])
def test_served_devices_take_their_reactive_power_from_their_clients_alone(kind: str) -> None:
    fleet = served(_told_vars(kind), BatterySettings(at=({"bus": "b"},)), TERMINALS, "", context())  # type: ignore[arg-type]
    fleet.start()
    try:
        inputs = {"v_pu": np.ones(2), "p_set_kw": np.zeros(2), "irradiance_wm2": np.full(2, 300.0)}
        inputs["q_set_pu"] = np.array([0.3, 0.3])
        assert fleet.step(0, inputs)["q_kvar"].tolist() == [0.0, 0.0]
        client = SunSpecModbusClientDeviceTCP(ipaddr="127.0.0.1", ipport=fleet.addresses["inv_0"].endpoint.port)
        client.scan()
        controls = client.DERCtlAC[0]
        controls.VarSetMod.value, controls.VarSet.cvalue, controls.VarSetEna.value = 4, -10e3, 1
        controls.write()
        client.disconnect()
        assert fleet.step(STEP_NS, inputs)["q_kvar"] == pytest.approx([-10.0, 0.0], abs=RESOLUTION_KW)
    finally:
        fleet.stop()
