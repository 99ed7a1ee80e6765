"""What an inverter can carry (IEEE 1547-2018, 5.2 and table 7): `P^2 + Q^2 <= S^2`, and a limit of current.

Priority says which of P and Q is kept:

- *reactive*: P gives way, as the standard wants it for volt-var;
- *active*: Q gives way;
- *active-above-minimum*: Q gives way, but not below what table 7 asks for (0.44 injected; absorbed 0.44, category A
  0.25), to which P gives way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np

from derloop.contract import FloatArray
from federates.der.smart.few import Index
from federates.der.smart.points import Normal

Priority = Literal["reactive", "active", "active-above-minimum"]
MINIMUM_INJECTED_PU: Final = 0.44
MINIMUM_ABSORBED_PU: Final[Mapping[Normal, float]] = {"category-a": 0.25, "category-b": 0.44}


def leg(hypotenuse: FloatArray, other: FloatArray) -> FloatArray:
    """Return the other leg (n,) of right-angled triangles; 0 where `other` is too long."""
    square = hypotenuse * hypotenuse
    square -= other * other
    np.maximum(square, 0.0, out=square)
    return np.sqrt(square, out=square)


def surely_carried_kw(rated_kva: FloatArray, q_most_kvar: FloatArray) -> FloatArray:
    """Return an active power (n,) up to which the circle cuts nothing beside any Q up to `q_most_kvar` (n,).

    A little less than the most, so that no rounding can be on the other side.
    """
    return np.sqrt(np.maximum(rated_kva * rated_kva * (1.0 - 1e-9) - q_most_kvar * q_most_kvar, 0.0))


def within_circle(
    p_kw: FloatArray, q_kvar: FloatArray, rated_kva: FloatArray, priority: Priority, category: Normal = "category-b"
) -> tuple[FloatArray, FloatArray]:
    """Return P and Q (n,) with `P^2 + Q^2 <= S^2`: as they are where that holds, cut by `priority` where not.

    The one with priority is cut at S, the other at what S leaves. `category`: for active-above-minimum.
    """
    is_outside = p_kw * p_kw + q_kvar * q_kvar > rated_kva * rated_kva
    if not np.count_nonzero(is_outside):  # as it is most of the time, and told sooner than who is
        return p_kw, q_kvar
    outside = np.flatnonzero(is_outside)
    p, q, s = p_kw[outside], q_kvar[outside], rated_kva[outside]
    if priority == "reactive":
        q = clipped(q, s)
        p = clipped(p, leg(s, q))
    elif priority == "active":
        p = clipped(p, s)
        q = clipped(q, leg(s, p))
    else:
        p, q = _above_minimum(p, q, s, category)
    return replaced(p_kw, outside, p), replaced(q_kvar, outside, q)


def _above_minimum(
    p_kw: FloatArray, q_kvar: FloatArray, rated_kva: FloatArray, category: Normal
) -> tuple[FloatArray, FloatArray]:
    """Return P and Q (n,) in the circle: Q cut first, down to the minimum of table 7, then P."""
    room = leg(rated_kva, np.minimum(np.abs(p_kw), rated_kva))
    injected = np.maximum(room, MINIMUM_INJECTED_PU * rated_kva)
    absorbed = np.maximum(room, MINIMUM_ABSORBED_PU[category] * rated_kva)
    q_kvar = np.minimum(np.maximum(q_kvar, -absorbed), injected)
    return clipped(p_kw, leg(rated_kva, q_kvar)), q_kvar


def in_proportion(p_kw: FloatArray, q_kvar: FloatArray, rated_kva: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return P and Q (n,) in the circle, both lowered alike: the power factor stays."""
    square = p_kw * p_kw + q_kvar * q_kvar
    outside = np.flatnonzero(square > rated_kva * rated_kva)
    share = rated_kva[outside] / np.sqrt(square[outside])
    return replaced(p_kw, outside, p_kw[outside] * share), replaced(q_kvar, outside, q_kvar[outside] * share)


def replaced(x: FloatArray, who: Index, values: FloatArray | float) -> FloatArray:
    """Return a copy of x (n,) that has these `values` at `who`."""
    found = x.copy()
    found[who] = values
    return found


def clipped(x: FloatArray, most: FloatArray) -> FloatArray:
    """Return x (n,) between -most and most."""
    low = np.negative(most)
    np.maximum(low, x, out=low)
    return np.minimum(low, most, out=low)
