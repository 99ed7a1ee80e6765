"""Abnormal voltages and frequencies, in the order in which the functions take precedence (IEEE 1547-2018, 4.7):

    permit service off > trip > ride-through with momentary cessation

and how devices come back. All of it is computed for those few devices alone that something abnormal goes on with.

A condition that is seen at an instant counts as one that has held since the instant before. So clearing times and
delays are over up to a step early, by the first instant at which their condition was seen, and so is the way up a ramp.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from derloop.contract import FloatArray
from federates.der.smart.enter_service import EnterService, Service
from federates.der.smart.few import Few, Index
from federates.der.smart.held import BoolArray, Clock, is_any
from federates.der.smart.points import F_NOMINAL_HZ, Abnormal, Function, Points, written
from federates.der.smart.ride_through import (
    CONTINUOUS_HZ,
    CONTINUOUS_PU,
    ROCOF_HZ_PER_S,
    Cessation,
    RateOfChange,
    RideThrough,
)
from federates.der.smart.settings import Smart
from federates.der.smart.terminals import Seen
from federates.der.smart.trip import FrequencyTrip, Trips, VoltageTrip, frequency_trips, voltage_trips

KINDS: Final[Mapping[str, type[Function]]] = {
    "voltage_trip": VoltageTrip,
    "frequency_trip": FrequencyTrip,
    "ride_through": RideThrough,
    "enter_service": EnterService,
}


class Entering(NamedTuple):
    """Devices (by index) on their enter-service ramp or not yet on it, and how far each may go, pu."""

    who: Index
    then: FloatArray
    now: FloatArray


class Aside(NamedTuple):
    """Devices (by index) that something abnormal goes on with."""

    out: Index
    """Out of service."""
    silent: Index
    """Injecting nothing: out of service, or ceased to energize."""
    entering: Entering | None


_LOW_PU, _HIGH_PU = (np.array(end) for end in CONTINUOUS_PU)
_NONE: Final[Index] = np.zeros(0, np.intp)
NOBODY: Final = Aside(_NONE, _NONE, None)


class AbnormalConditions:
    """The functions for abnormal conditions, and service, of n devices."""

    def __init__(self, smart: Smart, rated_kva: FloatArray, seed: tuple[int, int], clock: Clock) -> None:
        """seed: of the fleet, and the number of the first device in it, for random delays."""
        self._smart, self._rated_kva, self._seed, self._clock = smart, rated_kva, seed, clock
        self._few = Few(rated_kva.size, clock)
        self._points: dict[str, Points] = {}
        self._voltage_trips: Trips | None = None
        self._frequency_trips: Trips | None = None
        self._cessation: Cessation | None = None
        self._rate: RateOfChange | None = None
        self._service: Service | None = None
        self._permitted: BoolArray | None = None
        everyone = np.ones(rated_kva.size, np.bool_)
        for name in KINDS:
            if getattr(smart, name) is not None:
                self.adjust(name, {}, everyone)
        if not smart.permit_service:
            self.set_permit_service(~everyone)

    # --- settings while running ----------------------------------------------------------------------

    def checked(self, function: str, changes: Mapping[str, ArrayLike]) -> Points:
        """Return the numbers of `function` with `changes`. Raises ValueError for one that may not be."""
        settings: Any = getattr(self._smart, function) or KINDS[function]()
        f_nominal_hz = self._smart.f_nominal_hz
        before = self._points.get(function) or settings.points(f_nominal_hz)
        points = written(before, changes, self._rated_kva.size, function)
        settings.check(points, f_nominal_hz)
        return points

    def adjust(self, function: str, changes: Mapping[str, ArrayLike], on: BoolArray) -> None:
        """Use these numbers of `function` from now on, where `on` (n,)."""
        points = self.checked(function, changes)
        self._points[function] = points
        if function == "ride_through":
            self._with_cessation().set(points, on)
        elif function == "enter_service":
            self._with_service().set(points, on)
        elif function == "voltage_trip":
            self._with_service()
            self._voltage_trips = self._voltage_trips or voltage_trips(self._few, self._clock)
            self._voltage_trips.set(points, on)
        else:
            self._with_service()
            self._frequency_trips = self._frequency_trips or frequency_trips(self._few, self._clock)
            self._frequency_trips.set(points, on)

    def set_permit_service(self, permitted: BoolArray) -> None:
        self._permitted = None if permitted.all() else permitted
        self._with_service()

    def _with_cessation(self) -> Cessation:
        if self._cessation is None:
            f_nominal_hz = float(self._smart.f_nominal_hz)
            self._cessation = Cessation(self._category, f_nominal_hz, self._few, self._clock)
            if self._smart.needs_frequency:
                self._rate = RateOfChange(self._rated_kva.size, self._clock)
        return self._cessation

    @property
    def _category(self) -> Abnormal:
        return (self._smart.ride_through or RideThrough()).category

    def _with_service(self) -> Service:
        """Return what keeps who is in service. Without enter service in the settings, nobody comes back."""
        if self._service is None:
            settings = self._smart.enter_service or EnterService()
            self._service = Service(settings, self._rated_kva, self._seed, self._few, self._clock)
            on = np.full(self._rated_kva.size, self._smart.enter_service is not None)
            self._service.set(settings.points(self._smart.f_nominal_hz), on)
        return self._service

    # --- behaviour -----------------------------------------------------------------------------------

    def update(self, seen: Seen) -> Aside:
        """Move to this instant. Return with whom something abnormal goes on."""
        if self._service is None and self._cessation is None:
            return NOBODY
        too_fast = None if self._rate is None else self._rate.beyond(seen.f_hz, ROCOF_HZ_PER_S[self._category])
        if not self._few.pick(self._disturbed(seen, too_fast)):
            return NOBODY
        few, at = self._few, seen.by(self._few)
        in_service = None if self._service is None else self._in_service(self._service, at)
        silent = np.zeros(few.index.size, np.bool_) if in_service is None else ~in_service
        out = few.index[silent]
        if self._cessation is not None:
            few_too_fast = None if too_fast is None else few.of(too_fast)
            silent |= self._cessation.update(at, few_too_fast, in_service)
        return Aside(out, few.index[silent], None if self._service is None else self._entering(self._service))

    def _disturbed(self, seen: Seen, too_fast: BoolArray | None) -> BoolArray | None:
        """Return who (n,) sees what is not normal, or is not permitted service; None where nobody does."""
        found = None if self._permitted is None else ~self._permitted
        if too_fast is not None:
            found = _joined(found, too_fast.copy())
        low, high = seen.low_pu < _LOW_PU, seen.high_pu >= _HIGH_PU
        if is_any(low) or is_any(high):
            found = _joined(found, np.logical_or(low, high, out=low))
        if self._smart.needs_frequency:
            least_hz, most_hz = self._normal_hz
            low, high = seen.f_hz < least_hz, seen.f_hz > most_hz
            if is_any(low) or is_any(high):
                found = _joined(found, np.array(np.broadcast_to(low | high, seen.v_pu.shape)))
        return found

    @property
    def _normal_hz(self) -> tuple[float, float]:
        """Frequencies between which, both included, neither ride-through nor a trip function has anything to do."""
        scale = self._smart.f_nominal_hz / F_NOMINAL_HZ
        within = [] if self._cessation is None else [(CONTINUOUS_HZ[0] * scale, CONTINUOUS_HZ[1] * scale)]
        within += [] if self._frequency_trips is None else [self._frequency_trips.between]
        return max((low for low, _ in within), default=-inf), min((high for _, high in within), default=inf)

    def _in_service(self, service: Service, at: Seen) -> BoolArray:
        trips = [] if self._voltage_trips is None else [self._voltage_trips.due(at.low_pu, at.high_pu)]
        if self._frequency_trips is not None:
            f_hz = np.broadcast_to(at.f_hz, at.v_pu.shape)
            trips.append(self._frequency_trips.due(f_hz, f_hz))
        trip = np.logical_or.reduce(trips) if trips else None
        return service.update(at, trip, None if self._permitted is None else self._few.of(self._permitted))

    def _entering(self, service: Service) -> Entering | None:
        then, now = service.ramp.then, service.ramp.now
        moves = (then < 1.0) | (now < 1.0)
        return Entering(self._few.index[moves], then[moves], now[moves]) if moves.any() else None

    @property
    def in_service(self) -> BoolArray:
        """Who is in service (n,)."""
        n = self._rated_kva.size
        return np.ones(n, np.bool_) if self._service is None else self._few.spread(self._service.in_service)

    @property
    def may_trip(self) -> BoolArray:
        """Where (n,) the time that the standard obliges to ride through is over. The model stays connected."""
        n = self._rated_kva.size
        return np.zeros(n, np.bool_) if self._cessation is None else self._few.spread(self._cessation.may_trip)


def _joined(first: BoolArray | None, second: BoolArray) -> BoolArray:
    return second if first is None else np.logical_or(first, second, out=first)
