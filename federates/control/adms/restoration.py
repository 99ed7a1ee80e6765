"""Fault location, isolation and service restoration.

Location: a section is faulted where the fault passed the switch by which it was fed, and none by which it feeds others,
of those behind a relay that has locked out: indicators may still tell of another fault before.
Isolation: every switch around it opens and stays open. Restoration: of all settings of the other switches that differ
in at most `most_operations` from what is, and in which every section is fed by one source or none and there is no ring,
the one that serves the most load with the fewest operations and keeps voltages and loadings in their limits: tried in
this order with a power flow, so the first that keeps them is the best. What is outside of a limit already, with the
fault isolated, must not go farther than it stirs with what is switched elsewhere: else one overload anywhere would keep
all in the dark.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.control.adms.model import Commands, GridModel
from federates.control.adms.sections import Sections, sections
from federates.control.adms.settings import RestorationSettings
from federates.control.adms.volt_var import Limits, VoltVar
from federates.grid import inventory

BoolArray = NDArray[np.bool_]
MOST_PLANS = 200_000
"""Settings of switches that are looked at, without a power flow."""


STIRS_PU = 0.02
"""How much farther outside of its limits a voltage may go that is outside before anything is restored."""
STIRS_PART = 0.1
"""How much more current there may be where there is too much before: loads draw their power at other voltages, too."""
TAPS_TRIED = 60
"""Power flows in which taps and banks are sought for one plan that keeps loadings, but not voltages."""


class Plan(NamedTuple):
    """Switches (n,) as they are to be, and the load that they serve, kW."""

    closed: BoolArray
    served_kw: float
    operations: int


def sections_of(model: GridModel) -> Sections:
    """Return the sections between the switches that are operated."""
    solver, switches = model.feeder.solver, model.apparatus.switches
    branches, operated = inventory.branches(solver), [f"line.{name}" for name in switches]
    of_switches = [branches[name] for name in operated]
    conducting = [ends for name, ends in inventory.conducting(solver).items() if name not in operated]
    joined = [ends for ends in conducting if {*ends} <= {*model.feeder.buses}]
    return sections(model.feeder.buses, joined, of_switches, inventory.head_buses(solver))


class Restoration:
    """The search, for one feeder."""

    def __init__(self, settings: RestorationSettings, model: GridModel, volt_var: VoltVar | None = None) -> None:
        """volt_var: what sets taps and banks for a plan, where these are operated."""
        self._settings, self._model, self._volt_var = settings, model, volt_var
        self.sections = sections_of(model)
        self._watched = model.watched(())

    def isolated(self, closed: FloatArray, faulted: set[int]) -> FloatArray:
        """Return the switches with every one around these sections open."""
        around = [switch for section in faulted for switch in self.sections.around(section)]
        opened = closed.copy()
        opened[around] = 0.0
        return opened

    def best(self, now: Commands, faulted: set[int]) -> Commands:
        """Return the best settings from those with isolated switches: the same where nothing can be won."""
        loads_kw = np.zeros(len(self.sections.names))
        for bus, kw in self._model.loads_kw().items():
            loads_kw[self.sections.of_bus[bus]] += kw
        limits = self._limits(now)
        plans = sorted(self._plans(now.switches > 0.5, faulted, loads_kw), key=lambda p: (-p.served_kw, p.operations))
        for plan in plans[: self._settings.most_solutions]:
            if plan.operations == 0:
                break
            if (kept := self._kept(now._replace(switches=plan.closed.astype(np.float64)), limits)) is not None:
                return kept
        return now

    def _plans(self, closed: BoolArray, faulted: set[int], loads_kw: FloatArray) -> Iterator[Plan]:
        free = [i for i, ends in enumerate(self.sections.ends) if faulted.isdisjoint(ends)]
        looked = 0
        for operations in range(self._settings.most_operations + 1):
            for moved in combinations(free, operations):
                looked += 1
                if looked > MOST_PLANS:
                    return
                then = closed.copy()
                then[list(moved)] ^= True
                fed = self.sections.fed(then)
                if max(fed) <= 1:
                    yield Plan(then, round(float(loads_kw[np.array(fed) == 1].sum()), 6), operations)

    def _limits(self, now: Commands) -> Limits:
        """Return what a plan must keep: the limits, or where that is farther, what is without any plan."""
        low, high, loading = limits = Limits.alike(self._model, self._settings.v_pu, self._settings.loading_pu)
        if (before := self._model.solved(now)) is None:
            return limits
        v_pu = before.v_pu
        return Limits(
            np.where((v_pu > 0.0) & (v_pu < low), v_pu - STIRS_PU, low),
            np.where(v_pu > high, v_pu + STIRS_PU, high),
            np.where(before.loading_pu > loading, before.loading_pu * (1.0 + STIRS_PART), loading),
        )

    def _kept(self, commands: Commands, limits: Limits) -> Commands | None:
        """Return these commands, with other taps if that helps, where they keep all limits; None where they do not."""
        outcome = self._model.solved(commands)
        if outcome is None or (outcome.loading_pu > limits.loading_pu).any():
            return None
        if limits.passed_by(outcome, self._watched) <= 0.0:
            return commands
        if self._volt_var is None:
            return None
        found = self._volt_var.within(commands, limits, TAPS_TRIED)
        return found.commands if found.violation <= 0.0 else None
