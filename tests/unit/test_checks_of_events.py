"""Response times, settling, hunting, and what must never be together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judged import NS, Memory, refusal, verdict
from numpy.typing import ArrayLike

from derloop.checks import does_not_hunt, never_both, responds_within, settles
from derloop.checks.does_not_hunt import reversals
from derloop.verdict import CheckKind, Verdict

STEP = np.concatenate([np.zeros(10), 10 * (1 - np.exp(-np.arange(50) / 5.0))])
"""A step at 10 s, sampled every second, of time constant 5 s: 90 % after 5 ln 10 = 11.5 s."""


def responds(values: ArrayLike, **settings: Any) -> Verdict:
    recorded = Memory(inv__q=("kvar", 1, values))
    given = {"signal": "inv.q", "at_s": 10, "within_s": 12, "mra_t_pu": 0, **settings}
    return verdict(responds_within.KIND, recorded, **given)


@pytest.mark.parametrize(("within_s", "outcome"), [(11, "FAIL"), (12, "PASS")])
def test_ninety_percent_of_a_lag_of_five_seconds_take_twelve_samples(within_s: float, outcome: str) -> None:
    found = responds(STEP, within_s=within_s)
    assert (found.outcome, found.measured, found.unit) == (outcome, 12.0, "s")
    assert (found.where, found.when_ns) == ("inv.q at 'e1'", 22 * NS)
    assert "IEEE 1547.1" in found.source


def test_a_fall_is_an_answer_as_a_rise_is() -> None:
    assert responds(-STEP, within_s=11).outcome == "FAIL"
    assert responds(-STEP).outcome == "PASS"


def test_the_time_allowed_is_widened_by_the_accuracy_of_time() -> None:
    assert responds(STEP, within_s=11.9, mra_t_pu=0).outcome == "FAIL"
    found = responds(STEP, within_s=11.9, mra_t_pu=0.01)  # 11.9 x 1.015 = 12.08
    assert (found.outcome, found.limit) == ("PASS", pytest.approx(12.0785))


def test_the_accuracy_of_the_signal_is_allowed_for() -> None:
    # 9 - 1.5 x 0.2 = 8.7 is reached after 5 ln (10 / 1.3) = 10.2 s
    assert responds(STEP, within_s=11, mra_y=0.2).measured == 11.0


def test_one_that_does_not_answer_fails_where_its_end_is_known() -> None:
    still = np.zeros(60)
    assert responds(still).outcome == "INCONCLUSIVE"
    assert "does not move" in responds(still).text
    found = responds(still, final=10)
    assert (found.outcome, found.margin is not None and found.margin < 0) == ("FAIL", True)
    assert "has not gone 90 %" in found.text


def test_one_that_does_not_answer_fails_also_where_no_value_is_left_after_the_time_allowed() -> None:
    found = responds(np.zeros(22), final=10)  # the last value is at 11 s after the step, and holds until 12 s after it
    assert (found.outcome, found.margin is not None and found.margin < 0) == ("FAIL", True)
    assert "has not gone 90 % of the way 11 s after" in found.text


def test_a_signal_that_has_not_answered_counts_before_one_that_has_answered_later_than_its_last_value() -> None:
    """At 11 s after the event, where its last value is, the first has not; the second has at 11.5 s; 12 s are given."""
    quick = np.where(np.arange(44) < 43, 0.0, 10.0)
    recorded = Memory(a__q=("kvar", 1, np.zeros(22)), b__q=("kvar", 0.5, quick))
    given = {"at_s": 10, "within_s": 12, "mra_t_pu": 0, "final": 10}
    assert verdict(responds_within.KIND, recorded, signal="b.q", **given).outcome == "PASS"
    found = verdict(responds_within.KIND, recorded, signal="*.q", **given)
    assert (found.outcome, found.where) == ("FAIL", "a.q at 'e1'")


def test_an_element_that_has_not_answered_counts_before_one_that_has_at_the_last_instant() -> None:
    values = np.zeros((22, 2))
    values[21, 0] = 10.0
    assert responds(values[:, :1], final=10).outcome == "PASS"
    found = responds(values, final=10)
    assert (found.outcome, found.where) == ("FAIL", "inv.q at 'e2'")


def test_of_several_signals_the_slowest_decides() -> None:
    recorded = Memory(a__q=("kvar", 1, np.roll(STEP, 3)), b__q=("kvar", 1, STEP))
    found = verdict(responds_within.KIND, recorded, signal="*.q", at_s=10, within_s=14, mra_t_pu=0)
    assert (found.outcome, found.measured, found.where) == ("FAIL", 15.0, "a.q at 'e1'")


def test_the_way_begins_where_the_signal_was_before_the_event() -> None:
    """From 10 to 20 kvar: 19 kvar are 90 % of the way, after 5 ln 10 s."""
    assert responds(10 + STEP).measured == 12.0


def test_the_slowest_element_decides() -> None:
    found = responds(np.stack([STEP, np.roll(STEP, 3), np.zeros(60)], axis=1))
    assert (found.outcome, found.measured, found.where) == ("FAIL", 15.0, "inv.q at 'e2'")


@pytest.mark.parametrize(
    ("settings", "why"),
    [({"at_s": 55}, "ends before within_s"), ({"at_s": 70}, "ends before within_s")],
)
def test_a_run_too_short_for_an_answer_is_inconclusive(settings: dict[str, Any], why: str) -> None:
    found = responds(STEP, **settings)
    assert (found.outcome, why in found.text) == ("INCONCLUSIVE", True)


# settles


def rings(**settings: Any) -> Verdict:
    time_s = np.arange(60)
    values = np.where(time_s < 10, 0.0, 1 + np.cos(time_s - 10) * 0.8 ** (time_s - 10))
    recorded = Memory(grid__v=("pu", 1, values))
    return verdict(settles.KIND, recorded, **{"signal": "grid.v", "at_s": 10, "final": 1.0, **settings})


def test_what_rings_is_settled_once_it_stays_in_its_band() -> None:
    # |cos n| 0.8^n: 0.099 at n = 9 (0.911 x 0.134 = 0.122), 10 (0.839 x 0.107 = 0.090), 12 (0.844 x 0.0687 = 0.058)
    found = rings(within_s=9, band=0.1)
    assert (found.outcome, found.measured, found.when_ns) == ("FAIL", 10.0, 20 * NS)
    assert rings(within_s=10, band=0.1).outcome == "PASS"
    assert rings(within_s=10, band=0.01).outcome == "FAIL"


def test_what_never_leaves_its_band_is_settled_at_once() -> None:
    assert rings(within_s=5, band=2).measured == 0.0


def test_the_last_to_settle_decides_of_elements_and_of_signals() -> None:
    early, late = (np.where((np.arange(60) >= 10) & (np.arange(60) < end), 5.0, 0.0) for end in (20, 30))
    given = {"at_s": 10, "within_s": 15, "band": 0.1, "final": 0.0}
    both = Memory(a__x=("1", 1, np.stack([early, late, early], axis=1)))
    found = verdict(settles.KIND, both, signal="a.x", **given)
    assert (found.outcome, found.measured, found.where) == ("FAIL", 20.0, "a.x at 'e2'")
    found = verdict(settles.KIND, Memory(a__x=("1", 1, late), b__x=("1", 1, early)), signal="*.x", **given)
    assert (found.outcome, found.measured, found.where) == ("FAIL", 20.0, "a.x at 'e1'")
    assert "after the event at 00:00:10" in found.text


def test_at_the_edge_of_its_band_it_has_settled() -> None:
    recorded = Memory(a__x=("1", 1, [0, 0, 1.25, 1.25]))
    assert verdict(settles.KIND, recorded, signal="a.x", at_s=2, within_s=1, band=0.25, final=1).measured == 0.0


def test_one_outside_at_the_end_has_not_settled() -> None:
    values = np.concatenate([np.zeros(10), np.ones(49), [5.0]])
    found = verdict(
        settles.KIND, Memory(a__x=("1", 1, values)), signal="a.x", at_s=10, within_s=20, band=0.1, final=1.0
    )
    assert (found.outcome, found.measured, found.when_ns) == ("FAIL", 50.0, 60 * NS)


def test_the_window_may_end_with_the_time_allowed_whatever_rounding_does() -> None:
    recorded = Memory(a__x=("1", 0.1, [0.0, 1.0, 1.0]))  # 0.1 + 0.2 is a little more than 0.3
    found = verdict(settles.KIND, recorded, signal="a.x", at_s=0.1, within_s=0.2, to_s=0.3, band=0.1)
    assert (found.outcome, found.measured) == ("PASS", 0.0)


@pytest.mark.parametrize("window", [{}, {"to_s": 20}])
def test_one_outside_until_the_time_allowed_and_the_window_end_has_not_settled(window: dict[str, float]) -> None:
    recorded = Memory(a__x=("1", 1, np.zeros(20 if not window else 40)))
    found = verdict(settles.KIND, recorded, signal="a.x", at_s=10, within_s=10, band=0.1, final=1.0, **window)
    assert (found.outcome, found.margin is not None and found.margin < 0) == ("FAIL", True)
    assert found.text.startswith("a.x at 'e1' is not within 0.1 of 1 at 00:00:20, 10 s after")


@pytest.mark.parametrize(("at_s", "measured", "when_s"), [(10, 0.0, 10), (11, 9.0, 20), (19.5, 0.5, 20), (20, 0.0, 20)])
def test_what_holds_from_before_the_event_until_the_next_value_counts(
    at_s: float, measured: float, when_s: float
) -> None:
    recorded = Memory(a__x=("1", 10, [0.0, 0.0 if at_s > 10 else 5.0, 5.0, 5.0]))
    found = verdict(settles.KIND, recorded, signal="a.x", at_s=at_s, within_s=5, band=0.1, final=5.0)
    assert (found.outcome, found.measured, found.when_ns) == ("FAIL" if measured > 5 else "PASS", measured, when_s * NS)


def test_what_is_not_in_its_band_at_the_end_is_not_said_to_stay_there() -> None:
    found = rings(within_s=5, band=0.1, final=3.0)
    assert found.outcome == "FAIL"
    assert found.text.startswith("grid.v at 'e1' is not within 0.1 pu of 3 pu at 00:01:00, 50 s after the event at")


# does-not-hunt


def test_reversals_are_turns_beyond_the_amplitude() -> None:
    values = np.array([0, 2, 4, 3.5, 5, 1, 1.5, 0, 3], dtype=float)[:, None]
    # up to 5, then down by more than 1 at row 5; 1.5 is no turn; up again at row 8
    assert reversals(values, 1.0)[:, 0].tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 1]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_turns_slowly_is_found_from_its_extremes(sign: float) -> None:
    up = [0.0, 0.4, 0.8, 1.2, 1.6]
    values = sign * np.array([*up, *up[-2::-1], *up[1:]])[:, None]
    # from 1.6 back by more than 1 with 0.4, at row 7; from 0 by more than 1 with 1.2, at row 11
    assert np.flatnonzero(reversals(values, 1.0)).tolist() == [7, 11]


@pytest.mark.parametrize(("most", "outcome"), [(8, "PASS"), (7, "FAIL")])
def test_what_swings_to_and_fro_hunts(most: int, outcome: str) -> None:
    swing = np.tile([0.0, 1.0], 5)  # nine turns, the first of which is the beginning
    found = verdict(
        does_not_hunt.KIND, Memory(reg__q=("kvar", 60, swing)), signal="reg.q", amplitude=0.5, most=most, window_s=3600
    )
    assert (found.outcome, found.measured, found.limit) == (outcome, 8.0, most)


def test_reversals_far_apart_are_no_hunting() -> None:
    slow = np.repeat([0.0, 1.0, 0.0, 1.0, 0.0], 60)  # a turn each hour
    recorded = Memory(reg__q=("kvar", 60, slow))
    assert verdict(does_not_hunt.KIND, recorded, signal="reg.q", amplitude=0.5, most=1).measured == 1.0
    found = verdict(does_not_hunt.KIND, recorded, signal="reg.q", amplitude=0.5, most=1, window_s=7260)
    assert (found.outcome, found.measured) == ("FAIL", 3.0)


def test_only_the_reversals_within_the_worst_stretch_count() -> None:
    early, late = [0, 0, 1, 1, 0, 0, 0, 0, 0, 0], [0, 1, 0, 1, 1, 1]  # turns at rows 4, 11, 12 and 13
    recorded = Memory(reg__q=("kvar", 60, [*early, *late]))
    found = verdict(does_not_hunt.KIND, recorded, signal="reg.q", amplitude=0.5, most=3, window_s=300)
    assert (found.outcome, found.measured, found.when_ns) == ("PASS", 3.0, 13 * 60 * NS)


def test_a_ripple_within_the_amplitude_is_no_hunting() -> None:
    recorded = Memory(reg__q=("kvar", 60, np.tile([0.0, 0.4], 20)))
    assert verdict(does_not_hunt.KIND, recorded, signal="reg.q", amplitude=0.5, most=0).outcome == "PASS"


@pytest.mark.parametrize(("window_s", "outcome"), [(179, "INCONCLUSIVE"), (180, "FAIL")])
def test_a_window_in_which_it_cannot_hunt_proves_nothing(window_s: float, outcome: str) -> None:
    recorded = Memory(reg__q=("kvar", 60, np.tile([0.0, 1.0], 5)))
    found = verdict(does_not_hunt.KIND, recorded, signal="reg.q", amplitude=0.5, most=2, window_s=window_s)
    assert found.outcome == outcome
    if outcome == "INCONCLUSIVE":
        assert "window_s: no more than 2 reversals of reg.q fit in 179 s, at its step of 60 s; 2 are" in found.text


# never-both

CHARGING, EXPORTING = {"signal": "bat.p_kw", "below": -0.01}, {"signal": "meter.p_kw", "above": 0.01}


def both(battery: ArrayLike, meter: ArrayLike, step_s: float = 60, **settings: Any) -> Verdict:
    recorded = Memory(bat__p_kw=("kW", 60, battery), meter__p_kw=("kW", step_s, meter))
    return verdict(never_both.KIND, recorded, first=CHARGING, second=EXPORTING, **settings)


def test_charging_while_exporting_fails_at_the_first_instant_of_the_worst_place() -> None:
    found = both([[-1, -1], [0, -1], [-1, -1]], [[0, 0], [2, 2], [0, 2]])
    assert (found.outcome, found.measured, found.limit, found.unit) == ("FAIL", 120.0, 0.0, "s")
    assert (found.where, found.when_ns) == ("bat.p_kw at 'e2'", 60 * NS)


def test_the_worst_place_is_the_one_where_it_lasts_longest_in_all() -> None:
    found = both([[-1, 0], [0, 0], [0, -1], [0, -1]], [[2, 2]] * 4)
    assert (found.measured, found.where, found.when_ns) == (120.0, "bat.p_kw at 'e2'", 120 * NS)


def test_at_the_threshold_it_is_not_so_yet() -> None:
    assert both([-0.01, -1], [2, 0.01]).outcome == "PASS"
    assert both([-0.011, 0], [0.011, 0]).outcome == "FAIL"


def test_both_last_until_the_first_of_the_signals_ends() -> None:
    assert both([-1, -1, -1], [2, 2], step_s=120).measured == 180.0


def test_of_many_elements_those_count_that_the_other_signal_has_too() -> None:
    found = both([[0, -1, -1], [0, 0, -1]], [[0, 2], [0, 2]])
    assert (found.measured, found.where) == (60.0, "bat.p_kw at 'e2'")


def test_the_place_is_that_of_the_signal_with_several_elements() -> None:
    assert both([-1, -1], [[0, 2], [0, 0]]).where == "meter.p_kw at 'e2'"
    assert both([[0, -1], [0, 0]], [2, 2]).where == "bat.p_kw at 'e2'"
    assert both([-1, -1], [2, 2]).where == "bat.p_kw at 'e1'"


def test_both_lasts_as_long_as_it_does_in_the_window() -> None:
    found = both([-1, 0, -1], [2, 2, 2], from_s=20, to_s=130)
    assert (found.measured, found.when_ns) == (50.0, 20 * NS)


def test_charging_at_one_place_and_exporting_at_another_passes() -> None:
    assert both([[-1, 0], [0, -1]], [[0, 2], [2, 0]]).outcome == "PASS"


def test_what_lasts_no_longer_than_allowed_passes() -> None:
    assert both([-1, -1, 0], [2, 0, 0], settle_s=60).outcome == "PASS"
    assert both([-1, -1, 0], [2, 2, 0], settle_s=60).outcome == "FAIL"


def test_a_meter_of_all_belongs_to_each() -> None:
    found = both([[0, -1], [0, 0]], [3, 3])
    assert (found.outcome, found.where) == ("FAIL", "bat.p_kw at 'e2'")


def test_signals_of_different_steps_meet_at_the_finer_ones_instants() -> None:
    assert both([0, 0, -1, 0], [5, 0], step_s=120).outcome == "PASS"
    assert both([0, -1, 0, 0], [5, 0], step_s=120).measured == 60.0


@pytest.mark.parametrize(
    ("kind", "settings", "why"),
    [
        (responds_within.KIND, {"signal": "a.x", "at_s": 5, "within_s": 1, "from_s": 5}, "at_s 5 must be after from_s"),
        (settles.KIND, {"signal": "a.x", "at_s": 5, "within_s": 6, "to_s": 10, "band": 1}, "within_s 6 after at_s 5"),
        (does_not_hunt.KIND, {"signal": "a.x", "amplitude": 0}, "greater than 0"),
        (never_both.KIND, {"first": {"signal": "a.x"}, "second": EXPORTING}, "needs either above or below"),
        (
            never_both.KIND,
            {"first": {"signal": "a.x", "above": 1, "below": 0}, "second": EXPORTING},
            "needs either above or below",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind: CheckKind, settings: dict[str, Any], why: str) -> None:
    assert why in refusal(kind, settings)
