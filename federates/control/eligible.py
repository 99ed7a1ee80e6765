"""Which events a baseline can be made for: those that fit the meters' intervals, and have days to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from federates.control.baseline import BEGIN_H, DAYS
from federates.control.metering import DAY_S, NS_PER_S, Calendar
from federates.fleets import Path, Problems
from federates.spells import Spell


def untimely(path: Path, event: Spell, calendar: Calendar) -> Problems:
    """Return what is wrong with the time of an event that stands at `path` of the settings."""
    begin_s, run_s = calendar.time_s(ns(event.begins_s)), calendar.time_s(0)
    of_day_s = begin_s % DAY_S
    if begin_s % calendar.interval_s or event.lasts_s % calendar.interval_s:
        what = f"an event begins and ends with an interval of {calendar.interval_s:g} s since local midnight"
        return [((*path, "begins_s"), what)]
    if of_day_s < BEGIN_H * 3600.0 or begin_s - run_s < BEGIN_H * 3600.0:
        what = f"the adjustment needs {BEGIN_H} h of the same day, metered, before an event begins"
        return [((*path, "begins_s"), f"{what}; it begins {min(of_day_s, begin_s - run_s) / 3600.0:g} h after")]
    if of_day_s + event.lasts_s > DAY_S:
        what = f"an event ends by midnight: at most {DAY_S - of_day_s:g} s, not {event.lasts_s:g}"
        return [((*path, "lasts_s"), what)]
    return []


def without_days(known: Mapping[str, int], events: Sequence[Spell], calendar: Calendar) -> Problems:
    """Return the events before which there are fewer than ten days to compare with.

    known: how many days of history there are of each customer.
    """
    of_events = [calendar.day(ns(event.begins_s)) for event in events]
    first_whole = 0 if calendar.time_s(0) == 0.0 else 1
    worst = min(known, key=lambda customer: known[customer])
    problems: Problems = []
    for i, day in enumerate(of_events):
        in_run = len(calendar.like(day, set(range(first_whole, day)) - {*of_events}))
        if known[worst] + in_run < DAYS:
            there = f"{known[worst]} days of history and {in_run} like it in the run"
            problems.append((("events", i), f"{worst!r}: {there} are fewer than the {DAYS} of a baseline"))
    return problems


def ns(time_s: float) -> int:
    return round(time_s * NS_PER_S)
