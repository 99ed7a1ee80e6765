"""Which groups of loads are on in an island: taken off by priority, and brought back one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.control.microgrid.settings import LoadGroup, SheddingRules

BoolArray = NDArray[np.bool_]


class Strength(NamedTuple):
    """How an island stands."""

    soc_pu: float
    """Of all stores together; 1 where there is none."""
    f_hz: float
    given_kw: float
    """By all sources together."""
    can_kw: float
    """What they can give now."""
    could_kw: float
    """What they could, once engines that stand are started."""
    carried_kva: float
    """What they carry, and what those in service are rated for: the next."""
    rated_kva: float


class Served(NamedTuple):
    """What one step leaves to the next."""

    on: BoolArray
    """Which groups (g,) are on."""
    last_off_s: float = -np.inf
    """When a group was last taken off, as is the next."""
    last_on_s: float = -np.inf


class Priorities:
    """g groups: who goes first, and who comes back."""

    def __init__(self, groups: Sequence[LoadGroup], can_go: Sequence[bool], rules: SheddingRules, f_nominal_hz: float):
        self._rules, self._can_go = rules, np.array(can_go)
        self._priority = np.array([group.priority for group in groups])
        self._threshold_pu = np.array([group.shed_below_soc_pu or 0.0 for group in groups])
        self._below_hz = f_nominal_hz - 0.7 if rules.below_hz is None else rules.below_hz
        self.all_on = Served(np.ones(len(groups), np.bool_))

    def only(self, kept: BoolArray, served: Served, now_s: float) -> Served:
        """Return with no more than these groups (g,) on, and those that cannot be taken off."""
        on = served.on & (kept | ~self._can_go)
        return served if (on == served.on).all() else Served(on, now_s, served.last_on_s)

    def rationed(self, served: Served, strength: Strength, now_s: float) -> Served:
        """Return who is on in an island that stands like this."""
        stays = strength.soc_pu >= self._threshold_pu
        after = self.only(stays, served, now_s)
        weak = strength.f_hz < self._below_hz or strength.given_kw > self._rules.most_pu * strength.could_kw
        if weak and (after.on & self._can_go).any():
            lowest = self._priority[after.on & self._can_go].max()
            after = self.only(self._priority < lowest, after, now_s)
        return after

    def restored(self, served: Served, demand_kw: FloatArray, strength: Strength, now_s: float) -> Served:
        """Return with the next groups back, if they may be. demand_kw: (g,)."""
        rules, off = self._rules, ~served.on
        if not off.any() or now_s < served.last_on_s + rules.every_s or now_s < served.last_off_s + rules.rest_s:
            return served
        first = off & (self._priority == self._priority[off].min())
        enough = strength.soc_pu >= self._threshold_pu[first].max() + _band(self._threshold_pu[first], rules)
        if not enough or not self._has_room(float(demand_kw[first].sum()), strength):
            return served
        return Served(served.on | first, served.last_off_s, now_s)

    def _has_room(self, demand_kw: float, strength: Strength) -> bool:
        """Return whether sources could carry a group besides, cold as it is."""
        rules, p_kw = self._rules, demand_kw * (1.0 + self._rules.cold_load_pu)
        has_power = p_kw <= rules.most_pu * strength.can_kw - strength.given_kw
        return has_power and p_kw / rules.pf <= rules.most_pu * strength.rated_kva - strength.carried_kva


def _band(thresholds_pu: FloatArray, rules: SheddingRules) -> float:
    return rules.band_soc_pu if thresholds_pu.max() > 0.0 else 0.0
