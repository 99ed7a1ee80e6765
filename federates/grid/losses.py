"""What all that delivers loses together: lines, transformers, capacitors ..., by their admittances.

OpenDSS tells losses from the currents of each element by itself, thousands of them. Their sum is a quadratic form of
the node voltages `V`: with `G` the real part of all their admittances, symmetric as they are reciprocal, and its row
sums `g`,

    P = Re V^H Y V = sum_i g_i |V_i|^2 - sum_(i<j) G_ij |V_i - V_j|^2.

Differences do not cancel as products do where a branch is almost ideal, and the row sums of a line are nothing at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.grid import inventory
from federates.grid.elements import Primitive
from federates.grid.solver import Solver

RECIPROCAL = 1e-12
"""How far the admittances of an element may be from symmetric, of its largest."""


class Branches(NamedTuple):
    """A quadratic form: differences between nodes, and nodes by themselves. Nodes are counted from 0."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    between_s: FloatArray
    """-G_ij of these pairs of nodes, S; some may be nothing."""
    at: NDArray[np.intp]
    at_s: FloatArray
    """g_i of these nodes, S; a node may be there more than once."""


class Losses:
    """The losses of all that delivers; elements which controls act on are read again once they have acted."""

    def __init__(self, solver: Solver) -> None:
        self._solver = solver
        moves = inventory.acted_on(solver)
        names = {int(i): solver.elements.names[i] for i in solver.elements.delivery}
        switched = any(name.startswith(inventory.SWITCHING) for name in solver.elements.names)
        self._moving = [i for i, name in names.items() if switched or name in moves]
        fixed = [i for i, name in names.items() if not (switched or name in moves)]
        primitives = solver.elements.primitives(fixed)
        self.is_known = all(is_reciprocal(p) for p in (*primitives, *solver.elements.primitives(self._moving)))
        """Whether the equation above holds."""
        self._fixed = merged(branches(primitives))
        self._read()

    def _read(self) -> None:
        moving = branches(self._solver.elements.primitives(self._moving))
        both = Branches(*(np.concatenate(parts) for parts in zip(self._fixed, moving, strict=True)))
        self._first, self._second, self._at = both.first, both.second, both.at
        self._factors = np.repeat(np.concatenate([both.between_s, both.at_s]), 2)
        self._volts = np.zeros(both.first.size + both.at.size, np.complex128)
        self._between, self._nodes = self._volts[: both.first.size], self._volts[both.first.size :]
        self._parts = self._volts.view(np.float64)
        self._other = np.zeros(both.first.size, np.complex128)
        self._built = self._solver.built

    def total_kw(self) -> float:
        """Return what is lost by the last solution, kW."""
        if self._built != self._solver.built:
            self._read()
        volts, parts = self._solver.voltages(), self._parts
        volts.take(self._first, out=self._between, mode="clip")
        volts.take(self._second, out=self._other, mode="clip")
        volts.take(self._at, out=self._nodes, mode="clip")
        self._between -= self._other
        np.multiply(parts, parts, out=parts)
        parts *= self._factors
        return float(np.add.reduce(parts)) * 0.001


def is_reciprocal(element: Primitive) -> bool:
    y = element.admittances_s
    return bool(np.abs(y - y.T).max() <= RECIPROCAL * np.abs(y).max())


def branches(elements: Sequence[Primitive]) -> Branches:
    """Return the quadratic form of elements together, nothing left out: its size depends on their nodes alone."""
    nothing = np.zeros(0, np.intp)
    found = [Branches(nothing, nothing, np.zeros(0), nothing, np.zeros(0))]
    for _, alike in groupby(sorted(elements, key=_size), key=_size):
        found.append(_branches(list(alike)))
    return Branches(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _size(element: Primitive) -> int:
    return element.nodes.size


def _branches(elements: Sequence[Primitive]) -> Branches:
    """Return that of elements with equally many conductors."""
    nodes = np.array([element.nodes for element in elements])
    g = np.array([element.admittances_s.real for element in elements])
    g = (g + g.transpose(0, 2, 1)) / 2
    live = nodes > 0
    rows = (g * live[:, None, :]).reshape(-1, nodes.shape[1]).tolist()
    sums = np.array([math.fsum(row) for row in rows])
    left, right = np.triu_indices(nodes.shape[1], 1)
    pairs = live[:, left] & live[:, right]
    first, second = nodes[:, left][pairs] - 1, nodes[:, right][pairs] - 1
    return Branches(first, second, -g[:, left, right][pairs], nodes[live] - 1, sums[live.ravel()])


def merged(form: Branches) -> Branches:
    """Return the same, with each pair and node once, and none that counts for nothing."""
    size = int(max(form.first.max(initial=0), form.second.max(initial=0))) + 1
    low, high = np.minimum(form.first, form.second), np.maximum(form.first, form.second)
    pairs, between_s = _summed(low * size + high, form.between_s)
    at, at_s = _summed(form.at, form.at_s)
    return Branches(pairs // size, pairs % size, between_s, at, at_s)


def _summed(keys: NDArray[np.intp], values: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    found, where = np.unique(keys, return_inverse=True)
    sums = np.bincount(where, values, found.size)
    return found[sums != 0.0], sums[sums != 0.0]
