"""Volt-var optimisation: taps and banks for the least energy or the least losses, with all voltages in their band.

The cost is what the head draws, or the losses, in kW; the violation is the sum over all energised nodes of how far the
voltage lies outside of the band, pu, and of how far loadings lie above 1. The least violation counts first. Costs come
from a power flow with the loads that were measured last.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.control.adms.model import Commands, GridModel, Outcome
from federates.control.adms.search import Point, Score, Search
from federates.control.adms.settings import Objective, VoltVarSettings

UNSOLVED = Score(1e9, 1e9)


class Found(NamedTuple):
    """What a search found, and what was there before: kW as in the objective."""

    commands: Commands
    cost_kw: float
    before_kw: float
    violation: float
    """What is left of it: 0 where all limits can be kept."""
    solutions: int


class Limits(NamedTuple):
    """What voltages of nodes (nodes,) and loadings (monitored,) must keep, pu."""

    low_pu: FloatArray
    high_pu: FloatArray
    loading_pu: FloatArray

    @classmethod
    def alike(cls, model: GridModel, band: tuple[float, float], loading_pu: float = 1.0) -> Self:
        """Return those that are the same everywhere."""
        nodes, monitored = len(model.nodes), len(model.monitored)
        return cls(np.full(nodes, band[0]), np.full(nodes, band[1]), np.full(monitored, loading_pu))

    def passed_by(self, outcome: Outcome, watched: NDArray[np.bool_]) -> float:
        """Return the sum of how far voltages of watched nodes (nodes,), and loadings, pass their limits, pu."""
        v_pu, seen = outcome.v_pu, watched & (outcome.v_pu > 0.0)  # what is dead has none; what collapsed has some
        off = np.maximum(self.low_pu - v_pu, 0.0) + np.maximum(v_pu - self.high_pu, 0.0)
        return float(off[seen].sum() + np.maximum(outcome.loading_pu - self.loading_pu, 0.0).sum())


class VoltVar:
    """The search, for one feeder."""

    def __init__(self, settings: VoltVarSettings, model: GridModel) -> None:
        self._settings, self._model = settings, model
        self._watched = model.watched(settings.ignore)
        low, high = model.apparatus.limit_taps()
        self._low, self._high = np.maximum(low, settings.taps[0]), np.minimum(high, settings.taps[1])
        self._most_steps = model.apparatus.most_steps()
        self._taps, self._banks = len(low), len(self._most_steps)
        self._most_q = settings.most_q_steps

    def search(self, now: Commands, v_low_pu: float | None = None) -> Found:
        """Return the best settings near `now`. v_low_pu: against a peak, for the least power down to this voltage."""
        low_pu, high_pu = self._settings.v_pu
        margin_pu = self._settings.margin_pu
        band = (low_pu if v_low_pu is None else v_low_pu) + margin_pu, high_pu - margin_pu
        objective = self._settings.objective if v_low_pu is None else "energy"
        return self.within(now, Limits.alike(self._model, band), self._settings.most_solutions, objective)

    def within(self, now: Commands, limits: Limits, most_solutions: int, objective: Objective = "losses") -> Found:
        """Return the best settings near `now` within limits, and no margin."""

        def score(point: Point) -> Score:
            outcome = self._model.solved(self._told(now, point))
            return UNSOLVED if outcome is None else self._scored(outcome, limits, objective)

        least, most = self._bounds(now)
        search = Search(score, least, most, most_solutions)
        start = _point(now.taps, now.capacitors, np.rint(now.q_pu / self._settings.q_step_pu))
        before = score(start)
        best, found = search.best(start, [np.flatnonzero(self._model.regulators).tolist()])
        stays = found.violation >= before.violation - 1e-9 and (
            before.cost - found.cost < self._settings.least_gain_pu * abs(before.cost)
        )
        commands, scored = (now, before) if stays else (self._told(now, best), found)
        return Found(commands, scored.cost, before.cost, scored.violation, len(search.tried))

    def _bounds(self, now: Commands) -> tuple[Point, Point]:
        """Return the least and the most of taps and steps; tap changers that are not operated stay where they are."""
        free = self._model.regulators
        most_q = np.full(now.q_pu.size, float(self._most_q))
        least = _point(np.where(free, self._low, now.taps), np.zeros(self._banks), -most_q)
        return least, _point(np.where(free, self._high, now.taps), self._most_steps, most_q)

    def _told(self, now: Commands, point: Point) -> Commands:
        taps, banks, q = np.split(np.array(point, dtype=np.float64), [self._taps, self._taps + self._banks])
        return Commands(now.switches, taps, banks, q * self._settings.q_step_pu)

    def _scored(self, outcome: Outcome, limits: Limits, objective: Objective) -> Score:
        cost = outcome.head_kw if objective == "energy" else outcome.losses_kw
        return Score(limits.passed_by(outcome, self._watched), cost)


def _point(taps: FloatArray, steps: FloatArray, q: FloatArray) -> Point:
    return tuple(int(x) for x in (*taps, *steps, *q))
