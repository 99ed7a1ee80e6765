"""Metering: what m customers draw, interval by interval and day by day, and which days are like which."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np

from derloop.contract import FloatArray
from federates.der.profile import seconds_of_day

DAY_S = 86400.0
NS_PER_S = 1e9


class Calendar(NamedTuple):
    """The days of a run, each 86400 s long, the first being that on which it starts; and their intervals."""

    start: datetime
    interval_s: float

    def time_s(self, now_ns: int) -> float:
        """Return the time since local midnight of the first day, s."""
        return seconds_of_day(self.start) + now_ns / NS_PER_S

    def day(self, now_ns: int) -> int:
        return int(self.time_s(now_ns) // DAY_S)

    def interval(self, now_ns: int) -> int:
        """Return the number of the interval in its day."""
        return int(self.time_s(now_ns) % DAY_S // self.interval_s)

    @property
    def intervals(self) -> int:
        """How many a day has."""
        return round(DAY_S / self.interval_s)

    def is_working(self, day: int) -> bool:
        """Return whether it is a day from Monday to Friday."""
        return (self.start + timedelta(days=day)).weekday() < 5

    def like(self, day: int, among: Collection[int]) -> list[int]:
        """Return the days of these that are earlier than `day` and working as it is, in order."""
        return sorted(d for d in among if d < day and self.is_working(d) == self.is_working(day))


class Meter:
    """m meters. State: the energy of each interval of today (m, k), and the days that are complete."""

    def __init__(self, calendar: Calendar, count: int) -> None:
        self._calendar = calendar
        self._today_kwh = np.zeros((count, calendar.intervals))
        self._is_whole = calendar.time_s(0) == 0.0
        self.days_kw: dict[int, FloatArray] = {}
        """Mean powers (m, k) of each day that was metered from midnight to midnight."""

    @property
    def today_kw(self) -> FloatArray:
        """Mean powers (m, k) of the intervals of today that are over."""
        return self._today_kwh * 3600.0 / self._calendar.interval_s

    def add(self, p_kw: FloatArray, from_ns: int, until_ns: int) -> None:
        """Count what was drawn (m,) between two times within one interval; midnight completes the day."""
        hours = (until_ns - from_ns) / NS_PER_S / 3600.0
        self._today_kwh[:, self._calendar.interval(from_ns)] += p_kw * hours
        today = self._calendar.day(from_ns)
        if self._calendar.day(until_ns) > today:
            if self._is_whole:
                self.days_kw[today] = self.today_kw
            self._today_kwh, self._is_whole = np.zeros_like(self._today_kwh), True
