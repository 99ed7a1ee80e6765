"""What OpenDSS knows, seen where it lies in its memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federates.grid.batches import batch_of


class View:
    """Complex numbers in OpenDSS's memory, seen in place; made anew only where they have moved."""

    def __init__(self, ffi: Any, skipped: int = 0) -> None:
        """skipped: how many at the beginning are left out."""
        self._ffi, self._pointer, self._size, self._skipped = ffi, ffi.NULL, 0, skipped
        self._numbers = np.zeros(0, np.complex128)

    def at(self, pointer: Any, size: int) -> NDArray[np.complex128]:
        """Return the numbers (size - skipped,) that are there now, and will be."""
        if pointer != self._pointer or size != self._size:
            found = np.frombuffer(self._ffi.buffer(pointer, 16 * size), dtype=np.complex128)
            self._numbers, self._pointer, self._size = found[self._skipped :], pointer, size
        return self._numbers


class ClassPowers:
    """What elements of one class and of one terminal draw, asked in one call."""

    def __init__(self, dss: Any, element_class: str, names: Sequence[str]) -> None:
        api = dss._api_util
        self._lib, self._ffi = api.lib_unpatched, api.ffi
        self._batch = batch_of(dss, element_class, names)
        self._pointer, self._dims = self._ffi.new("double *[1]"), self._ffi.new("int32_t[4]")
        self._found, self._count = View(self._ffi), len(names)
        self._each = np.frombuffer(self._ffi.buffer(self._batch, 8 * self._count), np.uint64)

    def read(self) -> NDArray[np.complex128]:
        """Return kW + j kvar (elements,) of the last solution, valid until the next call."""
        return self._read(self._batch, self._count)

    def read_some(self, which: NDArray[np.intp]) -> NDArray[np.complex128]:
        """Return the same of some of the elements, by their place among them (k,)."""
        chosen = self._each[which]
        return self._read(self._ffi.from_buffer("void *[]", chosen), chosen.size)

    def _read(self, elements: Any, count: int) -> NDArray[np.complex128]:
        self._lib.Alt_CEBatch_Get_TotalPowers(self._pointer, self._dims, elements, count)
        return self._found.at(self._pointer[0], count)
