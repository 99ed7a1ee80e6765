"""The loads of a feeder file, where some of what there is may be dead: what they do not draw there.

A load draws in legs, each between two nodes: one whose ends are not both alive draws nothing. Of a load between phases
what is left stands in the solver. Whole, it would join a dead phase to a live one: a load of constant power in series
with others, for which there is seldom a solution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from derloop.kind import FeederLoad
from federates.grid.additions import have_draw, leave_of_load
from federates.grid.inventory import LoadLegs
from federates.grid.places import GROUND, Legs
from federates.grid.solver import Solver


class FileLoads:
    """All loads of the file. What is left of them follows from what is alive."""

    def __init__(self, legs: Mapping[str, LoadLegs], undriven: Sequence[FeederLoad], solver: Solver) -> None:
        """legs: of all loads, by name. undriven: those that no federate drives; who drives one scales it."""
        self._solver, self._loads = solver, list(legs.items())
        self._legs = Legs.of([(load.bus, load.legs) for _, load in self._loads], solver.nodes)
        between = np.array([load.is_between for _, load in self._loads], np.bool_)
        self._are_between = between[:, np.newaxis] & (self._legs.backs != GROUND)
        self._stands = np.ones(self._legs.nodes.shape, np.bool_)
        self._power = {load.name: (load.kw, load.kvar) for load in undriven}
        self._kw = np.array([self._power.get(name, (0.0,))[0] for name, _ in self._loads])
        self.unserved_kw = 0.0
        """What those that nobody drives would draw where nothing is alive."""

    def serve(self, alive: NDArray[np.bool_]) -> None:
        """Leave of each load the legs between nodes (nodes,) that are alive."""
        live = self._legs.are_live(alive)
        joins = ((alive[self._legs.nodes] != alive[self._legs.backs]) & self._are_between).any(1, keepdims=True)
        stands = live | ~joins  # what is dead whole draws nothing as it is
        for row in np.flatnonzero((stands != self._stands).any(1)).tolist():
            name, load = self._loads[row]
            self._leave(name, load, stands[row, : len(load.legs)])
        self._stands, self.unserved_kw = stands, float(self._kw @ self._legs.share_of(~live))

    def _leave(self, name: str, load: LoadLegs, stands: NDArray[np.bool_]) -> None:
        """Let a load have these of its legs, and what they draw; all of them, and nothing, where it is none."""
        left = [leg for leg, is_left in zip(load.legs, stands, strict=True) if is_left]
        leave_of_load(self._solver, name, load.bus, left or load.legs)
        if name in self._power:
            kw, kvar = (power * len(left) / len(load.legs) for power in self._power[name])
            have_draw(self._solver, name, kw, kvar)
