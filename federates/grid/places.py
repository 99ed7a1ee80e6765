"""Which of n devices stand at one place."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from derloop.contract import FloatArray


class Places:
    """m places of n devices, in the order in which they are named first."""

    def __init__(self, of: Sequence[Hashable]) -> None:
        """of: what each device's place is."""
        number = {place: index for index, place in enumerate(dict.fromkeys(of))}
        self._of = np.array([number[place] for place in of], np.intp)
        self._of_pair = np.concatenate([self._of, self._of + len(number)])
        self.firsts: list[int] = np.unique(self._of, return_index=True)[1].tolist()
        """The first device at each place (m,)."""
        self.counts: FloatArray = np.bincount(self._of).astype(np.float64)
        """How many devices are at each place (m,)."""
        self.are_single = len(number) == len(of)
        """Whether each device has its own."""

    def summed(self, values: FloatArray) -> FloatArray:
        """Return the sums (m,) of values of devices (n,)."""
        if self.are_single:
            return values
        return np.asarray(np.bincount(self._of, values, len(self.firsts)), np.float64)

    def pair_summed(self, values: FloatArray) -> FloatArray:
        """Return the sums (2, m) of two values of each device, one after the other (2 n,), in one go."""
        if self.are_single:
            return values.reshape(2, -1)
        sums = np.bincount(self._of_pair, values, 2 * len(self.firsts))
        return np.asarray(sums, np.float64).reshape(2, -1)

    def spread(self, values: FloatArray) -> FloatArray:
        """Return for each device (n,) the value of its place (m,)."""
        return values.take(self._of, mode="clip")
