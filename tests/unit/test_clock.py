"""Clocks that are set forward and back."""

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.testing import assert_allclose

from federates.der.clock import Clock

H = 3600 * 10**9
PACIFIC = ZoneInfo("America/Los_Angeles")


def shown_h(start: datetime, hours: list[float], run_h: int = 48) -> list[float]:
    clock = Clock.of(start, run_h * H)
    return [clock.shows_s(round(h * H)) / 3600.0 for h in hours]


def test_in_spring_an_hour_is_never_shown() -> None:
    """9 March 2025: 01:59:59 PST is followed by 03:00:00 PDT."""
    start = datetime(2025, 3, 9, tzinfo=PACIFIC)
    assert shown_h(start, [0.0, 1.5, 2.0, 2.5, 23.0]) == [0.0, 1.5, 3.0, 3.5, 24.0]


def test_in_autumn_an_hour_is_shown_twice() -> None:
    """2 November 2025: 01:59:59 PDT is followed by 01:00:00 PST."""
    start = datetime(2025, 11, 2, tzinfo=PACIFIC)
    assert shown_h(start, [0.0, 1.5, 2.0, 2.5, 25.0]) == [0.0, 1.5, 1.0, 1.5, 24.0]


def test_a_run_that_starts_after_the_change_has_the_clocks_time() -> None:
    assert shown_h(datetime(2025, 3, 9, 12, tzinfo=PACIFIC), [0.0, 1.0]) == [12.0, 13.0]


def test_a_start_within_the_hour_that_comes_twice_says_which_one() -> None:
    first, second = (datetime(2025, 11, 2, 1, 30, tzinfo=PACIFIC, fold=fold) for fold in (0, 1))
    assert shown_h(first, [0.0, 0.5, 1.0]) == [1.5, 1.0, 1.5]
    assert shown_h(second, [0.0, 0.5, 1.0]) == [1.5, 2.0, 2.5]


@pytest.mark.parametrize(
    ("day", "shown_h", "elapsed_h"),
    [
        (datetime(2025, 3, 9, tzinfo=PACIFIC), [1.5, 2.5, 3.5, 24.0], [1.5, 2.0, 2.5, 23.0]),  # 02:30 never comes
        (datetime(2025, 11, 2, tzinfo=PACIFIC), [0.5, 1.5, 2.5, 24.0], [0.5, 1.5, 3.5, 25.0]),  # 01:30 comes twice
    ],
)
def test_a_time_on_the_wall_comes_when_the_clock_first_shows_it(
    day: datetime, shown_h: list[float], elapsed_h: list[float]
) -> None:
    found = Clock.of(day, 48 * H).elapsed_s(np.array([*shown_h, np.inf]) * 3600.0)
    assert (found / 3600.0).tolist() == [*elapsed_h, np.inf]


def test_an_offset_alone_knows_no_change() -> None:
    start = datetime.fromisoformat("2025-03-09T00:00:00-08:00")
    assert shown_h(start, [1.0, 2.5, 24.0]) == [1.0, 2.5, 24.0]


@pytest.mark.parametrize(("zone", "shift_h"), [("Australia/Lord_Howe", 0.5), ("Europe/Berlin", 1.0)])
def test_over_a_year_both_changes_are_met(zone: str, shift_h: float) -> None:
    start = datetime(2025, 1, 15, tzinfo=ZoneInfo(zone))
    clock = Clock.of(start, 365 * 24 * H)
    assert len(clock.changes_ns) == 2
    assert sorted({abs(s) / 3600.0 for s in clock.shifts_s}) == [0.0, shift_h]
    days_ns = np.arange(0, 365 * 24 * H, 6 * H)
    utc = np.array([start.timestamp() + ns / 1e9 for ns in days_ns])
    there = [datetime.fromtimestamp(s, ZoneInfo(zone)) for s in utc]
    expected = [(t.date() - start.date()).days * 86400.0 + t.hour * 3600 + t.minute * 60 for t in there]
    assert_allclose(clock.shows_all_s(days_ns), expected)
    assert clock.shows_all_s(days_ns).tolist() == [clock.shows_s(int(ns)) for ns in days_ns]
