"""What plain numpy takes for one element of vectors, by their length: why a fleet's cost is no straight line."""

from __future__ import annotations

from time import process_time

import numpy as np

SETS = 20
"""As many vectors of three as a fleet's step goes through, one after the other."""


def pass_ms(size: int, rounds: int = 30) -> float:
    """Return the least time for `minimum(a * b, c)`, ms, of `SETS` sets of vectors in turn."""
    drawn = np.random.default_rng(1).uniform(size=(SETS, 3, size))
    return min(_all_s(drawn) for _ in range(rounds)) / SETS * 1e3


def _all_s(drawn: np.ndarray) -> float:
    began = process_time()
    for a, b, c in drawn:
        np.minimum(a * b, c)
    return process_time() - began
