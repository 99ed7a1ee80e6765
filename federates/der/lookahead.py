"""What depends on time alone, computed for many instants at once: one instant by itself costs as much as dozens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.memory import remembers

Instants = NDArray[np.int64]
"""Some instants (k,), ns since the scenario's start."""
MOST: Final = 256
VALUES: Final = 2**13
"""Instants, and values, that are computed at once: more would drive what others need from the processor's caches."""


@remembers()
class Lookahead:
    """Rows of values over time, kept until those of other instants are asked for: memory does not grow with the run.

    A row is the same whichever are asked for before it, and whether or not the run has begun with a checkpoint.
    """

    def __init__(self, step_ns: int, width: int, values: Callable[[Instants], FloatArray]) -> None:
        """values: returns the rows (k, width) of k instants, multiples of step_ns."""
        self._step_ns, self._values = step_ns, values
        self._count = max(1, min(MOST, VALUES // max(1, width)))
        self._first, self._rows = -1, np.empty((0, width))

    def at(self, now_ns: int) -> FloatArray:
        """Return the row (width,) of an instant: read, and not written to."""
        number = now_ns // self._step_ns
        row = number % self._count
        if number - row != self._first:
            self._first = number - row
            self._rows = self._values((self._first + np.arange(self._count, dtype=np.int64)) * self._step_ns)
        found: FloatArray = self._rows[row]
        return found
