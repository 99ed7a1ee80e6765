"""Instants are said in one way: time of day, with the date where a run goes on into another day."""

from datetime import datetime
from typing import Any

import pytest

from derloop.calendar import UNDATED, Calendar

NS = 1_000_000_000
HOUR = 3600 * NS
DAY: dict[str, Any] = {"start": "2025-07-15T06:00:00-07:00", "duration_s": 18 * 3600.0}
"""Until midnight: the last instant is still of the same day."""


@pytest.mark.parametrize(
    ("at_ns", "said"),
    [
        (0, "06:00"),
        (HOUR, "07:00"),
        (7 * HOUR + 2405 * NS, "13:40:05"),
        (NS // 2, "06:00:00.5"),
        (18 * HOUR, "16 Jul 00:00"),
        (None, ""),
        (True, ""),
        ("0", ""),
        (float("nan"), ""),
    ],
)
def test_an_instant_of_a_day_is_its_time_of_day(at_ns: object, said: str) -> None:
    assert Calendar.of(DAY).at(at_ns) == said


def test_a_run_of_short_steps_has_its_seconds_everywhere() -> None:
    assert [Calendar.of({**DAY, "step_s": step_s}).at(0) for step_s in (0.5, 1, 60, 900)] == [
        "06:00:00",
        "06:00:00",
        "06:00",
        "06:00",
    ]


def test_a_run_that_goes_on_after_midnight_has_its_dates() -> None:
    calendar = Calendar.of({**DAY, "duration_s": 18 * 3600.0 + 60})
    assert [calendar.at(t * HOUR) for t in (0, 18)] == ["15 Jul 06:00", "16 Jul 00:00"]


def test_a_run_of_more_than_a_year_has_its_years() -> None:
    calendar = Calendar.of({**DAY, "duration_s": 400 * 86400.0})
    assert calendar.at(366 * 24 * HOUR) == "16 Jul 2026 06:00"


def test_clocks_are_set_forward_where_the_zone_says_so() -> None:
    """Los Angeles, 9 March 2025: an hour after 01:30 PST it is 03:30 PDT."""
    facts = {"start": "2025-03-09T01:30:00-08:00", "duration_s": 7200.0}
    assert Calendar.of({**facts, "time_zone": "America/Los_Angeles"}).at(HOUR) == "03:30"
    assert Calendar.of(facts).at(HOUR) == "02:30"


def test_a_chart_says_that_its_axis_does_not_follow_clocks_that_are_set() -> None:
    """A time axis has no hour twice: it goes on in the start's clocks, while 03:30 in a legend is PDT."""
    facts = {"start": "2025-03-09T01:30:00-08:00", "time_zone": "America/Los_Angeles"}
    set_forward, a_year = (Calendar.of({**facts, "duration_s": s}) for s in (7200.0, 366 * 86400.0))
    assert set_forward.clocks == a_year.clocks == "local time, PST and PDT"
    assert set_forward.axis == "local time, PST all along; times in words are in PST and PDT, as clocks are set"
    before = Calendar.of({**facts, "duration_s": 1800.0})
    assert (before.clocks, before.axis) == ("local time, PST", "local time, PST")
    at_the_end_of_time = Calendar.of({"start": "9999-12-31T23:00:00+00:00", "duration_s": 7200.0})
    assert at_the_end_of_time.axis == "local time, UTC"


@pytest.mark.parametrize("facts", [{}, {"start": "soon"}, {"start": None}, {"scenario": 3}])
def test_a_run_without_a_start_has_time_since_it(facts: dict[str, Any]) -> None:
    calendar = Calendar.of(facts)
    assert calendar == UNDATED
    assert [calendar.at(90_000 * NS), calendar.at(NS + NS // 10)] == ["1 d 01:00:00", "00:00:01.1"]
    assert (calendar.clocks, calendar.epoch_ms) == ("time since the start of the scenario", 0.0)


def test_a_start_stands_in_the_scenario_where_the_run_left_no_other() -> None:
    start = datetime.fromisoformat("2025-07-15T06:00:00-07:00")
    assert Calendar.of({"scenario": {"start": start.isoformat()}}).start == start


def test_what_is_beyond_the_calendar_is_told_since_the_start() -> None:
    assert Calendar.of({"start": "9999-12-31T00:00:00+00:00"}).at(48 * HOUR) == "2 d 00:00:00"
