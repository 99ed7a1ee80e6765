"""Volt-var: reactive power against voltage (IEEE 1547-2018, 5.3.3 and table 8), with autonomous VRef adjustment.

The points are voltages for the reference voltage `vref_pu`. With autonomous adjustment the reference follows the
voltage with the time constant `tau`, within its limits, and the curve moves with it:

    Q = curve(V - (VRef - vref_pu)),   VRef(t) = V + (VRef(t - h) - V) exp(-h / tau)

The open-loop response then follows the curve as it lies at the end of the step. Without voltage the reference stays;
while volt-var is off it goes on following.

Numbers: EPRI OpenDER 2.2.0 (`common_file_format.py`). That V2 = V3 = VRef is fixed for category A is to be confirmed
against the standard.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray
from derloop.kind import Settings
from federates.der.smart.curve import Curve
from federates.der.smart.few import Index
from federates.der.smart.held import Clock, Response
from federates.der.smart.points import SLACK, Function, Normal, Points, Ranges, stack, where_apart


class AutonomousVref(Settings):
    """The reference voltage follows the voltage (IEEE 1547-2018, 5.3.3)."""

    time_constant_s: float = Field(
        default=300.0, ge=300.0, le=5000.0, description="Time constant of the reference, s.", examples=[300.0]
    )
    v_min_pu: float = Field(default=0.95, ge=0.88, le=0.98, description="Least reference, pu.", examples=[0.95])
    v_max_pu: float = Field(default=1.05, ge=1.02, le=1.10, description="Most reference, pu.", examples=[1.05])


_vref = Field(default=1.0, ge=0.95, le=1.05, description="Reference voltage of the curve, pu.", examples=[1.0])
_auto = Field(default=None, description="Let the reference follow the voltage.", examples=[{"time_constant_s": 300}])


class VoltVar(Settings):
    """Reactive power against voltage, by points."""

    v_pu: tuple[Annotated[float, Field(ge=0.77, le=1.23)], ...] = Field(
        min_length=2,
        max_length=20,
        description="Voltages of the points, pu of nominal, rising.",
        examples=[[0.92, 0.98, 1.02, 1.08]],
    )
    q_pu: tuple[Annotated[float, Field(ge=-1.0, le=1.0)], ...] = Field(
        min_length=2,
        max_length=20,
        description="Reactive powers of the points, pu of rated kVA, positive when injected, not rising.",
        examples=[[0.44, 0.0, 0.0, -0.44]],
    )
    response_s: float = Field(
        default=5.0, ge=1.0, le=90.0, description="Open-loop response time, s: to 90 % of the way.", examples=[5.0]
    )
    vref_pu: float = _vref
    autonomous_vref: AutonomousVref | None = _auto

    @model_validator(mode="after")
    def _is_a_falling_curve(self) -> Self:
        if len(self.v_pu) != len(self.q_pu):
            raise ValueError(f"v_pu has {len(self.v_pu)} points and q_pu has {len(self.q_pu)}")
        if any(after <= before for before, after in pairwise(self.v_pu)):
            raise ValueError(f"the voltages of a volt-var curve must rise: {list(self.v_pu)}")
        if any(after > before for before, after in pairwise(self.q_pu)):
            raise ValueError(f"the reactive powers of a volt-var curve must not rise: {list(self.q_pu)}")
        return self


PRESETS: Final[Mapping[Normal, VoltVar]] = {
    "category-a": VoltVar(v_pu=(0.90, 1.0, 1.10), q_pu=(0.25, 0.0, -0.25), response_s=10.0),
    "category-b": VoltVar(v_pu=(0.92, 0.98, 1.02, 1.08), q_pu=(0.44, 0.0, 0.0, -0.44), response_s=5.0),
}
"""The default volt-var curves of IEEE 1547-2018. Category A has no dead band: its points 2 and 3 are one."""

_DEFAULTS: Final[Mapping[Normal, Mapping[str, float]]] = {
    "category-a": {
        **{"v1_pu": 0.90, "v2_pu": 1.0, "v3_pu": 1.0, "v4_pu": 1.10},
        **{"q1_pu": 0.25, "q2_pu": 0.0, "q3_pu": 0.0, "q4_pu": -0.25, "response_s": 10.0},
    },
    "category-b": {
        **{"v1_pu": 0.92, "v2_pu": 0.98, "v3_pu": 1.02, "v4_pu": 1.08},
        **{"q1_pu": 0.44, "q2_pu": 0.0, "q3_pu": 0.0, "q4_pu": -0.44, "response_s": 5.0},
    },
}


class StandardVoltVar(Function):
    """A category's volt-var curve with points of one's own, each within the standard's range."""

    category: Normal = Field(description="Category of normal operation.", examples=["category-b"])
    v1_pu: float | None = Field(default=None, description="V1, pu: VRef - 0.18 to V2 - 0.02.", examples=[0.92])
    v2_pu: float | None = Field(default=None, description="V2, pu: VRef - 0.03 to VRef.", examples=[0.98])
    v3_pu: float | None = Field(default=None, description="V3, pu: VRef to VRef + 0.03.", examples=[1.02])
    v4_pu: float | None = Field(default=None, description="V4, pu: V3 + 0.02 to VRef + 0.18.", examples=[1.08])
    q1_pu: float | None = Field(default=None, description="Q1, pu, injected: 0 to 1.", examples=[0.44])
    q2_pu: float | None = Field(default=None, description="Q2, pu, injected.", examples=[0.0])
    q3_pu: float | None = Field(default=None, description="Q3, pu, injected.", examples=[0.0])
    q4_pu: float | None = Field(default=None, description="Q4, pu, injected: -1 to 0.", examples=[-0.44])
    response_s: float | None = Field(default=None, description="Open-loop response time, s: 1 to 90.", examples=[5.0])
    vref_pu: float = _vref
    autonomous_vref: AutonomousVref | None = _auto

    def defaults(self) -> Mapping[str, float]:
        numbers = _DEFAULTS[self.category]
        moved = {n: numbers[n] + (self.vref_pu - 1.0) for n in ("v1_pu", "v2_pu", "v3_pu", "v4_pu")}
        return {**numbers, **moved}

    def ranges(self, at: Points) -> Ranges:
        vref, band = self.vref_pu, 0.0 if self.category == "category-a" else 0.03
        level = where_apart(at["v3_pu"] - at["v2_pu"], at["q2_pu"])
        return {
            "v1_pu": (vref - 0.18, at["v2_pu"] - 0.02),
            "v2_pu": (vref - band, vref),
            "v3_pu": (vref, vref + band),
            "v4_pu": (at["v3_pu"] + 0.02, vref + 0.18),
            "q1_pu": (np.maximum(0.0, at["q2_pu"]), 1.0),
            "q2_pu": (at["q3_pu"], 1.0),
            "q3_pu": (np.maximum(at["q4_pu"], level[0]), level[1]),
            "q4_pu": (-1.0, 0.0),
            "response_s": (1.0, 90.0),
        }

    @property
    def curve(self) -> VoltVar:
        """The same as a curve by points; points 2 and 3 are one where their voltages are."""
        p = {name: float(value[0]) for name, value in self.points().items()}
        pairs = [(p["v1_pu"], p["q1_pu"]), (p["v2_pu"], p["q2_pu"]), (p["v3_pu"], p["q3_pu"]), (p["v4_pu"], p["q4_pu"])]
        if pairs[2][0] - pairs[1][0] <= SLACK:
            del pairs[2]
        v_pu, q_pu = zip(*pairs, strict=True)
        return VoltVar(
            v_pu=v_pu,
            q_pu=q_pu,
            response_s=p["response_s"],
            vref_pu=self.vref_pu,
            autonomous_vref=self.autonomous_vref,
        )


class VrefTracking:
    """The reference voltages of n devices, which follow their voltages."""

    def __init__(self, n: int, vref_pu: float, auto: AutonomousVref, clock: Clock) -> None:
        self._clock, self._auto, self._vref_pu = clock, auto, vref_pu
        self._lag = Response(n, auto.time_constant_s * float(np.log(10.0)), clock)
        self._lag.state.then[:] = self._lag.state.now[:] = vref_pu

    def shifted(self, v_pu: FloatArray, out_of_service: Index) -> FloatArray:
        """Return the voltages (n,) that the curve for `vref_pu` is to be read at."""
        towards_pu = np.where(v_pu > 0.0, v_pu, self._lag.state.then)
        followed = self._lag.towards(self._clock.now_ns, towards_pu)
        followed[out_of_service] = towards_pu[out_of_service]
        reference = np.clip(followed, self._auto.v_min_pu, self._auto.v_max_pu)
        reference -= self._vref_pu
        np.subtract(v_pu, reference, out=reference)
        return reference


def standard_curve(points: Points) -> Curve:
    """Return the curve through V1 to V4."""
    names = ("1_pu", "2_pu", "3_pu", "4_pu")
    return Curve(stack(points, *(f"v{n}" for n in names)), stack(points, *(f"q{n}" for n in names)))
