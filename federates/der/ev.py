"""Electric vehicles at chargers: when they come and go, what they need, and who decides when they charge.

Powers are positive when injected: a car that charges has a negative power.

Visits. On each day a car comes with the probability `plugs_in_pu`, at an hour drawn from a triangular distribution on
`arrival_h`, and leaves at one drawn on `departure_h`, both highest in the middle. Hours count from local midnight of
the day of arrival: 31.5 is half past seven on the next morning. It comes with `need_kwh` less than `target_soc_pu`.
A place may list its visits instead. A car is plugged in for whole steps: from the first step after its arrival to the
last one that ends before it leaves. A car that is there when the run begins starts to charge then.

Power. With the energy stored `E`, the target `E*`, the step `h`, and the time `T` that is left after this step,

    x = p / eta_discharge  (p >= 0)     x = p eta_charge  (p < 0)     E(t + h) = E(t) - x h

    E_low = max(floor, E* - P eta_charge T)         E_low <= E(t + h) <= E_high

so a car that must charge now to be ready does, whatever it is told: `p_max_kw` is then negative. `floor` is what is
stored where the mode only charges, else the reserve; `E_high` is the target or the most that may be stored. The power
`P` is the least of the charger's rating and the car's limit, `car_kw_per_phase` times the phases that both have. What
lacks at departure is added to `shortfall_kwh`. The modes, with the wish that these limits then cut:

- `uncontrolled`: `-P` from arrival on;
- `spread`: evenly over the stay, `-(E* - E) / (eta_charge (T + h))`;
- `v1g`: `p_set_kw` from a control, charging only;
- `v2g`: `p_set_kw` from a control, both ways;
- `v2h`: `home_kw`, what the home draws: the car covers it, and takes its surplus, and charges when it must.

A single-phase car at a three-phase charger is seen by the feeder as if it loaded all three phases alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, Settings, Terminal
from federates.der import Stepped
from federates.der.clock import seconds_of_day
from federates.der.instants import Instants
from federates.der.inverter import Inverters, Smart
from federates.der.placement import At, Size, Spot, draw, place, stream

NS_PER_H = 3.6e12
NEVER: Final = np.iinfo(np.int64).max
Mode = Literal["uncontrolled", "spread", "v1g", "v2g", "v2h"]
IntArray = NDArray[np.int64]
_Hour = Annotated[float, Field(ge=0.0, le=72.0)]


# --- settings ----------------------------------------------------------------------------------------


def _ordered(window: tuple[float, float]) -> tuple[float, float]:
    if window[0] > window[1]:
        raise ValueError(f"a window is [earliest, latest], but {window[0]:g} is after {window[1]:g}")
    return window


Window = Annotated[tuple[_Hour, _Hour], AfterValidator(_ordered)]


class Visit(Settings):
    """One stay of one car."""

    arrives_h: float = Field(
        ge=-48.0, le=1e6, description="Arrival, h since local midnight of the first day.", examples=[18.0]
    )
    departs_h: float = Field(
        gt=0.0, le=1e6, description="Departure, h since local midnight of the first day.", examples=[31.5]
    )
    need_kwh: float = Field(ge=0.0, le=1e6, description="What lacks to the target on arrival, kWh.", examples=[12.0])

    @model_validator(mode="after")
    def _leaves_after_it_arrives(self) -> Self:
        if self.departs_h <= self.arrives_h:
            what = f"departs_h {self.departs_h:g} is not after arrives_h {self.arrives_h:g}"
            raise ValueError(f"the car leaves before it arrives: {what}; the next day's hours go on from 24")
        return self


class EvSpot(Spot):
    """One charger and its car."""

    visits: tuple[Visit, ...] | None = Field(
        default=None,
        max_length=10_000,
        description="When the car is there. Without it, by chance.",
        examples=[[{"arrives_h": 18.0, "departs_h": 31.5, "need_kwh": 12.0}]],
    )

    @model_validator(mode="after")
    def _is_at_one_place_at_a_time(self) -> Self:
        for before, after in pairwise(self.visits or ()):
            if after.arrives_h < before.departs_h:
                what = f"one begins at {after.arrives_h:g} h, before the one ahead of it ends at {before.departs_h:g} h"
                raise ValueError(f"visits must follow each other: {what}")
        return self


class EvSettings(Stepped):
    """A fleet of chargers, each with a car that comes and goes."""

    at: At[EvSpot] = Field(
        description="Where the chargers stand: a list of places, or a spread. "
        "A place with three phases has a three-phase charger.",
        examples=[{"count": 20, "on": "loads"}, [{"bus": "634", "rated_kva": 22.0}]],
    )
    rated_kva: Size | None = Field(
        default=None,
        description="Rated apparent power of each charger, kVA: a number, or [min, max] to draw from.",
        examples=[7.4, 22.0],
    )
    mode: Mode = Field(
        default="uncontrolled",
        description="Who decides: the car at once, evenly over its stay, a control (v1g, v2g), or the home (v2h).",
        examples=["v2g"],
    )
    car_kw_per_phase: Size = Field(
        default=(3.7, 3.7),
        description="Most power of each car on each phase, kW: a number, or [min, max] to draw from.",
        examples=[3.7, [3.7, 7.4]],
    )
    car_phases: Literal[1, 2, 3] = Field(default=3, description="Phases that a car can use.", examples=[3])
    battery_kwh: Size = Field(
        default=(60.0, 60.0),
        description="Energy from empty to full, kWh: a number, or [min, max] to draw from.",
        examples=[60.0, [40.0, 80.0]],
    )
    need_kwh: Size = Field(
        default=(6.0, 18.0),
        description="What lacks to the target on arrival, kWh: a number, or [min, max] to draw from.",
        examples=[[6.0, 18.0]],
    )
    arrival_h: Window = Field(
        default=(15.0, 21.0),
        description="Earliest and latest arrival, h since local midnight.",
        examples=[[15.0, 21.0]],
    )
    departure_h: Window = Field(
        default=(30.0, 33.0),
        description="Earliest and latest departure, h since local midnight of the day of arrival.",
        examples=[[30.0, 33.0]],
    )
    plugs_in_pu: float = Field(
        default=1.0, ge=0.0, le=1.0, description="Probability that a car comes on a day.", examples=[0.8]
    )
    target_soc_pu: float = Field(
        default=0.8,
        gt=0.0,
        le=1.0,
        description="State of charge wanted at departure, pu of battery_kwh.",
        examples=[0.8],
    )
    reserve_soc_pu: float = Field(
        default=0.3,
        ge=0.0,
        le=1.0,
        description="State of charge below which no car discharges, pu of battery_kwh.",
        examples=[0.3],
    )
    soc_max_pu: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Most state of charge, pu of battery_kwh.", examples=[0.9]
    )
    charge_efficiency_pu: float = Field(
        default=0.92, gt=0.0, le=1.0, description="Energy stored for energy drawn from the grid, pu.", examples=[0.92]
    )
    discharge_efficiency_pu: float = Field(
        default=0.92, gt=0.0, le=1.0, description="Energy injected for energy taken from store, pu.", examples=[0.92]
    )
    smart: Smart = Field(
        default=Smart(),
        description="Smart-inverter functions, while a car is there.",
        examples=[{"volt_var": "category-b"}],
    )

    @model_validator(mode="after")
    def _comes_before_it_goes(self) -> Self:
        latest, earliest = self.arrival_h[1], self.departure_h[0]
        if earliest <= latest:
            what = f"departure_h begins at {earliest:g}, arrival_h ends at {latest:g}"
            raise ValueError(f"a car would leave before it arrives: {what}; the next day's hours go on from 24")
        if self.departure_h[1] > self.arrival_h[0] + 24.0:
            what = f"departure_h may end at {self.arrival_h[0] + 24.0:g}, not {self.departure_h[1]:g}"
            raise ValueError(f"a car would still be there when it comes on the next day: {what}")
        return self

    @model_validator(mode="after")
    def _can_hold_what_it_needs(self) -> Self:
        if not self.reserve_soc_pu <= self.target_soc_pu <= self.soc_max_pu:
            order = "reserve_soc_pu <= target_soc_pu <= soc_max_pu"
            values = f"{self.reserve_soc_pu:g}, {self.target_soc_pu:g}, {self.soc_max_pu:g}"
            raise ValueError(f"{values} are not in the order {order}")
        most = self.target_soc_pu * self.battery_kwh[0]
        listed = [v.need_kwh for s in self._spots for v in s.visits or ()]
        worst = max([self.need_kwh[1], *listed])
        if worst > most:
            what = f"a need_kwh of {worst:g} is more than the target of the smallest battery, {most:g} kWh"
            raise ValueError(f"{what} (target_soc_pu times battery_kwh)")
        return self

    @property
    def _spots(self) -> tuple[EvSpot, ...]:
        return self.at if isinstance(self.at, tuple) else ()

    @property
    def is_commanded(self) -> bool:
        return self.mode in ("v1g", "v2g")

    @property
    def discharges(self) -> bool:
        return self.mode in ("v2g", "v2h")


# --- visits ------------------------------------------------------------------------------------------


class Visits(NamedTuple):
    """The visits of n cars, each (n, m + 1) in rising order; the last column never comes."""

    first: IntArray
    """Number of the first step at which the car is there."""
    end: IntArray
    """Number of the first step at which it is gone."""
    need_kwh: FloatArray


def draw_visits(settings: EvSettings, context: Context, labels: tuple[str, ...]) -> Visits:
    """Return the visits of the cars `labels`, in steps since the scenario's start. Each car has its own chance."""
    step_s = settings.step_ns(context) / 1e9
    last_day = int((seconds_of_day(context.start) + context.until_ns / 1e9) // 86400.0)
    listed = settings.at if isinstance(settings.at, tuple) else (None,) * len(labels)
    rows = [
        _drawn(settings, stream(context, f"visits {label}"), last_day) if spot is None or spot.visits is None
        else np.array([(v.arrives_h, v.departs_h, v.need_kwh) for v in spot.visits]).reshape(-1, 3)
        for label, spot in zip(labels, listed, strict=True)
    ]  # fmt: skip
    hours = np.full((len(rows), 1 + max(map(len, rows)), 3), np.inf)
    for row, found in zip(hours, rows, strict=True):
        row[: len(found)] = found
    steps = (hours[:, :, :2] * 3600.0 - seconds_of_day(context.start)) / step_s
    first = _whole(np.ceil(steps[:, :, 0] - 1e-9))
    end = _whole(np.floor(steps[:, :, 1] + 1e-9))
    return Visits(first, end, np.where((end > 0) & (end < NEVER), hours[:, :, 2], 0.0))


def _whole(steps: FloatArray) -> IntArray:
    found = np.full(steps.shape, NEVER)
    np.copyto(found, steps, casting="unsafe", where=np.isfinite(steps))
    return found


def _drawn(settings: EvSettings, chance: np.random.Generator, last_day: int) -> FloatArray:
    """Return arrival and departure, h since midnight of the first day, and need (m, 3); the day before counts too."""
    days = np.arange(-1, last_day + 1)
    arrives = _triangular(chance, settings.arrival_h, days.size)
    departs = _triangular(chance, settings.departure_h, days.size)
    need_kwh = chance.uniform(*settings.need_kwh, days.size)
    comes = chance.random(days.size) < settings.plugs_in_pu
    return np.column_stack([arrives + 24.0 * days, departs + 24.0 * days, need_kwh])[comes]


def _triangular(chance: np.random.Generator, window: tuple[float, float], count: int) -> FloatArray:
    low, high = window
    return low + (high - low) * 0.5 * (chance.random(count) + chance.random(count))


# --- the fleet ---------------------------------------------------------------------------------------


class EvFleet:
    """n chargers. State: which visit, whether it has begun, the energy stored, and the power since the last instant."""

    def __init__(self, settings: EvSettings, context: Context) -> None:
        chargers = context.terminals.get(context.name) or terminals(settings, context)
        labels = tuple(charger.label for charger in chargers)
        n = len(labels)
        self._settings = settings
        self._inverters = Inverters(settings.smart, np.array([charger.rated_kva for charger in chargers]))
        self._power_kw = _power_kw(settings, context, chargers, self._inverters)
        self._battery_kwh = draw(settings.battery_kwh, n, context, "battery_kwh")
        self._target_kwh = settings.target_soc_pu * self._battery_kwh
        self._interface = _interface(settings, context, labels)
        self._step_h = self._interface.step_ns / NS_PER_H
        self._visits = draw_visits(settings, context, labels)
        self._rows, self._visit = np.arange(n), np.zeros(n, dtype=np.int64)
        self._plugged = np.zeros(n, dtype=bool)
        self._stored_kwh = self._target_kwh.copy()
        self._shortfall_kwh, self._p_kw = np.zeros(n), np.zeros(n)
        self._departures = self._short = 0
        self._instants = Instants()

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        zeros = np.zeros(self._rows.size)
        return {**dict.fromkeys(self._interface.outputs, zeros), "soc_pu": self._stored_kwh / self._battery_kwh}

    def step(self, now_ns: int, inputs: Values) -> Values:
        self._pass(self._instants.passed_ns(now_ns) / NS_PER_H)
        number = now_ns // self._interface.step_ns
        self._go(number)
        self._come(number)
        q_kvar = self._inverters.q_kvar(now_ns, inputs["v_pu"], self._plugged.astype(float))
        left_h = np.where(self._plugged, self._end - number, 0) * self._step_h
        p_min_kw, p_max_kw = self._p_range_kw(q_kvar, left_h)
        wanted = np.clip(self._wanted_kw(inputs, left_h), p_min_kw, p_max_kw)
        self._p_kw, q_kvar = self._inverters.within_rating(wanted, q_kvar)
        return self._outputs(q_kvar, p_min_kw, p_max_kw)

    def stop(self) -> None:
        pass

    def statistics(self) -> Mapping[str, float]:
        """Return how many cars have left, how many of these lacked energy, and how much in all."""
        lacking = float(self._shortfall_kwh.sum())
        return {"departures": self._departures, "departures_short": self._short, "shortfall_kwh": lacking}

    @property
    def _end(self) -> IntArray:
        return self._visits.end[self._rows, self._visit]

    def _pass(self, passed_h: float) -> None:
        """Let the power that holds since the last instant take its energy."""
        if passed_h > 0.0:
            self._stored_kwh = self._stored_kwh - self._from_store(self._p_kw) * passed_h
            np.clip(self._stored_kwh, 0.0, self._battery_kwh, out=self._stored_kwh)

    def _go(self, number: int) -> None:
        """Let cars leave whose time has come, and note what they lack; a visit shorter than a step lacks all."""
        while (gone := self._end <= number).any():
            lacking = np.where(self._plugged, self._target_kwh - self._stored_kwh, self._need_kwh)
            lacking = np.where(gone & (lacking > 1e-9), lacking, 0.0)
            self._shortfall_kwh = self._shortfall_kwh + lacking
            self._departures += int((gone & (self._end > 0)).sum())
            self._short += int((lacking > 0.0).sum())
            self._plugged = self._plugged & ~gone
            self._visit = self._visit + gone

    def _come(self, number: int) -> None:
        comes = ~self._plugged & (self._visits.first[self._rows, self._visit] <= number)
        self._stored_kwh = np.where(comes, self._target_kwh - self._need_kwh, self._stored_kwh)
        self._plugged = self._plugged | comes

    @property
    def _need_kwh(self) -> FloatArray:
        return self._visits.need_kwh[self._rows, self._visit]

    def _wanted_kw(self, inputs: Values, left_h: FloatArray) -> FloatArray:
        """Return the power (n,) that the mode asks for."""
        if self._settings.is_commanded:
            return inputs["p_set_kw"]
        if self._settings.mode == "v2h":
            return inputs["home_kw"]
        if self._settings.mode == "uncontrolled":
            return -self._power_kw
        lacking_kwh = (self._target_kwh - self._stored_kwh) / self._settings.charge_efficiency_pu
        return -np.divide(lacking_kwh, left_h, out=np.zeros(left_h.shape), where=left_h > 0.0)

    def _p_range_kw(self, q_kvar: FloatArray, left_h: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the least and the most active power (n,) for this step that lets the car be ready in `left_h`."""
        power = np.minimum(self._power_kw, self._inverters.p_room_kw(q_kvar)) * self._plugged
        later_kwh = self._power_kw * self._settings.charge_efficiency_pu * (left_h - self._step_h)
        least_kwh = np.maximum(self._floor_kwh, self._target_kwh - later_kwh)
        most = self._to_grid((self._stored_kwh - least_kwh) / self._step_h)
        least = self._to_grid((self._stored_kwh - self._ceiling_kwh) / self._step_h)
        return np.clip(least, -power, 0.0), np.clip(most, -power, power)

    @property
    def _floor_kwh(self) -> FloatArray:
        if not self._settings.discharges:
            return self._stored_kwh
        return np.minimum(self._settings.reserve_soc_pu * self._battery_kwh, self._stored_kwh)

    @property
    def _ceiling_kwh(self) -> FloatArray:
        takes_more = self._settings.is_commanded or self._settings.mode == "v2h"
        return self._settings.soc_max_pu * self._battery_kwh if takes_more else self._target_kwh

    def _from_store(self, p_kw: FloatArray) -> FloatArray:
        s = self._settings
        return np.where(p_kw >= 0.0, p_kw / s.discharge_efficiency_pu, p_kw * s.charge_efficiency_pu)

    def _to_grid(self, x_kw: FloatArray) -> FloatArray:
        s = self._settings
        return np.where(x_kw >= 0.0, x_kw * s.discharge_efficiency_pu, x_kw / s.charge_efficiency_pu)

    def _outputs(self, q_kvar: FloatArray, p_min_kw: FloatArray, p_max_kw: FloatArray) -> Values:
        soc_pu = self._stored_kwh / self._battery_kwh
        told = {"plugged": self._plugged.astype(float), "shortfall_kwh": self._shortfall_kwh}
        limits = {"p_max_kw": p_max_kw, "p_min_kw": p_min_kw}
        return {"p_kw": self._p_kw, "q_kvar": q_kvar, "soc_pu": soc_pu, **limits, **told}


def _interface(settings: EvSettings, context: Context, labels: tuple[str, ...]) -> Interface:
    inputs = {"v_pu": Port("pu", labels, "coupled")}
    if settings.is_commanded:
        inputs["p_set_kw"] = Port("kW", labels)
    if settings.mode == "v2h":
        inputs["home_kw"] = Port("kW", labels)
    units = {"p_kw": "kW", "q_kvar": "kvar", "soc_pu": "pu", "p_max_kw": "kW", "p_min_kw": "kW"}
    units |= {"plugged": "1", "shortfall_kwh": "kWh"}
    return Interface(settings.step_ns(context), inputs, {name: Port(unit, labels) for name, unit in units.items()})


def _power_kw(
    settings: EvSettings, context: Context, chargers: tuple[Terminal, ...], inverters: Inverters
) -> FloatArray:
    """Return the most power (n,) that charger and car agree on, kW."""
    phases = np.array([min(len(charger.phases), settings.car_phases) for charger in chargers])
    car_kw = phases * draw(settings.car_kw_per_phase, len(chargers), context, "car_kw_per_phase")
    return np.minimum(car_kw, inverters.p_most_kw)


def terminals(settings: EvSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the chargers meet the feeder."""
    return place(settings.at, settings.rated_kva, context)


KIND = Kind("ev", "Electric vehicles that come, charge or discharge, and go", EvSettings, EvFleet, terminals)
