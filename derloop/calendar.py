"""Instants of a run as people say them: one way in verdicts, in the summary, on the page and in what pytest prints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

YEAR = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Instants as time of day at the scenario's place; as time since its start where that is unknown."""

    start: datetime | None = None
    """On the scenario's own clocks."""
    zone: tzinfo | None = None
    """Whose clocks are meant; None: those of the start's offset, which are never set forward or back."""
    lasts: timedelta = timedelta(0)
    """Of the run. Where it goes on into another day, the date is said, too; in another year, also the year."""
    to_seconds: bool = False
    """Say seconds also where they are 0, for runs of short steps; otherwise a whole minute has none."""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Calendar:
        """Return the calendar of a run of which `run.json` says `facts`; undated where it says no start."""
        scenario = facts.get("scenario")
        start = _instant(facts.get("start", scenario.get("start") if isinstance(scenario, Mapping) else None))
        if start is None:
            return UNDATED
        zone, lasts_s = _zone(facts.get("time_zone")) or start.tzinfo, facts.get("duration_s")
        lasts = timedelta(seconds=lasts_s) if isinstance(lasts_s, int | float) and 0 <= lasts_s < 1e11 else timedelta(0)
        step_s = facts.get("step_s")
        to_seconds = isinstance(step_s, int | float) and step_s % 60 != 0
        return cls(start.astimezone(zone) if zone else start, zone, lasts, to_seconds)

    @property
    def epoch_ms(self) -> float:
        """The start as ms since 1970, as if local time were UTC: what a chart's time axis counts in."""
        return 0.0 if self.start is None else self.start.replace(tzinfo=UTC).timestamp() * 1e3

    @property
    def clocks(self) -> str:
        """Which clocks are meant, for a heading."""
        if self.start is None:
            return "time since the start of the scenario"
        return f"local time, {' and '.join(self._named(self.start))}"

    @property
    def axis(self) -> str:
        """Which clocks a chart's time axis shows: those of the start, also after they were set forward or back."""
        if self.start is None:
            return self.clocks
        first, *then = self._named(self.start)
        kept = f" all along; times in words are in {' and '.join([first, *then])}, as clocks are set" if then else ""
        return f"local time, {first}{kept}"

    def _named(self, start: datetime) -> list[str]:
        """Return what the clocks are called during the run, those of its start first."""
        lasts = max(min(self.lasts, YEAR) - timedelta.resolution, timedelta(0))
        try:
            moments = [start, *(self._moment(start, min(timedelta(day), lasts)) for day in range(lasts.days + 2))]
        except OverflowError:
            moments = [start]
        return list(dict.fromkeys(moment.tzname() or "without time zone" for moment in moments))

    def at(self, time_ns: object) -> str:
        """Return the instant `time_ns`: 13:40, 13:40:05.5, 15 Jul 13:40; empty for what is no number."""
        if isinstance(time_ns, bool) or not isinstance(time_ns, int | float) or not math.isfinite(time_ns):
            return ""
        since = timedelta(microseconds=float(time_ns) / 1e3)
        if self.start is None:
            return elapsed(since)
        try:
            return self._said(self._moment(self.start, since), self.start)
        except OverflowError:
            return elapsed(since)

    def _moment(self, start: datetime, since: timedelta) -> datetime:
        if self.zone is None or start.tzinfo is None:
            return start + since
        return (start.astimezone(UTC) + since).astimezone(self.zone)

    def _said(self, moment: datetime, start: datetime) -> str:
        last = self._moment(start, max(self.lasts - timedelta.resolution, timedelta(0)))
        if last.date() == moment.date() == start.date():
            return self._time_of_day(moment)
        year = f" {moment.year}" if self.lasts > YEAR else ""
        return f"{moment.day} {moment:%b}{year} {self._time_of_day(moment)}"

    def _time_of_day(self, moment: datetime) -> str:
        has_seconds = self.to_seconds or moment.second or moment.microsecond
        return f"{moment:%H:%M:%S}{part_of_second(moment.microsecond)}" if has_seconds else f"{moment:%H:%M}"


def _instant(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None


def _zone(name: object) -> tzinfo | None:
    try:
        return ZoneInfo(name) if isinstance(name, str) else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def part_of_second(microseconds: int) -> str:
    """Return what follows whole seconds, for runs of shorter steps: ".5"; nothing for a whole second."""
    return f".{microseconds:06}".rstrip("0") if microseconds else ""


def elapsed(since: timedelta) -> str:
    """Return a time since the start: 13:40:00, 00:00:00.5, 2 d 01:00:00."""
    seconds = since.seconds
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" + part_of_second(since.microseconds)
    return f"{since.days} d {clock}" if since.days else clock


UNDATED = Calendar()
"""Of a run of which it is not known when it began."""
