"""Watt-var: reactive power against active power (IEEE 1547-2018, 5.3.4 and table 9).

P in pu of rated active power, the side of what injects (P1 < P2 < P3) and of what draws (P'1 > P'2 > P'3); Q in pu of
rated kVA. Where the rating, or a maximum that is lower, cannot carry a point of the curve, P is lowered until it meets
the curve: the working point stays on the curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray
from federates.der.smart.constant import MOST_RESPONSE_S
from federates.der.smart.curve import Curve
from federates.der.smart.points import Function, Normal, Points, Ranges, stack, where_apart

Q3_PU: Final[Mapping[Normal, float]] = {"category-a": -0.25, "category-b": -0.44}
"""Default reactive power at P3, IEEE 1547-2018 table 9."""
Q3_DRAWING_PU: Final = 0.44
HALVINGS = 60


class WattVar(Function):
    """Reactive power against active power."""

    category: Normal = Field(default="category-b", description="Category of normal operation.", examples=["category-b"])
    p1_pu: float | None = Field(default=None, description="P1, pu of rated kW: at most P2 - 0.1.", examples=[0.2])
    p2_pu: float | None = Field(default=None, description="P2, pu of rated kW: 0.4 to 0.8.", examples=[0.5])
    p3_pu: float | None = Field(default=None, description="P3, pu of rated kW: P2 + 0.1 to 1.", examples=[1.0])
    q1_pu: float | None = Field(default=None, description="Q1, pu, injected.", examples=[0.0])
    q2_pu: float | None = Field(default=None, description="Q2, pu, injected.", examples=[0.0])
    q3_pu: float | None = Field(default=None, description="Q3, pu, injected.", examples=[-0.44])
    p1_drawn_pu: float | None = Field(default=None, description="P'1, pu: P'2 + 0.1 to 0.", examples=[-0.2])
    p2_drawn_pu: float | None = Field(default=None, description="P'2, pu: -0.8 to -0.4.", examples=[-0.5])
    p3_drawn_pu: float | None = Field(default=None, description="P'3, pu: -1 to P'2 - 0.1.", examples=[-1.0])
    q1_drawn_pu: float | None = Field(default=None, description="Q'1, pu, injected.", examples=[0.0])
    q2_drawn_pu: float | None = Field(default=None, description="Q'2, pu, injected.", examples=[0.0])
    q3_drawn_pu: float | None = Field(default=None, description="Q'3, pu, injected.", examples=[0.44])
    response_s: float | None = Field(default=None, description="Open-loop response time, s: 0 to 10.", examples=[10.0])

    def defaults(self) -> Mapping[str, float]:
        return {
            **{"p1_pu": 0.2, "p2_pu": 0.5, "p3_pu": 1.0, "q1_pu": 0.0, "q2_pu": 0.0, "q3_pu": Q3_PU[self.category]},
            **{"p1_drawn_pu": -0.2, "p2_drawn_pu": -0.5, "p3_drawn_pu": -1.0},
            **{"q1_drawn_pu": 0.0, "q2_drawn_pu": 0.0, "q3_drawn_pu": Q3_DRAWING_PU, "response_s": MOST_RESPONSE_S},
        }

    def ranges(self, at: Points) -> Ranges:
        return {
            "p1_pu": (0.0, at["p2_pu"] - 0.1),
            "p2_pu": (0.4, 0.8),
            "p3_pu": (at["p2_pu"] + 0.1, 1.0),
            "p1_drawn_pu": (at["p2_drawn_pu"] + 0.1, 0.0),
            "p2_drawn_pu": (-0.8, -0.4),
            "p3_drawn_pu": (-1.0, at["p2_drawn_pu"] - 0.1),
            **{name: (-1.0, 1.0) for name in at if name.startswith("q")},
            "q1_drawn_pu": where_apart(at["p1_pu"] - at["p1_drawn_pu"], at["q1_pu"]),
            "response_s": (0.0, MOST_RESPONSE_S),
        }


def watt_var_curve(points: Points) -> Curve:
    """Return Q over P from P'3 to P3."""
    names = ("3_drawn_pu", "2_drawn_pu", "1_drawn_pu", "1_pu", "2_pu", "3_pu")
    return Curve(stack(points, *(f"p{n}" for n in names)), stack(points, *(f"q{n}" for n in names)))


def crossing(
    curve: Curve, rated_kw: FloatArray, rated_kva: FloatArray, carried_kva: FloatArray, sign: float
) -> FloatArray:
    """Return the magnitude of P (n,), kW, up to which `carried_kva` (n,) holds the curve on one side: by bisection."""
    low, high = np.zeros(rated_kw.shape), rated_kw.copy()
    inside = _apparent(curve, high, rated_kw, rated_kva, sign) <= carried_kva
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        fits = _apparent(curve, middle, rated_kw, rated_kva, sign) <= carried_kva
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    return np.where(inside, rated_kw, low)


def _apparent(curve: Curve, p_kw: FloatArray, rated_kw: FloatArray, rated_kva: FloatArray, sign: float) -> FloatArray:
    return np.hypot(p_kw, curve(sign * p_kw / rated_kw) * rated_kva)
