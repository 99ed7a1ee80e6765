"""Sums over several groups of elements, in one go."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Sums:
    """Sums over k groups of the elements of a complex vector; a group may be empty."""

    def __init__(self, *groups: NDArray[np.intp]) -> None:
        self._members = np.concatenate(groups)
        sizes = np.array([group.size for group in groups])
        self._used = np.flatnonzero(sizes)
        self._starts = (np.cumsum(sizes) - sizes)[self._used]
        self._found = np.zeros(len(groups), np.complex128)
        self._terms = np.zeros(self._members.size, np.complex128)

    def of(self, values: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Return the sums (k,), valid until the next call."""
        terms = values.take(self._members, out=self._terms, mode="clip")  # in a third of the time of an index
        if self._used.size == self._found.size:
            np.add.reduceat(terms, self._starts, out=self._found)
        elif self._used.size:
            self._found[self._used] = np.add.reduceat(terms, self._starts)
        return self._found
