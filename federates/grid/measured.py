"""Voltages of a feeder's nodes as they are measured: to ground, or between two phases where nothing earths these."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.kind import Bus
from federates import sides
from federates.grid.solver import Solver


class Measured:
    """The voltages of a prepared solver, as `sides` says that they are measured, of the line-to-neutral base."""

    def __init__(self, solver: Solver, buses: Mapping[str, Bus]) -> None:
        self._solver, number = solver, {node: index for index, node in enumerate(solver.nodes)}
        self.bases_v = 1000.0 * np.array([buses[node.rpartition(".")[0]].kv_ln for node in solver.nodes])
        """Base voltages (nodes,), line to neutral, V."""
        pairs = [
            (bus, phase, back) for bus in buses.values() for phase in bus.phases if (back := sides.back(bus, phase))
        ]
        self.not_to_ground = np.array([number[f"{bus.name}.{phase}"] for bus, phase, _ in pairs], np.intp)
        """Which nodes (k,) are measured to another one."""
        self._back = np.array([number[f"{bus.name}.{back}"] for bus, _, back in pairs], np.intp)
        self._per = np.array([1 / sides.base(bus) for bus, _, _ in pairs])

    def magnitudes_v(self) -> FloatArray:
        """Return the voltages of the last solution (nodes,), V."""
        volts = self._solver.voltages()
        found: FloatArray = np.abs(volts)
        found[self.not_to_ground] = self.magnitudes_not_to_ground_v(volts)
        return found

    def magnitudes_pu(self) -> FloatArray:
        """Return the same in pu."""
        return self.magnitudes_v() / self.bases_v

    def magnitudes_not_to_ground_v(
        self, volts: NDArray[np.complex128], alive: NDArray[np.bool_] | None = None
    ) -> FloatArray:
        """Return those of nodes that are not measured to ground (k,); volts (nodes,): to ground.

        alive (nodes,): to a node that is not, and from one, there is no voltage. None: all are.
        """
        found: FloatArray = np.abs(volts[self.not_to_ground] - volts[self._back])
        found *= self._per
        if alive is not None:
            found *= self.with_voltage(alive)[self.not_to_ground]
        return found

    def with_voltage(self, alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which nodes (nodes,) are alive, and so is the one to which they are measured."""
        found = alive.copy()
        found[self.not_to_ground] &= alive[self._back]
        return found
