"""What a solver remembers from one solution to the next: where its controls stand, and the voltages it begins with.

A solution is found by iterating from the last one until it moves by less than the tolerance, so its last digits depend
on where it began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from derloop.contract import FloatArray
from derloop.memory import remembers
from federates.grid.solver import Solver


@remembers()
class Solution:
    """The last solution of a solver."""

    def __init__(self, solver: Solver) -> None:
        self._solver = solver

    def memory(self) -> Mapping[str, Any]:
        """Return voltages (nodes,), V, the tap of every winding (windings,), pu, and the steps of each bank."""
        taps = [self._solver.dss.Transformers.Tap() for _ in self._windings()]
        return {"volts": self._solver.voltages().copy(), "taps": np.array(taps), "banks": list(self._banks())}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Let the next solution begin where these were found."""
        self._set_taps(memory["taps"])
        for states, _ in zip(memory["banks"], self._banks(), strict=True):
            self._solver.dss.Capacitors.States(states)
        self._solver.begin_with(memory["volts"])

    def _set_taps(self, taps: FloatArray) -> None:
        transformers = self._solver.dss.Transformers
        for tap, _ in zip(taps, self._windings(), strict=True):
            if transformers.Tap() != tap:
                transformers.Tap(float(tap))

    def _windings(self) -> Iterator[None]:
        """Make each winding of each transformer the active one in turn."""
        transformers = self._solver.dss.Transformers
        for _ in range(transformers.First() and transformers.Count()):
            for winding in range(transformers.NumWindings()):
                transformers.Wdg(winding + 1)
                yield
            transformers.Next()

    def _banks(self) -> Iterator[list[int]]:
        """Make each capacitor bank the active one in turn; yield which of its steps are in."""
        capacitors = self._solver.dss.Capacitors
        for _ in range(capacitors.First() and capacitors.Count()):
            yield list(capacitors.States())
            capacitors.Next()
