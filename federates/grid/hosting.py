"""Hosting capacity: how much generation a feeder takes until a voltage or a loading passes its limit.

One sweep adds units of equal size, each at the place of a load that is drawn at random, until the first limit is
passed; its capacity is what stood before. Many sweeps, each with a seed of its own, give the spread: with another order
of places the same feeder takes more or less. Loads stand at a share of what the file has, as at noon in spring.
Nodes and lines that pass their limit without any generation are left out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from math import sqrt
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Literal

import numpy as np

from derloop.contract import FloatArray
from federates.grid import inventory
from federates.grid.additions import add_injection
from federates.grid.engine import SolverError
from federates.grid.measured import Measured
from federates.grid.monitored import Monitored
from federates.grid.setpoints import Setpoints
from federates.grid.solver import Solver
from federates.sides import one_phase

Limit = Literal["voltage", "loading", "solution", "none"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a feeder."""

    feeder: Path
    """Checked before, or trusted."""
    seed: int
    unit_kw: float
    step_kw: float
    """Generation that is added between two power flows."""
    most_kw: float
    load_pu: float
    pf: float
    """Power factor of the units, which absorb reactive power if it is less than 1."""
    v_high_pu: float
    loading_pu: float
    regulators: Literal["active", "locked"]
    ratings_a: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one sweep found."""

    sweep: int
    kw: float
    limit: Limit
    where: str
    value_pu: float
    """Of the voltage or the loading that passed its limit."""
    passed_before: int = 0
    """Nodes and elements that pass their limit without any generation: they are not asked."""
    off_base: int = 0
    """Buses whose voltages are judged per unit of another one than that of the windings there."""


def hosting_capacity(question: Question, sweeps: int, jobs: int) -> list[Capacity]:
    """Return the capacities, in the order of the sweeps: the same with any number of processes. Raises SolverError."""
    if jobs == 1:
        return [_swept(question, sweep) for sweep in range(sweeps)]
    others = active_children()
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_end_with_parent) as pool:
        try:
            return list(pool.map(_swept, [question] * sweeps, range(sweeps), chunksize=max(1, sweeps // (4 * jobs))))
        except KeyboardInterrupt:  # the pool would wait for what is under way, after a second one for all that is asked
            for process in {*active_children()}.difference(others):
                process.kill()
            raise


def _end_with_parent() -> None:
    """Have this process end when that ends which it works for, by whatever: nobody would take what it finds."""
    Thread(target=_wait_for_parent, name="derloop parent", daemon=True).start()


def _wait_for_parent() -> None:
    if parent := parent_process():
        parent.join()
    os._exit(1)


def _swept(question: Question, sweep: int) -> Capacity:
    filled = _Sweep(question, sweep)
    return replace(filled.capacity(), off_base=filled.off_base)


class _Sweep:
    """One feeder that is filled."""

    def __init__(self, question: Question, sweep: int) -> None:
        self._question, self._sweep = question, sweep
        solver = self._solver = Solver(question.feeder)
        buses, self._loads = inventory.buses(solver), list(inventory.loads(solver).values())
        if not self._loads:
            raise SolverError(f"{question.feeder.name} has no load at which generation could stand")
        for i, load in enumerate(self._loads):
            bus, phases = buses[load.bus], load.phases
            add_injection(solver, f"unit_{i}", bus, one_phase(bus, phases[0]) if len(phases) == 1 else phases)
        # not by a multiplier, which passes over loads of a fixed status
        drawn = Setpoints(solver.dss, "Load", [load.name for load in self._loads])
        drawn.values[:] = question.load_pu * np.array([(load.kw, load.kvar) for load in self._loads]).T
        drawn.write()
        solver.prepare(question.regulators == "active", 1e-6, 100)
        self._units = Setpoints(solver.dss, "Generator", [f"unit_{i}" for i in range(len(self._loads))])
        self._volts = Measured(solver, buses)
        self.off_base = len(inventory.off_base(solver))
        self._lines = Monitored(("*",), dict(question.ratings_a), solver, may_lack_ratings=True)

    def capacity(self) -> Capacity:
        q = self._question
        drawn = np.random.default_rng([q.seed, self._sweep])
        v_pu, loading_pu = self._measured()
        open_v, open_lines = v_pu <= q.v_high_pu, loading_pu <= q.loading_pu
        added_kw = np.zeros(len(self._loads))
        before = int((~open_v).sum() + (~open_lines).sum())
        reached_kw, step = 0.0, max(1, round(q.step_kw / q.unit_kw))
        while units := min(step, int((q.most_kw - reached_kw) / q.unit_kw + 1e-9)):
            np.add.at(added_kw, drawn.integers(len(self._loads), size=units), q.unit_kw)
            try:
                v_pu, loading_pu = self._with(added_kw)
            except SolverError:
                return Capacity(self._sweep, reached_kw, "solution", "", 0.0, before)
            worst_v = int(np.where(open_v, v_pu, 0.0).argmax())
            worst_line = int(np.where(open_lines, loading_pu, 0.0).argmax())
            if open_v[worst_v] and v_pu[worst_v] > q.v_high_pu:
                node = self._solver.nodes[worst_v]
                return Capacity(self._sweep, reached_kw, "voltage", node, float(v_pu[worst_v]), before)
            if open_lines[worst_line] and loading_pu[worst_line] > q.loading_pu:
                name = self._lines.names[worst_line]
                return Capacity(self._sweep, reached_kw, "loading", name, float(loading_pu[worst_line]), before)
            reached_kw += units * q.unit_kw
        return Capacity(self._sweep, reached_kw, "none", "", 0.0, before)

    def _with(self, added_kw: FloatArray) -> tuple[FloatArray, FloatArray]:
        self._units.p_kw[:] = added_kw
        self._units.q_kvar[:] = -added_kw * sqrt(1.0 / self._question.pf**2 - 1.0)
        self._units.write()
        self._solver.solve_given()
        return self._measured()

    def _measured(self) -> tuple[FloatArray, FloatArray]:
        return self._volts.magnitudes_pu(), self._lines.measured(self._solver.elements.most_currents_a())["loading_pu"]


def quantiles_kw(found: Sequence[Capacity]) -> dict[str, float]:
    """Return the least, the 5 % and 50 % quantiles, and the most of the capacities, kW."""
    kw = np.array([capacity.kw for capacity in found])
    least, low, median, most = np.quantile(kw, [0.0, 0.05, 0.5, 1.0])
    return {"least_kw": float(least), "q05_kw": float(low), "median_kw": float(median), "most_kw": float(most)}
