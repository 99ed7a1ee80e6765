"""What several series hold at the same instants, read abreast in blocks that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from derloop.contract import FloatArray
from derloop.results.signals import Piece, TimeArray


class Held:
    """A series of which a value holds from its instant until the next. Keeps two of its pieces, no more.

    before: at an instant of its own it still holds the value before, as what a delayed wire carries does.
    """

    def __init__(self, series: Iterator[Piece], step_ns: int, before: bool = False) -> None:
        """step_ns: how long the last value holds; what came after it nobody has recorded, as after a kill."""
        self._series, self._step_ns, self._before = series, step_ns, int(before)
        self._now: Piece | None = None
        self._next = next(series, None)

    def until(self, now_ns: int) -> int:
        """Go to the piece that says what holds at `now_ns`, later than before; return the instant where it ends.

        That is no later than `now_ns` where the series has ended.
        """
        while self._next and self._next[0][0] + self._before <= now_ns:
            self._now, self._next = self._next, next(self._series, None)
        if self._next:
            return int(self._next[0][0]) + self._before
        return int(self._now[0][-1]) + self._step_ns + self._before if self._now else now_ns

    def at(self, time_ns: TimeArray) -> FloatArray | None:
        """Return what holds at instants (k,) of this piece, shape (k, n); None where the series begins later.

        A view of the piece, unless the series has a step of its own.
        """
        if self._now is None:
            return None
        known_ns, values = self._now
        first = int(np.searchsorted(known_ns, time_ns[0], side=self._side)) - 1
        rows = slice(first, first + time_ns.size)
        follows = slice(0, -1 if self._before else None)
        if np.array_equal(known_ns[rows][self._before :], time_ns[follows]):
            return values[rows]
        found: FloatArray = values[np.searchsorted(known_ns, time_ns, side=self._side) - 1]
        return found

    @property
    def _side(self) -> Literal["left", "right"]:
        return "left" if self._before else "right"


def abreast(
    instants: Iterator[TimeArray], series: Sequence[Held], most: int
) -> Iterator[tuple[TimeArray, list[FloatArray]]]:
    """Yield instants in blocks of `most` at most, and what each series holds at them: (k,) and for each (k, n).

    Instants that come before a series begins, or after one has ended, are left out.
    """
    for time_ns in instants:
        begin = 0
        while begin < time_ns.size:
            ends_ns = min(held.until(int(time_ns[begin])) for held in series)
            if ends_ns <= time_ns[begin]:
                return
            end = min(begin + most, int(np.searchsorted(time_ns, ends_ns)))
            block_ns, begin = time_ns[begin:end], end
            found = [values for held in series if (values := held.at(block_ns)) is not None]
            if len(found) == len(series):
                yield block_ns, found
