"""Metering: what m customers draw, interval by interval and day by day, and which days are like which."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray
from derloop.kind import Context, FileName, PlaceError, Settings
from derloop.memory import remembers
from federates.der.clock import seconds_of_day
from federates.der.course import read_column
from federates.der.profile import ProfileColumn, too_dense

DAY_S = 86400.0
NS_PER_S = 1e9


class History(Settings):
    """What a customer drew on days before the run."""

    file: FileName = Field(
        min_length=1,
        max_length=1024,
        description="CSV file of a day, relative to the scenario's folder and inside it.",
        examples=["profiles/air_conditioners_july.csv"],
    )
    columns: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(
        min_length=1,
        max_length=366,
        description="Columns beside time_s: kW of each day without an event, the most recent last.",
        examples=[["day_1_kw", "day_2_kw"]],
    )


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

    def read(self, history: History | None, path: tuple[str | int, ...], context: Context) -> FloatArray:
        """Return the mean powers (days, k) of a history that stands at `path` of the settings; raises PlaceError."""
        midnight = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
        step_ns, day_ns = round(self.interval_s * NS_PER_S), round(DAY_S * NS_PER_S)
        day = replace(context, start=midnight, until_ns=day_ns)
        columns = [ProfileColumn(file=history.file, column=column) for column in history.columns] if history else []
        courses = [read_column(column, path, day, step_ns) for column in columns]
        if what := next((what for course in courses if (what := too_dense(course, self.interval_s))), ""):
            raise PlaceError([(path, what)])
        rows = [[course.at(time_ns) for time_ns in range(0, day_ns, step_ns)] for course in courses]
        return np.array(rows).reshape(-1, self.intervals)


@remembers("_today_kwh", "_is_whole", "days_kw")
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
