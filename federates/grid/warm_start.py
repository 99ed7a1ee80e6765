"""Where a solution begins: at the last one, moved as powers have moved since.

OpenDSS begins at the voltages of its last solution. Here they are moved beforehand: the change of powers is made up of
the last two that were seen, in the sense of least squares, and voltages are taken to answer as they did then. Where the
solution ends is the same within the solver's tolerance, after fewer iterations where powers go on as they went: a third
to a half fewer in steps of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.memory import remembers
from federates.grid.setpoints import Setpoints
from federates.grid.solver import Solver

WORTH_NODES: Final = 500
"""On fewer nodes the iterations that are spared take no longer than finding where to begin."""
WORTH_TOLERANCE: Final = 1e-6
"""Where the solver's tolerance is coarser, pu, it makes the two iterations that it always makes, and seldom more."""
INDEPENDENT: Final = 1e-3
"""What a change must have of its own, beside the newer one, to be made use of."""
FURTHEST: Final = 100.0
"""How many times as far as they were seen to change voltages are moved: their last digits are not known."""


def is_worth(nodes: int, tolerance: float) -> bool:
    """Return whether a feeder of so many nodes, solved to this tolerance, pu, is solved sooner for it."""
    return nodes >= WORTH_NODES and tolerance <= WORTH_TOLERANCE


class Drives(Protocol):
    """Devices whose powers are set."""

    @property
    def setpoints(self) -> Setpoints: ...


class Seen(NamedTuple):
    """Powers of all elements (2 elements,), kW and kvar, and voltages (nodes,), V; or how both have changed."""

    powers: FloatArray
    volts: NDArray[np.complex128]


@remembers("_last", "_changes")
class WarmStart:
    """The voltages at which the solutions of a feeder begin."""

    def __init__(self, solver: Solver, drives: Sequence[Drives]) -> None:
        """drives: in the order of the setpoints, which have been attached."""
        self._solver, self._drives = solver, drives
        self._last: Seen | None = None
        self._changes: list[Seen] = []
        """The newest first."""
        self._powers = self._change = np.zeros(0)
        """Those of now, and by how much they differ from those of the last solution."""
        self._by_v, self._part_v = np.zeros((2, len(solver.nodes)), np.complex128)
        """For sums: memory of this size is dear to ask for anew."""

    def leave(self) -> None:
        """Begin anew: what else has changed meanwhile is no answer to powers."""
        self._last = None
        self._changes = []

    def begin(self) -> None:
        """Move the solver's voltages to where the solution for the setpoints of now is expected."""
        self._powers = np.concatenate([each.setpoints.values.reshape(-1) for each in self._drives])
        if self._last is None:
            return
        self._change = self._powers - self._last.powers
        shares = _shares(self._change, [change.powers for change in self._changes])
        if not 0.0 < sum(map(abs, shares)) <= FURTHEST:
            return
        by_v = np.multiply(self._changes[0].volts, shares[0], out=self._by_v)
        if len(shares) > 1:
            by_v += np.multiply(self._changes[1].volts, shares[1], out=self._part_v)
        self._solver.begin_further(by_v)

    def see(self) -> None:
        """Learn from the solution for these setpoints."""
        volts = self._solver.voltages().copy()
        if self._last is not None and self._change.any():
            self._changes = [Seen(self._change, volts - self._last.volts), *self._changes[:1]]
        self._last = Seen(self._powers, volts)


def _shares(wanted: FloatArray, changes: Sequence[FloatArray]) -> tuple[float, ...]:
    """Return how much of each of up to two changes (n,) makes up the wanted one best; only of the newer one where the
    other hardly differs from it.

    Sums are numpy's own: those of BLAS differ with the processor.
    """
    if not changes:
        return ()
    own, towards = _dot(changes[0], changes[0]), _dot(changes[0], wanted)
    if len(changes) > 1:
        between, other = _dot(changes[0], changes[1]), _dot(changes[1], changes[1])
        determinant = own * other - between * between
        if determinant > INDEPENDENT**2 * own * other:
            towards_other = _dot(changes[1], wanted)
            return (
                (towards * other - towards_other * between) / determinant,
                (towards_other * own - towards * between) / determinant,
            )
    return (towards / own,)


def _dot(one: FloatArray, other: FloatArray) -> float:
    return float(np.add.reduce(one * other))
