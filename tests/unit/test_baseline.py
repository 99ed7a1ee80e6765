"""The 10-of-10 baseline of demand response."""

import numpy as np
import pytest

from federates.control.baseline import ten_of_ten

HOURS = np.arange(24.0)


def test_baseline_is_the_mean_of_the_ten_most_recent_days() -> None:
    old = np.full((3, 24), 1000.0)
    days = np.array([np.full(24, 10.0 + d) for d in range(10)])  # 10 to 19, mean 14.5
    found = ten_of_ten(np.vstack([old, days]), np.full(24, 14.5), begin=16, per_hour=1)
    assert found.p_kw.tolist() == [14.5] * 24
    assert found.factor == 1.0


def test_adjustment_on_the_day_scales_with_the_second_to_fourth_hour_before() -> None:
    days = np.tile(HOURS, (10, 1))
    today = HOURS.copy()
    today[12:15] *= 1.1
    today[15] *= 9.0  # the hour before the event does not count
    today[:12] = 0.0
    found = ten_of_ten(days, today, begin=16, per_hour=1)
    assert found.factor == pytest.approx(1.1)
    assert found.p_kw[18] == pytest.approx(19.8)


@pytest.mark.parametrize(("drawn", "factor"), [(3.0, 1.2), (0.1, 0.8), (1.15, 1.15)])
def test_adjustment_stays_between_80_and_120_percent(drawn: float, factor: float) -> None:
    found = ten_of_ten(np.ones((10, 24)), np.full(24, drawn), begin=16, per_hour=1)
    assert found.factor == pytest.approx(factor)


def test_customer_who_never_draws_before_noon_is_not_adjusted() -> None:
    found = ten_of_ten(np.zeros((10, 24)), np.ones(24), begin=16, per_hour=1)
    assert found.factor == 1.0


def test_fewer_than_ten_days_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 10 days"):
        ten_of_ten(np.ones((9, 24)), np.ones(24), begin=16, per_hour=1)


def test_day_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="today has 96 intervals, the days before have 24"):
        ten_of_ten(np.ones((10, 24)), np.ones(96), begin=16, per_hour=1)


@pytest.mark.parametrize("begin", [3, 24])
def test_event_without_four_hours_before_it_is_refused(begin: int) -> None:
    with pytest.raises(ValueError, match="allowed is 4 to 23"):
        ten_of_ten(np.ones((10, 24)), np.ones(24), begin=begin, per_hour=1)
