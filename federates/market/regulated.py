"""Regulation as it is settled, hour by hour: as PJM does, capability and mileage are paid by the performance score.

paid = score    if score >= least, else 0
capability = sum over hours of paid x kw x h          mileage = sum over hours of paid x |moves of the signal|
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.market.schedule import NS_PER_S, IntArray

HOUR_S = 3600


class Regulated(NamedTuple):
    """Regulation in h hours of a run."""

    hour: IntArray
    """(h,): number since the start."""
    score_pu: FloatArray
    """(h,): 0 where there is none."""
    held_h: FloatArray
    """(h,): for how long the power was held."""
    mileage_kw: FloatArray
    """(h,): the sum of the moves of the signal."""

    def paid_pu(self, least_pu: float) -> FloatArray:
        """Return which part of a whole hour's payment each is due (h,)."""
        return np.where(self.score_pu >= least_pu, self.score_pu, 0.0)

    def capability_kw_h(self, kw: float, least_pu: float) -> FloatArray:
        return kw * self.held_h * self.paid_pu(least_pu)

    def moved_kw(self, least_pu: float) -> FloatArray:
        return self.mileage_kw * self.paid_pu(least_pu)

    @property
    def mean_score_pu(self) -> float:
        return float(self.score_pu.mean()) if self.score_pu.size else 0.0

    def of(self, chosen: NDArray[np.bool_]) -> Regulated:
        """Return some of the hours."""
        return Regulated(self.hour[chosen], self.score_pu[chosen], self.held_h[chosen], self.mileage_kw[chosen])


def regulated(
    time_ns: IntArray,
    signal_kw: FloatArray,
    step_ns: int,
    inside: NDArray[np.bool_],
    scores_of: Callable[[IntArray], FloatArray],
) -> Regulated:
    """Return the hours of a signal (k,), as far as it is `inside` (k,) of what counts."""
    hour = (time_ns // (HOUR_S * NS_PER_S)).astype(np.int64)
    hours = np.unique(hour[inside])
    moves_kw = np.abs(np.diff(signal_kw, prepend=signal_kw[:1])) * inside
    held_h = np.array([inside[hour == h].sum() for h in hours]) * step_ns / 3.6e12
    mileage_kw = np.array([moves_kw[hour == h].sum() for h in hours])
    return Regulated(hours, scores_of(hours), held_h, mileage_kw)
