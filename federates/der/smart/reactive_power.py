"""Reactive power: one function for each device, one lag.

On a change of function the lag goes on from where it is. Without any function there is no reactive power at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from derloop.contract import FloatArray
from federates.der.smart.constant import ConstantPf, ConstantQ, tan_phi
from federates.der.smart.curve import Curve
from federates.der.smart.few import Index
from federates.der.smart.held import BoolArray, Clock, Response
from federates.der.smart.points import Function, Points, written
from federates.der.smart.settings import REACTIVE, Smart
from federates.der.smart.volt_var import StandardVoltVar, VrefTracking, standard_curve
from federates.der.smart.watt_var import WattVar, crossing, watt_var_curve

NOTHING: Final = -1
Target = Callable[[FloatArray, FloatArray], FloatArray]
"""From voltages, pu, and active powers, kW, (n,) to reactive powers (n,), kvar."""


class ReactivePower:
    """The reactive functions of n devices."""

    def __init__(self, smart: Smart, rated_kw: FloatArray, rated_kva: FloatArray, clock: Clock) -> None:
        self._smart, self._rated_kw, self._rated_kva, self._clock = smart, rated_kw, rated_kva, clock
        n = rated_kva.size
        self._targets: dict[str, Target] = {}
        self._responses_s: dict[str, FloatArray] = {}
        self._points: dict[str, Points] = {}
        self._chosen = np.full(n, NOTHING, np.int8)
        self._masks: dict[str, BoolArray] = {}
        self.is_on = False
        """Whether any device has a function."""
        self.binds_p = False
        """Whether any device has one for which active power gives way in a manner of its own."""
        self.takes_room: BoolArray | None = None
        """Which devices (n,) have one that takes room of the rating beside active power; None where none has."""
        self._of_all: Target | None = None
        self._lag = Response(n, 0.0, clock)
        self._vref: VrefTracking | None = None
        self._watt_var: Curve | None = None
        self._tan = np.zeros(n)
        self._carried_kva = rated_kva
        self.p_most_kw = rated_kw
        """Most active power (n,) that the maxima and a constant power factor leave, injected or drawn."""
        self._take_settings()

    def _take_settings(self) -> None:
        smart, everyone = self._smart, np.ones(self._rated_kva.size, np.bool_)
        if curve := smart.curve:
            if curve.autonomous_vref:
                self._vref = VrefTracking(everyone.size, curve.vref_pu, curve.autonomous_vref, self._clock)
            shared = Curve(np.array(curve.v_pu)[:, None], np.array(curve.q_pu)[:, None])
            self._follow(shared, np.array([curve.response_s]), everyone)
        if smart.constant_pf:
            self._set_constant_pf(smart.constant_pf.points(), everyone)
        if smart.constant_q:
            self._set_constant_q(smart.constant_q.points(), everyone)
        if smart.watt_var:
            self._set_watt_var(smart.watt_var.points(), everyone)

    # --- settings ------------------------------------------------------------------------------------

    def checked(self, function: str, changes: Mapping[str, ArrayLike]) -> Points:
        """Return the numbers of `function` with `changes`. Raises ValueError for one that may not be."""
        settings = self._settings(function)
        before = self._points.get(function) or settings.points()
        points = written(before, changes, self._rated_kva.size, function)
        settings.check(points)
        return points

    def adjust(self, function: str, changes: Mapping[str, ArrayLike], on: BoolArray) -> None:
        """Use these numbers of `function` from now on, where `on` (n,); where it was on and is not now, nothing is."""
        points = self.checked(function, changes)
        if function == "volt_var":
            self._set_volt_var(points, changes, on)
        else:
            setters = {
                "constant_pf": self._set_constant_pf,
                "constant_q": self._set_constant_q,
                "watt_var": self._set_watt_var,
            }
            setters[function](points, on)

    def _set_volt_var(self, points: Points, changes: Mapping[str, ArrayLike], on: BoolArray) -> None:
        """Follow these points; a curve of which no point is written stays, also one by points of its own."""
        self._points["volt_var"], target = points, self._targets.get("volt_var")
        if target is None or changes.keys() - {"response_s"}:
            self._follow(standard_curve(points), points["response_s"], on)
        else:
            self._choose("volt_var", target, points["response_s"] if changes else self._responses_s["volt_var"], on)

    def _settings(self, function: str) -> Function:
        given = getattr(self._smart, function)
        if isinstance(given, Function):
            return given
        if function == "constant_pf":
            return ConstantPf(pf=1.0)
        if function == "constant_q":
            return ConstantQ(q_pu=0.0)
        if function == "volt_var":
            preset = self._smart.volt_var
            return StandardVoltVar(category=preset if isinstance(preset, str) else self._smart.category)
        return WattVar(category=self._smart.category)

    def set_volt_var(self, on: BoolArray, v_pu: FloatArray, q_kvar: FloatArray, response_s: FloatArray) -> None:
        """Follow any curves from now on, as written from outside: points (n, k), pu and kvar; response_s (n,)."""
        q_pu = q_kvar / self._rated_kva[:, None]
        self._follow(Curve(v_pu.T, q_pu.T), response_s, on)

    def _follow(self, curve: Curve, response_s: FloatArray, on: BoolArray) -> None:
        def target(v_pu: FloatArray, p_kw: FloatArray) -> FloatArray:
            del p_kw
            found = curve(v_pu)
            return np.multiply(found, self._rated_kva, found)

        self._choose("volt_var", target, response_s, on)

    def _set_constant_pf(self, points: Points, on: BoolArray) -> None:
        self._points["constant_pf"] = points
        tangent = tan_phi(points["pf"], points["injects"])
        self._tan = np.broadcast_to(tangent, on.shape)
        self._choose("constant_pf", lambda _, p_kw: np.abs(p_kw) * tangent, points["response_s"], on)

    def _set_constant_q(self, points: Points, on: BoolArray) -> None:
        self._points["constant_q"] = points
        q_kvar = points["q_pu"] * self._rated_kva
        self._choose("constant_q", lambda *_: q_kvar, points["response_s"], on)

    def _set_watt_var(self, points: Points, on: BoolArray) -> None:
        self._points["watt_var"] = points
        curve = watt_var_curve(points)

        def target(v_pu: FloatArray, p_kw: FloatArray) -> FloatArray:
            del v_pu
            found = curve(p_kw / self._rated_kw)
            found *= self._rated_kva
            return found

        self._watt_var = curve
        self._choose("watt_var", target, points["response_s"], on)

    def _choose(self, name: str, target: Target, response_s: FloatArray, on: BoolArray) -> None:
        self._targets[name], self._responses_s[name] = target, response_s
        code = REACTIVE.index(name)
        self._chosen = np.where(on, code, np.where(self._chosen == code, NOTHING, self._chosen)).astype(np.int8)
        self._masks = {f: self._chosen == REACTIVE.index(f) for f in self._targets}
        self._masks = {f: mask for f, mask in self._masks.items() if mask.any()}
        self.is_on = bool(self._masks)
        self.binds_p = "constant_pf" in self._masks or "watt_var" in self._masks
        takes_room = self._chosen != NOTHING
        takes_room &= self._chosen != REACTIVE.index("constant_pf")
        self.takes_room = takes_room if takes_room.any() else None
        everyone = [f for f, mask in self._masks.items() if mask.all()]
        self._of_all = self._targets[everyone[0]] if everyone else None
        self.carry(self._carried_kva)
        self._lag.set_response_s(self._response_s())

    def carry(self, most_kva: FloatArray) -> None:
        """Have no more active power than this apparent power (n,) has room for, and the power factor leaves of it."""
        self._carried_kva, at_pf = most_kva, self._masks.get("constant_pf")
        if at_pf is not None:
            most_kva = np.where(at_pf, most_kva * self._points["constant_pf"]["pf"], most_kva)
        self.p_most_kw = np.minimum(self._rated_kw, most_kva)
        if self._watt_var is not None:
            self._find_crossings(self._watt_var)

    def _find_crossings(self, curve: Curve) -> None:
        kva, rated_kw = self._rated_kva, self._rated_kw
        ends = [crossing(curve, rated_kw, kva, self._carried_kva, sign) for sign in (1.0, -1.0)]
        q_ends = [np.abs(curve(sign * p / rated_kw)) * kva for sign, p in zip((1, -1), ends, strict=True)]
        self._crossings_kw, self._crossings_kvar = ends, q_ends

    def _response_s(self) -> FloatArray:
        if self._of_all:
            return next(iter(self._responses_s[f] for f in self._masks))
        found = np.zeros(self._chosen.size)
        for function, mask in self._masks.items():
            np.copyto(found, self._responses_s[function], where=mask)
        return found

    # --- behaviour -----------------------------------------------------------------------------------

    def wanted_kvar(self, v_pu: FloatArray, p_kw: FloatArray, out: Index) -> FloatArray:
        """Return the reactive power (n,) that the functions ask for; valid until the next instant.

        `out`: devices out of service, whose lag rests at zero.
        """
        if self._vref is not None:
            v_pu = self._vref.shifted(v_pu, out)
        wanted = self._lag.towards(self._clock.now_ns, self._target(v_pu, p_kw))
        if out.size:
            wanted[out] = 0.0
        return wanted

    def rest(self, v_pu: FloatArray, out: Index) -> None:
        """Have no reactive power while no device has a function; an autonomous reference goes on following (n,)."""
        if self._targets:
            self._lag.state.now.fill(0.0)
        if self._vref is not None:
            self._vref.shifted(v_pu, out)

    def _target(self, v_pu: FloatArray, p_kw: FloatArray) -> FloatArray:
        if self._of_all:
            return self._of_all(v_pu, p_kw)
        found = np.zeros(v_pu.shape)
        for function, mask in self._masks.items():
            np.copyto(found, self._targets[function](v_pu, p_kw), where=mask)
        return found

    def mask(self, function: str) -> BoolArray | None:
        """Return the devices (n,) that have this function; None where none has."""
        return self._masks.get(function)

    @property
    def pf_responds(self) -> BoolArray:
        """Where, (1,) or (n,), a constant power factor is followed with a lag; elsewhere Q follows P at once."""
        return self._responses_s["constant_pf"] > 0.0

    def at_constant_pf(self, p_kw: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return P and Q (n,) of the constant power factor: as the lag has it, or at once what the rating carries."""
        at_once = np.minimum(np.maximum(p_kw, -self.p_most_kw), self.p_most_kw)
        lags = self.pf_responds
        return np.where(lags, p_kw, at_once), np.where(lags, self._lag.state.now, np.abs(at_once) * self._tan)

    def on_watt_var(self, p_kw: FloatArray, q_kvar: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return P and Q (n,) in the circle, on the curve where the rating cuts."""
        outside = p_kw * p_kw + q_kvar * q_kvar >= self._carried_kva**2
        injects = p_kw > 0.0
        p_most = np.where(injects, self._crossings_kw[0], self._crossings_kw[1])
        q_most = np.where(injects, self._crossings_kvar[0], self._crossings_kvar[1])
        p_cut = np.minimum(np.abs(p_kw), p_most) * np.sign(p_kw)
        q_cut = np.minimum(np.abs(q_kvar), q_most) * np.sign(q_kvar)
        return np.where(outside, p_cut, p_kw), np.where(outside, q_cut, q_kvar)
