"""Loads of constant power, as the feeder file has them: what they draw is known without being asked.

OpenDSS takes a load of model 1 as that power while the voltage of each of its phases is in the load's own band
(`vminpu` to `vmaxpu`), and as something between that and an admittance outside of it. So only those outside are asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.grid import inventory
from federates.grid.solver import Solver

MODEL = 1
"""OpenDSS's number of constant power."""
NEAR = 1e-9
"""How near to an edge of its band, pu, a load is asked as well: OpenDSS may round to the other side."""
AGREES = 1e-3
"""How far what a load tells may be from what is known, of its power: its currents are those of an iteration before."""
NOBODY = np.zeros(0, np.intp)


class _Load(NamedTuple):
    """A load of constant power, and the voltages of a phase between which it is that."""

    element: int
    kva: complex
    phases: list[tuple[int, int]]
    """Between which nodes each phase is, counted from 0; -1 is ground."""
    band_v: tuple[float, float]


class ConstantPower:
    """Those of a feeder's loads that draw what the file says while their voltages are in their bands."""

    def __init__(
        self, solver: Solver, bases_v: FloatArray, candidates: NDArray[np.intp], drawn: NDArray[np.complex128]
    ) -> None:
        """Find them among the candidates: elements of the solver's that are loads, which nobody drives.

        bases_v: of the nodes, V. drawn: by all elements, where `tell` writes.
        """
        self._solver, self._drawn = solver, drawn
        stay = not any(name.startswith(inventory.SWITCHING) for name in solver.elements.names)
        self._take([load for i in candidates.tolist() if stay and (load := _read(solver, i))], bases_v)
        if not self._agrees(np.abs(solver.voltages()) / bases_v):
            self._take([], bases_v)
        drawn[self.elements] = self._kva
        self._all_kw = self.total_kw = float(np.add.reduce(self._kva).real)
        """What they draw together by what was told last, kW."""

    def _take(self, loads: Sequence[_Load], bases_v: FloatArray) -> None:
        self.elements = np.array([load.element for load in loads], np.intp)
        """Which of the solver's elements they are (loads,)."""
        self._kva = np.array([load.kva for load in loads], np.complex128)
        self._asked = self._solver.elements.class_powers("load", self.elements)
        phases = [(i, phase, load.band_v) for i, load in enumerate(loads) for phase in load.phases]
        phases.sort(key=lambda phase: phase[1][1] >= 0)
        self._load = np.array([load for load, _, _ in phases], np.intp)
        ends = np.array([ends for _, ends, _ in phases], np.intp).reshape(-1, 2)
        self._grounded = int((ends[:, 1] < 0).sum())
        self._node, self._between = ends[: self._grounded, 0].copy(), ends[self._grounded :].T
        bands_v = np.array([band_v for _, _, band_v in phases]).reshape(-1, 2)
        per_v = 1 / np.concatenate([bases_v[self._node], bands_v[self._grounded :].mean(axis=1)])
        self._per_v = per_v[self._grounded :]
        self._low, self._high = np.ascontiguousarray(bands_v.T) * per_v
        self._in_all = self._low.max(initial=-np.inf), self._high.min(initial=np.inf)
        """Between which voltages every load is in its band."""
        self._found = np.zeros(len(phases))
        """Voltages of phases to ground, of their node's base, then those between nodes, of the middle of their band; in
        which the bands are as well."""
        self._outside = np.zeros(0, np.intp)

    def _agrees(self, v_pu: FloatArray) -> bool:
        """Return whether each load in its band tells what is known of it."""
        inside = np.setdiff1d(np.arange(self.elements.size), self._found_outside(v_pu))
        off = np.abs(self._asked.read() - self._kva)[inside]
        return bool((off <= AGREES * np.abs(self._kva[inside])).all())

    def tell(self, v_pu: FloatArray) -> None:
        """Write what each draws by the last solution, kVA. v_pu: of the nodes, pu."""
        before, outside = self._outside, self._found_outside(v_pu)
        if before.size:
            self._drawn[self.elements[before]] = self._kva[before]
            self.total_kw = self._all_kw
        if outside.size:
            asked = self._asked.read_some(outside)
            self._drawn[self.elements[outside]] = asked
            self.total_kw = self._all_kw + float(np.add.reduce(asked - self._kva[outside]).real)
        self._outside = outside

    def _found_outside(self, v_pu: FloatArray) -> NDArray[np.intp]:
        """Return those of which the voltage of a phase is outside of their band."""
        found, grounded = self._found, self._grounded
        v_pu.take(self._node, out=found[:grounded], mode="clip")
        if grounded < found.size:
            first, second = self._solver.voltages()[self._between]
            np.multiply(np.abs(first - second), self._per_v, out=found[grounded:])
        low, high = self._in_all
        if not found.size or (found[found.argmin()] >= low and found[found.argmax()] <= high):
            return NOBODY
        suspect = np.flatnonzero(~((found >= low) & (found <= high)))
        seen = found[suspect]
        outside = ~((seen >= self._low[suspect]) & (seen <= self._high[suspect]))
        return np.unique(self._load[suspect[outside]])


def _read(solver: Solver, index: int) -> _Load | None:
    """Return a load of constant power; None where it is another, or is not in service."""
    dss, name = solver.dss, solver.elements.names[index]
    loads, element = dss.Loads, dss.CktElement
    loads.Name(name.partition(".")[2])
    if loads.Model() != MODEL or not element.Enabled():
        return None
    nodes, count = [node - 1 for node in element.NodeRef()], element.NumPhases()
    is_delta = bool(loads.IsDelta())
    if min(nodes[:count]) < 0 or (is_delta and count == 2):
        return None
    seconds = nodes[1:] + nodes[:1] if is_delta else nodes[-1:] * count
    base_v = loads.kV() * 1000 / (3**0.5 if count in (2, 3) and not is_delta else 1.0)
    low_pu, high_pu = max(loads.Vminpu(), float(inventory.properties(solver, name, ["vlowpu"])[0])), loads.Vmaxpu()
    band_v = (low_pu + NEAR) * base_v, (high_pu - NEAR) * base_v
    return _Load(index, complex(loads.kW(), loads.kvar()), list(zip(nodes[:count], seconds, strict=False)), band_v)
