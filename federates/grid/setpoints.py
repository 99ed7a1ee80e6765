"""What groups of elements are given in OpenDSS: as arrays, with the flag that spares the rebuild of Y."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from derloop.contract import FloatArray
from federates.grid.engine import SolverError

AVOID_FULL_RECALC = 2
"""DSS C-API `SetterFlags_AvoidFullRecalc`."""


def batch_of(dss: Any, element_class: str, numbers: Sequence[int]) -> Any:
    """Return elements of a class by their numbers in it, from 1, as calls that work on many take them."""
    api = dss._api_util
    chosen = np.array(numbers, dtype=np.int32)
    pointer, dims = api.ffi.new("void ***"), api.ffi.new("int32_t[4]")
    api.lib_unpatched.Batch_CreateByIndexS(
        api.ctx, pointer, dims, element_class.encode(), api.ffi.from_buffer("int32_t[]", chosen), len(chosen)
    )
    if dims[0] != len(numbers):
        raise SolverError(f"OpenDSS found {dims[0]} of {len(numbers)} elements of class {element_class}")
    return pointer[0]


class Pairs:
    """Two properties of a group of elements, written in two calls."""

    def __init__(self, dss: Any, element_class: str, numbers: Sequence[int], indices: tuple[int, int]) -> None:
        api = dss._api_util
        self._lib, ffi = api.lib_unpatched, api.ffi
        self._set = self._lib.BatchOperation_Set
        self._batch, self._count = batch_of(dss, element_class, numbers), len(numbers)
        self._indices = indices
        self.values = np.zeros((2, len(numbers)))
        """The first and the second property of each element, in the element's own sign."""
        self._rows = tuple(self.values)
        self._given = [b"", b""]
        self._pointers = tuple(ffi.from_buffer("double[]", values) for values in self._rows)

    def have(self, first: float, second: float) -> None:
        """Take it that every element has these values already."""
        self._rows[0][:], self._rows[1][:] = first, second
        self._given = [values.tobytes() for values in self._rows]

    def write(self) -> None:
        """Give the values to the elements, in the element's own sign, unless they have them already.

        OpenDSS works on every element that is given a value, also the same one: a third of what a solution takes. It
        keeps the power factor of a generator whose P is given, so that Q, unless there is none, must follow again.
        """
        is_moved = False
        for at, values in enumerate(self._rows):
            given = values.tobytes()
            if given != self._given[at] or (is_moved and values.any()):
                is_moved = True
                self._lib.Batch_Float64Array(
                    self._batch, self._count, self._indices[at], self._set, self._pointers[at], AVOID_FULL_RECALC
                )
                self._given[at] = given


class Setpoints(Pairs):
    """P and Q of a group of elements."""

    @property
    def p_kw(self) -> FloatArray:
        return self._rows[0]

    @property
    def q_kvar(self) -> FloatArray:
        return self._rows[1]


class Sources(Pairs):
    """Magnitude and angle behind the reactance of a group of voltage sources."""

    @property
    def v_pu(self) -> FloatArray:
        return self._rows[0]

    @property
    def angle_deg(self) -> FloatArray:
        return self._rows[1]


class FewSources(Sources):
    """Sources that are given one by one, by the calls that are theirs, each time that they are written.

    A batch builds Y anew for a source, whatever the flag says: on a thousand nodes ten times what a solution takes.
    """

    def __init__(self, dss: Any, element_class: str, numbers: Sequence[int], indices: tuple[int, int]) -> None:
        super().__init__(dss, element_class, numbers, indices)
        self._numbers, self._ctx = numbers, dss._api_util.ctx

    def write(self) -> None:
        for number, v_pu, angle_deg in zip(self._numbers, *self.values.tolist(), strict=True):
            self._lib.ctx_Vsources_Set_idx(self._ctx, number)
            self._lib.ctx_Vsources_Set_pu(self._ctx, v_pu)
            self._lib.ctx_Vsources_Set_AngleDeg(self._ctx, angle_deg)
