"""Visits: when cars come to their chargers, when they leave, and what they then need.

On each day a car comes with the probability `plugs_in_pu`, at an hour drawn from a triangular distribution on
`arrival_h`, and leaves at one drawn on `departure_h`, both highest in the middle. Hours count from local midnight of
the day of arrival: 31.5 is half past seven on the next morning. A longer run has the same visits, and more. A place may
list its visits instead.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from derloop.contract import FloatArray
from derloop.kind import Context, Settings
from federates.der import Stepped
from federates.der.clock import Clock
from federates.der.placement import At, Size, Spot, stream

NEVER: Final = np.iinfo(np.int64).max
IntArray = NDArray[np.int64]
_Hour = Annotated[float, Field(ge=0.0, le=72.0)]


# --- settings ----------------------------------------------------------------------------------------


def _ordered(window: tuple[float, float]) -> tuple[float, float]:
    if window[0] > window[1]:
        raise ValueError(f"a window is [earliest, latest], but {window[0]:g} is after {window[1]:g}")
    return window


Window = Annotated[tuple[_Hour, _Hour], AfterValidator(_ordered)]


class Visit(Settings):
    """One stay of one car."""

    arrives_h: float = Field(
        ge=-48.0, le=1e6, description="Arrival, h since local midnight of the first day.", examples=[18.0]
    )
    departs_h: float = Field(
        gt=0.0, le=1e6, description="Departure, h since local midnight of the first day.", examples=[31.5]
    )
    need_kwh: float = Field(ge=0.0, le=1e6, description="What lacks to the target on arrival, kWh.", examples=[12.0])

    @model_validator(mode="after")
    def _leaves_after_it_arrives(self) -> Self:
        if self.departs_h <= self.arrives_h:
            what = f"departs_h {self.departs_h:g} is not after arrives_h {self.arrives_h:g}"
            raise ValueError(f"the car leaves before it arrives: {what}; the next day's hours go on from 24")
        return self


class EvSpot(Spot):
    """One charger and its car."""

    visits: tuple[Visit, ...] | None = Field(
        default=None,
        max_length=10_000,
        description="When the car is there. Without it, by chance.",
        examples=[[{"arrives_h": 18.0, "departs_h": 31.5, "need_kwh": 12.0}]],
    )

    @model_validator(mode="after")
    def _is_at_one_place_at_a_time(self) -> Self:
        for before, after in pairwise(self.visits or ()):
            if after.arrives_h < before.departs_h:
                what = f"one begins at {after.arrives_h:g} h, before the one ahead of it ends at {before.departs_h:g} h"
                raise ValueError(f"visits must follow each other: {what}")
        return self


class VisitSettings(Stepped):
    """Where chargers stand, and when cars are there."""

    at: At[EvSpot] = Field(
        description="Where the chargers stand: a list of places, or a spread. "
        "A place with three phases has a three-phase charger.",
        examples=[{"count": 20, "on": "loads"}, [{"bus": "634", "rated_kva": 22.0}]],
    )
    need_kwh: Size = Field(
        default=(6.0, 18.0),
        description="What lacks to the target on arrival, kWh: a number, or [min, max] to draw from.",
        examples=[[6.0, 18.0]],
    )
    arrival_h: Window = Field(
        default=(15.0, 21.0),
        description="Earliest and latest arrival, h since local midnight.",
        examples=[[15.0, 21.0]],
    )
    departure_h: Window = Field(
        default=(30.0, 33.0),
        description="Earliest and latest departure, h since local midnight of the day of arrival.",
        examples=[[30.0, 33.0]],
    )
    plugs_in_pu: float = Field(
        default=1.0, ge=0.0, le=1.0, description="Probability that a car comes on a day.", examples=[0.8]
    )

    @model_validator(mode="after")
    def _comes_before_it_goes(self) -> Self:
        latest, earliest = self.arrival_h[1], self.departure_h[0]
        if earliest <= latest:
            what = f"departure_h begins at {earliest:g}, arrival_h ends at {latest:g}"
            raise ValueError(f"a car would leave before it arrives: {what}; the next day's hours go on from 24")
        if self.departure_h[1] > self.arrival_h[0] + 24.0:
            what = f"departure_h may end at {self.arrival_h[0] + 24.0:g}, not {self.departure_h[1]:g}"
            raise ValueError(f"a car would still be there when it comes on the next day: {what}")
        return self

    @property
    def spots(self) -> tuple[EvSpot, ...]:
        """The places that are listed."""
        return self.at if isinstance(self.at, tuple) else ()


# --- the visits --------------------------------------------------------------------------------------


class Visits(NamedTuple):
    """The visits of n cars, each (n, m + 1) in rising order; the last column never comes."""

    first: IntArray
    """Number of the first step at which the car is there."""
    end: IntArray
    """Number of the first step at which it is gone."""
    need_kwh: FloatArray


def draw_visits(settings: VisitSettings, context: Context, labels: tuple[str, ...]) -> Visits:
    """Return the visits of the cars `labels`, in steps since the scenario's start. Each car has its own chance."""
    step_s = settings.step_ns(context) / 1e9
    clock = Clock.of(context.start, context.until_ns)
    last_day = int(clock.shows_s(context.until_ns) // 86400.0)
    listed = settings.at if isinstance(settings.at, tuple) else (None,) * len(labels)
    rows = [
        _drawn(settings, stream(context, f"visits {label}"), last_day) if spot is None or spot.visits is None
        else np.array([(v.arrives_h, v.departs_h, v.need_kwh) for v in spot.visits]).reshape(-1, 3)
        for label, spot in zip(labels, listed, strict=True)
    ]  # fmt: skip
    hours = np.full((len(rows), 1 + max(map(len, rows)), 3), np.inf)
    for row, found in zip(hours, rows, strict=True):
        row[: len(found)] = found
    steps = clock.elapsed_s(hours[:, :, :2] * 3600.0) / step_s
    first = _whole(np.ceil(steps[:, :, 0] - 1e-9))
    end = _whole(np.floor(steps[:, :, 1] + 1e-9))
    return Visits(first, end, np.where((end > 0) & (end < NEVER), hours[:, :, 2], 0.0))


def _whole(steps: FloatArray) -> IntArray:
    found = np.full(steps.shape, NEVER)
    np.copyto(found, steps, casting="unsafe", where=np.isfinite(steps))
    return found


def _drawn(settings: VisitSettings, chance: np.random.Generator, last_day: int) -> FloatArray:
    """Return arrival and departure, h since midnight of the first day, and need (m, 3); days before count too."""
    days = np.arange(-max(1, int(settings.departure_h[1] // 24.0)), last_day + 1)
    drawn = chance.random((days.size, 6))  # day after day: those of a longer run are the same ones, and more
    arrives = _triangular(drawn[:, 0:2], settings.arrival_h)
    departs = _triangular(drawn[:, 2:4], settings.departure_h)
    need_kwh = settings.need_kwh[0] + (settings.need_kwh[1] - settings.need_kwh[0]) * drawn[:, 4]
    comes = drawn[:, 5] < settings.plugs_in_pu
    return np.column_stack([arrives + 24.0 * days, departs + 24.0 * days, need_kwh])[comes]


def _triangular(drawn: FloatArray, window: tuple[float, float]) -> FloatArray:
    low, high = window
    found: FloatArray = low + (high - low) * 0.5 * drawn.sum(axis=1)
    return found
