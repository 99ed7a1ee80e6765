"""Each smart-inverter function against the standard's numbers; time, repetition and settings that change."""

from typing import Any

import numpy as np
import pytest
from fleets import context, places
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pydantic import ValidationError

from derloop.contract import Cautious
from derloop.kind import Kind
from federates.der import battery, chp, ev, inverter, pv, wind
from federates.der.inverter import Inverters, Seen, Smart
from federates.der.smart.curve import Curve
from federates.der.smart.enter_service import hashed
from federates.der.smart.held import Clock
from federates.der.smart.ride_through import required_frequency_s, required_high_s, required_low_s
from federates.der.smart.trip import FREQUENCY, VOLTAGE, VoltageTrip
from federates.der.smart.volt_var import PRESETS, AutonomousVref, StandardVoltVar, VrefTracking
from federates.der.smart.watt_var import WattVar

S = 10**9
ALL_ON: dict[str, Any] = {
    **{"volt_var": {"category": "category-b", "autonomous_vref": {}}, "volt_watt": {}, "frequency_droop": {}},
    **{"active_power_limit": {"p_max_pu": 0.9, "response_s": 15}, "ramp": {"up_s": 60, "down_s": 60}},
    **{"voltage_trip": {}, "frequency_trip": {}, "ride_through": {}, "current_max_pu": 1.2},
    "enter_service": {"delay_s": 3, "ramp_s": 10, "random_delay_s": 5},
}


class Fleet:
    """n inverters of 10 kVA."""

    def __init__(self, smart: dict[str, Any], n: int = 1, **more: Any) -> None:
        self.inverters = Inverters(Smart.model_validate(smart), np.full(n, more.pop("kva", 10.0)), **more)
        self.n, self.now_ns = n, 0

    def at(
        self, v: Any = 1.0, f: float = 60.0, p: Any = 10.0, least: float = 0.0, again: bool = False, step_s: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """One step; `again`: the last instant once more."""
        if not again:
            self.now_ns += round(step_s * S)
        voltage = np.broadcast_to(np.asarray(v, float), (self.n,)).copy()
        power = np.broadcast_to(np.asarray(p, float), (self.n,)).copy()
        seen = Seen(voltage, voltage, voltage, np.array([f]))
        return self.inverters.step(self.now_ns, seen, power, (np.full(self.n, least), np.abs(power)))


def powers(smart: dict[str, Any], **at: Any) -> tuple[float, float]:
    p, q = Fleet(smart).at(**at)
    return float(p[0]), float(q[0])


# --- numbers of the standard -------------------------------------------------------------------------


def test_the_standard_volt_var_curves_are_the_presets() -> None:
    for category, preset in PRESETS.items():
        assert StandardVoltVar(category=category).curve == preset


def test_defaults_of_watt_var() -> None:
    """IEEE 1547-2018, table 9: P2 = 0.5, Q3 = -0.25 (A), -0.44 (B); drawing +0.44."""
    for category, q in (("category-a", -2.5), ("category-b", -4.4)):
        smart = {"watt_var": {"category": category, "response_s": 0}}
        assert powers(smart, p=5.0) == (5.0, 0.0)
        assert powers(smart, p=7.5)[1] == pytest.approx(q / 2)
    drawn = powers({"watt_var": {"response_s": 0}}, p=-7.5, least=-10.0)
    assert drawn == pytest.approx((-7.5, 2.2))


def test_watt_var_keeps_to_its_curve_where_the_rating_cuts() -> None:
    """p^2 + (0.88 (p - 0.5))^2 = 1 has p = 0.926791."""
    p, q = powers({"watt_var": {"response_s": 0}}, p=10.0)
    assert p == pytest.approx(9.267914, abs=1e-6)
    assert q == pytest.approx(-8.8 * (0.9267914 - 0.5), abs=1e-6)
    assert np.hypot(p, q) == pytest.approx(10.0)


def test_constant_reactive_power() -> None:
    assert powers({"constant_q": {"q_pu": -0.3}}, p=4.0) == pytest.approx((4.0, -3.0))


def test_volt_watt_defaults() -> None:
    """IEEE 1547-2018, table 10: 1.06 and 1.10 pu; 10 s to 90 % of the way."""
    assert powers({"volt_watt": {}}, v=1.05)[0] == 10.0
    assert powers({"volt_watt": {}}, v=1.08)[0] == pytest.approx(5.0)
    fleet = Fleet({"volt_watt": {}})
    fleet.at(1.0)
    for _ in range(10):
        p, _ = fleet.at(1.10)
    assert p[0] == pytest.approx(1.0)


def test_volt_watt_makes_a_battery_draw() -> None:
    fleet = Fleet({"volt_watt": {"p2_pu": -0.5}})
    voltage, ten = np.array([1.10]), np.full(1, 10.0)
    p, _ = fleet.inverters.step(0, Seen(voltage, voltage, voltage, np.array([60.0])), 0.2 * ten, (-ten, ten))
    assert p[0] == pytest.approx(-5.0)


def test_droop_reaches_nine_tenths_in_its_response_time() -> None:
    """Default 5 s; 60.536 Hz is 0.5 Hz beyond the dead band: 0.5 / (60 0.05) = 1/6 of rated power."""
    fleet = Fleet({"frequency_droop": {}})
    fleet.at()
    for _ in range(5):
        p, _ = fleet.at(f=60.536)
    assert p[0] == pytest.approx(10.0 - 0.9 * 10.0 / 6.0)


def test_the_active_power_limit_is_a_ramp() -> None:
    """Rated power to zero in 30 s: 0.5 after 15 s."""
    fleet = Fleet({"active_power_limit": {"p_max_pu": 1.0, "response_s": 30}})
    fleet.at()
    fleet.inverters.adjust("active_power_limit", p_max_pu=0.0)
    found = [float(fleet.at()[0][0]) for _ in range(31)]
    assert found[14] == pytest.approx(5.0)
    assert found[29] == pytest.approx(0.0, abs=1e-9)


def test_ramp_rates_up_and_down() -> None:
    fleet = Fleet({"ramp": {"up_s": 10, "down_s": 5}})
    fleet.at(p=0.0)
    assert [float(fleet.at(p=x)[0][0]) for x in (10, 10, 10, 0, 0)] == pytest.approx([1, 2, 3, 0, 0])  # band is 0


def test_trip_defaults_of_the_categories() -> None:
    """IEEE 1547-2018, tables 11 to 13 and 18."""
    assert VOLTAGE["category-i"] == {"uv1_pu": 0.70, "uv1_s": 2.0, "uv2_pu": 0.45, "uv2_s": 0.16, "ov1_s": 2.0}
    assert VOLTAGE["category-ii"] == {"uv1_pu": 0.70, "uv1_s": 10.0, "uv2_pu": 0.45, "uv2_s": 0.16, "ov1_s": 2.0}
    assert VOLTAGE["category-iii"] == {"uv1_pu": 0.88, "uv1_s": 21.0, "uv2_pu": 0.50, "uv2_s": 2.0, "ov1_s": 13.0}
    assert {k: float(v[0]) for k, v in VoltageTrip().points().items() if k[:2] == "ov"} == {
        **{"ov1_pu": 1.10, "ov1_s": 13.0, "ov2_pu": 1.20, "ov2_s": 0.16},
    }
    assert FREQUENCY["uf1_hz"] == 58.5
    assert (FREQUENCY["of2_hz"], FREQUENCY["of2_s"]) == (62.0, 0.16)


@pytest.mark.parametrize(
    ("category", "v_pu", "clearing_s"),
    [
        ("category-i", 1.21, 0.16),
        ("category-i", 1.11, 2.0),
        ("category-ii", 0.69, 10.0),
        ("category-ii", 0.44, 0.16),
        ("category-iii", 0.87, 21.0),
        ("category-iii", 0.49, 2.0),
        ("category-iii", 1.15, 13.0),
    ],
)
def test_voltage_trips_at_its_clearing_time(category: str, v_pu: float, clearing_s: float) -> None:
    fleet = Fleet({"voltage_trip": {"category": category}})
    fleet.at(1.0)
    began = fleet.now_ns
    while fleet.inverters.in_service.all() and fleet.now_ns < began + 60 * S:
        fleet.at(v_pu, step_s=0.01)
    assert (fleet.now_ns - began) / S == pytest.approx(clearing_s, abs=1e-9)


@pytest.mark.parametrize(("f_hz", "clearing_s"), [(62.1, 0.16), (61.3, 300.0), (58.4, 300.0), (56.4, 0.16)])
def test_frequency_trips_at_its_clearing_time(f_hz: float, clearing_s: float) -> None:
    fleet = Fleet({"frequency_trip": {}})
    fleet.at()
    began = fleet.now_ns
    while fleet.inverters.in_service.all() and fleet.now_ns < began + 400 * S:
        fleet.at(f=f_hz, step_s=0.02)
    assert (fleet.now_ns - began) / S == pytest.approx(clearing_s, abs=1e-9)


def test_a_dip_that_ends_in_time_does_not_trip() -> None:
    fleet = Fleet({"voltage_trip": {}})
    for v in [1.0] + ([0.45] * 19 + [1.0]) * 5:
        fleet.at(v, step_s=0.1)
    assert fleet.inverters.in_service.all()


def test_what_has_tripped_stays_out_without_enter_service() -> None:
    fleet = Fleet({"voltage_trip": {}})
    for v in [1.0, 0.4, 0.4, 0.4] + [1.0] * 1000:
        p, q = fleet.at(v)
    assert (p[0], q[0]) == (0.0, 0.0)


def test_momentary_cessation_in_time_and_back_in_time() -> None:
    """Within 0.083 s out, within 0.4 s back."""
    fleet = Fleet({"ride_through": {}})
    fleet.at()
    out = [float(fleet.at(0.4, step_s=0.01)[0][0]) for _ in range(12)]
    assert out.index(0.0) + 1 == 9  # the first step of 10 ms at which 83 ms are over
    back = [float(fleet.at(1.0, step_s=0.01)[0][0]) for _ in range(60)]
    assert back.index(10.0) + 1 == 40


@pytest.mark.parametrize(
    ("category", "v_pu", "required_s"),
    [
        ("category-i", 0.88, 1.42),
        ("category-i", 0.70, 0.7),
        ("category-i", 0.60, 0.16),
        ("category-i", 0.40, 0.0),
        ("category-ii", 0.88, 5.001),
        ("category-ii", 0.65, 3.0),
        ("category-ii", 0.50, 0.32),
        ("category-ii", 0.40, 0.16),
        ("category-ii", 0.29, 0.0),
        ("category-iii", 0.80, 20.0),
        ("category-iii", 0.60, 10.0),
        ("category-iii", 0.40, 1.0),
    ],
)
def test_low_voltage_ride_through_times(category: Any, v_pu: float, required_s: float) -> None:
    assert required_low_s(np.array([v_pu]), category)[0] == pytest.approx(required_s)


def test_high_voltage_ride_through_times() -> None:
    v = np.array([1.12, 1.16, 1.19, 1.21])
    for category in ("category-i", "category-ii"):
        assert required_high_s(v, category).tolist() == [1.0, 0.5, 0.2, 0.0]  # type: ignore[arg-type]
    assert required_high_s(v, "category-iii").tolist() == [12.0, 12.0, 12.0, 0.0]


def test_frequency_ride_through_times() -> None:
    """58.5 to 58.8 Hz is mandatory operation and not continuous, as is 61.2 to 61.8 Hz."""
    f = np.array([56.9, 57.0, 58.6, 58.8, 60.0, 61.2, 61.5, 61.9])
    expected = [0.0, 299.0, 299.0, np.inf, np.inf, np.inf, 299.0, 0.0]
    assert required_frequency_s(f).tolist() == expected
    assert required_frequency_s(f * 50 / 60, 50.0).tolist() == expected


def test_a_device_may_trip_once_it_has_ridden_through() -> None:
    """Category III: 12 s above 1.10 pu, 20 s below 0.88 pu."""
    for v, seconds in ((1.12, 12), (0.80, 20)):
        fleet = Fleet({"ride_through": {}})
        fleet.at()
        found = []
        for _ in range(seconds + 2):
            fleet.at(v)
            found.append(bool(fleet.inverters.may_trip[0]))
        assert found == [False] * seconds + [True] * 2
        fleet.at(1.0)
        assert not fleet.inverters.may_trip[0]


@pytest.mark.parametrize(("f", "seconds"), [(61.5, 299), (58.6, 299), (61.9, 0), (56.8, 0), (61.2, 10_000)])
def test_a_device_may_trip_once_it_has_ridden_through_a_frequency(f: float, seconds: int) -> None:
    """299 s from 57.0 to 58.8 and from 61.2 to 61.8 Hz."""
    fleet = Fleet({"ride_through": {}, "frequency_droop": {}})
    fleet.at()
    while not fleet.inverters.may_trip[0] and fleet.now_ns < 400 * S:
        fleet.at(f=f)
    assert fleet.now_ns / S - 1 == (seconds + 1 if seconds < 400 else 399)
    assert fleet.inverters.in_service.all()


@pytest.mark.parametrize(
    ("category", "limit_hz_per_s"), [("category-i", 0.5), ("category-ii", 2.0), ("category-iii", 3.0)]
)
@pytest.mark.parametrize("step_s", [0.02, 0.1, 0.5])
def test_rates_of_change_are_ridden_through_by_category(category: str, limit_hz_per_s: float, step_s: float) -> None:
    """Mean over at least 0.1 s: what is as fast as the limit obliges, what is faster does not."""
    for faster, may in ((1.0, False), (1.05, True)):
        fleet = Fleet({"ride_through": {"category": category}, "frequency_droop": {}})
        fleet.at()
        found = False
        for k in range(1, round(0.5 / step_s) + 1):
            fleet.at(f=60.0 + faster * limit_hz_per_s * k * step_s, step_s=step_s)
            found |= bool(fleet.inverters.may_trip[0])
        assert found == may


def test_ride_through_that_goes_on_while_running_takes_no_frequency_of_before_for_a_change() -> None:
    fleet = Fleet({"frequency_droop": {}})
    for _ in range(3):
        fleet.at()
    fleet.inverters.adjust("ride_through")
    for f, may in ((60.0, False), (60.5, False), (64.0, True)):  # 3.5 Hz in a second
        fleet.at(f=f)
        assert bool(fleet.inverters.may_trip[0]) == may


# --- entering service --------------------------------------------------------------------------------


def test_entering_service_waits_and_ramps() -> None:
    """Default: 300 s, then 300 s from zero to rated power."""
    fleet = Fleet({"enter_service": {"starts_in_service": False}})
    found = np.array([fleet.at()[0][0] for _ in range(700)])
    assert (found[:300] == 0.0).all()
    assert found[300] == pytest.approx(10.0 / 300)
    assert found[449] == pytest.approx(5.0)
    assert found[599] == pytest.approx(10.0)


@pytest.mark.parametrize(("v", "f"), [(0.91, 60.0), (1.055, 60.0), (1.0, 59.4), (1.0, 60.2)])
def test_service_is_not_entered_outside_its_bands(v: float, f: float) -> None:
    fleet = Fleet({"enter_service": {"starts_in_service": False, "delay_s": 2, "ramp_s": 0}})
    for _ in range(30):
        p, _ = fleet.at(v, f)
    assert p[0] == 0.0
    for _ in range(3):
        p, _ = fleet.at()
    assert p[0] == 10.0


def test_random_delays_are_spread_repeatable_and_for_small_devices() -> None:
    smart = {"enter_service": {"starts_in_service": False, "delay_s": 10, "ramp_s": 1, "random_delay_s": 100}}

    def entered(seed: int, kva: float) -> np.ndarray:
        fleet = Fleet(smart, 400, seed=seed, kva=kva)
        on = np.array([fleet.at(p=kva)[0] > 0.0 for _ in range(130)])
        assert on[-1].all()
        return on.argmax(axis=0)

    first = entered(1, 10.0)
    assert (first == entered(1, 10.0)).all()
    assert (first != entered(2, 10.0)).any()
    assert first.min() >= 10
    assert first.max() <= 111
    assert np.quantile(first - 10, [0.25, 0.5, 0.75]) == pytest.approx([25, 50, 75], abs=10)
    assert (entered(1, 600.0) == 10).all()


def test_the_hash_is_uniform() -> None:
    x = hashed(7, np.arange(100_000), np.full(100_000, 5 * S))
    assert x.min() >= 0.0
    assert x.max() < 1.0
    assert x.mean() == pytest.approx(0.5, abs=0.005)
    assert np.histogram(x, 10, (0, 1))[0] == pytest.approx(np.full(10, 10_000), rel=0.05)


def test_droop_on_the_enter_service_ramp_starts_from_the_ramp() -> None:
    fleet = Fleet({"enter_service": {"starts_in_service": False, "delay_s": 0, "ramp_s": 100}, "frequency_droop": {}})
    for _ in range(51):
        fleet.at()
    for _ in range(25):
        p, _ = fleet.at(f=60.096)
    assert p[0] == pytest.approx(7.5 - 10.0 * 0.06 / 3.0, abs=0.3)


# --- time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step_s", [0.1, 0.5, 2.5, 5.0])
def test_responses_do_not_depend_on_the_step(step_s: float) -> None:
    smart = {"volt_var": "category-b", "volt_watt": {}}
    fleet = Fleet(smart)
    fleet.at(1.0, p=9.0)
    for _ in range(round(10 / step_s)):
        p, q = fleet.at(1.08, p=9.0, step_s=step_s)
    assert p[0] == pytest.approx(10.0 * (1.0 - 0.5 * 0.9), abs=1e-9)
    assert q[0] == pytest.approx(-4.4 * (1 - 0.01), abs=1e-9)


def test_the_autonomous_reference_does_not_depend_on_the_step() -> None:
    """1 - exp(-60 / 300) of the way from 1.00 to 1.04 pu after a minute."""
    for steps_s in ([0.5] * 120, [10.0, 0.3, 49.7], [60.0]):
        clock, v_pu, nobody = Clock(), np.array([1.04]), np.zeros(0, np.intp)
        reference = VrefTracking(1, 1.0, AutonomousVref(time_constant_s=300.0), clock)
        clock.move(0)
        reference.shifted(np.array([1.0]), nobody)
        for end_s in np.cumsum(steps_s):
            clock.move(round(end_s * S))
            shifted = reference.shifted(v_pu, nobody)
        assert shifted[0] == pytest.approx(1.04 - 0.04 * (1 - np.exp(-60 / 300)), abs=1e-12)


HELD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "volt-var": ({"volt_var": "category-a"}, {"v": 1.05}),
    "watt-var": ({"watt_var": {}}, {"p": 9.0}),
    "constant reactive power": ({"constant_q": {"q_pu": 0.3, "response_s": 7}}, {"v": 1.05}),
    "constant power factor": ({"constant_pf": {"pf": 0.95, "response_s": 7}}, {"p": 9.0}),
    "volt-watt": ({"volt_watt": {"response_s": 20}}, {"v": 1.09}),
    "droop above": ({"frequency_droop": {}}, {"f": 60.5}),
    "droop below": ({"frequency_droop": {"response_s": 9}}, {"f": 59.5, "p": 2.0}),
    "ramp": ({"ramp": {"up_s": 50, "down_s": 30}}, {"p": 8.0}),
    "trip": ({"voltage_trip": {"uv1_s": 6}}, {"v": 0.8}),
    "momentary cessation": ({"ride_through": {}}, {"v": 0.4}),
}


@pytest.mark.parametrize("name", HELD)
def test_what_holds_for_eight_seconds_ends_alike_at_any_step(name: str) -> None:
    """Exact discretisation: 80 steps, 3 uneven ones and a single one end at the same powers."""
    smart, at = HELD[name]
    found = []
    for steps in ([0.1] * 80, [2.5, 0.007, 5.493], [8.0]):
        fleet = Fleet(smart)
        fleet.at(p=4.0)
        for step_s in steps:
            p, q = fleet.at(**{"p": 4.0, **at}, step_s=step_s)
        found.append((p[0], q[0]))
    assert_allclose(found, [found[0]] * 3, rtol=0, atol=1e-9)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_an_instant_can_be_stepped_again(seed: int) -> None:
    """With every function on: wild values in between leave no trace, to the bit."""
    rng = np.random.default_rng(seed)
    plain, repeated = Fleet(ALL_ON, 50, seed=3), Fleet(ALL_ON, 50, seed=3)
    for _ in range(40):
        v, f, p = rng.uniform(0.2, 1.3, 50), rng.choice([60.0, 59.0, 61.5]), rng.uniform(0, 10, 50)
        v = np.where(rng.random(50) < 0.7, 1.0, v)
        once = plain.at(v, f, p)
        repeated.at(rng.uniform(0.1, 1.3, 50), 57.0, rng.uniform(0, 10, 50))
        repeated.at(rng.uniform(0.1, 1.3, 50), 63.0, 3.0, again=True)
        last = repeated.at(v, f, p, again=True)
        assert np.array_equal(once[0], last[0])
        assert np.array_equal(once[1], last[1])


def test_fifty_hertz_is_sixty_hertz_scaled() -> None:
    """The standard's frequencies in proportion: the same powers at 5/6 of the frequency."""
    rng = np.random.default_rng(4)
    sixty, fifty = Fleet(ALL_ON, 20, seed=1), Fleet({**ALL_ON, "f_nominal_hz": 50}, 20, seed=1)
    for _ in range(300):
        v, f = np.where(rng.random(20) < 0.95, 1.0, 0.4), 60.0 + float(rng.choice([0.0, 0.3, -0.5, 2.5]))
        one, other = sixty.at(v, f), fifty.at(v, f * 50 / 60)
        assert_allclose(one[0], other[0], atol=1e-9)
        assert_allclose(one[1], other[1], atol=1e-9)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    whole = Fleet(ALL_ON, 100, seed=3)
    monkeypatch.setattr(inverter, "BLOCK", 16)
    parts = Fleet(ALL_ON, 100, seed=3)
    q1_pu = rng.uniform(0.1, 0.44, 100)
    for fleet in (whole, parts):
        fleet.inverters.adjust("volt_var", q1_pu=q1_pu)
    for _ in range(100):
        v, f = np.where(rng.random(100) < 0.8, 0.94, rng.uniform(0.2, 1.2, 100)), float(rng.choice([60.0, 60.5]))
        one, other = whole.at(v, f), parts.at(v, f)
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])
    assert np.array_equal(whole.inverters.in_service, parts.inverters.in_service)


# --- settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smart", "why"),
    [
        ({"volt_var": {"category": "category-b", "v2_pu": 0.96}}, "v2_pu is 0.96, allowed is 0.97 to 1"),
        ({"volt_var": {"category": "category-b", "v1_pu": 0.97}}, "v1_pu is 0.97, allowed is 0.82 to 0.96"),
        ({"volt_var": {"category": "category-a", "v2_pu": 0.99}}, "v2_pu"),
        ({"volt_var": {"category": "category-b", "response_s": 91}}, "response_s is 91, allowed is 1 to 90"),
        ({"volt_var": {"category": "category-b", "autonomous_vref": {"time_constant_s": 100}}}, "300"),
        ({"volt_watt": {"v1_pu": 1.04}}, "v1_pu is 1.04, allowed is 1.05 to 1.09"),
        ({"volt_watt": {"v1_pu": 1.09, "v2_pu": 1.095}}, "v2_pu is 1.095, allowed is 1.1 to 1.1"),
        ({"watt_var": {"p2_pu": 0.9}}, "p2_pu is 0.9, allowed is 0.4 to 0.8"),
        ({"watt_var": {"q3_pu": -0.6}}, "q_absorbed_max_pu"),
        ({"watt_var": {"p1_pu": 0, "p1_drawn_pu": 0, "q1_pu": 0.2}}, "q1_drawn_pu is 0, allowed is 0.2 to 0.2"),
        ({"volt_var": {"category": "category-a", "q3_pu": -0.1}}, "q3_pu is -0.1, allowed is 0 to 0"),
        ({"constant_q": {"q_pu": 0.5}}, "asks for 0.5 pu"),
        ({"frequency_droop": {"category": "category-i", "k_over": 0.02}}, "k_over is 0.02, allowed is 0.03 to 0.05"),
        ({"frequency_droop": {"db_over_hz": 2}}, "frequency_droop: db_over_hz"),
        ({"frequency_trip": {"of1_hz": 60.5}}, "of1_hz is 60.5, allowed is 61 to 66"),
        ({"frequency_trip": {"of1_hz": 61.5}, "f_nominal_hz": 50}, "of1_hz is 61.5, allowed is 50.8333 to 55"),
        ({"voltage_trip": {"category": "category-i", "uv1_s": 30}}, "uv1_s is 30, allowed is 2 to 21"),
        ({"voltage_trip": {"ov2_pu": 1.25}}, "ov2_pu"),
        ({"ride_through": {"return_s": 0.5}}, "return_s"),
        ({"enter_service": {"delay_s": 700}}, "delay_s is 700, allowed is 0 to 600"),
        ({"enter_service": {"ramp_s": 0.5}}, "ramp_s is 0.5, allowed is 1 to 1000"),
        ({"active_power_limit": {"response_s": 31}}, "response_s is 31, allowed is 0 to 30"),
        ({"watt_var": {}, "constant_q": {"q_pu": 0.0}}, "constant_q and watt_var exclude"),
        ({"volt_watt": {"v3_pu": 1.0}}, "v3_pu"),
        ({"f_nominal_hz": 55}, "f_nominal_hz"),
    ],
)
def test_settings_outside_the_range_of_the_standard_are_refused(smart: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Smart.model_validate(smart)


def test_settings_on_the_edge_of_their_range_are_taken() -> None:
    Smart.model_validate({"volt_var": {"category": "category-b", "v1_pu": 0.82, "v2_pu": 0.97, "v4_pu": 1.18}})
    Smart.model_validate({"volt_watt": {"v1_pu": 1.09, "v2_pu": 1.10}, "watt_var": {"p1_pu": 0.4, "p3_pu": 0.6}})
    assert WattVar(p2_pu=0.8, p3_pu=0.9).points()["p3_pu"][0] == 0.9


def test_numbers_change_while_running_for_each_device() -> None:
    fleet = Fleet({"volt_watt": {"response_s": 0.5}}, 3)
    fleet.at(1.08)
    fleet.inverters.adjust("volt_watt", v1_pu=[1.05, 1.06, 1.07])
    for _ in range(20):
        p, _ = fleet.at(1.08)
    assert_allclose(p, [4.0, 5.0, 6.6666667], atol=1e-6)


def test_functions_go_on_and_off_for_each_device() -> None:
    fleet = Fleet({"volt_var": "category-b", "frequency_droop": {}}, 4)
    fleet.at(0.92, p=5.0)
    fleet.inverters.adjust("constant_q", on=[True, False, False, False], q_pu=-0.2)
    fleet.inverters.adjust("constant_pf", on=[False, True, False, False], pf=0.95, injects=1.0)
    fleet.inverters.adjust("volt_watt", on=[False, False, True, False])
    for _ in range(60):
        p, q = fleet.at(1.09, p=5.0)
    assert_allclose(q, [-2.0, 5.0 * 0.328684, -4.4, -4.4], atol=1e-5)
    assert_allclose(p, [5.0, 5.0, 2.5, 5.0], atol=1e-5)
    fleet.inverters.adjust("frequency_droop", on=[True, True, True, False])
    for _ in range(60):
        p, _ = fleet.at(1.0, 60.336, p=5.0)
    assert_allclose(p, [4.0, 4.0, 1.5, 5.0], atol=1e-5)  # from the power before: 5 and 2.5, less 0.3 / 3


@pytest.mark.parametrize("beside", [[], [True]])
def test_a_reactive_function_that_is_switched_off_ends_at_once_and_begins_anew(beside: list[bool]) -> None:
    """Alone, and beside one that keeps it."""
    fleet = Fleet({"constant_q": {"q_pu": 0.3, "response_s": 10}}, 1 + len(beside))
    assert [fleet.at(p=5.0)[1][0] for _ in range(2)] == [3.0, 3.0]
    fleet.inverters.adjust("constant_q", on=[False, *beside])
    assert [fleet.at(p=5.0)[1][0] for _ in range(3)] == [0.0, 0.0, 0.0]
    fleet.inverters.adjust("constant_q")
    assert fleet.at(p=5.0, step_s=10.0)[1][0] == pytest.approx(2.7)  # nine tenths of the way from nothing


@pytest.mark.parametrize("beside", [[], [True]])
def test_who_changes_from_one_reactive_function_to_another_goes_on_from_where_it_is(beside: list[bool]) -> None:
    fleet = Fleet({"constant_q": {"q_pu": 0.3}}, 1 + len(beside))
    fleet.at(p=5.0)
    fleet.inverters.adjust("constant_q", on=[False, *beside])
    fleet.inverters.adjust("volt_var", on=[True] + [False] * len(beside), response_s=10.0)
    assert fleet.at(1.08, p=5.0, step_s=10.0)[1][0] == pytest.approx(-4.4 + 0.1 * 7.4)


def test_functions_begin_anew_where_there_was_no_voltage() -> None:
    fleet = Fleet({"frequency_droop": {}, "volt_var": "category-b", "ramp": {"up_s": 100, "down_s": 100}}, 2)
    for v, f in ((1.0, 60.0), ([0.0, 1.0], 0.0), ([0.0, 1.0], 0.0)):
        assert fleet.at(v, f, p=5.0)[1].tolist() == [0.0, 0.0]  # also of a volt-var curve at no voltage
    p, q = fleet.at(p=5.0)
    assert p[0] == pytest.approx(0.1)  # up along its ramp, and not down from what it would have given
    assert q.tolist() == [0.0, 0.0]


def test_who_comes_back_with_a_feeder_at_another_frequency_gives_what_droop_leaves() -> None:
    fleet = Fleet({"frequency_droop": {}})
    fleet.at()
    for _ in range(3):
        fleet.at(0.0, 0.0, p=8.0)
    for _ in range(30):
        p, _ = fleet.at(1.0, 60.096, p=8.0)
    assert p[0] == pytest.approx(7.8, abs=1e-4)  # 8 - 10 (60.096 - 60.036) / 3


def test_the_autonomous_reference_stays_while_there_is_no_voltage() -> None:
    fleet = Fleet({"volt_var": {"category": "category-b", "autonomous_vref": {}}})
    for v in (0.0, 1.02, 0.0, 0.0):
        assert fleet.at(v, step_s=600.0)[1][0] == pytest.approx(0.0, abs=1e-12)
    assert fleet.at(1.04, step_s=600.0)[1][0] == pytest.approx(0.0, abs=1e-12)  # followed from 1.02 to 1.037


@pytest.mark.parametrize("beside", [[], [True]])
def test_the_autonomous_reference_follows_while_volt_var_is_off(beside: list[bool]) -> None:
    """Alone, and beside one that keeps it: after an hour at 1.04 pu this is the reference of both."""
    fleet = Fleet({"volt_var": {"category": "category-b", "autonomous_vref": {}}}, 1 + len(beside))
    fleet.at()
    fleet.inverters.adjust("volt_var", on=[False, *beside])
    for _ in range(60):
        fleet.at(1.04, step_s=60.0)
    fleet.inverters.adjust("volt_var")
    assert fleet.at(1.04, step_s=60.0)[1][0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("response_s", [0.0, 1.0])
def test_a_power_factor_that_is_written_asks_for_no_more_than_the_capability(response_s: float) -> None:
    fleet = Fleet({})
    fleet.inverters.adjust("constant_pf", pf=0.8, response_s=response_s)
    for _ in range(20):
        p, q = fleet.at(p=8.0)
    assert (p[0], q[0]) == pytest.approx((8.0, -4.4))  # not 6.0


def test_who_leaves_a_constant_power_factor_has_the_whole_rating_again() -> None:
    fleet = Fleet({"constant_pf": {"pf": 0.9}}, 2)
    assert fleet.inverters.p_most_kw.tolist() == [9.0, 9.0]
    fleet.inverters.adjust("constant_q", on=[True, False], q_pu=0.0)
    assert fleet.inverters.p_most_kw.tolist() == [10.0, 9.0]
    assert fleet.inverters.left_by_pf_kw(np.full(2, 10.0)).tolist() == [10.0, 9.0]


@pytest.mark.parametrize(
    ("delay_s", "step_s", "shows"), [(300, 299, True), (300, 300, False), (300, 900, False), (0, 900, True)]
)
def test_a_delay_that_steps_are_too_long_for_is_a_caution(delay_s: float, step_s: int, shows: bool) -> None:
    smart = Smart.model_validate({"voltage_trip": {}, "enter_service": {"delay_s": delay_s, "ramp_s": 300}})
    said = (
        f"roofs: a delay_s of {delay_s} s does not show in steps of {step_s} s: who was out of service is back as soon"
    )
    told = smart.cautions("roofs", step_s * S)
    assert [text[: len(said)] for text in told] == ([] if shows else [said])
    assert all("or after its random delay" in text for text in told)  # which does show


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        *[(pv.KIND, {}), (battery.KIND, {}), (ev.KIND, {})],
        *[(wind.KIND, {"wind": 8.0}), (chp.KIND, {"heat_demand_kw": 5.0})],
    ],
)
def test_every_fleet_with_inverters_has_the_cautions_of_its_functions(kind: Kind, settings: dict[str, Any]) -> None:
    given_settings = {"at": places(1), "rated_kva": 10.0, "smart": {"enter_service": {}}, **settings}
    for step_s, count in ((60, 0), (900, 1)):
        made = kind.build(kind.settings.model_validate(given_settings), context(step_s * S))
        assert isinstance(made, Cautious)
        assert len(made.cautions) == count


def test_a_function_that_goes_on_while_running_starts_from_what_is_given_then() -> None:
    fleet = Fleet({"enter_service": {}}, 2)
    fleet.at(f=60.186, p=8.0)
    fleet.inverters.adjust("ramp", up_s=100.0, down_s=50.0)
    fleet.inverters.adjust("frequency_droop", on=[False, True])
    for again in (False, True):
        assert_allclose(fleet.at(f=60.186, p=8.0, again=again)[0], [8.0, 7.5 + 0.5 * 10 ** (-1 / 5)])
    fleet.inverters.adjust("frequency_droop", on=False)
    assert_allclose(fleet.at(p=9.0)[0][0], 8.1)


def test_a_ramp_that_is_written_bounds_the_first_change_too() -> None:
    fleet = Fleet({})
    fleet.at(p=2.0)
    fleet.inverters.adjust("ramp", up_s=100.0)
    for again in (False, True):
        assert_allclose(fleet.at(p=8.0, again=again)[0], 2.1)


def test_a_limit_that_is_written_lets_nothing_of_one_from_outside_go() -> None:
    inverters = Inverters(Smart(), np.full(1, 10.0))
    seen, wanted, told = inverters.seen({"v_pu": np.ones(1)}), np.full(1, 9.0), np.full(1, 2.0)
    assert inverters.step(0, seen, wanted, None, told)[0][0] == 2.0
    inverters.adjust("active_power_limit", p_max_pu=0.9, response_s=15.0)
    assert inverters.step(S, seen, wanted, None, told)[0][0] == 2.0
    assert inverters.step(2 * S, seen, wanted, None, np.full(1, 3.0))[0][0] == pytest.approx(2.0 + 10.0 / 15.0)


def test_a_write_outside_the_range_is_refused_and_changes_nothing() -> None:
    fleet = Fleet({"volt_watt": {}}, 3)
    with pytest.raises(ValueError, match=r"v1_pu of device 1 is 1.2, allowed is 1.05 to 1.09"):
        fleet.inverters.adjust("volt_watt", v1_pu=[1.06, 1.2, 1.06])
    with pytest.raises(ValueError, match=r"no 'v1'.*v1_pu"):
        fleet.inverters.adjust("volt_watt", v1=1.06)
    with pytest.raises(ValueError, match=r"no function 'volt_wat'.*volt_watt"):
        fleet.inverters.adjust("volt_wat")
    with pytest.raises(ValueError, match="shape"):
        fleet.inverters.adjust("volt_watt", v1_pu=[1.06, 1.07])
    with pytest.raises(ValueError, match="not finite"):
        fleet.inverters.adjust("volt_watt", v1_pu=float("nan"))
    with pytest.raises(ValueError, match="f_hz"):
        fleet.inverters.adjust("frequency_droop")
    assert_allclose(fleet.at(1.08)[0], 5.0)


def test_ports_are_there_when_a_function_looks() -> None:
    def ports(**smart: Any) -> set[str]:
        return set(Inverters(Smart.model_validate(smart), np.ones(2)).ports(("a", "b")))

    assert ports(volt_var="category-b") == {"v_pu"}
    assert ports(frequency_droop={}) == {"v_pu", "f_hz"}
    assert ports(voltage_trip={}) == {"v_pu", "v_low_pu", "v_high_pu"}


@given(st.lists(st.floats(0.8, 1.2), min_size=4, max_size=4), st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_curves_equal_numpy_interpolation(x: list[float], y: list[float]) -> None:
    points = np.array(sorted(x))
    if (np.diff(points) < 1e-3).any():
        return
    at = np.linspace(0.7, 1.3, 301)
    assert_allclose(Curve(points[:, None], np.array(y)[:, None])(at), np.interp(at, points, y), atol=1e-9)
