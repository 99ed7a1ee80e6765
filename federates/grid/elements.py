"""The elements of a feeder in OpenDSS: what feeds, what delivers, what draws, and what each of them does by a solution.

They are counted from 0, in OpenDSS's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.grid.views import ClassPowers, View


class Primitive(NamedTuple):
    """One element by itself."""

    nodes: NDArray[np.intp]
    """Where each conductor of each terminal ends (k,), counted from 1; 0 is ground."""
    admittances_s: NDArray[np.complex128]
    """(k, k)"""


class Elements:
    """All of a feeder's, once it is known which there are."""

    def __init__(self, dss: Any) -> None:
        api = dss._api_util
        self._dss, self._lib, self._ffi, self._ctx = dss, api.lib_unpatched, api.ffi, api.ctx
        self._drawn = View(self._ffi)
        self.names = tuple(name.lower() for name in dss.Circuit.AllElementNames())
        """"line.650632", lower case."""
        delivering = {name.lower() for name in dss.PDElements.AllNames()}
        delivering |= {name for name in self.names if name.startswith("fault.")}
        self.sources = np.flatnonzero([name.startswith("vsource.") for name in self.names])
        """What feeds."""
        self.delivery = np.flatnonzero([name in delivering for name in self.names])
        """Lines, transformers, capacitors ...: what has losses."""

    def powers(self) -> NDArray[np.complex128]:
        """Return what each draws of the network, kW + j kvar, shape (elements,), in one call.

        What feeds draws less than nothing; of what delivers it is the losses. It is computed from the solved voltages
        and the element's own currents, not from what was set. A view that holds until the next call.
        """
        self._lib.ctx_Circuit_Get_AllElementLosses_GR(self._ctx)
        pointer, counts = self._dss._api_util.gr_float64_pointers
        return self._drawn.at(pointer[0], counts[0] // 2)

    def powers_of(self, elements: NDArray[np.intp]) -> NDArray[np.complex128]:
        """Return the same of some of them (k,), for a few of many: the rest is not computed."""
        pointer, counts = self._dss._api_util.gr_float64_pointers
        found = np.empty(elements.size, np.complex128)
        for at, element in enumerate(elements.tolist()):
            self._lib.ctx_Circuit_SetCktElementIndex(self._ctx, element)
            self._lib.ctx_CktElement_Get_Losses_GR(self._ctx)
            found[at] = complex(*self._ffi.unpack(pointer[0], counts[0])) * 0.001  # as OpenDSS does it
        return found

    def line_kva(self, line: str, terminal: int) -> complex:
        """Return the power that enters a line, by its own name, at its terminal, 0 or 1: kW + j kvar."""
        self._dss.Circuit.SetActiveElement(f"Line.{line}")
        powers = np.asarray(self._dss.CktElement.Powers(), dtype=np.float64)
        kw, kvar = powers.reshape(2, -1, 2)[terminal].sum(axis=0)
        return complex(kw, kvar)

    def _is_enabled(self, element: int) -> bool:
        self._lib.ctx_Circuit_SetCktElementIndex(self._ctx, element)
        return bool(self._dss.CktElement.Enabled())

    def class_powers(self, element_class: str, elements: NDArray[np.intp]) -> ClassPowers:
        """Return how to ask for the powers of some of them, all of this class."""
        return ClassPowers(self._dss, element_class, [self.names[i].partition(".")[2] for i in elements])

    def primitives(self, elements: Sequence[int]) -> list[Primitive]:
        """Return each of these that is in service by itself, as it stands now."""
        found, element = [], self._dss.CktElement
        for index in elements:
            if self._is_enabled(index):
                nodes = np.array(element.NodeRef(), np.intp)
                admittances_s = np.array(element.YPrim(), np.float64).view(np.complex128)
                found.append(Primitive(nodes, admittances_s.reshape(nodes.size, nodes.size)))
        return found

    def most_currents_a(self) -> FloatArray:
        """Return the largest current of a phase at the first terminal of each of `inventory.delivering`, A.

        A view that holds until the next call.
        """
        self._lib.ctx_PDElements_Get_AllMaxCurrents_GR(self._ctx, 0)
        pointer, counts = self._dss._api_util.gr_float64_pointers
        return np.frombuffer(self._ffi.buffer(pointer[0], 8 * counts[0]), dtype=np.float64)
