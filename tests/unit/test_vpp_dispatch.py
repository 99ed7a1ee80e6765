"""How a virtual power plant shares what it asks for among its members."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from federates.control.vpp.dispatch import Dispatch, Hours, longest_first


def dispatch(low: list[float], high: list[float]) -> Dispatch:
    low_kw, high_kw = np.array(low), np.array(high)
    return Dispatch(np.clip(0.0, low_kw, high_kw), low_kw, high_kw, np.zeros(low_kw.size))


def test_the_longest_go_first_until_all_can_go_on_equally_long() -> None:
    """10 kW each, for 4, 2 and 1 h. In a step of 1 h, 10 kW: the first gives 10 kW (4 h down to 3 h). 15 kW: level z
    with 10 clip(4 - z, 0, 1) + 10 clip(2 - z, 0, 1) = 15, so z = 1.5: the second gives 5 kW. 25 kW: z = 0.5, the third
    5 kW."""
    can, lasts = np.full(3, 10.0), np.array([4.0, 2.0, 1.0])
    assert_allclose(longest_first(10.0, can, lasts, 1.0), [10.0, 0.0, 0.0], atol=1e-12)
    assert_allclose(longest_first(15.0, can, lasts, 1.0), [10.0, 5.0, 0.0], atol=1e-12)
    assert_allclose(longest_first(25.0, can, lasts, 1.0), [10.0, 10.0, 5.0], atol=1e-12)
    assert_allclose(longest_first(99.0, can, lasts, 1.0), can)


def test_who_gives_something_already_has_less_left_to_give() -> None:
    first = dispatch([-10.0, -10.0], [10.0, 10.0]).toward(10.0, np.array([True, False]))
    assert_allclose(first.toward(15.0).p_kw, [10.0, 5.0])
    assert_allclose(first.moved(np.array([5.0, 25.0])).p_kw, [10.0, 10.0])
    assert first.floored(5.0).floored(3.0).floor_kw == 5.0


def test_in_a_quarter_of_an_hour_four_times_the_energy_can_be_given() -> None:
    """1 kWh is 4 kW for a quarter, 8 kWh last 0.8 h at 10 kW. 6 kW: the second gives them (0.8 h down to 0.65 h).
    12 kW: it gives 10, and the first 2 kW."""
    hours = Hours(np.array([1.0, 8.0]), np.zeros(2), 0.25)
    assert_allclose(hours.share(6.0, np.full(2, 10.0)), [0.0, 6.0], atol=1e-12)
    assert_allclose(hours.share(12.0, np.full(2, 10.0)), [2.0, 10.0], atol=1e-12)


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 24)), min_size=1, max_size=30),
    st.floats(0, 1),
    st.sampled_from([1 / 60, 0.25, 1.0]),
)
def test_all_is_shared_and_nobody_gives_more_than_it_can(
    devices: list[tuple[float, float]], pu: float, step: float
) -> None:
    can, lasts = np.array(devices).T
    total = pu * can.sum()
    given_kw = longest_first(float(total), can, lasts, step)
    assert given_kw.sum() == pytest.approx(total, rel=1e-9, abs=1e-9)
    assert (given_kw >= 0.0).all()
    assert (given_kw <= can).all()


def test_power_is_shared_in_proportion_to_what_is_left() -> None:
    moved = dispatch([-10, -10], [10, 30]).toward(20.0)
    assert_allclose(moved.p_kw, [5.0, 15.0])
    assert_allclose(moved.toward(-8.0).p_kw, [-5.5, -2.5])  # 28 kW down, of rooms of 15 and 25 kW


def test_what_must_be_done_counts_as_part_of_the_sum() -> None:
    """A car that has to charge with 7 kW; 10 kW are asked for, so the other one gives 17 kW."""
    assert_allclose(dispatch([-7, -20], [-7, 20]).toward(10.0).p_kw, [-7.0, 17.0])


def test_later_services_do_not_undo_what_earlier_ones_asked_for() -> None:
    asked = dispatch([-10, -10], [10, 10]).toward(5.0).settled()
    assert asked.toward(-20.0).total_kw == pytest.approx(5.0)
    assert asked.toward(12.0).total_kw == pytest.approx(12.0)
    bounded = dispatch([-10, -10], [10, 10]).bounded(least_kw=-3.0)
    assert bounded.toward(-20.0).total_kw == pytest.approx(-3.0)
    assert bounded.bounded(least_kw=-8.0).least_kw == -3.0
    assert bounded.bounded(most_kw=-9.0).most_kw == -3.0  # and never against an earlier bound


def test_headroom_that_is_held_back_is_not_there_for_others_and_deployed_on_top() -> None:
    held = dispatch([-10, -10], [10, 10]).kept(np.array([4.0, 0.0]), np.array([4.0, 0.0]), np.array([2.0, 0.0]))
    full = held.toward(np.inf)
    assert_allclose(full.p_kw, [6.0, 10.0])
    assert_allclose(full.setpoints_kw, [8.0, 10.0])
