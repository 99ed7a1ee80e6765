"""Volt-watt: the most active power against voltage (IEEE 1547-2018, 5.4.2 and table 10).

    P <= P1 below V1, P2 above V2, straight between; response 10 s.

P2 is min(0.2, P_min) for what only injects, 0 for what can draw; a negative P2 makes a battery draw.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from federates.der.smart.curve import Curve
from federates.der.smart.points import Function, Points, Ranges, stack


class VoltWatt(Function):
    """The most active power against voltage."""

    v1_pu: float | None = Field(default=None, description="V1, pu: 1.05 to 1.09.", examples=[1.06])
    v2_pu: float | None = Field(default=None, description="V2, pu: V1 + 0.01 to 1.10.", examples=[1.10])
    p1_pu: float | None = Field(default=None, description="P1, pu of rated kW: P2 to 1.", examples=[1.0])
    p2_pu: float | None = Field(default=None, description="P2, pu of rated kW: -1 to P1.", examples=[0.2])
    response_s: float | None = Field(
        default=None, description="Open-loop response time, s: 0.5 to 60.", examples=[10.0]
    )

    def defaults(self) -> Mapping[str, float]:
        return {"v1_pu": 1.06, "v2_pu": 1.10, "p1_pu": 1.0, "p2_pu": 0.0, "response_s": 10.0}

    def ranges(self, at: Points) -> Ranges:
        return {
            "v1_pu": (1.05, 1.09),
            "v2_pu": (at["v1_pu"] + 0.01, 1.10),
            "p1_pu": (at["p2_pu"], 1.0),
            "p2_pu": (-1.0, 1.0),
            "response_s": (0.5, 60.0),
        }


def volt_watt_curve(points: Points) -> Curve:
    """Return the cap, pu of rated kW, over voltage."""
    return Curve(stack(points, "v1_pu", "v2_pu"), stack(points, "p1_pu", "p2_pu"))
