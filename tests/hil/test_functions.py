"""Functions set over Modbus by an independent client do what they do when the model is adjusted directly.

Devices of 100 kW show P and Q in steps of 10 W (701 W_SF 1), so equal means to half a step. All numbers written here
lie on steps of their registers (voltages and percentages 0.01 %, frequencies 1 mHz, droop 1e-4, times 1 ms or 10 ms).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from street import TERMINALS, Fleet, S, battery, context, pv
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP
from sunspec2.modbus.modbus import ModbusClientException

from derloop.contract import FloatArray
from federates.der.battery import BatteryFleet, BatterySettings
from federates.der.pv import PvFleet, PvSettings
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.emulator.profile import Profile
from hil.fleet.emulated import EmulatedFleet
from hil.fleet.steering import Steering, equipped_bank, settings_of
from hil.realisation import emulator
from hil.sunspec.codec import encode
from hil.sunspec.errors import SunSpecValueError
from hil.sunspec.points import Point

HALF_STEP = 0.0051
Client = Any


class Pair:
    """A fleet behind Modbus, with an independent client to its first device, and the same model driven directly."""

    def __init__(self, build: Callable[[], Fleet]) -> None:
        self.direct = build()
        self.fleet: EmulatedFleet = emulator(build(), BatterySettings(at=({"bus": "b"},)), TERMINALS, "", context())  # type: ignore[arg-type]
        self._at_s = -1
        self.fleet.start()
        self.direct.start()
        lockstep = self.fleet._lockstep
        assert lockstep is not None
        assert lockstep._server is not None
        self.client: Client = SunSpecModbusClientDeviceTCP(
            ipaddr="127.0.0.1", ipport=lockstep._server.addresses[0].endpoint.port
        )
        self.client.scan()
        self.client.connect()

    def close(self) -> None:
        self.client.disconnect()
        self.fleet.stop()

    def adjust(self, function: str, **numbers: float) -> None:
        """Adjust the first device of the direct model, and leave the second as it is."""
        inverters = self.direct.inverters
        as_it_is = inverters.numbers(function)
        arrays = {name: np.array([number, as_it_is[name][1]]) for name, number in numbers.items()}
        inverters.adjust(function, np.array([True, inverters.has(function)]), **arrays)

    def step(self, **inputs: float | FloatArray) -> FloatArray:
        """Step both; return P and Q of the first device behind Modbus once the two are found equal."""
        self._at_s += 1
        given = self.inputs(**inputs)
        expected = self.direct.step(self._at_s * S, given)
        found = self.fleet.step(self._at_s * S, given)
        for name in ("p_kw", "q_kvar"):
            assert found[name] == pytest.approx(expected[name], abs=HALF_STEP), (name, self._at_s, inputs)
        return np.array([found["p_kw"][0], found["q_kvar"][0]])

    def inputs(
        self, v_pu: float = 1.0, f_hz: float = 60.0, sun: float = 900.0, p_set_kw: float = 50.0
    ) -> dict[str, FloatArray]:
        """Return what the fleet looks at."""
        v = np.full(2, v_pu)
        found = {
            **{"v_pu": v, "v_low_pu": v, "v_high_pu": v, "f_hz": np.array([f_hz])},
            **{"irradiance_wm2": np.full(2, sun), "p_set_kw": np.full(2, p_set_kw)},
        }
        return {name: value for name, value in found.items() if name in self.fleet.interface.inputs}


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(getattr(request, "param", pv))
    yield made
    made.close()


def write(model: Any, **values: float) -> None:
    """Write points of a model, in engineering units, one after the other."""
    for name, value in values.items():
        item = model
        for part in name.split("__"):
            item = item[int(part)] if part.isdigit() else getattr(item, part)
        item.cvalue = value
        model.write()


def adopt(model: Any, **values: float) -> int:
    """Write a spare curve (or control), ask for it, and return how that ended."""
    kind = "Ctl" if hasattr(model, "Ctl") else "Crv"
    write(model, **{f"{kind}__1__{name}": value for name, value in values.items()})
    write(model, **{f"Adpt{kind}Req": 2})
    result = getattr(model, f"Adpt{kind}Rslt")
    for _ in range(3):
        result.read()
    return int(result.value)


def points(group: str, x: str, y: str, *pairs: tuple[float, float]) -> dict[str, float]:
    """Return the values of a curve's points, by path."""
    prefix = f"{group}__" if group else ""
    return {
        f"{prefix}Pt__{i}__{axis}": value
        for i, pair in enumerate(pairs)
        for axis, value in zip((x, y), pair, strict=True)
    }


# --- active power ------------------------------------------------------------------------------------


def test_a_limit_written_from_outside_curtails_until_it_reverts(pair: Pair) -> None:
    full = pair.step()[0]
    write(pair.client.DERCtlAC[0], WMaxLimPctRvrtTms=5, WMaxLimPct=40.0, WMaxLimPctEna=1)
    pair.adjust("active_power_limit", p_max_pu=0.4)
    assert pair.step()[0] == pytest.approx(40.0, abs=HALF_STEP)
    for _ in range(4):
        pair.step()
    pair.direct.inverters.adjust("active_power_limit", False)
    assert pair.step()[0] == pytest.approx(full, abs=HALF_STEP)


def test_a_setpoint_limits_what_takes_no_setpoint(pair: Pair) -> None:
    write(pair.client.DERCtlAC[0], WSet=25000.0, WSetEna=1)
    pair.adjust("active_power_limit", p_max_pu=0.25)
    assert pair.step()[0] == pytest.approx(25.0, abs=HALF_STEP)


@pytest.mark.parametrize("pair", [battery], indirect=True)
def test_a_setpoint_beyond_what_a_device_can_is_cut_as_its_model_cuts_it(pair: Pair) -> None:
    assert [pair.step(p_set_kw=asked_kw)[0] for asked_kw in (150.0, -150.0)] == [100.0, -100.0]


def test_a_lowered_maximum_lowers_the_power(pair: Pair) -> None:
    write(pair.client.DERCapacity[0], WMax=30000.0)
    pair.adjust("active_power_limit", p_max_pu=0.3)
    assert pair.step()[0] == pytest.approx(30.0, abs=HALF_STEP)


@pytest.mark.parametrize("pair", [battery], indirect=True)
def test_lowered_maxima_of_apparent_and_reactive_power_are_kept(pair: Pair) -> None:
    """Of 60 kW and 40 kvar; reactive power goes first: 30 kW are beside 40 kvar in 50 kVA, 49 kW beside 10."""
    write(pair.client.DERCtlAC[0], VarSet=40000.0, VarSetEna=1)
    pair.adjust("constant_q", q_pu=0.4)
    both = np.ones(2)
    for name, value, shares, expected in (
        ("VAMax", 50e3, (0.5, 1.0, 1.0), (30.0, 40.0)),
        ("VarMaxInj", 10e3, (0.5, 10 / 44, 1.0), (np.sqrt(50.0**2 - 10.0**2), 10.0)),
        ("VAMax", 100e3, (1.0, 10 / 44, 1.0), (60.0, 10.0)),
        ("VarMaxInj", 44e3, (1.0, 1.0, 1.0), (60.0, 40.0)),
    ):
        write(pair.client.DERCapacity[0], **{name: value})
        pair.direct.inverters.set_maxima(*(np.where([True, False], share, both) for share in shares))
        assert pair.step(p_set_kw=60.0).tolist() == pytest.approx(expected, abs=HALF_STEP)
    write(pair.client.DERCapacity[0], VarMaxAbs=5e3)
    write(pair.client.DERCtlAC[0], VarSetEna=0, PFWInj__PF=0.9, PFWInj__Ext=1, PFWInjEna=1)
    pair.direct.inverters.set_maxima(both, both, np.array([5 / 44, 1.0]))
    pair.adjust("constant_pf", pf=0.9, injects=0.0)
    assert pair.step(p_set_kw=60.0).tolist() == pytest.approx([60.0, -5.0], abs=HALF_STEP)


def test_volt_var_keeps_lowered_maxima() -> None:
    pair = Pair(lambda: pv(volt_var="category-b"))
    try:
        write(pair.client.DERCapacity[0], VarMaxInj=10000.0, VAMax=60000.0)
        pair.direct.inverters.set_maxima(*(np.array([share, 1.0]) for share in (0.6, 10 / 44, 1.0)))
        found = [pair.step(v_pu=0.92) for _ in range(20)]
        assert found[-1].tolist() == pytest.approx([np.sqrt(60.0**2 - 10.0**2), 10.0], abs=HALF_STEP)
    finally:
        pair.close()


def test_volt_watt_written_from_outside_caps_power(pair: Pair) -> None:
    model = pair.client.DERVoltWatt[0]
    assert adopt(model, **points("", "V", "W", (105.0, 100.0), (109.0, 20.0)), RspTms=2.0) == 1
    write(model, Ena=1)
    pair.adjust("volt_watt", v1_pu=1.05, v2_pu=1.09, p1_pu=1.0, p2_pu=0.2, response_s=2.0)
    for _ in range(20):
        found = pair.step(v_pu=1.08)
    assert found[0] == pytest.approx(40.0, abs=0.1)


@pytest.mark.parametrize("pair", [battery], indirect=True)
def test_droop_written_from_outside_answers_the_frequency(pair: Pair) -> None:
    pair.step()
    model = pair.client.DERFreqDroop[0]
    assert adopt(model, DbOf=0.1, DbUf=0.2, KOf=0.04, KUf=0.03, RspTms=0.5) == 1
    write(model, Ena=1)
    pair.adjust("frequency_droop", db_over_hz=0.1, db_under_hz=0.2, k_over=0.04, k_under=0.03, response_s=0.5)
    for _ in range(5):
        found = pair.step(f_hz=60.5)
    assert found[0] == pytest.approx(50.0 - 100 * 0.4 / (60 * 0.04), abs=0.02)
    for _ in range(5):
        pair.step()
    for _ in range(5):
        found = pair.step(f_hz=59.5)
    assert found[0] == pytest.approx(50.0 + 100 * 0.3 / (60 * 0.03), abs=0.02)


# --- reactive power ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [battery], indirect=True)
@pytest.mark.parametrize(("excitation", "injects", "p_set_kw"), [(0, 1.0, 60.0), (1, 0.0, 60.0), (0, 1.0, -60.0)])
def test_power_factor_written_from_outside_is_held(
    pair: Pair, excitation: int, injects: float, p_set_kw: float
) -> None:
    write(pair.client.DERCtlAC[0], PFWInj__PF=0.95, PFWInj__Ext=excitation, PFWInjEna=1)
    pair.adjust("constant_pf", pf=0.95, injects=injects)
    found = pair.step(p_set_kw=p_set_kw)
    assert abs(found[1]) == pytest.approx(60.0 * np.tan(np.arccos(0.95)), abs=HALF_STEP)
    assert found[1] > 0 if injects else found[1] < 0


@pytest.mark.parametrize("pair", [battery], indirect=True)
def test_a_power_factor_written_from_outside_asks_for_no_more_vars_than_the_device_has(pair: Pair) -> None:
    """0.5 of 40 kW are 69 kvar, and it is rated for 44."""
    write(pair.client.DERCtlAC[0], PFWInj__PF=0.5, PFWInj__Ext=0, PFWInjEna=1)
    pair.adjust("constant_pf", pf=0.5, injects=1.0)
    assert pair.step(p_set_kw=40.0).tolist() == pytest.approx([40.0, 44.0])


@pytest.mark.parametrize("pair", [battery], indirect=True)
def test_the_power_factor_of_absorbing_is_that_of_injecting(pair: Pair) -> None:
    controls = pair.client.DERCtlAC[0]
    write(controls, PFWAbs__PF=0.9, PFWAbsEna=1)
    controls.read()
    assert (controls.PFWInj.PF.cvalue, controls.PFWInjEna.value) == (0.9, 1)
    pair.adjust("constant_pf", pf=0.9)
    assert pair.step(p_set_kw=-50.0)[1] == pytest.approx(-50.0 * np.tan(np.arccos(0.9)), abs=HALF_STEP)


def test_constant_vars_written_from_outside_are_held_and_a_curve_has_its_place_again_when_they_revert() -> None:
    pair = Pair(lambda: pv(volt_var="category-b"))
    try:
        for _ in range(10):
            pair.step(v_pu=1.05)
        write(pair.client.DERCtlAC[0], VarSetRvrtTms=20, VarSet=30000.0, VarSetEna=1)
        pair.adjust("constant_q", q_pu=0.3)
        assert pair.step(v_pu=1.05)[1] == pytest.approx(30.0, abs=HALF_STEP)
        for _ in range(19):
            pair.step(v_pu=1.05)
        pair.direct.inverters.adjust("volt_var")
        for _ in range(20):
            found = pair.step(v_pu=1.05)
        assert found[1] == pytest.approx(-22.0, abs=0.1)
    finally:
        pair.close()


def test_vars_in_percent_of_what_the_device_can(pair: Pair) -> None:
    write(pair.client.DERCtlAC[0], VarSetMod=1, VarSetPct=-50.0, VarSetEna=1)
    pair.adjust("constant_q", q_pu=-0.22)
    assert pair.step()[1] == pytest.approx(-22.0, abs=HALF_STEP)


def test_volt_var_written_from_outside_is_followed(pair: Pair) -> None:
    model = pair.client.DERVoltVar[0]
    shape = points("", "V", "Var", (90.0, 40.0), (98.0, 0.0), (102.0, 0.0), (110.0, -40.0))
    assert adopt(model, **shape, RspTms=1.0) == 1
    write(model, Ena=1)
    pair.adjust(
        "volt_var",
        **{"v1_pu": 0.9, "v2_pu": 0.98, "v3_pu": 1.02, "v4_pu": 1.1},
        **{"q1_pu": 0.4, "q2_pu": 0.0, "q3_pu": 0.0, "q4_pu": -0.4, "response_s": 1.0},
    )
    for _ in range(10):
        found = pair.step(v_pu=1.06)
    assert found[1] == pytest.approx(-20.0, abs=HALF_STEP)


def test_one_device_has_its_own_response_time_of_volt_var() -> None:
    pair = Pair(lambda: pv(volt_var="category-b"))
    try:
        pair.step()
        assert adopt(pair.client.DERVoltVar[0], RspTms=50.0) == 1
        now = [pair.fleet.step(k * S, pair.inputs(v_pu=1.08))["q_kvar"].copy() for k in range(1, 6)][-1]
        assert now[0] == pytest.approx(-44.0 * (1 - 10 ** (-5 / 50)), abs=0.02)
        assert now[1] == pytest.approx(-44.0 * (1 - 10 ** (-5 / 5)), abs=0.02)
    finally:
        pair.close()


WATT_VAR = ((-90.0, 40.0), (-60.0, 10.0), (-20.0, 0.0), (20.0, 0.0), (60.0, -10.0), (90.0, -40.0))


@pytest.mark.parametrize("pair", [battery], indirect=True)
def test_watt_var_written_from_outside_is_followed(pair: Pair) -> None:
    model = pair.client.DERWattVar[0]
    assert adopt(model, **points("", "W", "Var", *WATT_VAR)) == 1
    write(model, Ena=1)
    pair.adjust(
        "watt_var",
        **{"p3_drawn_pu": -0.9, "p2_drawn_pu": -0.6, "p1_drawn_pu": -0.2, "p1_pu": 0.2, "p2_pu": 0.6, "p3_pu": 0.9},
        **{"q3_drawn_pu": 0.4, "q2_drawn_pu": 0.1, "q1_drawn_pu": 0.0, "q1_pu": 0.0, "q2_pu": -0.1, "q3_pu": -0.4},
    )
    for _ in range(40):
        found = pair.step(p_set_kw=75.0)
    assert found[1] == pytest.approx(-25.0, abs=0.02)
    for _ in range(40):
        found = pair.step(p_set_kw=-75.0)
    assert found[1] == pytest.approx(25.0, abs=0.02)


def test_of_two_curves_the_last_that_was_switched_on_counts(pair: Pair) -> None:
    write(pair.client.DERVoltVar[0], Ena=1)
    write(pair.client.DERWattVar[0], Ena=1)
    pair.client.DERVoltVar[0].Ena.read()
    assert pair.client.DERVoltVar[0].Ena.value == 0


# --- trip, cessation, return -------------------------------------------------------------------------


def test_permit_service_taken_and_given_back_with_delay_and_ramp(pair: Pair) -> None:
    full = pair.step()[0]
    model = pair.client.DEREnterService[0]
    write(model, ESDlyTms=5, ESRmpTms=20, ES=0)
    pair.adjust("enter_service", delay_s=5.0, ramp_s=20.0)
    pair.direct.inverters.set_permit_service([False, True])
    assert pair.step()[0] == 0.0
    measured = pair.client.DERMeasureAC[0]
    measured.read()
    assert (measured.InvSt.value, measured.ConnSt.value) == (7, 0)
    write(model, ES=1)
    pair.direct.inverters.set_permit_service(True)
    found = [pair.step()[0] for _ in range(30)]
    assert found[3] == 0.0
    assert 0.0 < found[10] < full
    assert found[-1] == pytest.approx(full, abs=HALF_STEP)


@pytest.mark.parametrize(
    ("name", "value", "first", "second"),
    [
        ("uv", 0.80, (0.85, 3.0), (0.45, 0.5)),
        ("uv", 0.40, (0.85, 9.0), (0.45, 1.5)),
        ("ov", 1.17, (1.15, 3.0), (1.20, 0.16)),
        ("uf", 56.0, (57.0, 200.0), (56.2, 3.0)),
        ("of", 63.0, (62.0, 200.0), (62.5, 3.0)),
    ],
)
def test_a_trip_setting_written_from_outside_trips_and_the_device_returns(
    name: str, value: float, first: tuple[float, float], second: tuple[float, float]
) -> None:
    pair = Pair(lambda: pv(voltage_trip={"category": "category-ii"}, frequency_trip={}))
    try:
        _trip_and_return(pair, name, value, first, second)
    finally:
        pair.close()


def _trip_and_return(
    pair: Pair, name: str, value: float, first: tuple[float, float], second: tuple[float, float]
) -> None:
    pair.step()
    write(pair.client.DEREnterService[0], ESDlyTms=3, ESRmpTms=4)
    pair.adjust("enter_service", delay_s=3.0, ramp_s=4.0)
    model = getattr(pair.client, TRIP_MODELS[name])[0]
    (axis, factor, unit, function) = (
        ("V", 100, "pu", "voltage_trip") if name[1] == "v" else ("Hz", 1, "hz", "frequency_trip")
    )
    written = [(level * factor, time_s) for level, time_s in (first, second)]
    assert adopt(model, **points("MustTrip", axis, "Tms", *written)) == 1
    numbers = {f"{name}{i}_{unit}": level for i, (level, _) in enumerate((first, second), 1)}
    pair.adjust(function, **numbers, **{f"{name}{i}_s": time_s for i, (_, time_s) in enumerate((first, second), 1)})
    found = [pair.step(**{"v_pu" if unit == "pu" else "f_hz": value})[0] for _ in range(5)]
    assert found[0] > 0.0
    assert found[-1] == 0.0
    back = [pair.step()[0] for _ in range(10)]
    assert back[0] == 0.0
    assert back[-1] > 60.0


@pytest.mark.parametrize("written", [{"ES": 0}, {"ESDlyTms": 1}], ids=["permit service", "a delay"])
def test_a_device_that_is_told_when_to_enter_service_brings_no_other_back(written: dict[str, int]) -> None:
    """Without `enter_service` in its settings nobody of a fleet comes back after a trip."""
    pair = Pair(lambda: pv(enter_service=None, voltage_trip={"category": "category-ii"}, frequency_trip={}))
    try:
        normal = pair.inputs()
        sag = {**normal, "v_pu": np.array([1.0, 0.4]), "v_low_pu": np.array([1.0, 0.4])}
        found = [pair.fleet.step(number * S, sag)["p_kw"] for number in range(4)]
        write(pair.client.DEREnterService[0], **written)
        found += [pair.fleet.step(number * S, normal)["p_kw"] for number in range(4, 8)]
        write(pair.client.DEREnterService[0], ES=1)
        found += [pair.fleet.step(number * S, normal)["p_kw"] for number in range(8, 320)]
    finally:
        pair.close()
    assert found[0].min() > 0.0
    assert {p_kw[1] for p_kw in found[3:]} == {0.0}
    assert found[-1][0] > 0.0


TRIP_MODELS = {"uv": "DERTripLV", "ov": "DERTripHV", "uf": "DERTripLF", "of": "DERTripHF"}


def test_both_sides_of_a_trip_have_one_switch(pair: Pair) -> None:
    write(pair.client.DERTripLF[0], Ena=1)
    pair.client.DERTripHF[0].Ena.read()
    assert pair.client.DERTripHF[0].Ena.value == 1


def test_momentary_cessation_written_from_outside(pair: Pair) -> None:
    pair.step()
    model = pair.client.DERTripLV[0]
    assert adopt(model, MomCess__ActPt=1, MomCess__Pt__0__V=45.0) == 1
    pair.adjust("ride_through", momentary_low_pu=0.45, momentary_high_pu=1.2)
    assert pair.step(v_pu=0.48)[0] > 0.0
    assert pair.step(v_pu=0.44)[0] == 0.0
    assert pair.step()[0] > 0.0


# --- what registers say ------------------------------------------------------------------------------


def test_registers_begin_with_the_settings_of_the_scenario() -> None:
    pair = Pair(
        lambda: pv(
            volt_watt={"v1_pu": 1.07},
            frequency_droop={"k_over": 0.03},
            voltage_trip={"category": "category-ii"},
            watt_var={"category": "category-a"},
            active_power_limit={"p_max_pu": 0.8},
        )
    )
    try:
        client = pair.client
        assert client.DERVoltWatt[0].Crv[0].Pt[0].V.cvalue == pytest.approx(107.0)
        assert client.DERFreqDroop[0].Ctl[0].KOf.cvalue == pytest.approx(0.03)
        assert client.DERFreqDroop[0].Ctl[0].KUf.cvalue == pytest.approx(0.05)
        low = client.DERTripLV[0].Crv[0].MustTrip
        assert [(p.V.cvalue, p.Tms.cvalue) for p in low.Pt] == [pytest.approx((70, 10)), pytest.approx((45, 0.16))]
        assert client.DERWattVar[0].Crv[0].Pt[5].Var.cvalue == pytest.approx(-25.0)
        assert client.DERCtlAC[0].WMaxLimPct.cvalue == pytest.approx(80.0)
        enables = [
            m[0].Ena.value for m in (client.DERVoltWatt, client.DERFreqDroop, client.DERTripLV, client.DERTripHV)
        ]
        assert enables == [1, 1, 1, 1]
        assert [m[0].Ena.value for m in (client.DERTripLF, client.DERVoltVar)] == [0, 0]
        assert pair.step()[0] > 0.0
    finally:
        pair.close()


def test_the_frequency_that_the_fleet_sees_is_measured(pair: Pair) -> None:
    pair.step(f_hz=59.873)
    measured = pair.client.DERMeasureAC[0]
    measured.read()
    assert measured.Hz.cvalue == pytest.approx(59.873)


def test_a_fleet_that_sees_no_frequency_has_no_models_of_it() -> None:
    pair = Pair(lambda: PvFleet(PvSettings.model_validate({"at": [{"bus": "b"}] * 2, "rated_kva": 100}), context()))
    try:
        have = [k for k in pair.client.models if isinstance(k, int)]
        assert have == [1, 701, 702, 704, 705, 706, 707, 708, 712, 715]
        pair.step()
        measured = pair.client.DERMeasureAC[0]
        measured.read()
        assert measured.Hz.cvalue == 60.0
    finally:
        pair.close()


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("DEREnterService", {"ESVHi": 106.01}),
        ("DEREnterService", {"ESHzLo": 58.9}),
        ("DEREnterService", {"ESDlyTms": 601}),
        ("DERVoltWatt", {"Crv__1__Pt__0__V": 104.99}),
        ("DERVoltWatt", {"Crv__1__RspTms": 0.4}),
        ("DERTripLV", {"Crv__1__MustTrip__Pt__0__V": 88.01}),
        ("DERTripHV", {"Crv__1__MustTrip__Pt__0__Tms": 13.1}),
        ("DERTripLF", {"Crv__1__MustTrip__Pt__0__Hz": 49.9}),
        ("DERTripHF", {"Crv__1__MustTrip__ActPt": 1}),
        ("DERFreqDroop", {"Ctl__1__KOf": 0.051}),
        ("DERWattVar", {"Crv__1__Pt__0__W": -101.0}),
        ("DERCtlAC", {"PFWInj__PF": 0.0}),
        ("DERCapacity", {"WMax": 0.0}),
    ],
    ids=str,
)
def test_what_is_out_of_the_range_of_the_standard_is_refused(pair: Pair, model: str, values: dict[str, float]) -> None:
    with pytest.raises(ModbusClientException, match="exception: 3"):
        write(getattr(pair.client, model)[0], **values)
    pair.step()


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("DERVoltWatt", points("", "V", "W", (109.0, 100.0), (109.5, 20.0))),
        ("DERWattVar", points("", "W", "Var", (-40.0, 0.0), (-90.0, 0.0))),
    ],
    ids=["volt-watt without 0.01 pu between its points", "watt-var that does not rise"],
)
def test_a_curve_that_the_device_cannot_follow_is_not_adopted(pair: Pair, model: str, values: dict[str, float]) -> None:
    device = getattr(pair.client, model)[0]
    before = device.Crv[0].get_dict()
    assert adopt(device, **values) == 2
    device.Crv[0].read()
    assert device.Crv[0].get_dict() == before
    pair.step()


def test_a_range_that_depends_on_the_category_is_kept() -> None:
    pair = Pair(lambda: pv(frequency_droop={"category": "category-ii"}))
    try:
        assert adopt(pair.client.DERFreqDroop[0], KOf=0.025) == 2
        assert adopt(pair.client.DERFreqDroop[0], KOf=0.035) == 1
        pair.step()
    finally:
        pair.close()


def test_a_maximum_that_an_active_curve_has_no_place_beside_is_refused(pair: Pair) -> None:
    write(pair.client.DERWattVar[0], Ena=1)
    with pytest.raises(ModbusClientException, match="exception: 3"):
        write(pair.client.DERCapacity[0], WMax=50000.0)
    write(pair.client.DERWattVar[0], Ena=0)
    write(pair.client.DERCapacity[0], WMax=50000.0)
    assert pair.fleet.step(0, pair.inputs())["p_kw"][0] == pytest.approx(50.0, abs=HALF_STEP)


def fleet_of_registers() -> tuple[BatteryFleet, RegisterBank, Steering]:
    model = battery(voltage_trip={}, frequency_trip={}, ride_through={}, frequency_droop={}, volt_watt={})
    asked = settings_of(model.inverters)
    rated = Ratings("inv", 100e3, 100e3, 44e3, 44e3, 240.0, p_max_charge_w=100e3, energy_wh=200e3)
    bank = equipped_bank([rated] * 2, asked, [Profile(models="all")] * 2)
    return model, bank, Steering(model.inverters, bank, asked, takes_setpoint=True)


ASKED = [
    name
    for name, point in fleet_of_registers()[1].maps[0].points.items()
    if point.writable and not any(part in name for part in ("Crv.0", "Crv.2", "Ctl.0", "Ctl.2", "Rvrt", "Adpt"))
]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ASKED), st.integers(0, 0xFFFF)), min_size=10, max_size=60))
@pytest.mark.timeout(400)
def test_whatever_is_written_is_obeyed_or_refused_and_is_never_an_error(writes: list[tuple[str, int]]) -> None:
    model, bank, steering = fleet_of_registers()
    for number, (name, word) in enumerate(writes):
        _write_somewhere(bank, bank.maps[0][name], word)
        model_id = name.partition(".")[0]
        for request, value in ((f"{model_id}.AdptCrvReq", 2), (f"{model_id}.AdptCtlReq", 2), (f"{model_id}.Ena", 1)):
            if request in bank.maps[0]:
                bank.write(0, bank.maps[0][request].address, [value])
        bank.advance(word % 7)
        steering.obey()
        found = model.step(number * S, {**INPUTS, "f_hz": np.array([59.0 + word % 3])})
        assert np.isfinite(found["p_kw"]).all()
        assert np.isfinite(found["q_kvar"]).all()


def _write_somewhere(bank: RegisterBank, point: Point, word: int) -> None:
    """Write a value from a little under the range of the point to a little over it."""
    low, high = bank._does.access._ranges.of(0, point.name)
    if not np.isfinite([low, high]).all():
        low, high = 0.0, 10.0
    with contextlib.suppress(SunSpecValueError):
        bank.write(0, point.address, encode(point, low + (high - low) * (word / 0xF000 - 0.02)).registers)


INPUTS = {"v_pu": np.ones(2), "v_low_pu": np.ones(2), "v_high_pu": np.ones(2), "p_set_kw": np.full(2, 50.0)}
