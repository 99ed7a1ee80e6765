"""The functions in their order of priority, for a block of inverters: few enough that its arrays stay in the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from derloop.contract import FloatArray
from derloop.errors import did_you_mean
from federates.der.smart.capability import above_minimum, clipped, in_proportion, leg, within_circle
from federates.der.smart.enter_service import EnterService, Service
from federates.der.smart.held import BoolArray, Clock, State
from federates.der.smart.points import Function, Points, written
from federates.der.smart.priority import ActivePower, Band
from federates.der.smart.reactive_power import ReactivePower
from federates.der.smart.ride_through import Cessation, RideThrough
from federates.der.smart.settings import IN_HZ, REACTIVE, Smart
from federates.der.smart.trip import FrequencyTrip, Trips, VoltageTrip, either, frequency_trips, voltage_trips

ACTIVE: Final = ("volt_watt", "frequency_droop", "active_power_limit", "ramp")
ABNORMAL: Final[Mapping[str, type[Function]]] = {
    "voltage_trip": VoltageTrip,
    "frequency_trip": FrequencyTrip,
    "ride_through": RideThrough,
    "enter_service": EnterService,
}
FUNCTIONS: Final = (*REACTIVE, *ACTIVE, *ABNORMAL)


@dataclass(frozen=True, slots=True)
class Seen:
    """What n inverters see at their terminals: voltages (n,), pu; frequency (1,) or (n,), Hz."""

    v_pu: FloatArray
    low_pu: FloatArray
    high_pu: FloatArray
    f_hz: FloatArray

    def part(self, s: slice) -> Seen:
        """Return what some of them see."""
        f_hz = self.f_hz if self.f_hz.size == 1 else self.f_hz[s]
        return Seen(self.v_pu[s], self.low_pu[s], self.high_pu[s], f_hz)


class Block:
    """n inverters. Powers positive when injected. See `Inverters`, which has blocks of these, for what is public."""

    def __init__(
        self,
        smart: Smart,
        rated_kva: FloatArray,
        rated_kw: FloatArray,
        seed: int,
        first: int,
        q_full_above_p_pu: float,
    ) -> None:
        """`first`: the number of the first device among all, for random delays."""
        self.rated_kva, self._rated_kw = rated_kva, rated_kw
        self._seed, self._first = seed, first
        self._smart, self._q_full_above_p_pu = smart, q_full_above_p_pu
        self._q_most, self._q_least = smart.q_injected_max_pu * rated_kva, -smart.q_absorbed_max_pu * rated_kva
        self._clock = Clock()
        self._reactive = ReactivePower(smart, self._rated_kw, rated_kva, self._clock)
        self._active = ActivePower(smart, self._rated_kw, self._clock)
        self._output_kw = self._clock.state(rated_kva.size)
        self._points: dict[str, Points] = {}
        self._voltage_trips: Trips | None = None
        self._frequency_trips: Trips | None = None
        self._cessation: Cessation | None = None
        self._service: Service | None = None
        self._permitted: BoolArray | None = None
        self._take_settings()

    def _take_settings(self) -> None:
        everyone = np.ones(self.rated_kva.size, np.bool_)
        for name in ABNORMAL:
            if getattr(self._smart, name) is not None:
                self._adjust_abnormal(name, {}, everyone)
        if not self._smart.permit_service:
            self.set_permit_service(~everyone)

    # --- settings while running ----------------------------------------------------------------------

    def checked(self, function: str, changes: Mapping[str, ArrayLike]) -> Points:
        """Return the numbers of `function` with `changes`. Raises ValueError for what `adjust` would not take."""
        if function not in FUNCTIONS:
            raise ValueError(f"no function {function!r}{did_you_mean(function, FUNCTIONS)}")
        if function in IN_HZ and not self._smart.needs_frequency:
            raise ValueError(f"{function} needs the input f_hz: switch on one of {', '.join(IN_HZ)} in the settings")
        if function in REACTIVE:
            return self._reactive.checked(function, changes)
        if function in ACTIVE:
            return self._active.checked(function, changes)
        return self._checked(function, changes)[1]

    def adjust(self, function: str, changes: Mapping[str, ArrayLike], on: BoolArray) -> None:
        """Use these numbers of `function` from the next step on, where `on` (n,)."""
        if function in REACTIVE:
            self._reactive.adjust(function, changes, on)
        elif function in ACTIVE:
            self._active.adjust(function, changes, on)
        else:
            self._adjust_abnormal(function, changes, on)

    def set_volt_var(self, on: FloatArray, v_pu: FloatArray, q_kvar: FloatArray, response_s: FloatArray) -> None:
        self._reactive.set_volt_var(on > 0.0, v_pu, q_kvar, response_s)

    def set_permit_service(self, permitted: BoolArray) -> None:
        self._permitted = None if permitted.all() else permitted
        self._need_service()

    def _adjust_abnormal(self, function: str, changes: Mapping[str, ArrayLike], on: BoolArray) -> None:
        settings, points = self._checked(function, changes)
        self._points[function] = points
        if function == "enter_service":
            self._need_service()
            assert self._service
            self._service.set(points, on)
        elif function == "ride_through":
            self._set_ride_through(settings, points, on)
        else:
            self._set_trips(function, points, on)

    def _checked(self, function: str, changes: Mapping[str, ArrayLike]) -> tuple[Any, Points]:
        settings: Any = getattr(self._smart, function) or ABNORMAL[function]()
        f_nominal_hz = self._smart.f_nominal_hz
        before = self._points.get(function) or settings.points(f_nominal_hz)
        points = written(before, changes, self.rated_kva.size, function)
        settings.check(points, f_nominal_hz)
        return settings, points

    def _need_service(self) -> None:
        if self._service is None:
            settings = self._smart.enter_service or EnterService()
            points = settings.points(self._smart.f_nominal_hz)
            self._service = Service(settings, points, self.rated_kva, (self._seed, self._first), self._clock)
            if self._smart.enter_service is None:
                self._service.set(points, np.zeros(self.rated_kva.size, np.bool_))

    def _set_ride_through(self, settings: RideThrough, points: Points, on: BoolArray) -> None:
        if self._cessation is None:
            self._cessation = Cessation(settings.category, points, on.size, self._clock)
        self._cessation.set(points, on)

    def _set_trips(self, function: str, points: Points, on: BoolArray) -> None:
        self._need_service()
        n = on.size
        points = {
            k: v if k.endswith("_s") else np.where(on, v, -np.inf if k[0] == "u" else np.inf) for k, v in points.items()
        }
        if function == "voltage_trip":
            self._voltage_trips = self._voltage_trips or voltage_trips(points, n, self._clock)
            self._voltage_trips.set(points)
        else:
            self._frequency_trips = self._frequency_trips or frequency_trips(points, n, self._clock)
            self._frequency_trips.set(points)

    # --- behaviour -----------------------------------------------------------------------------------

    def step(
        self, now_ns: int, seen: Seen, wanted_kw: FloatArray, band_kw: Band, limit_kw: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return P, kW, and Q, kvar, (n,) at `now_ns`.

        wanted_kw: what the source would do. band_kw: the least and the most that it can do.
        limit_kw: a limit of active power from outside, if there is one.
        """
        self._clock.move(now_ns)
        out = self._out_of_service(seen)
        wanted_kw = self._active.wanted_kw(
            seen.v_pu, seen.f_hz, wanted_kw, band_kw, limit_kw, self._output_kw.then, self._enter_ramp()
        )
        if out is not None:
            self._active.reset(out)
            wanted_kw = np.where(out, 0.0, wanted_kw)
        q_kvar = self._capable_kvar(seen.v_pu, wanted_kw, self._share(wanted_kw), out)
        p_kw, q_kvar = self.within_rating(wanted_kw, q_kvar)
        if self._smart.current_max_pu is not None:
            carried = self._smart.current_max_pu * seen.v_pu * self.rated_kva
            p_kw, q_kvar = within_circle(p_kw, q_kvar, carried, "reactive")
        p_kw, q_kvar = self._cut(p_kw, q_kvar, out, self._ceased(seen, out))
        self._output_kw.now[:] = p_kw
        return p_kw, q_kvar

    def _out_of_service(self, seen: Seen) -> BoolArray | None:
        if self._service is None:
            return None
        trip = None if self._voltage_trips is None else self._voltage_trips.due(seen.low_pu, seen.high_pu)
        if self._frequency_trips is not None:
            trip = either(trip, self._frequency_trips.due(seen.f_hz, seen.f_hz))
        return self._service.update(seen.low_pu, seen.high_pu, seen.f_hz, trip, self._permitted)

    def _enter_ramp(self) -> State | None:
        return self._service.ramp if self._service is not None and self._service.is_ramping else None

    def _ceased(self, seen: Seen, out: BoolArray | None) -> BoolArray | None:
        if self._cessation is None:
            return None
        return self._cessation.ceased(seen.low_pu, seen.high_pu, None if out is None else ~out)

    @staticmethod
    def _cut(
        p_kw: FloatArray, q_kvar: FloatArray, out: BoolArray | None, ceased: BoolArray | None
    ) -> tuple[FloatArray, FloatArray]:
        off = either(out, ceased)
        if off is None:
            return p_kw, q_kvar
        return np.where(off, 0.0, p_kw), np.where(off, 0.0, q_kvar)

    def _share(self, p_kw: FloatArray) -> FloatArray | float:
        full = self._q_full_above_p_pu
        return np.clip(np.abs(p_kw) / (full * self.rated_kva), 0.0, 1.0) if full > 0.0 else 1.0

    def q_kvar(
        self, now_ns: int, v_pu: FloatArray, share: FloatArray | float = 1.0, p_kw: FloatArray | None = None
    ) -> FloatArray:
        """Return the reactive power (n,) that the functions ask for, within `share` of the capability."""
        self._clock.move(now_ns)
        return self._capable_kvar(v_pu, self._rated_kw if p_kw is None else p_kw, share, None)

    def _capable_kvar(
        self, v_pu: FloatArray, p_kw: FloatArray, share: FloatArray | float, out: BoolArray | None
    ) -> FloatArray:
        if not self._reactive.is_on:
            return np.zeros(self.rated_kva.shape)
        wanted = self._reactive.wanted_kvar(v_pu, p_kw, out)
        q_kvar = np.minimum(wanted, self._q_most * share)
        return np.maximum(q_kvar, self._q_least * share, out=q_kvar)

    def within_rating(self, p_kw: FloatArray, q_kvar: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return both powers (n,) as the rating can carry them; with constant power factor Q follows P."""
        pf, watt_var = self._reactive.mask("constant_pf"), self._reactive.mask("watt_var")
        p, q = self._within_circle(p_kw, q_kvar) if pf is None or not pf.all() else (p_kw, q_kvar)
        if pf is not None:
            at_pf = self._at_constant_pf(p_kw)
            p, q = np.where(pf, at_pf[0], p), np.where(pf, at_pf[1], q)
        if watt_var is not None:
            on_curve = self._reactive.on_watt_var(p_kw, q_kvar)
            p, q = np.where(watt_var, on_curve[0], p), np.where(watt_var, on_curve[1], q)
        return p, q

    def _at_constant_pf(self, p_kw: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return P and Q (n,): lowered in proportion where they do not fit.

        Q of a lag is cut at the capability; P then has the room that this leaves.
        """
        p, q = in_proportion(*self._reactive.at_constant_pf(p_kw), self.rated_kva)
        share, lags = self._share(p), self._reactive.pf_responds
        capable = np.maximum(np.minimum(q, self._q_most * share), self._q_least * share)
        beyond = lags & ((q > self._q_most) | (q < self._q_least))
        p = np.where(beyond, clipped(p_kw, leg(self.rated_kva, capable)), p)
        return p, np.where(lags, capable, q)

    def _within_circle(self, p_kw: FloatArray, q_kvar: FloatArray) -> tuple[FloatArray, FloatArray]:
        if self._smart.priority == "active-above-minimum":
            return above_minimum(p_kw, q_kvar, self.rated_kva, self._smart.category)
        return within_circle(p_kw, q_kvar, self.rated_kva, self._smart.priority)

    @property
    def p_most_kw(self) -> FloatArray:
        """Most active power (n,) that the power factor leaves, injected or drawn."""
        return self._reactive.p_most_kw

    def p_room_kw(self, q_kvar: FloatArray) -> FloatArray:
        """Return the most active power (n,) beside `q_kvar`, injected or drawn; 0 out of service."""
        if (
            not self._reactive.is_on
            or self._smart.priority == "active"
            or self._reactive.mask("constant_pf") is not None
        ):
            room = self.p_most_kw
        else:
            room = leg(self.rated_kva, q_kvar)
        return room if self._service is None else np.where(self._service.in_service.now, room, 0.0)

    @property
    def in_service(self) -> BoolArray:
        """Who is in service (n,)."""
        if self._service is None:
            return np.ones(self.rated_kva.shape, np.bool_)
        found: BoolArray = self._service.in_service.now
        return found

    @property
    def may_trip(self) -> BoolArray:
        """See `Cessation.may_trip`."""
        return self._cessation.may_trip if self._cessation else np.zeros(self.rated_kva.shape, np.bool_)
