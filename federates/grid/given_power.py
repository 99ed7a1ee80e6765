"""Devices of constant power, as a run has them: what their elements draw is what they were given, without being asked.

OpenDSS takes an element that was added for devices as that power while the voltage of each of its phases is in a band
that is far wider than what is sane (`solver.INJECTS_V_PU`), and as an admittance outside of it. So only where a phase
is outside are they asked. That they are in the solution is proven by the balance of the whole feeder, in which its
head's power and its losses come from voltages alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.grid.additions import INJECTS_V_PU
from federates.grid.constant_power import NEAR
from federates.grid.setpoints import Setpoints
from federates.grid.solver import Solver


class GivenPower:
    """The elements of one federate's devices."""

    def __init__(
        self,
        solver: Solver,
        setpoints: Setpoints,
        elements: NDArray[np.intp],
        nodes: NDArray[np.intp],
        neutrals: NDArray[np.intp],
    ) -> None:
        """elements: which of the solver's they are (k,), as the setpoints are ordered.

        nodes: where they are, and neutrals: those to which they are connected there, if not to ground.
        """
        self.elements, self._setpoints, self._nodes = elements, setpoints, np.unique(nodes)
        self._neutrals = np.unique(neutrals)
        self._asked = solver.elements.class_powers("generator", elements)
        self._kva = np.zeros(elements.size, np.complex128)
        self._found = np.zeros(self._nodes.size)

    def tell(self, v_pu: FloatArray, drawn: NDArray[np.complex128]) -> None:
        """Write what each draws by the last solution, kVA, into `drawn` (elements,). v_pu: of the nodes, pu."""
        low, high = INJECTS_V_PU
        found = v_pu.take(self._nodes, out=self._found, mode="clip")
        # a phase is as far from its neutral as from ground, but for what the neutral has
        off = NEAR + (v_pu[self._neutrals].max() if self._neutrals.size else 0.0)
        if found[found.argmin()] >= low + off and found[found.argmax()] <= high - off:
            np.negative(self._setpoints.p_kw, out=self._kva.real)
            np.negative(self._setpoints.q_kvar, out=self._kva.imag)
            drawn[self.elements] = self._kva
        else:
            drawn[self.elements] = self._asked.read()
