"""Switches with hysteresis, n at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray

BoolArray = NDArray[np.bool_]


def hysteresis(value: FloatArray, low: FloatArray | float, high: FloatArray | float, was: BoolArray) -> BoolArray:
    """Return (n,) true from `high` on, false below `low`, and as it was between."""
    found: BoolArray = np.where(was, value >= low, value >= high)
    return found
