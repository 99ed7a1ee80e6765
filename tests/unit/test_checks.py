"""Every check passes what it should, fails what it must, and says when it cannot tell."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from judged import NS, Memory, refusal, verdict
from numpy.typing import ArrayLike

from derloop.calendar import Calendar
from derloop.checks import judge_all, peak, ramp_rate, responds_within, settles, stays_within, tracking, voltage
from derloop.checks.ahead import beyond_the_end
from derloop.checks.junit import write_junit
from derloop.errors import DerloopError
from derloop.plugins import check_kind
from derloop.verdict import CheckEntry, CheckKind, Doubt, Recorded, Verdict


@pytest.mark.parametrize("kind", [stays_within.KIND, voltage.KIND, peak.KIND, tracking.KIND], ids=lambda k: k.name)
def test_every_check_comes_in_through_its_entry_point_and_describes_its_settings(kind: CheckKind) -> None:
    assert check_kind(kind.name) is kind
    assert all(field.description for field in kind.settings.model_fields.values())


# stays-within


def band(recorded: Recorded, **settings: Any) -> Verdict:
    return verdict(stays_within.KIND, recorded, signal="a.x", **settings)


def test_values_on_the_limits_are_within() -> None:
    found = band(Memory(a__x=("degC", 10, [1.0, 2.0, 3.0])), min=1, max=3)
    assert found.outcome == "PASS"
    assert (found.measured, found.limit, found.margin) == (1.0, 1.0, 0.0)


def test_one_value_outside_fails_and_is_named() -> None:
    found = band(Memory(a__x=("degC", 10, [[1, 2], [1, 2], [1, 3.5], [1, 2]])), max=3)
    assert found.outcome == "FAIL"
    assert (found.measured, found.limit, found.margin, found.unit) == (3.5, 3.0, -0.5, "degC")
    assert (found.where, found.when_ns) == ("a.x at 'e2'", 20 * NS)
    assert "12.5 % of the values" in found.text


@pytest.mark.parametrize(("value", "shown"), [(1.05000001, "1.05000001"), (1.06, "1.06"), (1.050000002, "1.050000002")])
def test_a_value_that_misses_a_limit_by_little_is_shown_to_miss_it(value: float, shown: str) -> None:
    found = band(Memory(a__x=("kW", 10, [1.0, value])), max=1.05)
    assert f"above 1.05 kW; worst: {shown} kW" in found.text
    assert "nearest to a limit: 1.05 kW" in band(Memory(a__x=("kW", 10, [1.05, 1.0])), max=1.05).text
    power = verdict(peak.KIND, Memory(a__x=("kW", 10, [1.05000001])), signal="a.x", limit_kw=1.05, window_s=0)
    assert "1.05000001 kW from 00:00:00, exceeds 1.05 kW" in power.text


def test_a_store_at_its_floor_keeps_to_it_whatever_rounding_does() -> None:
    store = Memory(a__x=("pu", 10, [0.5, 0.09999999999999999]))  # a tenth of 327.273 kWh, in parts of them
    assert band(store, min=0.1, max=1).outcome == "PASS"
    assert band(store, min=0.1, share=0.99).outcome == "PASS"
    assert band(Memory(a__x=("pu", 10, [0.5, 0.1 - 1e-9])), min=0.1).outcome == "FAIL"


def test_a_value_too_small_fails_against_the_lower_limit() -> None:
    found = band(Memory(a__x=("1", 10, [2.0, 0.25, 2.9])), min=1, max=3)
    assert (found.outcome, found.limit, found.margin) == ("FAIL", 1.0, -0.75)


def test_without_an_upper_limit_no_value_is_too_large() -> None:
    found = band(Memory(a__x=("kW", 10, [2.0, 1e9])), min=1)
    assert (found.outcome, found.measured, found.limit, found.margin) == ("PASS", 2.0, 1.0, 1.0)
    assert found.text.startswith("all values are at least 1 kW;")


def test_limits_may_be_equal() -> None:
    recorded = Memory(a__x=("1", 10, [3.0, 3.0]))
    assert band(recorded, min=3, max=3).outcome == "PASS"
    assert band(recorded, min=2, max=2).outcome == "FAIL"


@pytest.mark.parametrize(("share", "outcome"), [(0.9, "PASS"), (0.91, "FAIL")])
def test_a_share_counts_values_over_time_and_elements(share: float, outcome: str) -> None:
    values = np.ones((10, 2))
    values[3:5, 1] = 9.0
    values[6, 0] = 3.0  # on the limit
    found = band(Memory(a__x=("1", 10, values)), max=3, share=share)
    assert (found.outcome, found.measured, found.limit) == (outcome, 0.9, share)
    assert found.where == "a.x at 'e2'"


@pytest.mark.parametrize(("settle_s", "outcome"), [(20, "FAIL"), (21, "PASS")])
def test_an_excursion_is_allowed_if_shorter_than_settle_s(settle_s: float, outcome: str) -> None:
    found = band(Memory(a__x=("1", 10, [0, 9, 9, 0, 0, 9, 0.5, 0])), max=3, settle_s=settle_s)
    assert found.outcome == outcome


def test_excursions_may_be_shorter_than_a_second_and_those_that_are_allowed_are_no_values_outside() -> None:
    found = band(Memory(a__x=("1", 0.1, [0, 9, 0, 9, 9, 9, 0, 0])), max=3, settle_s=0.2)
    assert (found.outcome, "37.5 % of the values" in found.text) == ("FAIL", True)
    assert band(Memory(a__x=("1", 0.1, [0, 9, 0, 9, 0, 0])), max=3, settle_s=0.2).outcome == "PASS"


def test_excursions_of_different_elements_do_not_add_up() -> None:
    found = band(Memory(a__x=("1", 10, [[9, 0], [0, 9], [9, 0], [0, 9]])), max=3, settle_s=11)
    assert (found.outcome, found.measured) == ("PASS", 0.0)


def test_only_the_window_is_judged() -> None:
    recorded = Memory(a__x=("1", 10, [9, 9, 0, 0, 9]))
    assert band(recorded, max=3, from_s=20, to_s=40).outcome == "PASS"
    assert band(recorded, max=3, from_s=20, to_s=50).outcome == "FAIL"


@pytest.mark.parametrize(("to_s", "outcome"), [(39, "PASS"), (40, "PASS"), (41, "FAIL")])
def test_a_value_is_judged_where_it_holds_in_the_window(to_s: float, outcome: str) -> None:
    """As long as there is no other one, also where it is older than the window."""
    recorded = Memory(a__x=("1", 10, [9, 0, 5, 0, 9]))
    assert band(recorded, max=6, from_s=15, to_s=to_s).outcome == outcome
    found = band(recorded, max=3, from_s=25, to_s=27)
    assert (found.outcome, found.measured, found.when_ns) == ("FAIL", 5.0, 25 * NS)


def test_a_window_begins_with_the_value_of_its_first_instant_whatever_rounding_does() -> None:
    assert 4.1 * NS < 4_100_000_000
    recorded = Memory(a__x=("1", 0.1, np.where(np.arange(60) <= 40, 9.0, 0.0)))
    assert band(recorded, max=3, from_s=4.1).outcome == "PASS"
    assert band(recorded, max=3, from_s=4.0).outcome == "FAIL"


class Late(Memory):
    """A run whose signals begin two minutes after it."""

    def read(self, name: str) -> tuple[Any, Any]:
        time_ns, values = super().read(name)
        return time_ns + 120 * NS, values


@pytest.mark.parametrize(("from_s", "outcome"), [(59, "INCONCLUSIVE"), (60, "PASS"), (150, "PASS")])
def test_a_signal_that_begins_more_than_a_step_after_the_window_is_inconclusive(from_s: float, outcome: str) -> None:
    found = band(Late(a__x=("1", 60, [1, 1])), max=3, from_s=from_s)
    assert (found.outcome, "begins at 120 s, after from_s 59" in found.text) == (outcome, outcome == "INCONCLUSIVE")


@pytest.mark.parametrize(("from_s", "outcome"), [(10, "FAIL"), (14, "FAIL"), (15, "PASS")])
def test_an_excursion_lasts_as_long_as_it_does_in_the_window(from_s: float, outcome: str) -> None:
    recorded = Memory(a__x=("1", 10, [0, 9, 9, 0, 0, 0]))
    assert band(recorded, max=3, settle_s=15.5, from_s=from_s).outcome == outcome


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"max": 3, "to_s": 60}, "a.x ends at 50 s, before to_s 60"),
        ({"max": 3, "from_s": 50}, "no value from 50 s on"),
        ({"max": 3, "settle_s": 51}, "less than settle_s 51"),
        ({"max": 3, "from_s": 30, "settle_s": 21}, "20 s are judged, less than settle_s 21"),
    ],
)
def test_too_short_a_run_is_inconclusive(settings: dict[str, Any], why: str) -> None:
    found = band(Memory(a__x=("1", 10, np.zeros(5))), **settings)
    assert found.outcome == "INCONCLUSIVE"
    assert why in found.text


@pytest.mark.parametrize(
    ("values", "why"),
    [(np.zeros((0, 2)), "a.x has no values"), (np.zeros((3, 0)), "have no elements"), ([0, np.nan, 0], "not finite")],
)
def test_without_values_that_can_be_judged_it_is_inconclusive(values: ArrayLike, why: str) -> None:
    recorded = Memory().add("a.x", "1", 10, values)
    found = band(recorded, max=3)
    assert found.outcome == "INCONCLUSIVE"
    assert why in found.text


def test_a_signal_that_was_not_recorded_is_inconclusive() -> None:
    found = band(Memory(), max=3)
    assert (found.check, found.kind, found.outcome) == ("it", "stays-within", "INCONCLUSIVE")
    assert found.text == "no signal 'a.x' was recorded"


def test_signals_of_several_units_are_inconclusive() -> None:
    recorded = Memory(a__x=("kW", 10, [0, 0]), b__x=("pu", 10, [0, 0]))
    found = verdict(stays_within.KIND, recorded, signal="*.x", max=3)
    assert (found.outcome, "several units: kW, pu" in found.text) == ("INCONCLUSIVE", True)


def test_of_several_signals_the_worst_is_named() -> None:
    recorded = Memory(a__x=("1", 10, [0, 4]), b__x=("1", 5, [0, 0, 0, 5]))
    found = verdict(stays_within.KIND, recorded, signal="*.x", max=3)
    assert (found.where, found.when_ns, found.measured) == ("b.x at 'e1'", 15 * NS, 5.0)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "needs min, max or both"),
        ({"min": 2, "max": 1}, "min 2 must not be greater than max 1"),
        ({"max": 1, "from_s": 10, "to_s": 10}, "to_s 10 must be greater than from_s 10"),
        ({"max": 1, "share": 0}, "greater than 0"),
        ({"max": float("nan")}, "finite"),
        ({"max": 1, "maximum": 2}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], why: str) -> None:
    assert why in refusal(stays_within.KIND, {"signal": "a.x", **settings})


# voltage


def feeder(values: ArrayLike, labels: tuple[str, ...]) -> Memory:
    recorded = Memory(grid__head_kw=("kW", 60, [1, 1]), inverter__v_pu=("pu", 60, [2, 2]))
    return recorded.add("grid.v_pu", "pu", 60, values, labels).add("grid.pv.v_pu", "pu", 60, [2, 2])


@pytest.mark.parametrize(
    ("v_pu", "a", "b"),
    [(0.95, "PASS", "PASS"), (1.05, "PASS", "PASS"), (0.949, "FAIL", "PASS"), (1.058, "FAIL", "PASS"),
     (0.916, "FAIL", "FAIL"), (1.059, "FAIL", "FAIL")],
)  # fmt: skip
def test_service_voltages_are_judged_by_ansi_c84_1(v_pu: float, a: str, b: str) -> None:
    recorded = feeder([[1, 1], [1, v_pu]], ("671.1", "671.2"))
    assert verdict(voltage.KIND, recorded).outcome == a
    assert verdict(voltage.KIND, recorded, range="ansi-c84.1-b").outcome == b


def test_a_voltage_verdict_names_node_instant_and_standard() -> None:
    found = verdict(voltage.KIND, feeder([[1, 1], [1, 1.07]], ("671.1", "671.2")))
    assert (found.where, found.when_ns, found.limit) == ("grid.v_pu at '671.2'", 60 * NS, 1.05)
    assert "ANSI C84.1-2020, table 1, range A" in found.source


@pytest.mark.parametrize("pattern", ["rg60", "RG60.*", "rg*.2"])
def test_nodes_can_be_ignored_by_bus_and_by_node(pattern: str) -> None:
    recorded = feeder([[1, 1.07]], ("671.1", "rg60.2"))
    assert verdict(voltage.KIND, recorded).outcome == "FAIL"
    assert verdict(voltage.KIND, recorded, ignore=[pattern]).outcome == "PASS"


def test_a_verdict_says_what_of_a_run_was_not_judged() -> None:
    """All values of a part of the run, and of a part of the nodes, are not all values."""
    recorded = feeder([[1.2, 1.0], [1.2, 1.01], [1.2, 1.5]], ("rg60.1", "671.1"))
    text = verdict(voltage.KIND, recorded, ignore=["rg60"], to_s=120).text
    assert text.startswith("all values are within 0.95 to 1.05 pu;")
    assert text.endswith("; 1 of 2 elements are ignored; judged until 00:02:00")
    head = Memory(a__x=("1", 60, [9, 1, 1]))
    assert verdict(stays_within.KIND, head, signal="a.x", max=2, from_s=60).text.endswith("; judged from 00:01:00")
    assert "judged" not in verdict(stays_within.KIND, head, signal="a.x", max=9).text


def test_a_window_that_the_run_fills_is_no_part_of_it() -> None:
    recorded = Memory(a__x=("1", 60, [1, 1, 1]))
    recorded.calendar = Calendar(lasts=timedelta(seconds=180))
    found = [verdict(stays_within.KIND, recorded, signal="a.x", max=2, to_s=to_s).text for to_s in (120, 180, 1e6)]
    assert ["judged until" in text for text in found] == [True, False, False]


def test_a_voltage_check_that_ignores_every_node_is_inconclusive() -> None:
    found = verdict(voltage.KIND, feeder([[1]], ("671.1",)), ignore=["*"])
    assert (found.outcome, found.text) == ("INCONCLUSIVE", "every element is ignored: *")


def test_a_voltage_in_volts_is_inconclusive() -> None:
    found = verdict(voltage.KIND, Memory(a__v=("V", 60, [1.0])), signal="a.v")
    assert found.outcome == "INCONCLUSIVE"


# peak


def test_a_peak_is_averaged_over_demand_intervals() -> None:
    power = np.full(60, 100.0)
    power[20:30] = 400.0  # within 15..29 min: mean (5 x 100 + 10 x 400) / 15 = 300
    recorded = Memory(grid__head_kw=("kW", 60, power))
    found = verdict(peak.KIND, recorded, signal="grid.head_kw", limit_kw=299)
    assert (found.outcome, found.when_ns, found.where) == ("FAIL", 900 * NS, "grid.head_kw at 'e1'")
    assert (found.measured, found.margin) == (pytest.approx(300.0, rel=1e-12), pytest.approx(-1.0, rel=1e-9))
    assert verdict(peak.KIND, recorded, signal="grid.head_kw", limit_kw=300).outcome == "PASS"


def test_the_highest_peak_of_several_signals_decides_whenever_it_is() -> None:
    early, late = np.repeat([9.0, 1.0], 15), np.repeat([1.0, 7.0], 15)
    found = verdict(peak.KIND, Memory(a__p=("kW", 60, early), b__p=("kW", 60, late)), signal="*.p", limit_kw=8)
    assert (found.outcome, found.measured, found.where, found.when_ns) == ("FAIL", 9.0, "a.p at 'e1'", 0)


def test_a_signal_that_covers_no_whole_interval_is_inconclusive_beside_one_that_does() -> None:
    recorded = Memory(a__p=("kW", 60, np.ones(15)), b__p=("kW", 60, np.ones(5)))
    found = verdict(peak.KIND, recorded, signal="*.p", limit_kw=5)
    assert (found.outcome, "b.p covers no whole interval of 900 s" in found.text) == ("INCONCLUSIVE", True)


def test_a_peak_of_another_unit_or_of_steps_that_do_not_fit_is_told_before_the_run() -> None:
    settings = peak.Peak(signal="a.p", limit_kw=5)
    signals = [Memory(a__p=(unit, step_s, [1])).select("a.p")[0] for unit, step_s in (("kvar", 60), ("kW", 7))]
    found = [peak.KIND.misfit(settings, signal) for signal in signals]
    assert found[0] == "a.p is in 'kvar'; this check needs 'kW'"
    assert found[1] == "window_s: 900 s is no multiple of the step of a.p, 7 s"


def test_without_a_window_every_value_counts() -> None:
    recorded = Memory(grid__head_kw=("kW", 60, [100, 100, 301, 100]))
    found = verdict(peak.KIND, recorded, signal="grid.head_kw", limit_kw=300, window_s=0)
    assert (found.outcome, found.measured, found.when_ns) == ("FAIL", 301.0, 120 * NS)


def test_a_constant_power_at_the_limit_passes_whatever_rounding_does() -> None:
    recorded = Memory(a__p=("kW", 1, np.full(900, 0.1)))
    assert verdict(peak.KIND, recorded, signal="a.p", limit_kw=0.1).outcome == "PASS"


@pytest.mark.parametrize(
    ("powers", "window", "part"),
    [
        ([1.0] * 15 + [9.0] * 5, {}, "9 kW, a.p at 'e1', from 00:15:00 for 300 s"),
        ([9.0] * 15 + [1.0] * 15, {"from_s": 570}, "9 kW, a.p at 'e1', from 00:09:30 for 330 s"),
        ([1.0] * 15 + [9.0] * 15, {"to_s": 1200}, "9 kW, a.p at 'e1', from 00:15:00 for 300 s"),
    ],
)
def test_a_part_of_an_interval_above_the_limit_neither_passes_nor_fails(
    powers: list[float], window: dict[str, float], part: str
) -> None:
    found = verdict(peak.KIND, Memory(a__p=("kW", 60, powers)), signal="a.p", limit_kw=5, **window)
    assert found.outcome == "INCONCLUSIVE"
    assert f"it is {part}, and no more is known of that interval of 900 s" in found.text


def test_a_part_of_an_interval_below_the_limit_changes_nothing() -> None:
    recorded = Memory(a__p=("kW", 60, [1.0] * 15 + [2.0] * 5))
    assert verdict(peak.KIND, recorded, signal="a.p", limit_kw=5).measured == 1.0
    recorded = Memory(a__p=("kW", 60, [6.0] * 15 + [9.0] * 5))
    assert verdict(peak.KIND, recorded, signal="a.p", limit_kw=5).measured == 6.0


def test_intervals_of_which_a_step_is_longer_are_judged_by_value() -> None:
    recorded = Memory(a__p=("kW", 3600, [1.0, 7.0]))
    assert verdict(peak.KIND, recorded, signal="a.p", limit_kw=5).measured == 7.0


@pytest.mark.parametrize(
    ("unit", "step_s", "why"),
    [("kW", 60, "covers no whole interval of 900 s"), ("kW", 7, "no multiple"), ("kvar", 900, "needs 'kW'")],
)
def test_a_peak_that_cannot_be_metered_is_inconclusive(unit: str, step_s: float, why: str) -> None:
    found = verdict(peak.KIND, Memory(a__p=(unit, step_s, [1.0, 2.0])), signal="a.p", limit_kw=5)
    assert found.outcome == "INCONCLUSIVE"
    assert why in found.text


# tracking


def follows(recorded: Recorded, **settings: Any) -> Verdict:
    return verdict(tracking.KIND, recorded, signal="bat.p_kw", reference="vpp.set", **settings)


def test_a_signal_equal_to_its_reference_has_no_error() -> None:
    ramp = np.arange(10.0)
    found = follows(Memory(bat__p_kw=("kW", 60, ramp), vpp__set=("kW", 60, ramp)))
    assert (found.outcome, found.measured, found.limit, found.margin) == ("PASS", 0.0, 0.05, 0.05)


@pytest.mark.parametrize(("measure", "measured"), [("rmse", 0.25), ("largest", 0.5)])
def test_errors_are_relative_to_the_rating(measure: str, measured: float) -> None:
    recorded = Memory(bat__p_kw=("kW", 60, [0, 0, 2, 0]), vpp__set=("kW", 60, [0, 0, 0, 0]))
    found = follows(recorded, rated=4, measure=measure)
    assert (found.outcome, found.measured, found.unit) == ("FAIL", measured, "pu")
    assert (found.where, found.when_ns) == ("bat.p_kw at 'e1'", 120 * NS)


def test_the_worst_element_decides_and_elements_are_found_by_label() -> None:
    recorded = Memory().add("bat.p_kw", "kW", 60, [[0, 5], [0, 9]], ("b1", "b2"))
    recorded.add("vpp.set", "kW", 60, [[5, 0], [5, 0]], ("b2", "b1"))
    found = follows(recorded, rated=10, measure="largest")
    assert (found.outcome, found.where, found.measured) == ("FAIL", "bat.p_kw at 'b2'", 0.4)


@pytest.mark.parametrize("measure", ["rmse", "largest"])
def test_an_error_at_the_tolerance_passes_whatever_rounding_does(measure: str) -> None:
    assert 1.05 - 1.0 > 0.05
    recorded = Memory(bat__p_kw=("kW", 60, [1.05, 1.05]), vpp__set=("kW", 60, [1.0, 1.0]))
    assert follows(recorded, measure=measure, rated=1, tolerance_pu=0.05).outcome == "PASS"
    assert follows(recorded, measure=measure, rated=1, tolerance_pu=0.0499).outcome == "FAIL"


def test_what_stays_below_its_reference_is_off_as_is_what_exceeds_it() -> None:
    recorded = Memory(bat__p_kw=("kW", 60, [1, 2, 0, 4]), vpp__set=("kW", 60, [1, 1, 5, 4]))
    found = follows(recorded, measure="largest", rated=10)
    assert (found.outcome, found.measured, found.when_ns) == ("FAIL", 0.5, 120 * NS)
    assert "of 10 kW, beyond 5 %; farthest off at 00:02:00" in found.text
    assert (
        "of 10 kW, within 60 %; farthest off" in follows(recorded, measure="largest", rated=10, tolerance_pu=0.6).text
    )


@pytest.mark.parametrize(("delay_s", "outcome"), [(0, "FAIL"), (60, "FAIL"), (120, "PASS"), (300, "PASS")])
def test_a_lag_up_to_the_delay_is_allowed(delay_s: float, outcome: str) -> None:
    wanted = np.array([0, 0, 0, 0, 0, 0, 5, 1, 4, 2, 3, 0, 0, 0, 0, 0], dtype=float)
    recorded = Memory(bat__p_kw=("kW", 60, np.roll(wanted, 2)), vpp__set=("kW", 60, wanted))
    assert follows(recorded, delay_s=delay_s).outcome == outcome


def test_what_is_farthest_off_is_so_at_the_delay_that_suits_best() -> None:
    """A minute late, and 1 kW off at its end: no delay, and two minutes, would be off where it rises."""
    recorded = Memory(bat__p_kw=("kW", 60, [0, 0, 0, 5, 0, 0, 0, 1]), vpp__set=("kW", 60, [0, 0, 5, 0, 0, 0, 0, 0]))
    found = follows(recorded, measure="largest", rated=10, delay_s=120)
    assert (found.measured, found.when_ns) == (pytest.approx(0.1), 420 * NS)


def test_a_reference_of_a_longer_step_holds_in_between() -> None:
    recorded = Memory(bat__p_kw=("kW", 60, [1, 1, 1, 3, 3, 3]), vpp__set=("kW", 180, [1, 3]))
    assert follows(recorded).measured == 0.0


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        (("kW", 60, [1, 1, 1]), "never changes"),
        (("kvar", 60, [1, 2, 3]), "in 'kW' and vpp.set in 'kvar'"),
        (("kW", 60, [[1, 2], [3, 4], [5, 6]]), "different elements"),
    ],
)
def test_a_reference_that_does_not_fit_is_inconclusive(reference: tuple[str, float, ArrayLike], why: str) -> None:
    found = follows(Memory(bat__p_kw=("kW", 60, [1, 2, 3]), vpp__set=reference))
    assert found.outcome == "INCONCLUSIVE"
    assert why in found.text


def test_a_delay_longer_than_the_run_is_inconclusive() -> None:
    recorded = Memory(bat__p_kw=("kW", 60, [1, 2]), vpp__set=("kW", 60, [1, 2]))
    assert "covers less than the delay" in follows(recorded, delay_s=120).text


# all of them


def test_verdicts_come_in_order_with_the_scenarios_names() -> None:
    recorded = Memory(a__x=("1", 10, [0, 9]))
    settings = stays_within.StaysWithin(signal="a.x", max=3)
    lost = stays_within.StaysWithin(signal="b.x", max=3)
    found = judge_all(
        [CheckEntry("one", stays_within.KIND, settings), CheckEntry("two", stays_within.KIND, lost)], recorded
    )
    assert [(v.check, v.outcome) for v in found] == [("one", "FAIL"), ("two", "INCONCLUSIVE")]


def test_a_check_that_raises_is_inconclusive_with_its_text() -> None:
    def judge(settings: object, recorded: Recorded) -> Verdict:
        raise DerloopError("the series cannot be read")

    kind = CheckKind("broken", "", stays_within.StaysWithin, judge, lambda settings: ())
    found = verdict(kind, Memory(), signal="a.x", max=1)
    assert found == Verdict("it", "broken", "INCONCLUSIVE", "the series cannot be read")


def _raises(*_: object) -> Any:
    raise ZeroDivisionError("division by zero")


def _leaves(*_: object) -> Any:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("judge", "fails_for_good", "why"),
    [
        (_raises, None, "could not be judged: ZeroDivisionError: division by zero (test_checks.py, line "),
        (_leaves, None, "could not be judged: SystemExit: 0"),
        (lambda *_: None, None, "the check 'own' gives NoneType, not a Verdict"),
        (lambda *_: Verdict("own", "own", "FAILED", ""), None, "'FAILED'; there are: PASS, FAIL, INCONCLUSIVE"),  # type: ignore[arg-type]
        (lambda *_: Verdict("own", "own", "PASS", ""), _raises, "could not be judged: ZeroDivisionError"),
    ],
)
def test_a_check_that_breaks_is_inconclusive_and_takes_no_other_verdict_with_it(
    judge: Any, fails_for_good: Any, why: str
) -> None:
    more = {"fails_for_good": fails_for_good} if fails_for_good else {}
    kind = CheckKind("own", "", stays_within.StaysWithin, judge, lambda _: (), **more)
    settings = stays_within.StaysWithin(signal="a.x", max=3)
    checks = [CheckEntry("broken", kind, settings), CheckEntry("sound", stays_within.KIND, settings)]
    broken, sound = judge_all(checks, Memory(a__x=("1", 10, [0, 1])))
    assert (broken.check, broken.outcome, sound.outcome) == ("broken", "INCONCLUSIVE", "PASS")
    assert why in broken.text


SIGNAL: dict[str, Any] = {"signal": "a.x", "max": 1}


@pytest.mark.parametrize(
    ("kind", "settings", "is_told"),
    [
        (stays_within.KIND, {**SIGNAL, "to_s": 60}, False),
        (stays_within.KIND, {**SIGNAL, "to_s": 60.5}, True),
        (stays_within.KIND, {**SIGNAL, "from_s": 59.9}, False),
        (stays_within.KIND, {**SIGNAL, "from_s": 60}, True),
        (settles.KIND, {"signal": "a.x", "band": 1, "at_s": 50, "within_s": 10}, False),
        (settles.KIND, {"signal": "a.x", "band": 1, "at_s": 50, "within_s": 11}, True),
        (settles.KIND, {"signal": "a.x", "band": 1, "at_s": 70, "within_s": 1}, True),
    ],
)
def test_a_check_that_looks_beyond_the_runs_end_is_told_before(
    kind: CheckKind, settings: dict[str, Any], is_told: bool
) -> None:
    check = CheckEntry("it", kind, kind.settings(**settings))
    said = ("checks that look beyond the run's end at 60 s will be INCONCLUSIVE: /checks/0 (it)",)
    assert beyond_the_end([check], 60 * NS) == (said if is_told else ())
    recorded = Memory(a__x=("1", 1, np.zeros(60)))
    assert (judge_all([check], recorded)[0].outcome == "INCONCLUSIVE") == is_told


def test_of_many_checks_beyond_the_end_some_are_named_and_those_within_others_too() -> None:
    late = CheckEntry("late", stays_within.KIND, stays_within.StaysWithin(signal="a.x", max=1, from_s=60))
    several = check_kind("all-of")
    both = CheckEntry("both", several, several.settings(of=({},)), (late,))
    (said,) = beyond_the_end([both, *[late] * 5], 60 * NS)
    assert said.endswith("/checks/4 (late) and 1 more")
    assert "/checks/0/of/0 (late), /checks/1 (late)" in said


def test_a_run_that_was_cut_short_passes_nothing_but_can_fail() -> None:
    recorded = Memory(a__x=("1", 10, [0, 9]))
    checks = [CheckEntry(f"{m}", stays_within.KIND, stays_within.StaysWithin(signal="a.x", max=m)) for m in (3, 10)]
    found = judge_all(checks, recorded, cut_short="the run failed at 20 s")
    assert [v.outcome for v in found] == ["FAIL", "INCONCLUSIVE"]
    assert found[1].text.startswith("the run failed at 20 s; until then: all values are at most 10;")


@pytest.mark.parametrize(
    ("kind", "settings", "outcome"),
    [
        (stays_within.KIND, {"signal": "a.x", "max": 3}, "FAIL"),
        (stays_within.KIND, {"signal": "a.x", "max": 3, "share": 0.9}, "INCONCLUSIVE"),
        (ramp_rate.KIND, {"signal": "a.x", "up_per_min": 3, "share": 0.9}, "INCONCLUSIVE"),
        (tracking.KIND, {"signal": "a.x", "reference": "b.x", "rated": 10}, "INCONCLUSIVE"),
        (tracking.KIND, {"signal": "a.x", "reference": "b.x", "measure": "largest"}, "INCONCLUSIVE"),
        (tracking.KIND, {"signal": "a.x", "reference": "b.x", "measure": "largest", "rated": 10}, "FAIL"),
        (settles.KIND, {"signal": "a.x", "at_s": 10, "within_s": 10, "band": 1}, "INCONCLUSIVE"),
        (settles.KIND, {"signal": "a.x", "at_s": 10, "within_s": 10, "band": 1, "final": 20}, "FAIL"),
        (responds_within.KIND, {"signal": "a.x", "at_s": 10, "within_s": 5}, "INCONCLUSIVE"),
        (responds_within.KIND, {"signal": "a.x", "at_s": 10, "within_s": 5, "final": 20}, "FAIL"),
    ],
)
def test_what_more_time_could_mend_has_not_failed_in_a_run_that_was_cut_short_or_is_in_doubt_after_it(
    kind: CheckKind, settings: dict[str, Any], outcome: str
) -> None:
    recorded = Memory(a__x=("1", 10, [0, 4, 8, 8, 12]), b__x=("1", 10, [0, 0, 1, 0, 0]))
    check = CheckEntry("it", kind, kind.settings(**settings))
    assert judge_all([check], recorded)[0].outcome == "FAIL"
    assert judge_all([check], recorded, cut_short="the run was interrupted")[0].outcome == outcome
    assert judge_all([check], recorded, doubts=[Doubt("", 60 * NS, ("a",))])[0].outcome == outcome


@pytest.mark.parametrize(
    ("pattern", "of", "outcome"),
    [("a.x", "a", "INCONCLUSIVE"), ("*x", "a", "INCONCLUSIVE"), ("*.x", "a", "INCONCLUSIVE"), ("*.x", "b", "PASS")],
)
def test_a_doubt_about_a_federate_is_one_about_every_signal_of_it_that_is_judged(
    pattern: str, of: str, outcome: str
) -> None:
    recorded = Memory(a__x=("1", 10, [0, 9]), b__y=("1", 10, [0, 9]))
    check = CheckEntry("it", stays_within.KIND, stays_within.StaysWithin(signal=pattern, max=10))
    assert judge_all([check], recorded, doubts=[Doubt("stale", 0, (of,))])[0].outcome == outcome


@pytest.mark.parametrize(
    ("since_s", "until_s", "outcome"),
    [
        (200, None, "PASS"),
        (199, None, "INCONCLUSIVE"),
        (0, 100, "PASS"),
        (0, 101, "INCONCLUSIVE"),
        (0, None, "INCONCLUSIVE"),
    ],
)
def test_only_a_doubt_about_what_is_judged_counts(since_s: float, until_s: float | None, outcome: str) -> None:
    recorded = Memory(a__x=("1", 10, np.zeros(30)))
    check = CheckEntry("it", stays_within.KIND, stays_within.StaysWithin(signal="a.x", max=10, from_s=100, to_s=200))
    doubt = Doubt("stale", since_s * NS, ("a",), None if until_s is None else until_s * NS)
    assert judge_all([check], recorded, doubts=[doubt])[0].outcome == outcome


@pytest.mark.parametrize(("failed", "outcome"), [(1, "FAIL"), (2, "INCONCLUSIVE"), (4, "INCONCLUSIVE")])
def test_what_failed_before_the_first_of_its_doubts_has_failed(failed: int, outcome: str) -> None:
    values = np.zeros(10)
    values[failed] = 9
    check = CheckEntry("it", stays_within.KIND, stays_within.StaysWithin(signal="a.x", max=3))
    doubts = [Doubt("late", 60 * NS, ("a",)), Doubt("stale", 20 * NS, ("a",))]
    assert judge_all([check], Memory(a__x=("1", 10, values)), doubts=doubts)[0].outcome == outcome


@pytest.mark.parametrize(("count", "said"), [(3, "d0; d1; d2. With"), (5, "d0; d1; d2; and 2 more. With")])
def test_of_many_doubts_a_verdict_names_some(count: int, said: str) -> None:
    check = CheckEntry("it", stays_within.KIND, stays_within.StaysWithin(signal="a.x", max=3))
    doubts = [Doubt(f"d{i}", 0, ("a",)) for i in range(count)]
    assert judge_all([check], Memory(a__x=("1", 10, [0, 0])), doubts=doubts)[0].text.startswith(said)


# junit


def written(path: Path, *verdicts: Verdict, failure: str | None = None) -> ET.Element:
    write_junit(path / "junit.xml", "quick", verdicts, failure, 1.5)
    return ET.parse(path / "junit.xml").getroot()


def test_junit_counts_failures_and_errors(tmp_path: Path) -> None:
    verdicts = [
        Verdict("a", "peak", "PASS", "good", 1.0, 2.0, 1.0, "kW", "grid.head_kw at 'head'", 60 * NS, "scenario"),
        Verdict("b", "peak", "FAIL", "bad"),
        Verdict("c", "peak", "INCONCLUSIVE", "who knows"),
    ]
    suite = written(tmp_path, *verdicts).find("testsuite")
    assert suite is not None
    assert {k: suite.get(k) for k in ("name", "tests", "failures", "errors", "time")} == {
        "name": "quick", "tests": "4", "failures": "1", "errors": "1", "time": "1.500",
    }  # fmt: skip
    assert [case.get("name") for case in suite] == ["run", "a", "b", "c"]
    assert [child.tag for child in suite[2]] == ["failure", "system-out"]
    assert "measured: 1 kW" in (suite[1].findtext("system-out") or "")


def test_junit_has_no_two_cases_of_one_name(tmp_path: Path) -> None:
    named = [Verdict(name, "peak", "FAIL", "too much") for name in ("peak", "peak", "peak 2", "run")]
    write_junit(tmp_path / "junit.xml", "quick", named, None, 1.5)
    names = [case.get("name") for case in ET.parse(tmp_path / "junit.xml").iter("testcase")]
    assert names == ["run", "peak", "peak 2", "peak 2 2", "run 2"]


def test_junit_says_where_no_check_was_asked_for(tmp_path: Path) -> None:
    balance = Verdict("balance of grid", "balance", "PASS", "closed", 1e-9, 1e-3)
    suite = written(tmp_path, balance).find("testsuite")
    assert suite is not None
    assert (suite.get("skipped"), suite[2].get("name")) == ("1", "checks")
    skipped = suite[2].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == (
        "nothing was asked of the run: its scenario has no checks, only its balances were judged"
    )
    asked = written(tmp_path, balance, Verdict("a", "peak", "PASS", "good")).find("testsuite")
    assert asked is not None
    assert [case.get("name") for case in asked] == ["run", "balance of grid", "a"]


def test_junit_of_a_failed_run_has_an_error(tmp_path: Path) -> None:
    error = written(tmp_path, failure="federate 'inv' at 12 s: gone").find("testsuite/testcase/error")
    assert error is not None
    assert error.get("message") == "federate 'inv' at 12 s: gone"


def test_junit_is_well_formed_whatever_a_text_holds(tmp_path: Path) -> None:
    text = "a\x00b\x1b[31m<&\"'>\ud800\ufffe]]>\n✓"
    suite = written(tmp_path, Verdict(text, "peak", "FAIL", text), failure=text).find("testsuite")
    assert suite is not None
    assert suite[1].findtext("failure") == "ab[31m<&\"'>]]>\n✓"


def test_a_mere_number_is_told_without_a_unit() -> None:
    recorded = Memory(m__starts=("1", 60, [0.0, 1.0, 2.0]))
    said = verdict(stays_within.KIND, recorded, signal="m.starts", max=6).text
    assert said == "all values are at most 6; nearest to a limit: 2, m.starts at 'e1', 00:02:00"
