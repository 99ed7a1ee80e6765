"""Where the first solution of an instant begins: where the last instants lead.

OpenDSS begins at the voltages of its last solution. Here they are moved on beforehand as a polynomial through the last
instants' voltages goes on, of degree 0, 1 or, on all but small feeders, 2: the one by which the head's power would have
been nearest at the last instant. Where the solution ends is the same within the solver's tolerance, after fewer
iterations where things go on as they went.

OpenDSS makes two iterations at least. Where its tolerance is so coarse that it seldom makes more, the first one is
enough if it moves no voltage by more than the tolerance: all others would move them by a fraction of that.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from derloop.contract import FloatArray
from derloop.memory import remembers
from federates.grid.movement import Movement
from federates.grid.solver import Solver

CURVED_NODES: Final = 100
"""On fewer nodes no parabola is looked for: the iteration that it spares takes no longer."""
COARSE_TOLERANCE: Final = 1e-6
"""Where the solver's tolerance is coarser, pu, it makes the two iterations that it always makes, and seldom more."""
UNKNOWN: Final = complex("nan")


@remembers("_last_v", "_step_v", "_earlier_v", "_head_kva", "_missed_kva")
class WarmStart:
    """The voltages at which the instants of a feeder begin."""

    def __init__(self, solver: Solver, tolerance: float, bases_v: FloatArray) -> None:
        """tolerance: the solver's, as a part of the bases (nodes,), V."""
        self._solver = solver
        is_coarse = tolerance > COARSE_TOLERANCE and not solver.judges_iterations
        self._may_be_single = is_coarse and solver.has_usual_iterations
        self._movement = Movement(tolerance, bases_v)
        nodes = len(solver.nodes)
        self._last_v, self._step_v, self._earlier_v, self._beyond_v = np.zeros((4, nodes), np.complex128)
        """The end of the last instant, what led to it from the one before, and what led to that."""
        self._is_curved = nodes >= CURVED_NODES
        self.leave()

    def leave(self) -> None:
        """Begin anew: a tap or a switch has moved, and nothing goes on as it went."""
        self._head_kva = UNKNOWN
        self._missed_kva = [UNKNOWN, UNKNOWN, UNKNOWN]
        """By how much a polynomial of each degree would have missed the head's power at the last instant."""

    def solve(self, begins: bool) -> None:
        """Solve. begins: an instant, whose beginning is moved on before."""
        if begins:
            self.begin()
        if self._may_be_single and not self._solver.is_rearranged:
            self._solve_with_one()
        else:
            self._solver.solve_given()
        if self._solver.has_acted:
            self.leave()

    def _solve_with_one(self) -> None:
        """Solve with one iteration; with more where it may move a voltage by more than the tolerance."""
        if not self._solver.iterate_once(self._movement):
            self._solver.iterate()
        self._solver.let_controls_act()

    def begin(self) -> None:
        """Move the solver's voltages on from the end of the last instant."""
        volts = self._solver.voltages()
        if self._is_curved:
            self._step_v, self._earlier_v = self._earlier_v, self._step_v
        step_v = np.subtract(volts, self._last_v, out=self._step_v)
        self._last_v[:] = volts
        zeroth, first, second = map(abs, self._missed_kva)
        if self._is_curved and second < first and second < zeroth:
            beyond_v = np.subtract(step_v, self._earlier_v, out=self._beyond_v)
            beyond_v += step_v
            self._solver.begin_further(volts, beyond_v)
        elif first < zeroth:
            self._solver.begin_further(volts, step_v)

    def end(self, head_kva: complex) -> None:
        """Take note that an instant has ended, at which the head gave so much.

        What a polynomial misses is the backward difference of one order more than its degree.
        """
        zeroth, first, _ = self._missed_kva
        step = head_kva - self._head_kva
        self._head_kva, self._missed_kva = head_kva, [step, step - zeroth, step - zeroth - first]
