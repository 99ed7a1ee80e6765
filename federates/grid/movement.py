"""By how much an iteration moves voltages, beside a tolerance.

What nothing earths is judged by the differences within each bus alone: what its nodes have in common to earth is next
to undetermined, so that rounding moves it anew in each iteration, on IEEE 9500 by 4e-5 pu. No power depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import compress
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray

LEAST_V = 1.0
"""Base of what has none."""
PROBED, QUIET = 8, 0.01
"""How many iterations at a time are looked at for rounding, and how much of the tolerance it may take."""


class Movement:
    """What an iteration moves, as complex numbers, of the nodes' base voltages."""

    def __init__(self, tolerance: float, bases_v: FloatArray, unearthed: Sequence[NDArray[np.intp]] = ()) -> None:
        """bases_v (nodes,), V. unearthed: the nodes of each bus that nothing earths."""
        self._tolerance, self._unearthed = tolerance, unearthed
        self._bases_v = bases_v = np.maximum(bases_v, LEAST_V)
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

    def of_restless(self, iterate: Callable[[], None], most: int) -> Movement | None:
        """Return the same for those buses alone that rounding moves, where nothing else does; None: there are none.

        iterate: does an iteration, and has this take note of it; most: how often. Where something draws to ground,
        what these buses have to earth follows from that and comes to rest: it is waited for.
        """
        before = np.full(self._sizes.size, np.inf)
        for _ in range(max(1, most // PROBED)):
            moved = np.max([self._commonly_moved(iterate) for _ in range(PROBED)], axis=0)
            restless = moved >= QUIET
            if (moved > before / 2)[restless].all():
                break
            before = moved
        return (
            Movement(self._tolerance, self._bases_v, [*compress(self._unearthed, restless)]) if restless.any() else None
        )

    def _commonly_moved(self, iterate: Callable[[], None]) -> FloatArray:
        iterate()
        return self.common()

    def common(self) -> FloatArray:
        """Return by how much each of these (buses,) was moved as a whole, of the tolerance; before `is_within`."""
        per_v = self._per_v[2 * self._floating[self._starts]]
        found: FloatArray = np.abs(self._common_v(self._moved_v)) * per_v / sqrt(2.0)
        return found

    def _common_v(self, moved_v: NDArray[np.complex128]) -> NDArray[np.complex128]:
        common_v = np.add.reduceat(moved_v[self._floating], self._starts)
        common_v /= self._sizes
        return common_v


def of_buses(buses: Collection[str], order: Mapping[str, int]) -> list[NDArray[np.intp]]:
    """Return the numbers of the nodes of each of these buses; order: of all nodes by "bus.phase"."""
    found: dict[str, list[int]] = {}
    for node, index in order.items():
        if (bus := node.rpartition(".")[0]) in buses:
            found.setdefault(bus, []).append(index)
    return [np.array(nodes, np.intp) for nodes in found.values()]
