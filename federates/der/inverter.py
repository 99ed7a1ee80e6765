"""What inverter-based kinds share: reactive power functions, their response time, and what the inverter can carry.

Reactive power, positive when injected, per unit of the rated apparent power:

- *volt-var* (IEEE 1547-2018, 5.3.3): `Q = curve(V)`, straight between the points, level beyond the first and the last;
- *constant power factor* (5.3.2): `|Q| = |P| sqrt(1 - pf^2) / pf`;
- neither: `Q = 0`, the standard's default (unity power factor).

The response to a new voltage is a first-order lag. The open-loop response time `T` is the time to 90 % of the way
(IEEE 1547-2018, clause 3.1), so the time constant is `tau = T / ln 10`, and over a step of any length `h`

    q(t) = target(t) + (q(t - h) - target(t)) exp(-h / tau)

exactly, for a target that holds since the last instant. The first instant finds the lag settled.

The apparent power stays within the rating: `P^2 + Q^2 <= S^2`. Reactive priority lowers P first, as the standard
wants it for volt-var; active priority lowers Q.

Numbers of the presets: IEEE 1547-2018, table 8 (volt-var) and table 7 (reactive capability), as in EPRI's
OpenDER 2.2.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from math import exp, log, sqrt
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from pydantic import Discriminator, Field, Tag, model_validator

from derloop.contract import FloatArray
from derloop.kind import Settings

Category = Literal["category-a", "category-b"]
Priority = Literal["reactive", "active"]


# --- settings ----------------------------------------------------------------------------------------


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

    @model_validator(mode="after")
    def _is_a_falling_curve(self) -> Self:
        if len(self.v_pu) != len(self.q_pu):
            raise ValueError(f"v_pu has {len(self.v_pu)} points and q_pu has {len(self.q_pu)}")
        if any(after <= before for before, after in pairwise(self.v_pu)):
            raise ValueError(f"the voltages of a volt-var curve must rise: {list(self.v_pu)}")
        if any(after > before for before, after in pairwise(self.q_pu)):
            raise ValueError(f"the reactive powers of a volt-var curve must not rise: {list(self.q_pu)}")
        return self


PRESETS: Final[Mapping[Category, VoltVar]] = {
    "category-a": VoltVar(v_pu=(0.90, 1.0, 1.10), q_pu=(0.25, 0.0, -0.25), response_s=10.0),
    "category-b": VoltVar(v_pu=(0.92, 0.98, 1.02, 1.08), q_pu=(0.44, 0.0, 0.0, -0.44), response_s=5.0),
}
"""The default volt-var curves of IEEE 1547-2018. Category A has no dead band: its points 2 and 3 are one."""


class ConstantPf(Settings):
    """Reactive power in a fixed proportion to active power."""

    pf: float = Field(gt=0.0, le=1.0, description="Power factor, magnitude.", examples=[0.95])
    reactive: Literal["injected", "absorbed"] = Field(
        default="absorbed", description="Whether reactive power is injected or absorbed.", examples=["absorbed"]
    )


def _written(value: Any) -> str:
    return "preset" if isinstance(value, str) else "curve"


class Smart(Settings):
    """Smart-inverter functions. At most one of the reactive ones is on; with none, the power factor is 1."""

    volt_var: (
        Annotated[
            Annotated[Category, Tag("preset")] | Annotated[VoltVar, Tag("curve")],
            Discriminator(_written),
        ]
        | None
    ) = Field(
        default=None,
        description="Volt-var: the default curve of a category of IEEE 1547-2018, or a curve.",
        examples=["category-b", {"v_pu": [0.92, 0.98, 1.02, 1.08], "q_pu": [0.44, 0, 0, -0.44], "response_s": 5}],
    )
    constant_pf: ConstantPf | None = Field(
        default=None,
        description="Constant power factor.",
        examples=[{"pf": 0.95, "reactive": "absorbed"}],
    )
    priority: Priority = Field(
        default="reactive",
        description="What is kept when the rating cannot carry both: reactive or active power.",
        examples=["reactive"],
    )
    q_injected_max_pu: float = Field(
        default=0.44, ge=0.0, le=1.0, description="Most reactive power injected, pu of rated kVA.", examples=[0.44]
    )
    q_absorbed_max_pu: float = Field(
        default=0.44, ge=0.0, le=1.0, description="Most reactive power absorbed, pu of rated kVA.", examples=[0.44]
    )

    @property
    def curve(self) -> VoltVar | None:
        """The volt-var curve in numbers, if there is one."""
        return PRESETS[self.volt_var] if isinstance(self.volt_var, str) else self.volt_var

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.volt_var is not None and self.constant_pf is not None:
            raise ValueError("volt_var and constant_pf exclude each other")
        if self.curve is not None:
            self._can(max(self.curve.q_pu), -min(self.curve.q_pu), "volt_var")
        if self.constant_pf is not None:
            q_pu = sqrt(1.0 - self.constant_pf.pf**2)
            injects = self.constant_pf.reactive == "injected"
            self._can(q_pu if injects else 0.0, 0.0 if injects else q_pu, "constant_pf")
        return self

    def _can(self, injected_pu: float, absorbed_pu: float, function: str) -> None:
        for asked, most, name in (
            (injected_pu, self.q_injected_max_pu, "q_injected_max_pu"),
            (absorbed_pu, self.q_absorbed_max_pu, "q_absorbed_max_pu"),
        ):
            if asked > most + 1e-12:
                raise ValueError(f"{function} asks for {asked:.4g} pu of reactive power, but {name} is {most:g}")


# --- functions ---------------------------------------------------------------------------------------


class Response:
    """First-order lags of n devices. A second call for the same instant starts from the last instant's state."""

    def __init__(self, n: int, response_s: float) -> None:
        self._tau_ns = response_s * 1e9 / log(10.0)
        self._now_ns: int | None = None
        self._held_ns: int | None = None
        self._held, self._latest = np.zeros(n), np.zeros(n)

    def set_response_s(self, response_s: float) -> None:
        """Respond at this open-loop response time from the next instant on."""
        self._tau_ns = response_s * 1e9 / log(10.0)

    def towards(self, now_ns: int, target: FloatArray) -> FloatArray:
        """Return the state (n,) at `now_ns`; valid until the next instant. `target` (n,) holds since the last one."""
        if now_ns != self._now_ns:
            self._held, self._latest = self._latest, self._held
            self._held_ns, self._now_ns = self._now_ns, now_ns
        left = 0.0 if self._held_ns is None else exp((self._held_ns - now_ns) / self._tau_ns)
        np.subtract(self._held, target, out=self._latest)
        self._latest *= left
        self._latest += target
        return self._latest


class Inverters:
    """The grid side of n inverters: reactive functions and capability. Powers positive when injected."""

    def __init__(self, smart: Smart, rated_kva: FloatArray) -> None:
        self.rated_kva = rated_kva
        self._smart, self._pf = smart, smart.constant_pf
        self._q_most, self._q_least = smart.q_injected_max_pu * rated_kva, -smart.q_absorbed_max_pu * rated_kva
        curve = smart.curve
        self._target = None if curve is None else shared_curve(curve, rated_kva)
        self._response = Response(rated_kva.size, 10.0 if curve is None else curve.response_s)
        self.p_most_kw: FloatArray = rated_kva * (self._pf.pf if self._pf else 1.0)
        """Most active power (n,) that the power factor leaves, injected or drawn."""

    def set_volt_var(self, on: FloatArray, v_pu: FloatArray, q_kvar: FloatArray, response_s: float) -> None:
        """Follow these curves from now on, as written from outside: points (n, k), a device with `on` (n,) 0 has none.

        The lag goes on from where it is. The last point of a shorter curve stands repeated to the end of its row.
        """
        self._target = None if not on.any() else own_curves(v_pu, q_kvar * on[:, None])
        self._response.set_response_s(response_s)

    def q_kvar(self, now_ns: int, v_pu: FloatArray, share: FloatArray | float = 1.0) -> FloatArray:
        """Return the reactive power (n,) that the voltage (n,) asks for, within `share` of the capability."""
        if self._target is None:
            return np.zeros(self.rated_kva.shape)
        wanted = self._response.towards(now_ns, self._target(v_pu))
        return np.clip(wanted, self._q_least * share, self._q_most * share)

    def within_rating(self, p_kw: FloatArray, q_kvar: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return both powers (n,) as the rating can carry them; with constant power factor Q follows P."""
        if self._pf is not None:
            p_kw = np.clip(p_kw, -self.p_most_kw, self.p_most_kw)
            return p_kw, np.abs(p_kw) * tan_phi(self._pf)
        return within_circle(p_kw, q_kvar, self.rated_kva, self._smart.priority)

    def p_room_kw(self, q_kvar: FloatArray) -> FloatArray:
        """Return the most active power (n,) beside `q_kvar`, injected or drawn."""
        if self._target is None or self._smart.priority == "active":
            return self.p_most_kw
        return leg(self.rated_kva, q_kvar)


Target = Callable[[FloatArray], FloatArray]
"""From voltages (n,), pu, to the reactive powers (n,) that a curve asks for, kvar."""


def shared_curve(curve: VoltVar, rated_kva: FloatArray) -> Target:
    """Return the target of n inverters that follow one curve, each in pu of its rating."""
    v_points, q_points = np.array(curve.v_pu), np.array(curve.q_pu)

    def target(v_pu: FloatArray) -> FloatArray:
        found: FloatArray = np.interp(v_pu, v_points, q_points)
        found *= rated_kva
        return found

    return target


def own_curves(v_points: FloatArray, q_points: FloatArray) -> Target:
    """Return the target of n inverters that follow a curve each: points (n, k), pu and kvar."""
    rows = np.arange(len(v_points))
    last = v_points.shape[1] - 1

    def target(v_pu: FloatArray) -> FloatArray:
        right = np.clip((v_points < v_pu[:, None]).sum(axis=1), 1, last)
        v_left, v_right = v_points[rows, right - 1], v_points[rows, right]
        q_left, q_right = q_points[rows, right - 1], q_points[rows, right]
        width = v_right - v_left
        way = np.divide(v_pu - v_left, width, out=np.ones(len(rows)), where=width > 0.0)
        found: FloatArray = q_left + (q_right - q_left) * np.clip(way, 0.0, 1.0)
        return found

    return target


def tan_phi(constant: ConstantPf) -> float:
    """Return Q over the magnitude of P, positive when injected."""
    ratio = sqrt(1.0 - constant.pf**2) / constant.pf
    return ratio if constant.reactive == "injected" else -ratio


def leg(hypotenuse: FloatArray, other: FloatArray) -> FloatArray:
    """Return the other leg (n,) of right-angled triangles; 0 where `other` is too long."""
    square = hypotenuse * hypotenuse
    square -= other * other
    np.maximum(square, 0.0, out=square)
    return np.sqrt(square, out=square)


def within_circle(
    p_kw: FloatArray, q_kvar: FloatArray, rated_kva: FloatArray, priority: Priority
) -> tuple[FloatArray, FloatArray]:
    """Return P and Q (n,) with `P^2 + Q^2 <= S^2`: the one with priority cut at S, the other at what S leaves."""
    first, second = (q_kvar, p_kw) if priority == "reactive" else (p_kw, q_kvar)
    first = np.clip(first, -rated_kva, rated_kva)
    room = leg(rated_kva, first)
    second = np.clip(second, -room, room)
    return (second, first) if priority == "reactive" else (first, second)
