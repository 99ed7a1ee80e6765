"""What a solver remembers from one solution to the next: where its controls stand, and the voltages it begins with.

A solution is found by iterating from the last one until it moves by less than the tolerance, so its last digits depend
on where it began, and on the admittances of devices in the matrix: those of their powers when OpenDSS last built it,
as it does when a tap moves. OpenDSS tells these admittances and takes none, so the powers are found that lead to them.
They are in proportion to them but for rounding, and are looked for among the nearest numbers. So are the vars of
generators that hold a voltage (`holding.py`), which are others in the matrix than after the solution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.memory import Forgetful, remembers
from federates.grid import circuit
from federates.grid.holding import Holding
from federates.grid.setpoints import Setpoints
from federates.grid.solver import Solver

Admittances = list[NDArray[np.complex128]]
"""Of each device all that it has in the matrix, flat, S."""
Part = Callable[[NDArray[np.complex128]], FloatArray]
TRIED_KW = 1000.0
FURTHEST = 32
"""How far powers are looked for, in units of the last place."""


class Drives(Protocol):
    """Devices whose powers are set."""

    @property
    def element_names(self) -> list[str]: ...
    @property
    def setpoints(self) -> Setpoints: ...


@remembers()
class Solution:
    """The last solution of a solver, and what the next one depends on."""

    def __init__(self, solver: Solver, drives: Sequence[Drives] = ()) -> None:
        self._solver = solver
        self._groups = drives
        self._holding = Holding(solver.dss)

    def settle(self) -> None:
        """Let nothing of the solution be left that could not be put back; no voltage moves by that."""
        self._holding.settle()

    def memory(self) -> Mapping[str, Any]:
        """Return voltages (nodes,), V, taps of all windings (windings,), pu, steps of each bank, and admittances."""
        taps = [self._solver.dss.Transformers.Tap() for _ in self._windings()]
        found = {"volts": self._solver.voltages().copy(), "taps": np.array(taps), "banks": list(self._banks())}
        return found | {"matrix": self._matrix(), "devices": self._admittances()}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Let the next solution be as it would have been. Raises Forgetful where that cannot be."""
        self._set_taps(memory["taps"])
        for states, _ in zip(memory["banks"], self._banks(), strict=True):
            circuit.set_bank(self._solver.dss, states)
        if self._groups or self._holding:
            self._have(memory["devices"])
        self._solver.build_matrix()
        if not np.array_equal(self._matrix(), memory["matrix"]):
            raise Forgetful("the solver's matrix of admittances cannot be built as it was")
        self._solver.begin_with(memory["volts"])
        self._holding.settle_again()

    # --- controls ------------------------------------------------------------------------------------

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
        """Make each capacitor bank the active one in turn; yield how it stands."""
        capacitors = self._solver.dss.Capacitors
        for _ in range(capacitors.First() and capacitors.Count()):
            yield circuit.bank(self._solver.dss)
            capacitors.Next()

    # --- admittances ---------------------------------------------------------------------------------

    def _matrix(self) -> NDArray[np.complex128]:
        return np.array(self._solver.dss.YMatrix.getYsparse(True)[0], np.complex128)

    def _admittances(self) -> Admittances:
        found = []
        for name in self._element_names():
            self._solver.dss.Circuit.SetActiveElement(name)
            found.append(np.array(self._solver.dss.CktElement.YPrim()).view(np.complex128))
        return found

    def _element_names(self) -> Iterator[str]:
        for group in self._groups:
            yield from group.element_names
        yield from self._holding.element_names

    def _having(self, p_kw: FloatArray, q_kvar: FloatArray) -> Admittances:
        """Return the admittances of all devices (devices,) at these powers; what holds a voltage has the file's P."""
        first = 0
        for group in self._groups:
            part = slice(first, first := first + len(group.element_names))
            group.setpoints.p_kw[:], group.setpoints.q_kvar[:] = p_kw[part], q_kvar[part]
            group.setpoints.write()
        self._holding.have(q_kvar[first:])
        self._solver.build_matrix()
        return self._admittances()

    def _have(self, wanted: Admittances) -> None:
        """Give the devices powers that lead to these admittances."""
        tried = np.full(len(wanted), TRIED_KW)
        tried[len(wanted) - len(self._holding) :] = self._holding.most_kvar
        at = [int(np.abs(one).argmax()) for one in self._having(tried, tried)]
        unit, sought = _picked(self._having(tried, tried), at), _picked(wanted, at)
        p_near, q_near = _in_proportion(tried, sought.real, unit.real), _in_proportion(tried, sought.imag, unit.imag)
        p_kw, q_kvar = np.full(p_near.shape, np.nan), np.full(q_near.shape, np.nan)
        for away in sorted(range(-FURTHEST, FURTHEST + 1), key=abs):
            p_tried, q_tried = p_near + away * np.spacing(p_near), q_near + away * np.spacing(q_near)
            found = self._having(p_tried, q_tried)
            p_kw = np.where(np.isnan(p_kw) & _equal(np.real, found, wanted), p_tried, p_kw)
            q_kvar = np.where(np.isnan(q_kvar) & _equal(np.imag, found, wanted), q_tried, q_kvar)
            if not np.isnan(p_kw + q_kvar).any():
                break
        else:
            raise Forgetful("there are no powers of devices that lead to the solver's admittances as they were")
        self._having(p_kw, q_kvar)


def _in_proportion(tried: FloatArray, sought: FloatArray, found: FloatArray) -> FloatArray:
    """Return what would lead to `sought`, where `tried` leads to `found`; none where that is none."""
    return np.divide(tried * sought, found, out=np.zeros(tried.size), where=found != 0.0)


def _picked(of: Admittances, at: Sequence[int]) -> NDArray[np.complex128]:
    return np.array([one[index] for one, index in zip(of, at, strict=True)])


def _equal(part: Part, found: Admittances, wanted: Admittances) -> NDArray[np.bool_]:
    """Return of which devices that part of all admittances is as wanted: the largest alone may be a rounded sum."""
    return np.array([np.array_equal(part(one), part(other)) for one, other in zip(found, wanted, strict=True)])
