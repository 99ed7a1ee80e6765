"""What customers went without: energy not served, and indices of reliability as IEEE 1366-2022 defines them.

For load `i` with `N_i` customers, out from time to time, with the demand that it would have had,

    energy not served   ENS   = sum of demand_i h over the steps in which i is out
    SAIDI               sum N_i (time of sustained interruptions of i) / sum N_i          h for each customer
    SAIFI               sum N_i (sustained interruptions of i) / sum N_i                  for each customer
    CAIDI = SAIDI / SAIFI      ASAI = 1 - SAIDI / T      MAIFI = sum N_i (momentary ones of i) / sum N_i

A sustained interruption lasts more than 5 minutes (IEEE 1366, clause to be confirmed); a momentary one does not, and is
not in SAIDI. One that has begun counts from its sixth minute on, with all of its time. Time is known to a step; all
causes count, planned ones and major events too. A load is out while it is taken off, or draws nothing of what it asks
for, or asks for nothing while the island is dead.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray

BoolArray = NDArray[np.bool_]
SUSTAINED_S = 300.0
DEAD_PU = 1e-6
"""Of what a load asks for: so little is nothing."""


class Account(NamedTuple):
    """What was counted of n loads until now, each (n,)."""

    out_s: FloatArray
    """How long the interruption lasts that is under way; 0: none."""
    interrupted_s: FloatArray
    """Time of sustained interruptions."""
    sustained: FloatArray
    """How many."""
    momentary: FloatArray
    asked_kwh: FloatArray
    unserved_kwh: FloatArray

    @classmethod
    def empty(cls, count: int) -> Self:
        return cls(*[np.zeros(count)] * 6)

    def after(self, out: BoolArray, demand_kw: FloatArray, passed_s: float) -> Account:
        """Return the account after a step in which some were out (n,), with the demand (n,) that they had."""
        out_s = np.where(out, self.out_s + passed_s, 0.0)
        was_long, is_long = self.out_s > SUSTAINED_S, out_s > SUSTAINED_S
        begun = is_long & ~was_long
        ended_soon = ~out & (self.out_s > 0.0) & ~was_long
        asked_kwh = demand_kw * (passed_s / 3600.0)
        return Account(
            out_s,
            self.interrupted_s + np.where(begun, out_s, np.where(is_long, passed_s, 0.0)),
            self.sustained + begun,
            self.momentary + ended_soon,
            self.asked_kwh + asked_kwh,
            self.unserved_kwh + np.where(out, asked_kwh, 0.0),
        )


class Indices(NamedTuple):
    """Of all customers together."""

    saidi_h: float
    saifi: float
    caidi_h: float
    asai_pu: float
    maifi: float


def indices(account: Account, customers: FloatArray, run_s: float) -> Indices:
    """Return the indices over a time `run_s`. customers: (n,)."""
    all_of = float(customers.sum())
    saidi_h = float(customers @ account.interrupted_s) / all_of / 3600.0
    saifi = float(customers @ account.sustained) / all_of
    maifi = float(customers @ account.momentary) / all_of
    caidi_h = saidi_h / saifi if saifi > 0.0 else 0.0
    return Indices(saidi_h, saifi, caidi_h, 1.0 - saidi_h * 3600.0 / run_s if run_s > 0.0 else 1.0, maifi)


def are_out(on: BoolArray, demand_kw: FloatArray, solved_kw: FloatArray, is_live: bool) -> BoolArray:
    """Return which loads (n,) are out: taken off, or without what they ask for.

    is_live: whether the island is. Loads that ask for nothing are out where it is not.
    """
    asks = demand_kw > 0.0
    return ~on | np.where(asks, solved_kw <= DEAD_PU * demand_kw, not is_live)
