"""Hot water that households draw: when, and how much. It depends on seed and day alone."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from derloop.contract import FloatArray
from derloop.kind import Context, Settings
from federates.der.clock import Clock
from federates.der.placement import Size, stream

DAY_S = 86400.0
_Hour = Annotated[float, Field(ge=0.0, le=24.0)]


def _ordered(window: tuple[float, float]) -> tuple[float, float]:
    if window[0] >= window[1]:
        raise ValueError(f"a window is [begin, end], but {window[0]:g} is not before {window[1]:g}")
    return window


Window = Annotated[tuple[_Hour, _Hour], AfterValidator(_ordered)]


class HotWaterSettings(Settings):
    """What is drawn of each tank on each day."""

    draws_per_day: int = Field(default=12, ge=0, le=200, description="Draws of each tank on each day.", examples=[12])
    draw_l: Size = Field(
        default=(2.0, 25.0), description="Water of each draw, l: a number, or [min, max] to draw from.", examples=[10.0]
    )
    draw_l_per_min: float = Field(default=6.0, gt=0.0, le=100.0, description="Flow of a draw, l/min.", examples=[6.0])
    morning_h: Window = Field(
        default=(6.0, 9.0), description="Begin and end of the morning's peak, h since midnight.", examples=[[6.0, 9.0]]
    )
    evening_h: Window = Field(
        default=(17.0, 22.0),
        description="Begin and end of the evening's peak, h since midnight.",
        examples=[[17.0, 22.0]],
    )
    peak_pu: float = Field(
        default=0.7, ge=0.0, le=1.0, description="Share of the draws that begin in one of the peaks.", examples=[0.7]
    )


class HotWater:
    """The draws of n tanks, one day at a time."""

    def __init__(self, settings: HotWaterSettings, context: Context, n: int) -> None:
        self._settings, self._context, self._n = settings, context, n
        self._clock = Clock.of(context.start, context.until_ns)
        self._days: dict[int, tuple[FloatArray, FloatArray]] = {}

    def litres(self, begin_ns: int, end_ns: int) -> FloatArray:
        """Return what is drawn (n,) between two times since the scenario's start."""
        begin_s, end_s = begin_ns / 1e9, end_ns / 1e9
        days = range(int(self._clock.shows_s(begin_ns) // DAY_S) - 1, int(self._clock.shows_s(end_ns) // DAY_S) + 1)
        self._days = {day: self._days.get(day) or self._day(day) for day in days}
        drawn = [self._until(end_s, *self._days[day]) - self._until(begin_s, *self._days[day]) for day in days]
        found: FloatArray = np.sum(drawn, axis=0)
        return found

    def _until(self, time_s: float, begin_s: FloatArray, litres: FloatArray) -> FloatArray:
        rate = self._settings.draw_l_per_min / 60.0
        drawn: FloatArray = np.clip((time_s - begin_s) * rate, 0.0, litres).sum(axis=1)
        return drawn

    def _day(self, day: int) -> tuple[FloatArray, FloatArray]:
        """Return when each draw (n, m) begins, s since the scenario's start, and its litres."""
        s, chance = self._settings, stream(self._context, f"hot water of day {day}")
        shape = (self._n, s.draws_per_day)
        kind, where = chance.random(shape), chance.random(shape)
        in_morning, in_evening = kind < s.peak_pu / 2.0, kind >= 1.0 - s.peak_pu / 2.0
        low = np.select([in_morning, in_evening], [s.morning_h[0], s.evening_h[0]], 0.0)
        high = np.select([in_morning, in_evening], [s.morning_h[1], s.evening_h[1]], 24.0)
        begin_s = day * DAY_S + 3600.0 * (low + (high - low) * where)
        return self._clock.elapsed_s(begin_s), chance.uniform(*s.draw_l, shape)
