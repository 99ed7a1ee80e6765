"""Active power, in the order in which the functions take precedence (IEEE 1547-2018, 4.7).

    what the source wants -> ramp rates -> enter-service ramp -> active-power limit -> volt-watt

and, where frequency droop is active, its power in the place of all but volt-watt: droop starts from the power before
the disturbance and may exceed the active-power limit; volt-watt caps everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from derloop.contract import FloatArray
from federates.der.smart.abnormal import Entering
from federates.der.smart.active_power import ActivePowerLimit, Ramp, Slope
from federates.der.smart.capability import clipped
from federates.der.smart.curve import Curve
from federates.der.smart.droop import Droop, FrequencyDroop
from federates.der.smart.few import Index
from federates.der.smart.held import BoolArray, Clock, Response
from federates.der.smart.points import Function, Points, written
from federates.der.smart.settings import Smart
from federates.der.smart.volt_watt import VoltWatt, volt_watt_curve

KINDS: Final[Mapping[str, type[Function]]] = {
    "volt_watt": VoltWatt,
    "frequency_droop": FrequencyDroop,
    "active_power_limit": ActivePowerLimit,
    "ramp": Ramp,
}
Band = tuple[FloatArray, FloatArray]
"""The least and the most (n,) that the source can do, kW."""


class ActivePower:
    """The active-power functions of n devices."""

    def __init__(self, smart: Smart, rated_kw: FloatArray, clock: Clock) -> None:
        self._smart, self._rated_kw, self._clock = smart, rated_kw, clock
        self._points: dict[str, Points] = {}
        self._volt_watt: tuple[Curve, Response] | None = None
        self._droop: Droop | None = None
        self._ramp: Slope | None = None
        self._limit: Slope | None = None
        self._p_limit_kw: FloatArray | None = None
        self._was_told: tuple[FloatArray | None, FloatArray | None] = None, None
        """What the source wanted at the last instant, and the limit from outside: from these a function goes on."""
        self._output_kw = clock.state(rated_kw.size) if smart.needs_frequency else None
        everyone = np.ones(rated_kw.size, np.bool_)
        for name in ("volt_watt", "frequency_droop", "active_power_limit", "ramp"):
            if getattr(smart, name) is not None:
                self.adjust(name, {}, everyone)

    def adjust(self, function: str, changes: Mapping[str, ArrayLike], on: BoolArray) -> None:
        """Use these numbers of `function` from now on, where `on` (n,); elsewhere it is off."""
        points = self.checked(function, changes)
        self._points[function] = points
        setters = {
            "volt_watt": self._set_volt_watt,
            "frequency_droop": self._set_droop,
            "active_power_limit": self._set_limit,
            "ramp": self._set_ramp,
        }
        setters[function](points, on)

    def checked(self, function: str, changes: Mapping[str, ArrayLike]) -> Points:
        """Return the numbers of `function` with `changes`. Raises ValueError for one that may not be."""
        settings: Function = getattr(self._smart, function) or KINDS[function]()
        f_nominal_hz = self._smart.f_nominal_hz
        before = self._points.get(function) or settings.points(f_nominal_hz)
        points = written(before, changes, self._rated_kw.size, function)
        settings.check(points, f_nominal_hz)
        return points

    def _set_volt_watt(self, points: Points, on: BoolArray) -> None:
        if self._volt_watt is None:
            lag = Response(on.size, points["response_s"], self._clock)
            lag.state.then[:] = lag.state.now[:] = 1.0
        else:
            lag = self._volt_watt[1]
            lag.set_response_s(points["response_s"])
        self._volt_watt = volt_watt_curve(points), lag
        self._without_volt_watt = np.flatnonzero(~on)

    def _set_droop(self, points: Points, on: BoolArray) -> None:
        points = {**points, **{n: np.where(on, points[n], np.inf) for n in ("db_over_hz", "db_under_hz")}}
        if self._droop is None:
            self._droop = Droop(points, self._rated_kw, self._smart.f_nominal_hz, self._clock)
            if self._output_kw is not None:
                self._droop.begin(self._output_kw.now)
        else:
            self._droop.set(points)

    def _set_limit(self, points: Points, on: BoolArray) -> None:
        self._p_limit_kw = np.where(on, points["p_max_pu"], 1.0) * self._rated_kw
        response_s = np.where(on, points["response_s"], 0.0)
        if self._limit is None:
            self._limit = Slope(self._rated_kw, response_s, response_s, self._clock)
            told_kw = self._was_told[1]
            self._limit.begin(self._rated_kw if told_kw is None else np.minimum(told_kw, self._rated_kw))
        else:
            self._limit.set(response_s, response_s)

    def _set_ramp(self, points: Points, on: BoolArray) -> None:
        up_s, down_s = np.where(on, points["up_s"], 0.0), np.where(on, points["down_s"], 0.0)
        if self._ramp is None:
            self._ramp = Slope(self._rated_kw, up_s, down_s, self._clock)
            if self._was_told[0] is not None:
                self._ramp.begin(self._was_told[0])
        else:
            self._ramp.set(up_s, down_s)

    def wanted_kw(
        self,
        v_pu: FloatArray,
        f_hz: FloatArray,
        wanted_kw: FloatArray,
        band_kw: Band | None,
        limit_kw: FloatArray | None,
        entering: Entering | None,
    ) -> FloatArray:
        """Return the active power (n,) that the functions leave, kW: `wanted_kw` itself where nothing bears on it.

        band_kw: None: from nothing to `wanted_kw`. limit_kw: a limit from outside. entering: who is on the
        enter-service ramp, and how far.
        """
        self._was_told = wanted_kw, limit_kw
        if band_kw is None:
            if limit_kw is None and entering is None and not self._points:
                return wanted_kw
            band_kw = np.zeros(wanted_kw.shape), wanted_kw
        wanted_kw = np.array(wanted_kw if self._ramp is None else self._ramp.towards(wanted_kw))
        if entering is not None:
            who = entering.who
            wanted_kw[who] = clipped(wanted_kw[who], entering.now * self._rated_kw[who])
        limit_kw = self._followed_limit_kw(limit_kw)
        if limit_kw is not None:
            np.minimum(wanted_kw, limit_kw, out=wanted_kw)
        cap_kw = self._volt_watt_kw(v_pu)
        if cap_kw is not None:
            np.minimum(wanted_kw, cap_kw, out=wanted_kw)
        if self._droop is not None:
            self._put_droop(self._droop, f_hz, wanted_kw, band_kw, entering, cap_kw)
        np.minimum(wanted_kw, band_kw[1], out=wanted_kw)
        return np.maximum(wanted_kw, band_kw[0], out=wanted_kw)

    def _followed_limit_kw(self, limit_kw: FloatArray | None) -> FloatArray | None:
        if self._limit is None or self._p_limit_kw is None:
            return limit_kw
        target = self._p_limit_kw if limit_kw is None else np.minimum(self._p_limit_kw, limit_kw)
        return self._limit.towards(target)

    def _volt_watt_kw(self, v_pu: FloatArray) -> FloatArray | None:
        if self._volt_watt is None:
            return None
        curve, lag = self._volt_watt
        cap = lag.towards(self._clock.now_ns, curve(v_pu))
        if self._without_volt_watt.size:
            cap[self._without_volt_watt] = 1.0
        return cap * self._rated_kw

    def below_caps_kw(self, p_kw: FloatArray) -> FloatArray:
        """Return powers (n,) as far as the active-power limit and volt-watt leave them at this instant."""
        if self._limit is not None:
            p_kw = np.minimum(p_kw, self._limit.state.now)
        if self._volt_watt is not None:
            p_kw = np.minimum(p_kw, self._volt_watt[1].state.now * self._rated_kw)
        return p_kw

    def _put_droop(
        self,
        droop: Droop,
        f_hz: FloatArray,
        wanted_kw: FloatArray,
        band_kw: Band,
        entering: Entering | None,
        cap_kw: FloatArray | None,
    ) -> None:
        """Put the droop's power into `wanted_kw` where it is active."""
        output_then_kw = wanted_kw if self._output_kw is None or self._clock.is_first else self._output_kw.then
        who = None if entering is None else entering.who[entering.then < 1.0]
        p_min = self._smart.p_min_pu
        least = band_kw[0] if p_min is None else np.maximum(band_kw[0], p_min * self._rated_kw)
        moved = droop.power_kw(f_hz, wanted_kw, output_then_kw, (least, band_kw[1]), who)
        if moved is None:
            return
        most_kw = self._rated_kw if cap_kw is None else np.minimum(cap_kw, self._rated_kw)
        np.copyto(wanted_kw, np.minimum(moved, most_kw), where=droop.active.now)

    def note(self, output_kw: FloatArray) -> None:
        """Keep what is put out at this instant (n,), kW, from which droop starts at the next; NaN: who had no part."""
        if self._output_kw is not None:
            self._output_kw.now[:] = output_kw

    def reset(self, out: Index) -> None:
        """Put the states of devices that are out of service where they start from."""
        if self._volt_watt is not None:
            self._volt_watt[1].state.now[out] = 1.0
        if self._ramp is not None:
            self._ramp.reset(out, 0.0)
        if self._droop is not None:
            self._droop.reset(out)
