"""Constant power factor (IEEE 1547-2018, 5.3.2) and constant reactive power (5.3.5).

    constant power factor: Q = +-|P| sqrt(1 - pf^2) / pf          constant reactive power: Q = q S

Both within 10 s (the standard's limit); 0 responds at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray
from federates.der.smart.points import Function, Points, Ranges

MOST_RESPONSE_S = 10.0
LEAST_PF = 1e-3


class ConstantPf(Function):
    """Reactive power in a fixed proportion to active power."""

    pf: float = Field(ge=LEAST_PF, le=1.0, description="Power factor, magnitude.", examples=[0.95])
    reactive: Literal["injected", "absorbed"] = Field(
        default="absorbed", description="Whether reactive power is injected or absorbed.", examples=["absorbed"]
    )
    response_s: float = Field(
        default=0.0, ge=0.0, le=MOST_RESPONSE_S, description="Open-loop response time, s; 0: at once.", examples=[10.0]
    )

    def defaults(self) -> Mapping[str, float]:
        return {"pf": 1.0, "injects": 0.0, "response_s": 0.0}

    @property
    def injects(self) -> float:
        """1 where reactive power is injected, 0 where it is absorbed."""
        return float(self.reactive == "injected")

    def ranges(self, at: Points) -> Ranges:
        del at
        return {"pf": (LEAST_PF, 1.0), "injects": (0.0, 1.0), "response_s": (0.0, MOST_RESPONSE_S)}


class ConstantQ(Function):
    """A fixed reactive power."""

    q_pu: float = Field(
        ge=-1.0, le=1.0, description="Reactive power, pu of rated kVA, positive when injected.", examples=[-0.2]
    )
    response_s: float = Field(
        default=0.0, ge=0.0, le=MOST_RESPONSE_S, description="Open-loop response time, s; 0: at once.", examples=[10.0]
    )

    def defaults(self) -> Mapping[str, float]:
        return {"q_pu": 0.0, "response_s": 0.0}

    def ranges(self, at: Points) -> Ranges:
        del at
        return {"q_pu": (-1.0, 1.0), "response_s": (0.0, MOST_RESPONSE_S)}


def tan_phi(pf: FloatArray, injects: FloatArray) -> FloatArray:
    """Return Q over the magnitude of P, positive when injected, from magnitudes `pf` and `injects` 1 or 0."""
    ratio: FloatArray = np.sqrt(1.0 - pf * pf) / pf
    return np.where(injects > 0.0, ratio, -ratio)
