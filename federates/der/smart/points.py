"""A function's numbers: in the settings, within the standard's ranges, and for n devices while it runs.

`Points` are arrays of shape (1,), the same for all, or (n,), each its own. One set of ranges serves both doors:
what a scenario says, and what is written from outside while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import model_validator

from derloop.contract import FloatArray
from derloop.errors import did_you_mean
from derloop.kind import Settings

Points = dict[str, FloatArray]
Bound = float | FloatArray
Ranges = Mapping[str, tuple[Bound, Bound]]
Normal = Literal["category-a", "category-b"]
"""IEEE 1547-2018, 1.4: categories of normal operation (reactive power)."""
Abnormal = Literal["category-i", "category-ii", "category-iii"]
"""IEEE 1547-2018, 1.4: categories of abnormal operation (ride-through and trip)."""
F_NOMINAL_HZ = 60.0
"""The frequency that the standard's numbers are for. On a 50 Hz grid, frequencies are scaled by 50/60."""
SLACK = 1e-9
"""Ranges are compared with this slack, for 0.88 + 0.02 is not 0.90 in binary."""


class Function(Settings):
    """Settings of one function: numbers that may be left out, for which the category's default stands then."""

    in_hz: ClassVar[bool] = False
    """Holds frequencies, so that its defaults and ranges depend on the nominal frequency."""

    def defaults(self) -> Mapping[str, float]:
        """Return the standard's default of every number, at 60 Hz."""
        raise NotImplementedError

    def ranges(self, at: Points) -> Ranges:
        """Return what every number may be, at 60 Hz, beside the others."""
        raise NotImplementedError

    def points(self, f_nominal_hz: float = F_NOMINAL_HZ) -> Points:
        """Return every number, (1,): the one that is set, else the default."""
        scale = f_nominal_hz / F_NOMINAL_HZ
        found = {}
        for name, default in self.defaults().items():
            value = getattr(self, name)
            found[name] = np.array([default * _scale(name, scale) if value is None else float(value)])
        return found

    def check(self, points: Points, f_nominal_hz: float = F_NOMINAL_HZ) -> None:
        """Raise ValueError with every number that is outside its range."""
        scale = f_nominal_hz / F_NOMINAL_HZ
        at_60 = {name: value / _scale(name, scale) for name, value in points.items()}
        problems = [
            _problem(name, points[name], np.asarray(low) * _scale(name, scale), np.asarray(high) * _scale(name, scale))
            for name, (low, high) in self.ranges(at_60).items()
            if not _inside(at_60[name], low, high)
        ]
        if problems:
            raise ValueError("; ".join(problems))

    @model_validator(mode="after")
    def _is_in_range(self) -> Self:
        if not self.in_hz:
            self.check(self.points())
        return self


def _scale(name: str, scale: float) -> float:
    return scale if name.endswith("_hz") else 1.0


def _inside(value: FloatArray, low: Bound, high: Bound) -> bool:
    return bool(np.all((value >= np.asarray(low) - SLACK) & (value <= np.asarray(high) + SLACK)))


def _problem(name: str, value: FloatArray, low: FloatArray, high: FloatArray) -> str:
    value, low, high = np.broadcast_arrays(value, low, high)
    outside = ~((value >= low - SLACK) & (value <= high + SLACK))
    index = int(outside.argmax())
    device = f" of device {index}" if value.size > 1 else ""
    if high[index] < low[index]:
        return f"{name}{device} is {value[index]:g}, but the other points leave it no place"
    return f"{name}{device} is {value[index]:g}, allowed is {low[index]:g} to {high[index]:g}"


def written(points: Points, changes: Mapping[str, ArrayLike], n: int, function: str) -> Points:
    """Return `points` with `changes`, each one number or (n,). Raises ValueError for a name or a size that is not."""
    return points | dict(_arrays(points, changes, n, function))


def _arrays(
    points: Points, changes: Mapping[str, ArrayLike], n: int, function: str
) -> Iterator[tuple[str, FloatArray]]:
    for name, value in changes.items():
        if name not in points:
            raise ValueError(f"{function} has no {name!r}{did_you_mean(name, sorted(points))}")
        array = np.atleast_1d(np.array(value, dtype=np.float64))
        if array.shape not in ((1,), (n,)):
            raise ValueError(f"{function}.{name} has shape {array.shape}, not (1,) or ({n},)")
        if not np.isfinite(array).all():
            raise ValueError(f"{function}.{name} is not finite")
        yield name, array


def stack(points: Points, *names: str) -> FloatArray:
    """Return these points as rows, (k, 1) or (k, n)."""
    rows: Any = np.broadcast_arrays(*(points[name] for name in names))
    return np.array(rows, dtype=np.float64)


def where_apart(distance: FloatArray, other: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the range of the y of a point beside another: any; where the two are at one x, the `other` one's y."""
    apart = np.abs(distance) > SLACK
    return np.where(apart, -1.0, other), np.where(apart, 1.0, other)
