"""What a series holds at rising instants, read in pieces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from derloop.contract import FloatArray
from derloop.results.signals import Piece, TimeArray


class Held:
    """A series of which a value holds from its instant until the next. Keeps what may still be asked for, no more.

    before: at an instant of its own it still holds the value before, as what a delayed wire carries does.
    """

    def __init__(self, series: Iterator[Piece], before: bool = False) -> None:
        self._series, self._before = series, before
        self._pieces: list[Piece] = []

    def at(self, time_ns: TimeArray) -> FloatArray:
        """Return what holds at instants (k,), k > 0, which rise from call to call: (m, n) for the last m of them.

        m is less than k where the series begins later.
        """
        while (not self._pieces or self._pieces[-1][0][-1] < time_ns[-1]) and (piece := next(self._series, None)):
            self._pieces.append(piece)
        if not self._pieces:
            return np.empty((0, 0))
        if not self._before and np.array_equal(self._pieces[-1][0], time_ns):  # as of every port of one federate
            del self._pieces[:-1]
            return self._pieces[-1][1]
        known_ns, values = (np.concatenate(parts) for parts in zip(*self._pieces, strict=True))
        rows = np.searchsorted(known_ns, time_ns, side="left" if self._before else "right") - 1
        kept = max(int(rows[-1]), 0)
        self._pieces = [(known_ns[kept:], values[kept:])]
        found: FloatArray = values[rows[rows >= 0]]
        return found
