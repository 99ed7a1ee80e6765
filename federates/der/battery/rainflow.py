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
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.memory import remembers

IntArray = NDArray[np.intp]
Weight = Callable[[FloatArray, FloatArray], FloatArray]
"""From ranges and means of cycles, (k,) each, to what a whole cycle counts."""


@remembers("_newest", "_weights", "_points", "_depth", "_closed")
class Rainflow:
    """n counts. State: the turning points that are not closed, the newest value, and what was closed."""

    def __init__(self, first: FloatArray, weight: Weight) -> None:
        """first: (n,), where each history begins. weight: what a cycle of this range and mean counts."""
        self._weight = weight
        self._points = np.zeros((first.size, 8))
        self._points[:, 0] = first
        self._weights = np.zeros((first.size, 8))
        """Of the range that begins at each point, up to the last but one."""
        self._depth = np.ones(first.size, dtype=np.intp)
        self._newest = first.copy()
        self._rows = np.arange(first.size)
        self._closed = np.zeros(first.size)

    def take(self, value: FloatArray) -> None:
        """Go on to these values (n,)."""
        turns = (value - self._newest) * (self._newest - self._top()) < 0.0
        if turns.any():
            self._push(np.flatnonzero(turns))
        self._newest = value.copy()
        rows = self._rows
        while rows.size:
            rows = self._close(rows)

    def counted(self) -> FloatArray:
        """Return the weighted cycles (n,) of the history so far."""
        left = np.where(np.arange(self._weights.shape[1]) < self._depth[:, None] - 1, self._weights, 0.0).sum(axis=1)
        halves: FloatArray = 0.5 * (left + self._weighted(self._top(), self._newest))
        return self._closed + halves

    def _top(self) -> FloatArray:
        """Return the last turning point (n,)."""
        found: FloatArray = self._points[self._rows, self._depth - 1]
        return found

    def _push(self, rows: IntArray) -> None:
        depth, newest = self._depth[rows], self._newest[rows]
        if depth.max() == self._points.shape[1]:
            self._points = np.hstack([self._points, np.zeros_like(self._points)])
            self._weights = np.hstack([self._weights, np.zeros_like(self._weights)])
        self._weights[rows, depth - 1] = self._weighted(self._points[rows, depth - 1], newest)
        self._points[rows, depth] = newest
        self._depth[rows] += 1

    def _close(self, rows: IntArray) -> IntArray:
        """Close one range of each of these histories where it can be; return those where there was one."""
        depth = self._depth[rows]
        top, before = self._points[rows, depth - 1], self._points[rows, np.maximum(depth - 2, 0)]
        closes = (depth >= 2) & (np.abs(self._newest[rows] - top) >= np.abs(top - before))
        rows, depth, top = rows[closes], depth[closes], top[closes]
        first = depth == 2
        self._closed[rows] += np.where(first, 0.5, 1.0) * self._weights[rows, depth - 2]
        self._points[rows[first], 0] = top[first]
        self._depth[rows] = depth - np.where(first, 1, 2)
        return rows

    def _weighted(self, one: FloatArray, other: FloatArray) -> FloatArray:
        """Return the weight of each range; a range of nothing weighs nothing."""
        span = np.abs(one - other)
        found = np.zeros(span.shape)
        some = span > 0.0
        found[some] = self._weight(span[some], 0.5 * (one + other)[some])
        return found
