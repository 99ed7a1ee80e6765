"""What customers went without, who is taken off, and when an island may be connected: small cases by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from federates.control.microgrid.indices import Account, are_out, indices
from federates.control.microgrid.settings import LoadGroup, SheddingRules
from federates.control.microgrid.shedding import Priorities, Served, Strength
from federates.control.microgrid.synchronism import Difference, limits, passes, to_window_deg

# --- energy not served, IEEE 1366 --------------------------------------------------------------------


def counted(*steps: tuple[list[bool], list[float]], step_s: float = 120.0) -> Account:
    """Return the account of loads after steps of who is out, and with what demand."""
    account = Account.empty(len(steps[0][0]))
    for out, demand_kw in steps:
        account = account.after(np.array(out), np.array(demand_kw), step_s)
    return account


def test_energy_not_served_is_the_demand_of_those_that_are_out() -> None:
    """Ten minutes each, of 60 kW and 30 kW: 10 kWh are missed by the first, then 5 kWh by the second."""
    account = counted(([True, False], [60.0, 30.0]), ([False, True], [60.0, 30.0]), step_s=600.0)
    assert_allclose(account.unserved_kwh, [10.0, 5.0])
    assert_allclose(account.asked_kwh, [20.0, 10.0])


def test_saidi_and_saifi_of_two_feeders_by_hand() -> None:
    """100 customers are out for 1 h and 50 for 10 min of 4 h: SAIDI (100 * 60 + 50 * 10) / 200 min, SAIFI 150 / 200."""
    out = [([k < 30, 30 <= k < 35, False], [1.0, 1.0, 1.0]) for k in range(120)]
    found = indices(counted(*out), np.array([100.0, 50.0, 50.0]), 120 * 120.0)
    assert found.saidi_h == pytest.approx(6500.0 / 200.0 / 60.0)
    assert found.saifi == pytest.approx(0.75)
    assert found.caidi_h == pytest.approx(6500.0 / 150.0 / 60.0)
    assert found.asai_pu == pytest.approx(1.0 - 6500.0 / 200.0 / 60.0 / 4.0)
    assert found.maifi == 0.0


def test_interruption_of_five_minutes_is_momentary_and_one_of_six_is_sustained() -> None:
    account = counted(*[([True, True], [1.0, 1.0])] * 5, ([False, True], [1.0, 1.0]), ([False, False], [1.0, 1.0]),
                      step_s=60.0)  # fmt: skip
    assert account.momentary.tolist() == [1.0, 0.0]
    assert account.sustained.tolist() == [0.0, 1.0]
    assert account.interrupted_s.tolist() == [0.0, 360.0]


def test_two_interruptions_count_twice() -> None:
    account = counted(*[([True], [1.0])] * 3, ([False], [1.0]), *[([True], [1.0])] * 4)
    assert account.sustained.tolist() == [2.0]
    assert account.interrupted_s.tolist() == [840.0]


def test_load_is_out_when_it_is_off_or_draws_nothing_of_what_it_asks_for() -> None:
    on, demand_kw, solved_kw = np.array([False, True, True, True]), np.array([5.0, 5.0, 5.0, 0.0]), np.zeros(4)
    solved_kw[2] = 4.6
    assert are_out(on, demand_kw, solved_kw, True).tolist() == [True, True, False, False]


def test_an_interruption_goes_on_while_nothing_is_asked_for() -> None:
    """Two hours without supply of a load that runs for half an hour in each: one interruption of two hours."""
    account, on = Account.empty(1), np.array([True])
    steps = [(6.0, 0.0, False), (0.0, 0.0, False)] * 2 + [(0.0, 0.0, True), (6.0, 6.0, True)]
    for asked_kw, solved_kw, is_live in steps:
        out = are_out(on, np.array([asked_kw]), np.array([solved_kw]), is_live)
        account = account.after(out, np.array([asked_kw]), 1800.0)
    assert (account.sustained[0], account.interrupted_s[0], account.unserved_kwh[0]) == (1.0, 7200.0, 6.0)


# --- shedding ----------------------------------------------------------------------------------------

GROUPS = (
    LoadGroup(fleet="wards", priority=1, critical=True),
    LoadGroup(fleet="offices", priority=2, shed_below_soc_pu=0.4),
    LoadGroup(fleet="depot", priority=3, shed_below_soc_pu=0.7),
)
RULES = SheddingRules(most_pu=0.9, every_s=300.0, rest_s=900.0, cold_load_pu=0.5, band_soc_pu=0.1)
DEMAND_KW = np.array([100.0, 80.0, 60.0])
STRONG = Strength(soc_pu=0.9, f_hz=60.0, given_kw=100.0, can_kw=500.0, could_kw=500.0, carried_kva=0.0, rated_kva=1e9)


def priorities() -> Priorities:
    return Priorities(GROUPS, [True] * 3, RULES, 60.0)


@pytest.mark.parametrize(
    ("soc_pu", "on"), [(0.7, [1, 1, 1]), (0.69, [1, 1, 0]), (0.4, [1, 1, 0]), (0.39, [1, 0, 0]), (0.0, [1, 0, 0])]
)
def test_groups_go_by_what_is_stored(soc_pu: float, on: list[int]) -> None:
    rank = priorities()
    assert rank.rationed(rank.all_on, STRONG._replace(soc_pu=soc_pu), 0.0).on.tolist() == [bool(x) for x in on]


def test_one_group_a_step_goes_while_the_frequency_is_low_or_sources_are_full() -> None:
    """By hand: below 59.3 Hz; or more than 0.9 of 500 kW."""
    rank = priorities()
    for weak in (STRONG._replace(f_hz=59.29), STRONG._replace(given_kw=450.1)):
        served = rank.rationed(rank.all_on, weak, 0.0)
        assert served.on.tolist() == [True, True, False]
        assert rank.rationed(served, weak, 60.0).on.tolist() == [True, False, False]
    assert rank.rationed(rank.all_on, STRONG._replace(f_hz=59.31, given_kw=449.9), 0.0).on.all()


def test_group_comes_back_by_priority_with_its_margin_for_cold_load() -> None:
    """Offices want 80 kW and 40 kW more when cold: 120 kW must be left of 0.9 * 500 kW, so 330 kW may be given."""
    rank, off = priorities(), Served(np.array([True, False, False]))
    assert rank.restored(off, DEMAND_KW, STRONG._replace(given_kw=330.0), 0.0).on.tolist() == [True, True, False]
    assert rank.restored(off, DEMAND_KW, STRONG._replace(given_kw=331.0), 0.0).on.tolist() == [True, False, False]


def test_group_comes_back_with_its_reactive_power() -> None:
    """120 kW at 0.85 are 141.2 kVA: 308.8 of 0.9 * 500 kVA may be carried."""
    rank, off = priorities(), Served(np.array([True, False, False]))
    near = STRONG._replace(rated_kva=500.0, carried_kva=308.8)
    assert rank.restored(off, DEMAND_KW, near, 0.0).on[1]
    assert not rank.restored(off, DEMAND_KW, near._replace(carried_kva=309.0), 0.0).on[1]


def test_group_comes_back_above_its_band_only() -> None:
    rank, off = priorities(), Served(np.array([True, False, True]))
    assert not rank.restored(off, DEMAND_KW, STRONG._replace(soc_pu=0.49), 0.0).on[1]
    assert rank.restored(off, DEMAND_KW, STRONG._replace(soc_pu=0.51), 0.0).on[1]


def test_groups_come_back_one_by_one_and_not_soon_after_one_went() -> None:
    rank = priorities()
    first = rank.restored(Served(np.array([True, False, False])), DEMAND_KW, STRONG, 1000.0)
    assert rank.restored(first, DEMAND_KW, STRONG, 1299.0).on.tolist() == [True, True, False]
    assert rank.restored(first, DEMAND_KW, STRONG, 1300.0).on.all()
    gone = Served(np.array([True, True, False]), last_off_s=1000.0)
    assert not rank.restored(gone, DEMAND_KW, STRONG, 1899.0).on[2]
    assert rank.restored(gone, DEMAND_KW, STRONG, 1900.0).on[2]


def test_what_cannot_be_taken_off_stays() -> None:
    rank = Priorities(GROUPS, [True, False, True], RULES, 60.0)
    assert rank.only(np.zeros(3, np.bool_), rank.all_on, 0.0).on.tolist() == [False, True, False]


# --- synchronism, IEEE 1547-2018 table 5 -------------------------------------------------------------


@pytest.mark.parametrize(
    ("rated_kva", "hz", "v_pu", "deg"),
    [(500.0, 0.3, 0.10, 20.0), (501.0, 0.2, 0.05, 15.0), (1500.0, 0.2, 0.05, 15.0), (1501.0, 0.1, 0.03, 10.0)],
)
def test_limits_of_synchronism_follow_the_aggregate_rating(
    rated_kva: float, hz: float, v_pu: float, deg: float
) -> None:
    most = limits(rated_kva)
    assert most == (hz, v_pu, deg)
    still = Difference(0.0, 0.0, 0.0)
    assert passes(still._replace(v_pu=-v_pu), most, 1.0)
    assert not passes(still._replace(v_pu=v_pu + 0.001), most, 1.0)
    assert passes(still._replace(angle_deg=deg), most, 1.0)
    assert not passes(still._replace(angle_deg=deg + 0.1), most, 1.0)
    assert passes(still._replace(hz=-hz), most, 1.0)
    assert not passes(still._replace(hz=hz + 0.001), most, 1e6)


def test_angle_that_turns_into_the_window_within_the_step_passes() -> None:
    """From 90 deg, 0.02 Hz faster, to -20 deg: 250 deg, at 7.2 deg/s in 34.7 s. Slower: 70 deg, in 9.7 s."""
    most = limits(500.0)
    ahead, behind = Difference(0.02, 0.0, 90.0), Difference(-0.02, 0.0, 90.0)
    assert to_window_deg(ahead, 20.0) == pytest.approx(250.0)
    assert to_window_deg(behind, 20.0) == pytest.approx(70.0)
    assert [passes(ahead, most, s) for s in (34.0, 35.0)] == [False, True]
    assert [passes(behind, most, s) for s in (9.0, 10.0)] == [False, True]
    assert not passes(Difference(0.0, 0.0, 90.0), most, 1e6)
