"""Elements of one class that OpenDSS works on together, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from federates.grid.engine import SolverError


def numbers_of(dss: Any, element_class: str, names: Sequence[str]) -> list[int]:
    """Return the numbers of elements in their class, from 1. names: without the class, in any case."""
    dss.Circuit.SetActiveClass(element_class)
    number = {name.lower(): index + 1 for index, name in enumerate(dss.ActiveClass.AllNames())}
    return [number[name.lower()] for name in names]


def batch_of(dss: Any, element_class: str, names: Sequence[str]) -> Any:
    """Return elements of a class as calls that work on many take them, in this order."""
    api = dss._api_util
    chosen = np.array(numbers_of(dss, element_class, names), dtype=np.int32)
    pointer, dims = api.ffi.new("void ***"), api.ffi.new("int32_t[4]")
    api.lib_unpatched.Batch_CreateByIndexS(
        api.ctx, pointer, dims, element_class.encode(), api.ffi.from_buffer("int32_t[]", chosen), len(chosen)
    )
    if dims[0] != len(names):
        raise SolverError(f"OpenDSS found {dims[0]} of {len(names)} elements of class {element_class}")
    return pointer[0]
