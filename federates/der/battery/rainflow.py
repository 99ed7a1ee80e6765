"""Rainflow counting of n histories at once, as they come (ASTM E1049-85 (2017), 5.4.4).

The standard reads peaks and valleys, and compares the newest range X with the one before it, Y. Where X >= Y, Y is a
cycle, and its two points go; where Y holds the first point, it is half a cycle, and only the first point goes. What is
left at the end counts as half cycles. Here the newest value counts as the last point at each instant: as a range only
grows until it turns, what X closes early it would have closed anyway.

So `counted` is what the standard gives for the history up to now; it changes by what one value adds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from derloop.contract import FloatArray

Weight = Callable[[FloatArray, FloatArray], FloatArray]
"""From ranges and means of cycles, (k,) each, to what a whole cycle counts."""


class Rainflow:
    """n counts. State: the turning points that are not closed, the newest value, and what was closed."""

    def __init__(self, first: FloatArray, weight: Weight) -> None:
        """first: (n,), where each history begins. weight: what a cycle of this range and mean counts."""
        self._weight = weight
        self._points = np.zeros((first.size, 8))
        self._points[:, 0] = first
        self._depth = np.ones(first.size, dtype=np.intp)
        self._newest = first.copy()
        self._rows = np.arange(first.size)
        self._closed = np.zeros(first.size)

    def take(self, value: FloatArray) -> None:
        """Go on to these values (n,)."""
        turns = (value - self._newest) * (self._newest - self._top(1)) < 0.0
        if turns.any():
            self._push(np.flatnonzero(turns))
        self._newest = value.copy()
        while self._close():
            pass

    def counted(self) -> FloatArray:
        """Return the weighted cycles (n,) of the history so far."""
        columns = np.arange(self._points.shape[1])
        ends = np.where(columns < self._depth[:, None], self._points, self._newest[:, None])
        after = np.column_stack([ends[:, 1:], self._newest])
        halves: FloatArray = 0.5 * self._weighted(ends, after).sum(axis=1)
        return self._closed + halves

    def _top(self, below: int) -> FloatArray:
        """Return the last point but `below` - 1 of each history; the first point where there are not so many."""
        found: FloatArray = self._points[self._rows, np.maximum(self._depth - below, 0)]
        return found

    def _push(self, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> None:
        if self._depth[rows].max() == self._points.shape[1]:
            self._points = np.hstack([self._points, np.zeros_like(self._points)])
        self._points[rows, self._depth[rows]] = self._newest[rows]
        self._depth[rows] += 1

    def _close(self) -> bool:
        """Close one range where it can be; return whether there was one."""
        top, before = self._top(1), self._top(2)
        closes = (self._depth >= 2) & (np.abs(self._newest - top) >= np.abs(top - before))
        if not closes.any():
            return False
        first = self._depth == 2
        cycles = np.where(closes, np.where(first, 0.5, 1.0), 0.0) * self._weighted(top, before)
        self._closed = self._closed + cycles
        self._points[:, 0] = np.where(closes & first, top, self._points[:, 0])
        self._depth = self._depth - np.where(closes, np.where(first, 1, 2), 0)
        return True

    def _weighted(self, one: FloatArray, other: FloatArray) -> FloatArray:
        """Return the weight of each range; a range of nothing weighs nothing."""
        span = np.abs(one - other)
        found = np.zeros(span.shape)
        some = span > 0.0
        found[some] = self._weight(span[some], 0.5 * (one + other)[some])
        return found
