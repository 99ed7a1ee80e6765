"""Fault location, isolation and service restoration.

Location: a section is faulted where the fault passed the switch by which it was fed, and none by which it feeds others.
Isolation: every switch around it opens and stays open. Restoration: of all settings of the other switches that differ
in at most `most_operations` from what is, and in which every section is fed by one source or none and there is no ring,
the one that serves the most load with the fewest operations and keeps voltages and loadings in their limits: tried in
this order with a power flow, so the first that keeps them is the best.
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
from federates.control.adms.volt_var import outside_pu

BoolArray = NDArray[np.bool_]
MOST_PLANS = 200_000
"""Settings of switches that are looked at, without a power flow."""


class Plan(NamedTuple):
    """Switches (n,) as they are to be, and the load that they serve, kW."""

    closed: BoolArray
    served_kw: float
    operations: int


def sections_of(model: GridModel) -> Sections:
    """Return the sections between the switches that are operated."""
    solver, switches = model.feeder.solver, model.apparatus.switches
    branches = solver.branches()
    of_switches = [branches.pop(f"line.{name}") for name in switches]
    joined = [ends for ends in branches.values() if {*ends} <= {*model.feeder.buses}]
    return sections(model.feeder.buses, joined, of_switches, solver.head_buses())


class Restoration:
    """The search, for one feeder."""

    def __init__(self, settings: RestorationSettings, model: GridModel) -> None:
        self._settings, self._model = settings, model
        self.sections = sections_of(model)
        self._watched = model.watched(())

    def isolated(self, closed: FloatArray, faulted: set[int]) -> FloatArray:
        """Return the switches with every one around these sections open."""
        around = [switch for section in faulted for switch in self.sections.around(section)]
        opened = closed.copy()
        opened[around] = 0.0
        return opened

    def best(self, now: Commands, faulted: set[int]) -> tuple[Plan | None, int]:
        """Return the best plan from isolated switches, None where nothing can be won; and how much was solved."""
        loads_kw = np.zeros(len(self.sections.names))
        for bus, kw in self._model.loads_kw().items():
            loads_kw[self.sections.of_bus[bus]] += kw
        plans = sorted(self._plans(now.switches > 0.5, faulted, loads_kw), key=lambda p: (-p.served_kw, p.operations))
        for tried, plan in enumerate(plans[: self._settings.most_solutions], start=1):
            if plan.operations == 0 or self._keeps(plan, now):
                return plan if plan.operations else None, tried
        return None, min(len(plans), self._settings.most_solutions)

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

    def _keeps(self, plan: Plan, now: Commands) -> bool:
        outcome = self._model.solved(now._replace(switches=plan.closed.astype(np.float64)))
        if outcome is None:
            return False
        return outside_pu(outcome, self._settings.v_pu, self._watched, self._settings.loading_pu) <= 0.0
