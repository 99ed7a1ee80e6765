"""How much the members are asked for: from a power of all of them to setpoints of each, by vectors.

Shares. To move the sum of the setpoints by `g`, each device is moved in proportion to what is left to it:

    d = (high - p) min(g / sum(high - p), 1)        g > 0, and likewise downwards

or, where it is known what they hold, so that those go first that can go on the longest. With the time `x = e / P` for
which a device could hold its power `P` with the energy `e`, and a step `h`,

    d = P clip((x - z) / h, 0, 1)        with z such that sum d = g

After that nobody can go on longer than before, and the longest become equal: the rule under which most requests can
still be met afterwards (M. Evans, S. Tindemans, D. Angeli, "Robustly maximal utilisation of energy-constrained
distributed resources", PSCC 2018). `z` is found exactly among the 2 n corners of the sum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.control.vpp.members import Measured

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What n devices are asked for so far, and what is left of them to ask for. Powers are positive when injected."""

    p_kw: FloatArray
    """Setpoints (n,), without `offset_kw`."""
    low_kw: FloatArray
    """Least that may be asked (n,)."""
    high_kw: FloatArray
    """Most that may be asked (n,)."""
    offset_kw: FloatArray
    """Deployed from what was held back (n,)."""
    least_kw: float = -np.inf
    """What the sum of all must not fall below."""
    most_kw: float = np.inf
    """What the sum of all must not pass."""
    floor_kw: float = -np.inf
    """What the sum of all must not fall below, with all that is held back to draw more deployed."""
    kept_kwh: float = 0.0
    """Energy that later services must leave in store."""
    kept_kw: FloatArray | float = 0.0
    """Power that is held back to inject more (n,)."""
    kept_room_kwh: float = 0.0
    """Room that later services must leave in store."""
    kept_down_kw: FloatArray | float = 0.0
    """Power that is held back to draw more (n,)."""

    @classmethod
    def at_rest(cls, members: Measured) -> Dispatch:
        """Return what devices do that nobody asks for anything: 0, or what they must (a car that has to be ready)."""
        low, high = members.low_kw, np.maximum(members.low_kw, members.high_kw)
        return cls(np.clip(0.0, low, high), low, high, np.zeros(low.shape))

    @property
    def total_kw(self) -> float:
        return float(self.p_kw.sum())

    @property
    def setpoints_kw(self) -> FloatArray:
        return self.p_kw + self.offset_kw

    @property
    def room_kw(self) -> float:
        """By how much the sum may fall when what is held back is deployed."""
        return max(self.total_kw - self.floor_kw, 0.0)

    def toward(self, total_kw: float, able: BoolArray | None = None, hours: Hours | None = None) -> Dispatch:
        """Return it with the sum moved to `total_kw`, as far as bounds allow.

        able (n,): who takes part; all without it. hours: of these the longest go first; in proportion without it.
        """
        if self.least_kw > self.most_kw:
            return self
        gap_kw = min(max(total_kw, self.least_kw), self.most_kw) - self.total_kw
        room = np.maximum(self.high_kw - self.p_kw if gap_kw > 0.0 else self.p_kw - self.low_kw, 0.0)
        room = room if able is None else np.where(able, room, 0.0)
        moved = share(abs(gap_kw), room) if hours is None else hours.share(gap_kw, room)
        return replace(self, p_kw=self.p_kw + np.copysign(moved, gap_kw))

    def moved(self, by_kw: FloatArray) -> Dispatch:
        """Return it with each device moved (n,), as far as its own bounds allow."""
        return replace(self, p_kw=np.clip(self.p_kw + by_kw, self.low_kw, self.high_kw))

    def kept(self, up_kw: FloatArray, down_kw: FloatArray, offset_kw: FloatArray) -> Dispatch:
        """Return it with headroom (n,) held back from later services, of which `offset_kw` (n,) is deployed now."""
        low, high = self.low_kw + down_kw, self.high_kw - up_kw
        kept = replace(self, kept_kw=self.kept_kw + up_kw, kept_down_kw=self.kept_down_kw + down_kw)
        kept = replace(kept, low_kw=low, high_kw=high, offset_kw=self.offset_kw + offset_kw)
        return kept.floored(self.floor_kw + float(down_kw.sum()))

    def bounded(self, least_kw: float = -np.inf, most_kw: float = np.inf) -> Dispatch:
        """Return it with the sum bounded for later services, but never against an earlier one."""
        least = min(max(self.least_kw, least_kw), self.most_kw)
        return replace(self, least_kw=least, most_kw=max(min(self.most_kw, most_kw), least))

    def floored(self, floor_kw: float) -> Dispatch:
        """Return it with a least sum that counts also what is deployed."""
        return replace(self.bounded(least_kw=floor_kw), floor_kw=max(self.floor_kw, floor_kw))

    def settled(self) -> Dispatch:
        """Return it with what it has now kept: later services may add to its sum, and not undo it."""
        total_kw = self.total_kw
        if total_kw > 0.0:
            return self.bounded(least_kw=total_kw)
        return self.bounded(most_kw=total_kw) if total_kw < 0.0 else self


@dataclass(frozen=True, slots=True)
class Hours:
    """For how long n devices could go on."""

    discharging_kwh: FloatArray
    """What each could give (n,)."""
    charging_kwh: FloatArray
    """What each could take (n,)."""
    step_h: float

    def share(self, gap_kw: float, room_kw: FloatArray) -> FloatArray:
        """Return `gap_kw` shared (n,), the longest first: what they could give where it is positive, else take."""
        energy_kwh = self.discharging_kwh if gap_kw > 0.0 else self.charging_kwh
        able_kw = np.minimum(room_kw, np.maximum(energy_kwh, 0.0) / self.step_h)
        lasts_h = np.divide(energy_kwh, able_kw, out=np.zeros(able_kw.shape), where=able_kw > 0.0)
        return longest_first(abs(gap_kw), able_kw, lasts_h, self.step_h)


def share(total_kw: float, can_kw: FloatArray) -> FloatArray:
    """Return `total_kw` shared in proportion to `can_kw` (n,), no more than that each; 0 for a negative total."""
    most_kw = float(can_kw.sum())
    if total_kw <= 0.0 or most_kw <= 0.0:
        return np.zeros(can_kw.shape)
    return can_kw * min(total_kw / most_kw, 1.0)


def longest_first(total_kw: float, can_kw: FloatArray, lasts_h: FloatArray, step_h: float) -> FloatArray:
    """Return `total_kw` shared (n,), first by those who can hold `can_kw` (n,) the longest, `lasts_h` (n,)."""
    if total_kw <= 0.0 or total_kw >= float(can_kw.sum()) * (1.0 - 1e-12):
        return share(total_kw, can_kw)
    corners = np.concatenate([lasts_h, lasts_h - step_h])
    slopes = np.concatenate([can_kw, -can_kw]) / step_h
    order = np.argsort(-corners, kind="stable")
    falling = corners[order]
    slope = np.cumsum(slopes[order])
    given_kw = np.concatenate([[0.0], np.cumsum(slope[:-1] * -np.diff(falling))])
    at = min(int(np.searchsorted(given_kw, total_kw, side="left")), given_kw.size - 1)
    level_h = falling[at - 1] - (total_kw - given_kw[at - 1]) / slope[at - 1]
    shared: FloatArray = can_kw * np.clip((lasts_h - level_h) / step_h, 0.0, 1.0)
    return shared
