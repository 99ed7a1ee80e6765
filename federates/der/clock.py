"""What the clock on the wall shows while a run goes on.

Instants are counted in elapsed time. People, tariffs and day shapes follow the clock of their place, which a change
of daylight-saving time sets forward (the day has 23 hours, an hour is never shown) or back (25 hours, an hour is shown
twice). The scenario's `time_zone` says which changes there are; a `start` with nothing but an offset has none.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray

DAY_NS: Final = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds since midnight of the day on which the run starts, as the clock shows them."""

    start_s: float
    changes_ns: tuple[int, ...] = ()
    """When the clock is set forward or back, since the scenario's start, rising."""
    shifts_s: tuple[float, ...] = (0.0,)
    """What it is ahead of elapsed time: at first, and after each change."""

    @classmethod
    def of(cls, start: datetime, until_ns: int) -> Clock:
        """Return the clock at the place of `start` for a run of `until_ns`; an offset alone has no changes."""
        changes = tuple(_changes(start, until_ns)) if isinstance(start.tzinfo, ZoneInfo) else ()
        shifts_s = [_ahead_s(start, ns) - _ahead_s(start, 0) for ns in changes]
        return cls(seconds_of_day(start), changes, (0.0, *shifts_s))

    def shows_s(self, now_ns: int) -> float:
        """Return what it shows `now_ns` after the scenario's start."""
        return self.start_s + now_ns / 1e9 + self.shifts_s[bisect_right(self.changes_ns, now_ns)]

    def shows_all_s(self, instants_ns: NDArray[np.int64]) -> FloatArray:
        """Return what it shows at each of some instants (k,)."""
        spans = np.searchsorted(self.changes_ns, instants_ns, side="right")
        shown: FloatArray = self.start_s + instants_ns / 1e9 + np.array(self.shifts_s)[spans]
        return shown

    def elapsed_s(self, shown_s: FloatArray) -> FloatArray:
        """Return when it first shows these times, s since the scenario's start; one that it skips: when it skips it."""
        found: FloatArray = shown_s - self.start_s - self.shifts_s[0]
        for change_ns, shift_s in zip(self.changes_ns, self.shifts_s[1:], strict=True):
            change_s = change_ns / 1e9
            found = np.where(found < change_s, found, np.maximum(shown_s - self.start_s - shift_s, change_s))
        return found

    def turns_ns(self, last_ns: int, step_ns: int) -> list[int]:
        """Return the first and the last instant up to `last_ns` of each span in which the clock runs on."""
        inner = [change for change in self.changes_ns if change <= last_ns]
        before = [(change - 1) // step_ns * step_ns for change in inner]
        after = [-(-change // step_ns) * step_ns for change in inner]
        return [0, last_ns, *before, *(ns for ns in after if ns <= last_ns)]


def seconds_of_day(moment: datetime) -> float:
    """Return what a clock on the wall shows, in seconds since midnight."""
    return moment.hour * 3600.0 + moment.minute * 60.0 + moment.second + moment.microsecond / 1e6


def _ahead_s(start: datetime, now_ns: int) -> float:
    """Return how far local time is ahead of UTC, s, `now_ns` after the start."""
    moment = start.astimezone(UTC) + timedelta(microseconds=now_ns // 1000)
    offset = moment.astimezone(start.tzinfo).utcoffset()
    assert offset is not None
    return offset.total_seconds()


def _changes(start: datetime, until_ns: int) -> Iterator[int]:
    """Yield when the clock is set during the run; two changes within a day are not told apart."""
    for begin_ns in range(0, until_ns, DAY_NS):
        end_ns = min(begin_ns + DAY_NS, until_ns)
        if _ahead_s(start, begin_ns) != _ahead_s(start, end_ns):
            yield _change_between(start, begin_ns, end_ns)


def _change_between(start: datetime, low_ns: int, high_ns: int) -> int:
    before_s = _ahead_s(start, low_ns)
    while high_ns - low_ns > 1000:
        middle_ns = (low_ns + high_ns) // 2000 * 1000
        if _ahead_s(start, middle_ns) == before_s:
            low_ns = middle_ns
        else:
            high_ns = middle_ns
    return high_ns
