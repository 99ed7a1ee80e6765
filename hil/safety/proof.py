"""The third proof of a command: what was commanded shows in what is measured."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from derloop.errors import Rejected
from hil.safety.rules import Proof
from hil.sunspec.points import FloatArray


class _Bounds(NamedTuple):
    """Between what n devices were to be, each from a time on; infinite where nothing was commanded."""

    since_s: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True)
class Unproven:
    """One device that does not show what it was commanded."""

    device: str
    quantity: str
    measured: float
    """NaN: it is not measured."""
    low: float
    high: float
    response_s: float
    aborts: bool

    def __str__(self) -> str:
        unit = "W" if self.quantity == "active power" else "var"
        shows = "does not measure it" if math.isnan(self.measured) else f"measures {self.measured:g} {unit}"
        return f"{self.quantity} was commanded to {self._wanted} {unit}; {self.response_s:g} s later the device {shows}"

    @property
    def _wanted(self) -> str:
        if self.low == self.high:
            return f"{self.high:g}"
        return f"at most {self.high:g}" if math.isinf(self.low) else f"{self.low:g} to {self.high:g}"


class Visibility:
    """Whether one quantity of n devices goes where it is commanded.

    A device that answers within `response_s` (n,) and does not overshoot is always between the least and the greatest
    of what it was commanded within the last `response_s`, however often it is commanded anew: that is what is judged,
    with `tolerance` (n,) on both sides. NaN for a tolerance: the device is not judged.
    """

    def __init__(self, response_s: FloatArray, tolerance: FloatArray) -> None:
        self._response_s, self._tolerance = response_s, tolerance
        anything = np.full(response_s.shape, np.inf)
        self._history = deque([_Bounds(-anything, -anything, anything)])

    def command(self, since_s: FloatArray, low: FloatArray, high: FloatArray) -> None:
        """Take note that from times (n,) on the quantity is to be between `low` and `high` (n,).

        The times of a device never go back.
        """
        last = self._history[-1]
        if not (np.array_equal(low, last.low) and np.array_equal(high, last.high)):
            self._history.append(_Bounds(since_s.copy(), low.copy(), high.copy()))

    def bounds(self, measured_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return between what the quantity must have been at times (n,), without tolerance."""
        self._forget(measured_s - self._response_s)
        since_s = np.array([each.since_s for each in self._history])
        until_s = np.vstack([since_s[1:], np.full(measured_s.shape, np.inf)])
        counts = (since_s <= measured_s) & (until_s > measured_s - self._response_s)
        low = np.where(counts, np.array([each.low for each in self._history]), np.inf).min(axis=0)
        high = np.where(counts, np.array([each.high for each in self._history]), -np.inf).max(axis=0)
        return low, high

    def is_shown(self, measured_s: FloatArray, measured: FloatArray) -> tuple[np.ndarray, FloatArray, FloatArray]:
        """Return for each device whether what is measured (n,) at times (n,) shows it, and the bounds."""
        low, high = self.bounds(measured_s)
        within = (measured >= low - self._tolerance) & (measured <= high + self._tolerance)
        is_free = np.isnan(self._tolerance) | (np.isneginf(low) & np.isposinf(high))
        return within | is_free, low, high

    def _forget(self, before_s: FloatArray) -> None:
        """Drop what was replaced before times (n,)."""
        while len(self._history) > 1 and (self._history[1].since_s <= before_s).all():
            self._history.popleft()


class Told:
    """What n devices hold of what they were told, or may hold: `least` and `most` of each.

    Rows (3, n): setpoint of active power, W; its limit, W; setpoint of reactive power, var; positive when injected.
    The two are equal where it is known what a device holds. No setpoint is anything from -inf to inf, no limit is one
    of inf.
    """

    def __init__(self, n: int) -> None:
        """n devices that have been told nothing."""
        self.least = np.repeat(_NOTHING, n, axis=1)
        self.most = np.full(self.least.shape, np.inf)

    def take(self, index: int, values: Sequence[float | None]) -> None:
        """Take note that one device holds these: NaN for none; None where what it held before stays."""
        for row, value in enumerate(values):
            if value is not None:
                self.least[row, index], self.most[row, index] = _span(row, value)

    def doubt(self, index: int, values: Sequence[float | None]) -> None:
        """Take note that one device may hold these as well, one by one: who told it them does not know."""
        for row, value in enumerate(values):
            if value is not None:
                least, most = _span(row, value)
                self.least[row, index] = min(self.least[row, index], least)
                self.most[row, index] = max(self.most[row, index], most)


_NOTHING = np.array([[-np.inf], [np.inf], [-np.inf]])
"""The least of each row of `Told` where nothing was told."""


def _span(row: int, value: float) -> tuple[float, float]:
    return (float(_NOTHING[row, 0]), math.inf) if math.isnan(value) else (value, value)


class ElectricalProof:
    """Compares what n devices measure with what they were commanded.

    A limit need not be seen: what is available may be less. It is an upper bound. So is a setpoint where the source is
    limited (`Proof.source_limited`), towards zero; elsewhere it must be reached.
    """

    def __init__(self, names: Sequence[str], proofs: Sequence[Proof | None]) -> None:
        self._names = tuple(names)
        response_s = np.array([p.response_s if p else 1.0 for p in proofs])
        self._response_s = response_s
        self._source_limited = np.array([p is not None and p.source_limited for p in proofs], dtype=np.bool_)
        self._aborts = [p is not None and p.when_not == "abort" for p in proofs]
        self._p = Visibility(response_s, np.array([_or_nan(p.p_tolerance_w if p else None) for p in proofs]))
        self._q = Visibility(response_s, np.array([_or_nan(p.q_tolerance_var if p else None) for p in proofs]))

    def command(self, since_s: FloatArray, told: Told) -> None:
        """Take note of what holds from times (n,) on, which never go back for a device.

        A device whose volt-var function is on has no setpoint of reactive power.
        """
        (p_least, limit_least, q_least), (p_most, limit_most, q_most) = told.least, told.most
        low, high = np.minimum(p_least, limit_least), np.minimum(p_most, limit_most)
        low = np.where(self._source_limited, np.minimum(low, 0.0), low)
        high = np.where(self._source_limited, np.maximum(high, 0.0), high)
        self._p.command(since_s, low, high)
        self._q.command(since_s, q_least, q_most)

    def judge(self, measured_s: FloatArray, p_w: FloatArray, q_var: FloatArray) -> list[Unproven]:
        """Return who does not show its commands in what was measured (n,) at times (n,), in the time of `command`."""
        return [
            *self._unproven("active power", self._p, measured_s, p_w),
            *self._unproven("reactive power", self._q, measured_s, q_var),
        ]

    def _unproven(
        self, quantity: str, visibility: Visibility, measured_s: FloatArray, measured: FloatArray
    ) -> Iterator[Unproven]:
        shown, low, high = visibility.is_shown(measured_s, measured)
        for i in np.flatnonzero(~shown):
            seen = (float(measured[i]), float(low[i]), float(high[i]), float(self._response_s[i]))
            yield Unproven(self._names[i], quantity, *seen, self._aborts[i])


def raise_aborting(found: Sequence[Unproven]) -> None:
    """Raise Rejected for the first device that must not go on so, with a note on each other one."""
    aborting = [each for each in found if each.aborts]
    if not aborting:
        return
    error = Rejected(aborting[0].device, str(aborting[0]))
    for other in aborting[1:]:
        error.add_note(f"also: device {other.device!r}: {other}")
    raise error


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
