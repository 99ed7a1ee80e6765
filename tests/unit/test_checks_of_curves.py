"""What follows a curve passes, and what leaves its IEEE 1547.1 band by a hair fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judged import NS, Memory, refusal, verdict
from numpy.typing import ArrayLike

from derloop.checks import follows_curve
from derloop.checks.characteristic import Characteristic, extremes
from derloop.verdict import Verdict

VOLT_VAR = {"volt_var": "category-b"}
EXACT = {"mra_x": 0, "mra_y": 0}


def follows(x: ArrayLike, y: ArrayLike, curve: dict[str, Any], unit: str = "pu", **settings: Any) -> Verdict:
    recorded = Memory(grid__v_pu=(unit, 60, x), pv__q=("kvar", 60, y))
    return verdict(follows_curve.KIND, recorded, x="grid.v_pu", y="pv.q", curve=curve, **settings)


def test_a_device_on_its_curve_has_the_whole_band_as_margin() -> None:
    # at 1.05 pu category B asks for -0.22: Y over 1.05 +- 0.015 is -0.33 .. -0.11, and +- 0.075 is the accuracy of Q
    found = follows([1.0, 1.05], [0.0, -0.22], VOLT_VAR)
    assert found.outcome == "PASS"
    assert found.margin == pytest.approx(0.075)  # at 1.0 pu: Y over 0.985 .. 1.015 is 0
    only = follows([1.05, 1.05], [-0.22, -0.22], VOLT_VAR)
    assert only.margin == pytest.approx(0.11 + 0.075)


@pytest.mark.parametrize(("q", "outcome"), [(-0.404, "PASS"), (-0.406, "FAIL"), (-0.036, "PASS"), (-0.034, "FAIL")])
def test_the_band_is_that_of_ieee_1547_1(q: float, outcome: str) -> None:
    found = follows([1.05], [q], VOLT_VAR)
    assert found.outcome == outcome
    assert found.limit == pytest.approx(-0.405 if q < -0.2 else -0.035)


def test_a_value_that_rounding_alone_puts_outside_is_told_as_within() -> None:
    recorded = Memory().add("grid.v_pu", "pu", 60, [[1.0]], ("pv",)).add("pv.q", "kvar", 60, [[0.1 + 1e-12]], ("pv",))
    flat = {"points": [[0.9, 0.1], [1.1, 0.1]]}
    found = verdict(follows_curve.KIND, recorded, x="grid.v_pu", y="pv.q", curve=flat, mra_x=0, mra_y=0)
    assert (found.outcome, found.text.partition(";")[0]) == ("PASS", "all values are within their band")


def test_a_curve_that_is_left_names_who_when_and_by_what_standard() -> None:
    recorded = Memory().add("grid.v_pu", "pu", 60, [[1, 1], [1, 1.08]], ("pv_1", "pv_2"))
    recorded.add("pv.q", "kvar", 60, [[0, 0], [0, 0]], ("pv_1", "pv_2"))
    found = verdict(follows_curve.KIND, recorded, x="grid.v_pu", y="pv.q", curve=VOLT_VAR, rated=5)
    assert (found.outcome, found.where, found.when_ns) == ("FAIL", "pv.q at 'pv_2'", 60 * NS)
    assert found.source == "IEEE 1547-2018, table 8 (number to be confirmed), category B; bands by IEEE 1547.1-2020"
    # at 1.08 the curve has -0.44; 1.5 % below, at 1.065, -0.33
    assert (found.measured, found.limit) == (0.0, pytest.approx(-0.33 + 0.075))


@pytest.mark.parametrize(
    ("category", "v_pu", "q_pu"),
    [
        ("category-a", [0.85, 0.90, 0.95, 1.0, 1.05, 1.10, 1.15], [0.25, 0.25, 0.125, 0.0, -0.125, -0.25, -0.25]),
        ("category-b", [0.90, 0.92, 0.95, 0.98, 1.02, 1.05, 1.08], [0.44, 0.44, 0.22, 0.0, 0.0, -0.22, -0.44]),
    ],
)
def test_volt_var_is_that_of_ieee_1547_table_8(category: str, v_pu: list[float], q_pu: list[float]) -> None:
    assert follows(v_pu, q_pu, {"volt_var": category}, mra_x=0, mra_y=1e-9).outcome == "PASS"


@pytest.mark.parametrize(
    ("curve", "source"),
    [
        ({"volt_var": "category-a"}, "IEEE 1547-2018, table 8 (number to be confirmed), category A"),
        ({"volt_watt": "category-a"}, "IEEE 1547-2018, table 10 (number to be confirmed)"),
        ({"frequency_droop": {"pre_pu": 0.5}}, "IEEE 1547-2018, 6.5.2.7 (number to be confirmed)"),
        ({"points": [[0, 0], [1, 1]]}, "scenario"),
    ],
)
def test_a_verdict_names_the_table_that_the_curve_is_from(curve: dict[str, Any], source: str) -> None:
    assert Characteristic.model_validate(curve).source == source


def test_powers_are_divided_by_the_rating_of_each_element() -> None:
    x, y = [[1.05, 1.05]], [[-1.1, -2.2]]
    assert follows(x, y, VOLT_VAR, rated=[5, 10], **EXACT).outcome == "PASS"
    assert follows(x, y, VOLT_VAR, rated=[10, 5], **EXACT).outcome == "FAIL"
    assert follows(x, y, VOLT_VAR, rated=[5, 10, 15]).outcome == "INCONCLUSIVE"


def test_elements_are_paired_by_label() -> None:
    recorded = Memory().add("grid.v_pu", "pu", 60, [[1.0, 1.08]], ("b", "a"))
    recorded.add("pv.q", "kvar", 60, [[-0.44, 0.0]], ("a", "b"))
    assert verdict(follows_curve.KIND, recorded, x="grid.v_pu", y="pv.q", curve=VOLT_VAR, **EXACT).outcome == "PASS"
    recorded.add("pv.q", "kvar", 60, [[-0.44, 0.0]], ("a", "c"))
    found = verdict(follows_curve.KIND, recorded, x="grid.v_pu", y="pv.q", curve=VOLT_VAR)
    assert (found.outcome, "different elements" in found.text) == ("INCONCLUSIVE", True)


@pytest.mark.parametrize(("within_s", "outcome"), [(0, "FAIL"), (60, "PASS")])
def test_an_answer_to_what_was_seen_a_step_ago_is_right_within_the_response_time(within_s: float, outcome: str) -> None:
    x = np.array([1.0, 1.05, 1.08, 1.0, 1.0])
    y = np.interp(np.roll(x, 1), [0.92, 0.98, 1.02, 1.08], [0.44, 0, 0, -0.44])
    assert follows(x, y, VOLT_VAR, within_s=within_s, **EXACT).outcome == outcome


def test_volt_watt_is_a_ceiling() -> None:
    assert follows([1.08, 1.08], [0.1, 0.6], {"volt_watt": "category-b"}, **EXACT).outcome == "PASS"
    found = follows([1.08, 1.08], [0.1, 0.61], {"volt_watt": "category-b"}, **EXACT)
    assert (found.outcome, found.limit, found.margin) == ("FAIL", pytest.approx(0.6), pytest.approx(-0.01))
    assert follows([1.08], [0.1], {"volt_watt": "category-b"}, sense="equals", **EXACT).outcome == "FAIL"


@pytest.mark.parametrize(
    ("f_hz", "p", "outcome"),
    [(60.0, 0.5, "PASS"), (60.636, 0.3, "PASS"), (60.636, 0.5, "FAIL"), (59.364, 0.7, "PASS"), (59.364, 0.5, "FAIL")],
)
def test_droop_is_that_of_the_standard(f_hz: float, p: float, outcome: str) -> None:
    # defaults: 0.6 Hz beyond the deadband of 0.036 Hz are 0.6 / (60 x 0.05) = 0.2 pu
    curve = {"frequency_droop": {"pre_pu": 0.5}}
    assert follows([f_hz], [p], curve, unit="Hz", mra_x=0, mra_y=1e-6).outcome == outcome


@pytest.mark.parametrize(("pre_pu", "p_at_62_hz", "p_at_58_hz"), [(0.2, 0.2, 0.8547), (1.0, 0.3453, 1.0)])
def test_droop_goes_no_farther_than_the_least_and_the_most_power(
    pre_pu: float, p_at_62_hz: float, p_at_58_hz: float
) -> None:
    # 1.964 Hz beyond the deadband are 1.964 / (60 x 0.05) = 0.6547 pu
    found = follows(
        [62, 58], [p_at_62_hz, p_at_58_hz], {"frequency_droop": {"pre_pu": pre_pu}}, unit="Hz", mra_x=0, mra_y=1e-4
    )
    assert found.outcome == "PASS"


def test_a_step_in_a_curve_allows_both_of_its_values() -> None:
    curve = {"points": [[0, 0], [1, 0], [1, 5], [2, 5]]}
    for y in (0, 2.5, 5):
        assert follows([1.0], [y], curve, **EXACT).outcome == "PASS"
    assert follows([1.1], [4.9], curve, **EXACT).outcome == "FAIL"


@pytest.mark.parametrize(("within_s", "lag_s", "outcome"), [(50, 40, "PASS"), (50, 60, "FAIL"), (90, 80, "PASS")])
def test_what_was_seen_holds_until_the_next_value_also_where_that_is_within_the_response_time(
    within_s: float, lag_s: int, outcome: str
) -> None:
    seen = np.array([0.0, 1.0, 0.0, 0.0, 1.0, 1.0])  # every minute, and answered to every 10 s
    answer = np.repeat(seen, 6)[np.maximum(np.arange(36) - lag_s // 10, 0)]
    recorded = Memory(grid__v_pu=("pu", 60, seen), pv__q=("pu", 10, answer))
    given = {"x": "grid.v_pu", "y": "pv.q", "curve": {"points": [[0, 0], [1, 1]]}, "within_s": within_s, **EXACT}
    assert verdict(follows_curve.KIND, recorded, **given).outcome == outcome


def test_extremes_of_a_curve_that_turns_are_at_its_corners() -> None:
    corners = Characteristic.model_validate({"points": [[0, 0], [1, 2], [2, -1], [3, 0]]}).corners
    least, most = extremes(corners, np.array([0.5, 0.0]), np.array([2.5, 0.25]))
    assert (least.tolist(), most.tolist()) == ([-1.0, 0.0], [2.0, 0.5])


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"x": "kvar"}, "give mra_x"),
        ({"within_s": 600}, "covers no more than within_s"),
    ],
)
def test_what_cannot_be_compared_is_inconclusive(settings: dict[str, Any], why: str) -> None:
    unit = settings.pop("x", "pu")
    found = follows([1, 1], [0, 0], VOLT_VAR, unit=unit, **settings)
    assert (found.outcome, why in found.text) == ("INCONCLUSIVE", True)


@pytest.mark.parametrize(
    ("curve", "why"),
    [
        ({}, "needs exactly one of points, volt_var, volt_watt, frequency_droop"),
        ({"volt_var": "category-a", "volt_watt": "category-a"}, "needs exactly one of"),
        ({"volt_var": "category-c"}, "'category-a' or 'category-b'"),
        ({"points": [[1, 0]]}, "at least 2 items"),
        ({"points": [[1, 0], [0, 1]]}, "points must have a rising x"),
        ({"points": [[0, 0], [2, 1], [1, 1]]}, "points must have a rising x"),
        ({"frequency_droop": {"pre_pu": 0.1}}, "pre_pu 0.1 must lie from least_pu to most_pu"),
    ],
)
def test_curves_that_are_none_are_refused(curve: dict[str, Any], why: str) -> None:
    assert why in refusal(follows_curve.KIND, {"x": "a.x", "y": "a.y", "curve": curve})
