"""By how much an iteration moves voltages, beside a tolerance.

What nothing earths is judged by the differences within each bus alone: what its nodes have in common to earth is next
to undetermined, so that rounding moves it anew in each iteration, on IEEE 9500 by 4e-5 pu. No power depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray

LEAST_V = 1.0
"""Base of what has none."""


class Movement:
    """What an iteration moves, as complex numbers, of the nodes' base voltages."""

    def __init__(self, tolerance: float, bases_v: FloatArray, unearthed: Sequence[NDArray[np.intp]] = ()) -> None:
        """bases_v (nodes,), V. unearthed: the nodes of each bus that nothing earths."""
        bases_v = np.maximum(bases_v, LEAST_V)
        self._per_v = np.repeat(sqrt(2.0) / (tolerance * bases_v), 2)
        self._moved_v = np.zeros(bases_v.size, np.complex128)
        sizes = np.array([nodes.size for nodes in unearthed], np.intp)
        self._floating = np.concatenate([*unearthed, np.zeros(0, np.intp)]).astype(np.intp)
        self._starts, self._sizes = np.cumsum(sizes) - sizes, sizes

    def begin(self, volts: NDArray[np.complex128]) -> None:
        """Take note of the voltages (nodes,), V, before an iteration."""
        self._moved_v[:] = volts

    def end(self, volts: NDArray[np.complex128]) -> None:
        """Take note of the voltages after it."""
        np.subtract(volts, self._moved_v, out=self._moved_v)

    def is_within(self) -> bool:
        """Return whether the iteration has moved no voltage by more than the tolerance.

        None is moved by more whose parts are both moved by less than the tolerance over the square root of 2.
        """
        self.judged(self._moved_v)
        moved = self._moved_v.view(np.float64)
        moved *= self._per_v
        return bool(moved[moved.argmax()] <= 1.0 and moved[moved.argmin()] >= -1.0)

    def judged(self, moved_v: NDArray[np.complex128]) -> None:
        """Leave of what nodes were moved by (nodes,), V, what is judged."""
        if self._floating.size:
            moved_v[self._floating] -= np.repeat(self._common_v(moved_v), self._sizes)

    @property
    def buses(self) -> int:
        """How many buses nothing earths."""
        return self._sizes.size

    def common(self) -> FloatArray:
        """Return by how much each of these (buses,) was moved as a whole, of the tolerance; before `is_within`."""
        per_v = self._per_v[2 * self._floating[self._starts]]
        found: FloatArray = np.abs(self._common_v(self._moved_v)) * per_v / sqrt(2.0)
        return found

    def _common_v(self, moved_v: NDArray[np.complex128]) -> NDArray[np.complex128]:
        common_v = np.add.reduceat(moved_v[self._floating], self._starts)
        common_v /= self._sizes
        return common_v
