"""Powers everywhere, as the last solution has them: what each element draws, and their sums.

Of a small feeder each element is asked. OpenDSS takes half a microsecond for each, several times that where a solution
has just driven them out of the processor's caches: on thousands of elements as long as for the solution. So of a large
one only what draws is asked, class by class, where it is not known (`constant_power.py`, `given_power.py`), and what
delivers is summed (`losses.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.grid.constant_power import ConstantPower
from federates.grid.given_power import GivenPower
from federates.grid.losses import Losses
from federates.grid.solver import Solver
from federates.grid.sums import Sums

MANY = 1000
"""Elements from which on a feeder is large."""
ASKED = ("load", "generator", "pvsystem", "storage")
"""Classes of one terminal, whose elements can be asked together."""
IDLE = ("regcontrol", "capcontrol", "swtcontrol", "fuse", "relay", "recloser", "energymeter", "monitor", "sensor")
"""Classes of elements that draw nothing."""


class Totals(NamedTuple):
    """Sums over a feeder, kVA and kW, positive when drawn."""

    head: complex
    losses_kw: float
    others_kw: float


class Powers(Protocol):
    """What a feeder's elements draw, and deliver, and lose."""

    def drawn(self, v_pu: FloatArray, /) -> NDArray[np.complex128]:
        """Return what each element draws, kVA (elements,), of what is told; valid until the next call.

        v_pu: of the nodes (nodes,) by the same solution, pu.
        """
        ...

    def totals(self, drawn: NDArray[np.complex128]) -> Totals:
        """Return the sums of the same solution."""
        ...


class Each:
    """Every element is asked."""

    def __init__(self, solver: Solver, heads: NDArray[np.intp], others: NDArray[np.intp]) -> None:
        self._solver, self._sums = solver, Sums(heads, solver.elements.delivery, others)

    def drawn(self, _v_pu: FloatArray, /) -> NDArray[np.complex128]:
        return self._solver.elements.powers()

    def totals(self, drawn: NDArray[np.complex128]) -> Totals:
        head, losses, others = self._sums.of(drawn).tolist()
        return Totals(head, losses.real, others.real)


class Summed:
    """What draws is asked, unless it is known; of what delivers only the sum is known."""

    def __init__(
        self,
        solver: Solver,
        bases_v: FloatArray,
        heads: NDArray[np.intp],
        others: NDArray[np.intp],
        given: Sequence[GivenPower],
    ) -> None:
        self._solver, self._heads, self._given = solver, heads, given
        self._drawn = np.zeros(len(solver.elements.names), np.complex128)
        self._losses = Losses(solver)
        classes = np.array([_class(name) for name in solver.elements.names])
        loads = np.intersect1d(_at(classes, "load"), others)
        self._constant = ConstantPower(solver, bases_v, loads, self._drawn)
        self._sums = Sums(heads, np.setdiff1d(others, self._constant.elements))
        of_themselves = np.concatenate([self._constant.elements, *(part.elements for part in given)])
        asked = {name: np.setdiff1d(_at(classes, name), of_themselves) for name in ASKED}
        elements = solver.elements
        self._asked = [(where, elements.class_powers(name, where)) for name, where in asked.items() if where.size]
        known = [solver.elements.delivery, heads, *(_at(classes, name) for name in (*ASKED, *IDLE))]
        self.is_known = self._losses.is_known and np.concatenate(known).size == len(solver.elements.names)
        """Whether every element is among those that are asked, or summed."""

    def drawn(self, v_pu: FloatArray, /) -> NDArray[np.complex128]:
        drawn = self._drawn
        self._constant.tell(v_pu)
        for part in self._given:
            part.tell(v_pu, drawn)
        for where, powers in self._asked:
            drawn[where] = powers.read()
        drawn[self._heads] = self._solver.elements.powers_of(self._heads)
        return drawn

    def totals(self, drawn: NDArray[np.complex128]) -> Totals:
        head, others = self._sums.of(drawn).tolist()
        return Totals(head, self._losses.total_kw(), others.real + self._constant.total_kw)


def powers(
    solver: Solver,
    bases_v: FloatArray,
    heads: NDArray[np.intp],
    others: NDArray[np.intp],
    given: Sequence[GivenPower],
    can_change: bool,
) -> Powers:
    """Return how powers are told; can_change: by more than controls, or each element is accounted for."""
    if can_change or len(solver.elements.names) < MANY:
        return Each(solver, heads, others)
    summed = Summed(solver, bases_v, heads, others, given)
    return summed if summed.is_known else Each(solver, heads, others)


def rounding_kw(solver: Solver) -> float:
    """Return how far rounding to double precision may leave the sum of all powers from nothing, kW.

    A current `sum Y_ij V_j` is rounded to `eps / 2` of its largest parts, which in a branch that is almost ideal
    are far larger than itself and cancel: `eps / 2 sum |V_i| |Y_ij| |V_j|` (N. J. Higham, "Accuracy and Stability
    of Numerical Algorithms", 2nd ed., 3.5). Measured were 0.01 to 0.4 of it on 35 to 4056 nodes.
    """
    admittances, rows, starts = solver.dss.YMatrix.getYsparse(True)
    columns = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    volts = np.abs(solver.voltages())
    watts = volts[rows] * np.abs(admittances) * volts[columns]
    return float(np.finfo(float).eps / 2 * watts.sum() / 1000)


def _class(element: str) -> str:
    return element.partition(".")[0]


def _at(classes: NDArray[np.str_], name: str) -> NDArray[np.intp]:
    return np.flatnonzero(classes == name)
