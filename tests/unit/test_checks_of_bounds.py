"""Energy, last values, ramps, loading and frequency: what must fail fails, where and when it was worst."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judged import NS, Memory, refusal, verdict

from derloop.checks import ends_within, energy, frequency, loading, ramp_rate
from derloop.plugins import check_kind, names
from derloop.verdict import CheckKind


def test_every_check_is_found_by_its_name_and_describes_its_settings() -> None:
    for name in names("derloop.checks"):
        kind = check_kind(name)
        assert kind.name == name
        assert all(field.description for field in kind.settings.model_fields.values()), name


# energy


def power(**settings: Any) -> Any:
    recorded = Memory(grid__head_kw=("kW", 900, [4, 8, -4, 2]))  # 1 + 2 - 1 + 0.5 = 2.5 kWh
    return verdict(energy.KIND, recorded, signal="grid.head_kw", **settings)


@pytest.mark.parametrize(
    ("settings", "outcome", "measured", "margin"),
    [
        ({"max_kwh": 2.5}, "PASS", 2.5, 0.0),
        ({"max_kwh": 2.4}, "FAIL", 2.5, -0.1),
        ({"direction": "positive", "max_kwh": 3}, "FAIL", 3.5, -0.5),
        ({"direction": "negative", "min_kwh": 1.5}, "FAIL", 1.0, -0.5),
        ({"direction": "negative", "max_kwh": 1}, "PASS", 1.0, 0.0),
        ({"min_kwh": 2, "max_kwh": 4}, "PASS", 2.5, 0.5),
        ({"min_kwh": 2, "max_kwh": 2.6}, "PASS", 2.5, 0.1),
        ({"min_kwh": 2.5, "max_kwh": 2.5}, "PASS", 2.5, 0.0),
        ({"from_s": 900, "to_s": 2700, "max_kwh": 0.9}, "FAIL", 1.0, -0.1),
        ({"to_s": 9, "min_kwh": 0.02}, "FAIL", 0.01, -0.01),
        ({"from_s": 450, "to_s": 1350, "max_kwh": 1.6}, "PASS", 1.5, 0.1),
        ({"from_s": 3591, "max_kwh": 0.005}, "PASS", 0.005, 0.0),
    ],
)
def test_energy_is_the_integral_of_power(
    settings: dict[str, Any], outcome: str, measured: float, margin: float
) -> None:
    found = power(**settings)
    assert (found.outcome, found.unit, found.source) == (outcome, "kWh", "scenario")
    assert (found.measured, found.margin) == (pytest.approx(measured), pytest.approx(margin, abs=1e-12))


def test_an_energy_that_passes_its_bound_is_dated_to_when_it_did() -> None:
    assert power(direction="positive", max_kwh=2.5).when_ns == 900 * NS


def test_energies_are_judged_by_element_or_in_sum() -> None:
    recorded = Memory(fleet__p_kw=("kW", 3600, [[1, 2], [1, 3]]))
    each = verdict(energy.KIND, recorded, signal="fleet.p_kw", max_kwh=4)
    assert (each.outcome, each.measured, each.where) == ("FAIL", 5.0, "fleet.p_kw at 'e2'")
    whole = verdict(energy.KIND, recorded, signal="fleet.p_kw", of="sum", max_kwh=6)
    assert (whole.outcome, whole.measured, whole.where) == ("FAIL", 7.0, "fleet.p_kw in sum")


def test_signals_of_different_steps_have_no_sum() -> None:
    recorded = Memory(a__p_kw=("kW", 60, [1, 1, 1]), b__p_kw=("kW", 90, [1, 1]))
    found = verdict(energy.KIND, recorded, signal="*.p_kw", of="sum", max_kwh=1)
    assert (found.outcome, "different steps" in found.text) == ("INCONCLUSIVE", True)


def test_an_energy_of_something_else_than_a_power_is_inconclusive() -> None:
    found = verdict(energy.KIND, Memory(a__soc_pu=("pu", 60, [1, 1])), signal="a.soc_pu", max_kwh=1)
    assert (found.outcome, "needs 'kW'" in found.text) == ("INCONCLUSIVE", True)


# ends-within


@pytest.mark.parametrize(
    ("settings", "outcome", "measured"),
    [
        ({"max": 12.5}, "PASS", 12.5),
        ({"max": 12}, "FAIL", 12.5),
        ({"min": 13}, "FAIL", 12.5),
        ({"max": 2.5, "change": True}, "PASS", 2.5),
        ({"max": 2, "change": True}, "FAIL", 2.5),
        ({"max": 10.9, "to_s": 7200}, "FAIL", 11.0),
    ],
)
def test_the_last_value_of_an_account_is_judged(settings: dict[str, Any], outcome: str, measured: float) -> None:
    recorded = Memory(bills__cost=("USD", 3600, [10, 11, 12.5]))
    found = verdict(ends_within.KIND, recorded, signal="bills.cost", **settings)
    assert (found.outcome, found.measured, found.unit) == (outcome, measured, "USD")


def test_the_worst_account_is_named_with_its_last_instant() -> None:
    recorded = Memory().add("bills.cost", "USD", 3600, [[0, 0], [5, 9]], ("home_1", "home_2"))
    found = verdict(ends_within.KIND, recorded, signal="bills.cost", max=8)
    assert (found.where, found.when_ns, found.margin) == ("bills.cost at 'home_2'", 3600 * NS, -1.0)


# ramp-rate


@pytest.mark.parametrize(("sign", "way"), [(1, "up_per_min"), (-1, "down_per_min")])
def test_a_ramp_at_its_limit_passes_whatever_rounding_does(sign: int, way: str) -> None:
    rise = sign * np.cumsum(np.full(1000, 0.1))  # 0.1 a second is 6 a minute; 0.3 - 0.2 is a little less than 0.1
    recorded = Memory(wind__p_kw=("kW", 1, rise))
    found = verdict(ramp_rate.KIND, recorded, signal="wind.p_kw", **{way: 6})
    assert (found.outcome, found.measured, found.margin) == ("PASS", sign * 6.0, 0.0)
    assert verdict(ramp_rate.KIND, recorded, signal="wind.p_kw", **{way: 5.999999}).outcome == "FAIL"


def ramp(**settings: Any) -> Any:
    recorded = Memory(wind__p_kw=("kW", 30, [0, 10, 20, 50, 45, 45]))  # 20, 20, 60, -10, 0 kW/min
    return verdict(ramp_rate.KIND, recorded, signal="wind.p_kw", **settings)


@pytest.mark.parametrize(
    ("settings", "outcome", "measured", "when_s"),
    [
        ({"up_per_min": 60}, "PASS", 60.0, 90),
        ({"up_per_min": 59}, "FAIL", 60.0, 90),
        ({"down_per_min": 9}, "FAIL", -10.0, 120),
        ({"down_per_min": 10}, "PASS", -10.0, 120),
        ({"up_per_min": 39, "over_s": 60}, "FAIL", 40.0, 90),  # from 10 to 50 kW within a minute
        ({"up_per_min": 40, "over_s": 60}, "PASS", 40.0, 90),
        ({"up_per_min": 30, "settle_s": 31}, "PASS", 20.0, 30),
    ],
)
def test_rates_of_change_are_held_to_their_limits(
    settings: dict[str, Any], outcome: str, measured: float, when_s: float
) -> None:
    found = ramp(**settings)
    assert (found.outcome, found.unit) == (outcome, "kW/min")
    assert (found.measured, found.when_ns) == (pytest.approx(measured), when_s * NS)


@pytest.mark.parametrize(
    ("over_s", "why"), [(45, "no multiple of the step"), (180, "covers no more than over_s, 180 s")]
)
def test_a_rate_that_cannot_be_taken_is_inconclusive(over_s: float, why: str) -> None:
    found = ramp(up_per_min=1, over_s=over_s)
    assert (found.outcome, why in found.text) == ("INCONCLUSIVE", True)


# loading and frequency


def test_a_loading_above_the_rating_fails_and_can_be_ignored() -> None:
    recorded = Memory().add("grid.loading_pu", "pu", 60, [[0.5, 1.2], [0.9, 1.1]], ("line.650632", "transformer.xfm1"))
    found = verdict(loading.KIND, recorded)
    assert (found.outcome, found.where, found.when_ns) == ("FAIL", "grid.loading_pu at 'transformer.xfm1'", 0)
    assert (found.measured, found.limit, "rating" in found.source) == (1.2, 1.0, True)
    assert verdict(loading.KIND, recorded, ignore=["transformer.*"]).outcome == "PASS"
    assert verdict(loading.KIND, recorded, ignore=["transformer.*"], max_pu=0.8).outcome == "FAIL"
    assert verdict(loading.KIND, recorded, ignore=["*"]).outcome == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("f_hz", "continuous", "mandatory"),
    [(58.8, "PASS", "PASS"), (61.3, "FAIL", "PASS"), (57.0, "FAIL", "PASS"), (61.9, "FAIL", "FAIL")],
)
def test_frequencies_are_judged_by_ieee_1547(f_hz: float, continuous: str, mandatory: str) -> None:
    recorded = Memory(area__f_hz=("Hz", 1, [60, f_hz, 60]))
    found = verdict(frequency.KIND, recorded)
    assert (found.outcome, "IEEE 1547-2018, 6.5.2" in found.source) == (continuous, True)
    assert verdict(frequency.KIND, recorded, range="ieee1547-mandatory").outcome == mandatory


@pytest.mark.parametrize(
    ("kind", "settings", "why"),
    [
        (energy.KIND, {"signal": "a.p"}, "min_kwh, max_kwh or both are needed"),
        (energy.KIND, {"signal": "a.p", "min_kwh": 2, "max_kwh": 1}, "min_kwh 2 must not be greater than max_kwh 1"),
        (ends_within.KIND, {"signal": "a.p"}, "min, max or both are needed"),
        (ramp_rate.KIND, {"signal": "a.p"}, "up_per_min, down_per_min or both are needed"),
        (ramp_rate.KIND, {"signal": "a.p", "up_per_min": -1}, "greater than or equal to 0"),
        (loading.KIND, {"max_pu": 0}, "greater than 0"),
        (frequency.KIND, {"range": "ieee1547"}, "ieee1547-continuous"),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind: CheckKind, settings: dict[str, Any], why: str) -> None:
    assert why in refusal(kind, settings)


def test_a_sum_adds_over_all_signals_that_fit() -> None:
    recorded = Memory(a__p_kw=("kW", 3600, np.ones((2, 3))), b__p_kw=("kW", 3600, np.ones((2, 1))))
    assert verdict(energy.KIND, recorded, signal="*.p_kw", of="sum", max_kwh=7).measured == 8.0
