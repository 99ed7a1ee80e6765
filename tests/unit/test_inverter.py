"""Smart-inverter functions and the capability of inverters."""

from math import exp, log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pydantic import ValidationError

from federates.der.inverter import PRESETS, Inverters, Response, Smart, leg, within_circle

S = 10**9
powers = st.lists(st.floats(-20.0, 20.0), min_size=3, max_size=3).map(np.array)


def settled(smart: dict[str, Any], v_pu: list[float], rated_kva: float = 10.0) -> list[float]:
    """Reactive power once the response has ended."""
    inverters = Inverters(Smart.model_validate(smart), np.full(len(v_pu), rated_kva))
    return [float(q) for q in inverters.q_kvar(0, np.array(v_pu))]


def test_presets_are_the_defaults_of_the_standard() -> None:
    """IEEE 1547-2018, table 8."""
    a, b = PRESETS["category-a"], PRESETS["category-b"]
    assert (a.v_pu, a.q_pu, a.response_s) == ((0.90, 1.0, 1.10), (0.25, 0.0, -0.25), 10.0)
    assert (b.v_pu, b.q_pu, b.response_s) == ((0.92, 0.98, 1.02, 1.08), (0.44, 0.0, 0.0, -0.44), 5.0)


def test_volt_var_of_category_b_injects_at_low_and_absorbs_at_high_voltage() -> None:
    q = settled({"volt_var": "category-b"}, [0.80, 0.92, 0.95, 0.98, 1.0, 1.02, 1.05, 1.08, 1.2])
    assert_allclose(q, [4.4, 4.4, 2.2, 0, 0, 0, -2.2, -4.4, -4.4], atol=1e-12)


def test_volt_var_of_category_a_has_no_dead_band() -> None:
    q = settled({"volt_var": "category-a"}, [0.90, 0.95, 1.0, 1.04, 1.10])
    assert_allclose(q, [2.5, 1.25, 0, -1.0, -2.5], atol=1e-12)


def test_volt_var_follows_an_explicit_curve() -> None:
    curve = {"v_pu": [0.9, 1.1], "q_pu": [0.3, -0.1]}
    assert_allclose(settled({"volt_var": curve}, [0.9, 1.0, 1.1]), [3.0, 1.0, -1.0], atol=1e-12)


def test_without_a_function_the_power_factor_is_one() -> None:
    assert settled({}, [0.9, 1.1]) == [0.0, 0.0]


@pytest.mark.parametrize("step_s", [0.1, 1.0, 2.5, 5.0])
def test_response_is_nine_tenths_of_the_way_after_its_time_at_any_step(step_s: float) -> None:
    response = Response(1, 5.0)
    response.towards(0, np.array([1.0]))
    for k in range(1, round(5.0 / step_s) + 1):
        q = response.towards(round(k * step_s * S), np.array([3.0]))
    assert q[0] == pytest.approx(1.0 + 0.9 * 2.0, abs=1e-12)


def test_response_starts_settled() -> None:
    assert Response(2, 5.0).towards(0, np.array([1.0, -2.0])).tolist() == [1.0, -2.0]


def test_response_to_the_same_instant_starts_from_the_last_one() -> None:
    response = Response(1, 10.0)
    response.towards(0, np.array([0.0]))
    left = exp(-log(10.0) / 10.0)
    for target in (5.0, -3.0, 2.0, 2.0):
        assert response.towards(S, np.array([target]))[0] == pytest.approx(target * (1 - left), abs=1e-12)
    assert response.towards(2 * S, np.array([2.0]))[0] == pytest.approx(2.0 * (1 - left**2), abs=1e-12)


def test_first_instant_can_be_repeated() -> None:
    response = Response(1, 10.0)
    assert [response.towards(0, np.array([x]))[0] for x in (4.0, 7.0)] == [4.0, 7.0]


def test_constant_power_factor_holds_up_to_the_rating() -> None:
    inverters = Inverters(Smart.model_validate({"constant_pf": {"pf": 0.95, "reactive": "absorbed"}}), np.full(3, 10.0))
    p, q = inverters.within_rating(np.array([5.0, 20.0, -4.0]), np.zeros(3))
    assert_allclose(p, [5.0, 9.5, -4.0])
    assert_allclose(q, [-1.643420, -3.122499, -1.314736], atol=1e-6)  # tan(acos 0.95) = 0.328684
    assert_allclose(np.abs(p) / np.hypot(p, q), 0.95)


def test_reactive_priority_cuts_active_power() -> None:
    p, q = within_circle(np.array([10.0, -10.0]), np.array([6.0, -6.0]), np.full(2, 10.0), "reactive")
    assert_allclose(p, [8.0, -8.0])
    assert_allclose(q, [6.0, -6.0])


def test_active_priority_cuts_reactive_power() -> None:
    p, q = within_circle(np.array([8.0, 10.0]), np.array([-9.0, 4.0]), np.full(2, 10.0), "active")
    assert_allclose(p, [8.0, 10.0])
    assert_allclose(q, [-6.0, 0.0], atol=1e-12)


@given(powers, powers, st.floats(0.1, 20.0), st.sampled_from(["reactive", "active"]))
def test_apparent_power_stays_within_the_rating_and_nothing_grows(
    p_kw: np.ndarray, q_kvar: np.ndarray, s: float, priority: Any
) -> None:
    p, q = within_circle(p_kw, q_kvar, np.full(3, s), priority)
    assert (np.hypot(p, q) <= s * (1 + 1e-12)).all()
    assert (np.abs(p) <= np.abs(p_kw)).all()
    assert (np.abs(q) <= np.abs(q_kvar)).all()
    assert (p * p_kw >= 0).all()
    inside = np.hypot(p_kw, q_kvar) <= s * (1 - 1e-12)
    assert_allclose(p[inside], p_kw[inside], rtol=1e-6, atol=1e-9)
    assert_allclose(q[inside], q_kvar[inside], rtol=1e-6, atol=1e-9)


def test_leg_of_a_triangle_is_zero_where_the_other_is_too_long() -> None:
    assert leg(np.array([5.0, 5.0]), np.array([3.0, 6.0])).tolist() == [4.0, 0.0]


def test_reactive_power_is_within_the_share_of_the_capability() -> None:
    inverters = Inverters(Smart(volt_var="category-b"), np.full(2, 10.0))
    assert_allclose(inverters.q_kvar(0, np.array([0.9, 1.1]), np.array([0.5, 0.0])), [2.2, 0.0], atol=1e-12)


def test_room_for_active_power_depends_on_priority() -> None:
    q = np.array([4.4])
    room = {p: Inverters(Smart(volt_var="category-b", priority=p), np.array([10.0])) for p in ("reactive", "active")}
    assert room["reactive"].p_room_kw(q)[0] == pytest.approx(8.979978, abs=1e-6)  # sqrt(100 - 19.36)
    assert room["active"].p_room_kw(q)[0] == 10.0


@pytest.mark.parametrize(("function", "number"), [("constant_pf", {"pf": 0.95}), ("constant_q", {"q_pu": 0.4})])
def test_room_for_active_power_is_that_of_each_device_alone(function: str, number: dict[str, float]) -> None:
    inverters = Inverters(Smart(), np.full(3, 10.0))
    inverters.adjust("volt_var", on=[True, False, False])
    inverters.adjust(function, on=[False, True, False], **number)
    room, sure = inverters.p_room_kw(np.array([4.4, 4.0, 0.0])), inverters.p_sure_kw
    assert room == pytest.approx([8.979978, 9.5 if function == "constant_pf" else 9.165151, 10.0])
    assert sure == pytest.approx([8.979978, 9.5 if function == "constant_pf" else 8.979978, 10.0])


@pytest.mark.parametrize(
    ("smart", "why"),
    [
        ({"volt_var": "category-c"}, "category-a"),
        ({"volt_var": {"v_pu": [1.0, 1.0], "q_pu": [0.1, 0.0]}}, "must rise"),
        ({"volt_var": {"v_pu": [0.9, 1.1], "q_pu": [0.0, 0.1]}}, "must not rise"),
        ({"volt_var": {"v_pu": [0.9, 1.0, 1.1], "q_pu": [0.1, 0.0]}}, "3 points"),
        ({"volt_var": {"v_pu": [0.9, 1.1], "q_pu": [0.6, 0.0]}}, "asks for 0.6 pu"),
        ({"volt_var": {"v_pu": [0.9, 1.1], "q_pu": [0.1, 0.0], "response_s": 0.5}}, "response_s"),
        ({"volt_var": {"v_pu": [0.5, 1.1], "q_pu": [0.1, 0.0]}}, "0.77"),
        ({"constant_pf": {"pf": 0.8}}, "asks for 0.6 pu"),
        ({"constant_pf": {"pf": 0.0}}, "pf"),
        ({"volt_var": "category-a", "constant_pf": {"pf": 1.0}}, "exclude"),
        ({"volt_watt": "category-b"}, "volt_watt"),
    ],
)
def test_a_function_that_cannot_be_is_refused(smart: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Smart.model_validate(smart)


def test_a_steeper_curve_needs_the_capability_for_it() -> None:
    curve = {"v_pu": [0.98, 1.02], "q_pu": [0.6, -0.6]}
    smart = {"volt_var": curve, "q_injected_max_pu": 0.6, "q_absorbed_max_pu": 0.6}
    assert_allclose(settled(smart, [0.9, 1.1]), [6.0, -6.0])


def test_numbers_are_those_of_the_settings_else_the_defaults() -> None:
    smart = Smart.model_validate({"volt_watt": {"v1_pu": 1.07}})
    inverters = Inverters(smart, np.full(3, 10.0))
    assert (inverters.has("volt_watt"), inverters.has("watt_var")) == (True, False)
    assert inverters.numbers("volt_watt")["v1_pu"].tolist() == [1.07] * 3
    assert inverters.numbers("volt_watt")["v2_pu"].tolist() == [1.10] * 3
    inverters.adjust("volt_watt", v1_pu=np.array([1.05, 1.06, 1.07]))
    assert inverters.numbers("volt_watt")["v1_pu"].tolist() == [1.05, 1.06, 1.07]


def test_what_is_written_to_a_preset_changes_nothing_else_of_its_curve() -> None:
    """Category A asks for -0.125 pu at 1.05 pu, category B for -0.22."""
    inverters = Inverters(Smart(volt_var="category-a"), np.full(1, 100.0))
    assert inverters.numbers("volt_var")["q4_pu"].tolist() == [-0.25]
    inverters.adjust("volt_var", response_s=20.0)
    assert inverters.q_kvar(0, np.array([1.05])) == pytest.approx([-12.5])


@pytest.mark.parametrize("number", [{}, {"response_s": 20.0}])
def test_a_curve_by_points_stays_where_none_of_its_points_is_written(number: dict[str, float]) -> None:
    """-0.3 pu at 1.1 pu; category B asks for -0.44."""
    curve = {"v_pu": (0.9, 1.0, 1.1), "q_pu": (0.3, 0.0, -0.3), "response_s": 2.0}
    inverters = Inverters(Smart.model_validate({"volt_var": curve}), np.full(1, 100.0))
    inverters.adjust("volt_var", on=False)
    assert inverters.q_kvar(0, np.ones(1)) == 0.0
    inverters.adjust("volt_var", **number)
    seconds = 2 if not number else 20
    assert inverters.q_kvar(seconds * S, np.array([1.1])) == pytest.approx([-27.0])
    inverters.adjust("volt_var", q4_pu=-0.4)
    assert inverters.q_kvar(1000 * S, np.array([1.1])) == pytest.approx([-40.0])


def test_numbers_are_checked_without_being_taken() -> None:
    inverters = Inverters(Smart.model_validate({"volt_watt": {}}), np.full(3, 10.0))
    inverters.check("volt_watt", v1_pu=1.05)
    with pytest.raises(ValueError, match=r"v1_pu is 1\.2, allowed is 1\.05 to 1\.09"):
        inverters.check("volt_watt", v1_pu=1.2)
    assert inverters.numbers("volt_watt")["v1_pu"].tolist() == [1.06] * 3


def test_each_inverter_has_its_own_response_time_of_a_written_curve() -> None:
    inverters = Inverters(Smart(), np.full(2, 100.0))
    nobody = np.zeros(2)
    inverters.q_kvar(0, np.ones(2))
    points = np.tile([0.9, 1.1], (2, 1)), np.tile([40.0, -40.0], (2, 1))
    inverters.set_volt_var(nobody + 1, *points, np.array([1.0, 10.0]))
    found = inverters.q_kvar(1_000_000_000, np.full(2, 1.1))
    assert found == pytest.approx([-36.0, -40.0 * (1 - 10**-0.1)])


def test_reactive_power_that_is_told_again_counts_also_where_something_else_was_set_in_between() -> None:
    inverters = Inverters(Smart(), np.full(2, 100.0))
    told, found = np.array([0.2, -9.0]), []
    for now_s in range(3):
        if now_s == 2:
            inverters.adjust("volt_var")
        inverters.tell_q(told)
        found.append(inverters.q_kvar(now_s * 1_000_000_000, np.full(2, 1.1)).tolist())
    assert found == [[20.0, -44.0]] * 3  # cut at the rating, and then at 0.44 of it


@pytest.mark.parametrize(
    "smart",
    [
        {},
        {"volt_var": "category-b"},
        {"volt_var": "category-b", "priority": "active"},
        {"constant_pf": {"pf": 0.9, "response_s": 5.0}},
        {"constant_pf": {"pf": 0.9}},
        {"constant_q": {"q_pu": -0.4}},
        {"watt_var": {"category": "category-b"}},
    ],
)
def test_lowered_maxima_are_kept_by_every_function_and_given_back(smart: dict[str, Any]) -> None:
    inverters = Inverters(Smart.model_validate(smart), np.full(3, 10.0))
    seen, wanted = inverters.seen({"v_pu": np.array([0.9, 1.0, 1.1])}), np.full(3, 9.9)
    before = np.array([inverters.step(k * S, seen, wanted, None) for k in range(40)])[-1]
    inverters.set_maxima(np.full(3, 0.6), np.full(3, 0.5), np.full(3, 0.25))
    p, q = np.array([inverters.step(k * S, seen, wanted, None) for k in range(40, 80)])[-1]
    assert np.all(np.hypot(p, q) <= 6.0 + 1e-9)
    assert np.all(q <= 2.2 + 1e-9)
    assert np.all(q >= -1.1 - 1e-9)
    left = 0.9 if "constant_pf" in smart else 1.0
    assert_allclose(inverters.p_most_kw, 6.0 * left)
    assert np.all(inverters.p_room_kw(q) <= 6.0 * left + 1e-9)
    inverters.set_maxima(np.ones(3), np.ones(3), np.ones(3))
    after = np.array([inverters.step(k * S, seen, wanted, None) for k in range(80, 160)])[-1]
    assert_allclose(after, before, atol=1e-6)


def test_watt_var_keeps_to_its_curve_where_a_lowered_maximum_cuts() -> None:
    """p^2 + (0.88 (p - 0.5))^2 = 0.64 has p = 0.765202; drawing alike."""
    inverters = Inverters(Smart.model_validate({"watt_var": {"response_s": 0}}), np.full(2, 10.0))
    inverters.set_maxima(np.full(2, 0.8), np.ones(2), np.ones(2))
    power, most = np.array([10.0, -10.0]), np.full(2, 10.0)
    p, q = inverters.step(0, inverters.seen({"v_pu": np.ones(2)}), power, (-most, most))
    assert_allclose(p, [7.652024, -7.652024], atol=1e-6)
    assert_allclose(q, [-2.333781, 2.333781], atol=1e-6)


@pytest.mark.parametrize(("reactive", "sign"), [("injected", 1), ("absorbed", -1)])
def test_active_power_has_the_room_that_lowered_vars_leave_of_a_power_factor(reactive: str, sign: int) -> None:
    inverters = Inverters(Smart.model_validate({"constant_pf": {"pf": 0.92, "reactive": reactive}}), np.full(1, 10.0))
    inverters.set_maxima(np.full(1, 0.6), np.full(1, 0.5), np.full(1, 0.5))
    p, q = inverters.step(0, inverters.seen({"v_pu": np.ones(1)}), np.full(1, 9.9), None)
    assert q[0] == pytest.approx(sign * 2.2)
    assert p[0] == pytest.approx((6.0**2 - 2.2**2) ** 0.5)
