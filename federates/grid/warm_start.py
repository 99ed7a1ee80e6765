"""Where the first solution of an instant begins: where the last instants lead.

OpenDSS begins at the voltages of its last solution. Here they are moved on beforehand as a polynomial through the last
instants' voltages goes on, of degree 0, 1 or 2: the one by which the head's power would have been nearest at the last
instant. Where the solution ends is the same within the solver's tolerance, after fewer iterations where things go on as
they went.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from derloop.memory import remembers
from federates.grid.solver import Solver

WORTH_NODES: Final = 100
"""On fewer nodes the iterations that are spared take no longer than moving the voltages does."""
WORTH_TOLERANCE: Final = 1e-6
"""Where the solver's tolerance is coarser, pu, it makes the two iterations that it always makes, and seldom more."""
UNKNOWN: Final = complex("nan")


def is_worth(nodes: int, tolerance: float) -> bool:
    """Return whether a feeder of so many nodes, solved to this tolerance, pu, is solved sooner for it."""
    return nodes >= WORTH_NODES and tolerance <= WORTH_TOLERANCE


@remembers("_last_v", "_steps_v", "_head_kva", "_missed_kva")
class WarmStart:
    """The voltages at which the instants of a feeder begin."""

    def __init__(self, solver: Solver) -> None:
        self._solver = solver
        nodes = len(solver.nodes)
        self._last_v, self._beyond_v = np.zeros((2, nodes), np.complex128)
        self._steps_v = list(np.zeros((2, nodes), np.complex128))
        """From the end of one instant to that of the next, the newest first."""
        self.leave()

    def leave(self) -> None:
        """Begin anew: a tap or a switch has moved, and nothing goes on as it went."""
        self._head_kva = UNKNOWN
        self._missed_kva = [UNKNOWN, UNKNOWN, UNKNOWN]
        """By how much a polynomial of each degree would have missed the head's power at the last instant."""

    def end(self, head_kva: complex) -> None:
        """Take note that an instant has ended, at which the head gave so much.

        What a polynomial misses is the backward difference of one order more than its degree.
        """
        zeroth, first, _ = self._missed_kva
        step = head_kva - self._head_kva
        self._head_kva, self._missed_kva = head_kva, [step, step - zeroth, step - zeroth - first]

    def begin(self) -> None:
        """Move the solver's voltages on from the end of the last instant."""
        volts, (newest_v, older_v) = self._solver.voltages(), self._steps_v
        self._steps_v = [older_v, newest_v]
        newest_v, older_v = np.subtract(volts, self._last_v, out=older_v), newest_v
        self._last_v[:] = volts
        zeroth, first, second = map(abs, self._missed_kva)
        if second < first and second < zeroth:
            beyond_v = np.subtract(newest_v, older_v, out=self._beyond_v)
            beyond_v += newest_v
            self._solver.begin_further(beyond_v)
        elif first < zeroth:
            self._solver.begin_further(newest_v)
