"""How the voltages that devices see answer their powers, to first order and as a matrix of low rank.

With loads as the admittances that OpenDSS has for them, small currents `dI` into the nodes change the voltages by
`dV = Z dI`, which costs one back-substitution in the factors of Y that the solver has, and no matrix. A device that
injects `dS` at voltage `V` injects `dI = conj(dS / V)`, and `d|V| = Re(conj(V) dV) / |V|`. Beside a solution with the
next powers this is right to 11 to 15 % on IEEE 13, 34 and 123, where loads are of constant power for the most part.

The matrix `A` of all devices is never made. `Q B` is, with `Q` the range of `A A' A` of random powers and `B = Q' A`:
N. Halko, P. G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM Review 53 (2011) 217-288,
algorithms 4.3 and 5.1. For fewer devices than its rank it is exact. `Z` is symmetric, so that `A'` costs the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.grid.places import GROUND

ComplexArray = NDArray[np.complex128]
RANK = 32
"""Most directions of powers whose answers are told apart: what is beyond is below 2 % of the largest."""
SEED = 1


@dataclass(frozen=True, slots=True)
class Devices:
    """Where n devices meet the feeder."""

    nodes: NDArray[np.intp]
    """(n, phases), filled up where a device has fewer."""
    weights: FloatArray
    """(n, phases): 1 / its phases, and 0 where filled up."""
    sign: FloatArray
    """(n,): 1 where power is positive when injected, -1 where positive when drawn."""
    back: NDArray[np.intp]
    """(n, phases): to which node each of these is measured, and its current returns; or `GROUND`."""
    base: FloatArray
    """(n, 1): the nominal voltage between them, in the line-to-neutral one."""

    @classmethod
    def joined(cls, groups: Sequence[Devices]) -> Devices:
        """Return the devices of all groups in one."""
        most = max(group.nodes.shape[1] for group in groups)
        fill = [((0, 0), (0, most - g.nodes.shape[1])) for g in groups]
        nodes, back = (
            np.concatenate([np.pad(part, more, mode="edge") for part, more in zip(parts, fill, strict=True)])
            for parts in ([g.nodes for g in groups], [g.back for g in groups])
        )
        weights = [np.pad(g.weights, more) for g, more in zip(groups, fill, strict=True)]
        sign, base = (np.concatenate(parts) for parts in zip(*((g.sign, g.base) for g in groups), strict=True))
        return cls(nodes, np.concatenate(weights), sign, back, base)


def between(volts: ComplexArray, nodes: NDArray[np.intp], back: NDArray[np.intp]) -> ComplexArray:
    """Return the voltages (n, phases) from nodes to those that they are measured to.

    volts (nodes,): of all, to ground.
    """
    found: ComplexArray = volts[nodes]
    returns = back != GROUND
    if returns.any():
        found -= np.where(returns, volts[back], 0.0)
    return found


def factored(
    devices: Devices, volts: ComplexArray, bases_v: FloatArray, answer: Callable[[ComplexArray], ComplexArray]
) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """Return left (n, k), and right (k, n) for kW and for kvar: `d v_pu = left @ (right[0] @ dP + right[1] @ dQ)`.

    volts, bases_v (nodes,): as they are now. answer: voltages in V for currents in A, both (nodes,).
    """
    linear = _Linear(devices, volts, bases_v, answer)
    n = len(devices.nodes)
    rng = np.random.default_rng(SEED)
    rank = min(RANK, n)
    basis = np.linalg.qr(linear.seen_of(rng.normal(size=(rank, 2, n))))[0]
    basis = np.linalg.qr(linear.seen_of(linear.powers_of(basis)))[0]
    right = linear.powers_of(basis)
    return basis, (right[:, 0], right[:, 1])


class _Linear:
    """The matrix and its transpose, as what they do."""

    def __init__(
        self, devices: Devices, volts: ComplexArray, bases_v: FloatArray, answer: Callable[[ComplexArray], ComplexArray]
    ) -> None:
        self._nodes, self._back, self._answer, self._size = devices.nodes, devices.back, answer, volts.size
        at = between(volts, devices.nodes, devices.back)
        self._current = 1000.0 * devices.sign[:, None] * devices.weights / np.conj(at)
        self._seen = devices.weights * np.conj(at) / np.abs(at) / (bases_v[devices.nodes] * devices.base)

    def seen_of(self, powers: FloatArray) -> FloatArray:
        """Return the voltages (n, k) that answer k sets of kW and kvar (k, 2, n)."""
        return np.array([self._voltage(np.conj(p + 1j * q)) for p, q in powers]).T

    def powers_of(self, seen: FloatArray) -> FloatArray:
        """Return the transpose's answer (k, 2, n) to k columns (n, k)."""
        found = [self._power(column) for column in seen.T]
        return np.array([[back.real, back.imag] for back in found])

    def _voltage(self, powers: NDArray[Any]) -> FloatArray:
        moved = self._moved(self._current * powers[:, None])
        seen: FloatArray = (self._seen * moved).real.sum(axis=1)
        return seen

    def _power(self, column: FloatArray) -> ComplexArray:
        moved = self._moved(self._seen * column[:, None])
        back: ComplexArray = (self._current * moved).sum(axis=1)
        return back

    def _moved(self, values: NDArray[Any]) -> ComplexArray:
        """Return what is between the nodes of devices (n, phases) for currents into the first and out of the others."""
        total = np.zeros(self._size + 1, np.complex128)
        np.add.at(total, self._nodes, values)
        np.subtract.at(total, self._back, values)
        return between(self._answer(total[:-1]), self._nodes, self._back)
