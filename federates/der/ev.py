"""Electric vehicles at chargers: when they come and go, what they need, and who decides when they charge.

Powers are positive when injected: a car that charges has a negative power.

Visits are drawn by chance or listed (`visits.py`). A car comes with `need_kwh` less than `target_soc_pu`. It is plugged
in for whole steps: from the first step after its arrival to the last one that ends before it leaves. A car that is
there when the run begins starts to charge then.

Power. With the energy stored `E`, the target `E*`, the step `h`, and the time `T` that is left after this step,

    x = p / eta_discharge  (p >= 0)     x = p eta_charge  (p < 0)     E(t + h) = E(t) - x h

    E_low = max(floor, E* - P eta_charge T)         E_low <= E(t + h) <= E_high

so a car that must charge now to be ready does, whatever it is told: `p_max_kw` is then negative. `floor` is what is
stored where the mode only charges, else the reserve; `E_high` is the target or the most that may be stored. The power
`P` is the least of the charger's rating on the phases that both have, and the car's limit, `car_kw_per_phase` times
these phases; what it counts on for later, as `P` in `E_low`, is what the rating leaves beside the most reactive power
that a function may ask for. What lacks at departure is added to `shortfall_kwh`. The modes, with the wish that these
limits then cut:

- `uncontrolled`: `-P` from arrival on;
- `spread`: evenly over the stay, `-(E* - E) / (eta_charge (T + h))`;
- `v1g`: `p_set_kw` from a control, charging only;
- `v2g`: `p_set_kw` from a control, both ways;
- `v2h`: `home_kw`, what the home draws: the car covers it, and takes its surplus, and charges when it must.

A car that uses fewer phases than its charger has loads only these, and sees their voltage: device after device the next
ones, as chargers are installed; where nothing earths them it stands between two, as one phase. The smart-inverter
functions act while a car is there, on what it would do, and begin anew with each car: one that is away sees no voltage.
`p_max_kw` is also what the active-power limit and volt-watt leave. Where the feeder has no voltage, a car neither
charges nor discharges, nor could it.

Energy: `loss = x - p`. What a car used while it was away (less what it charged elsewhere) is `driven_kwh`; it is
counted when the car comes back. So over a run, to rounding, `E(t) = E(0) - sum (p + loss) h - driven(t)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import Balance, FloatArray, Interface, Port, Values
from derloop.kind import Bus, Context, Kind, Terminal
from derloop.memory import remembers
from federates.der.battery import Storage
from federates.der.instants import Instants
from federates.der.inverter import Inverters, Smart
from federates.der.placement import Size, draw, place
from federates.der.visits import IntArray, VisitSettings, draw_visits
from federates.sides import one_phase, sides

NS_PER_H = 3.6e12
ENERGY = Balance("energy", leaves=("p_kw",), lost=("loss_kw",), stored=("stored_kwh", "driven_kwh"))
Mode = Literal["uncontrolled", "spread", "v1g", "v2g", "v2h"]


# --- settings ----------------------------------------------------------------------------------------


class EvSettings(VisitSettings):
    """A fleet of chargers, each with a car that comes and goes."""

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
    def _can_hold_what_it_needs(self) -> Self:
        if not self.reserve_soc_pu <= self.target_soc_pu <= self.soc_max_pu:
            order = "reserve_soc_pu <= target_soc_pu <= soc_max_pu"
            values = f"{self.reserve_soc_pu:g}, {self.target_soc_pu:g}, {self.soc_max_pu:g}"
            raise ValueError(f"{values} are not in the order {order}")
        most = self.target_soc_pu * self.battery_kwh[0]
        listed = [v.need_kwh for s in self.spots for v in s.visits or ()]
        worst = max([self.need_kwh[1], *listed])
        if worst > most:
            what = f"a need_kwh of {worst:g} is more than the target of the smallest battery, {most:g} kWh"
            raise ValueError(f"{what} (target_soc_pu times battery_kwh)")
        return self

    @property
    def is_commanded(self) -> bool:
        return self.mode in ("v1g", "v2g")

    @property
    def takes(self) -> tuple[str, ...]:
        """Inputs that others drive."""
        return ("p_set_kw",) if self.is_commanded else ("home_kw",) if self.mode == "v2h" else ()

    @property
    def window_pu(self) -> tuple[float, float]:
        """Between which states of charge a control may move it."""
        return (self.reserve_soc_pu if self.discharges else 1.0), self.soc_max_pu

    @property
    def discharges(self) -> bool:
        return self.mode in ("v2g", "v2h")


# --- the fleet ---------------------------------------------------------------------------------------


@remembers(
    *("_p_kw", "_stored_kwh", "_shortfall_kwh", "_departures", "_short", "_plugged", "_visit", "_driven_kwh"),
    settled=["_battery_kwh"],
)
class EvFleet:
    """n chargers. State: which visit, whether it has begun, the energy stored, and the power since the last instant."""

    def __init__(self, settings: EvSettings, context: Context) -> None:
        chargers = context.terminals.get(context.name) or terminals(settings, context)
        labels = tuple(charger.label for charger in chargers)
        n = len(labels)
        self._settings = settings
        rated_kva = np.array([charger.rated_kva for charger in chargers])
        self.inverters = Inverters(settings.smart, rated_kva, seed=context.seed)
        self._power_kw = _power_kw(settings, context, chargers, self.inverters)
        self._battery_kwh = draw(settings.battery_kwh, n, context, "battery_kwh")
        self._target_kwh = settings.target_soc_pu * self._battery_kwh
        self._interface = _interface(settings, context, self.inverters, labels)
        self.cautions = settings.smart.cautions(context.name, self._interface.step_ns)
        self._step_h = self._interface.step_ns / NS_PER_H
        self._visits = draw_visits(settings, context, labels)
        self._rows, self._visit = np.arange(n), np.zeros(n, dtype=np.int64)
        self._plugged = np.zeros(n, dtype=bool)
        self._stored_kwh = self._target_kwh.copy()
        self._shortfall_kwh, self._driven_kwh, self._p_kw = np.zeros(n), np.zeros(n), np.zeros(n)
        self._departures = self._short = 0
        self._instants = Instants()

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        zeros = np.zeros(self._rows.size)
        return self._outputs(zeros, zeros, zeros)

    def step(self, now_ns: int, inputs: Values) -> Values:
        self._pass(self._instants.passed_ns(now_ns) / NS_PER_H)
        number = now_ns // self._interface.step_ns
        self._go(number)
        self._come(number)
        left_h = np.where(self._plugged, self._end - number, 0) * self._step_h
        least, most = self._p_range_kw(self.inverters.p_most_kw, left_h)
        wanted = np.clip(self._wanted_kw(inputs, left_h), least, most)
        seen = self.inverters.seen(inputs)
        seen = seen._replace(v_pu=np.where(self._plugged, seen.v_pu, 0.0))
        p_kw, q_kvar = self.inverters.step(now_ns, seen, wanted, (least, most))
        q_kvar = np.where(self._plugged, q_kvar, 0.0)
        room_kw = self.inverters.p_room_kw(q_kvar)
        self._p_kw, q_kvar, room_kw = self.inverters.where_alive(inputs["v_pu"], p_kw, q_kvar, room_kw)
        return self._outputs(q_kvar, *self._p_range_kw(room_kw, left_h))

    def stop(self) -> None:
        pass

    def statistics(self) -> Mapping[str, float]:
        """Return how many cars have left, how many of these lacked energy, and how much in all."""
        lacking = float(self._shortfall_kwh.sum())
        return {"departures": self._departures, "departures_short": self._short, "shortfall_kwh": lacking}

    @property
    def storage(self) -> Storage:
        """What its cars hold: nothing that could be taken out where the mode only charges."""
        s = self._settings
        least_pu = s.reserve_soc_pu if s.discharges else 1.0
        return Storage(self._battery_kwh, self._power_kw, self._power_kw, least_pu, s.soc_max_pu)

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
        now_kwh = np.where(comes, self._target_kwh - self._need_kwh, self._stored_kwh)
        self._driven_kwh = self._driven_kwh + (self._stored_kwh - now_kwh)
        self._stored_kwh = now_kwh
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

    def _p_range_kw(self, room_kw: FloatArray, left_h: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the least and the most active power (n,) for this step that lets the car be ready in `left_h`."""
        power = np.minimum(self._power_kw, room_kw) * self._plugged
        later_kw = np.minimum(self._power_kw, self.inverters.p_sure_kw)
        later_kwh = later_kw * self._settings.charge_efficiency_pu * (left_h - self._step_h)
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
        soc_pu, plugged = self._stored_kwh / self._battery_kwh, self._plugged.astype(float)
        p_max_kw = np.maximum(self.inverters.below_caps_kw(p_max_kw), p_min_kw)
        power = {"p_kw": self._p_kw, "q_kvar": q_kvar, "p_max_kw": p_max_kw, "p_min_kw": p_min_kw}
        loss_kw = self._from_store(self._p_kw) - self._p_kw
        energy = {"soc_pu": soc_pu, "stored_kwh": self._stored_kwh, "loss_kw": loss_kw}
        counted = {"shortfall_kwh": self._shortfall_kwh, "driven_kwh": self._driven_kwh}
        return {**power, **energy, "plugged": plugged, **counted}


def _interface(settings: EvSettings, context: Context, inverters: Inverters, labels: tuple[str, ...]) -> Interface:
    inputs = inverters.ports(labels) | {port: Port("kW", labels) for port in settings.takes}
    units = {"p_kw": "kW", "q_kvar": "kvar", "p_max_kw": "kW", "p_min_kw": "kW"}
    units |= {"soc_pu": "pu", "stored_kwh": "kWh", "loss_kw": "kW", "plugged": "1"}
    units |= {"shortfall_kwh": "kWh", "driven_kwh": "kWh"}
    outputs = {name: Port(unit, labels) for name, unit in units.items()}
    return Interface(settings.step_ns(context), inputs, outputs, balances=(ENERGY,))


def _power_kw(
    settings: EvSettings, context: Context, chargers: tuple[Terminal, ...], inverters: Inverters
) -> FloatArray:
    """Return the most power (n,) that charger and car agree on, kW."""
    assert context.feeder
    buses = context.feeder.buses
    phases = np.array([len(sides(buses[charger.bus], charger.phases)) for charger in chargers])
    car_kw = phases * draw(settings.car_kw_per_phase, len(chargers), context, "car_kw_per_phase")
    return np.minimum(car_kw, inverters.p_most_kw)


def terminals(settings: EvSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the cars meet the feeder: on the phases that both they and their chargers have."""
    chargers = place(settings.at, settings.rated_kva, context)
    assert context.feeder
    buses, most = context.feeder.buses, settings.car_phases
    used = (_used(i, charger, buses[charger.bus], most) for i, charger in enumerate(chargers))
    return settings.smart.seeing(tuple(used))


def _used(number: int, charger: Terminal, bus: Bus, car_phases: int) -> Terminal:
    """Return the part of a charger that its car uses: of charger after charger, the next phases."""
    there = len(sides(bus, charger.phases))
    if car_phases >= there:
        return charger
    if bus.is_between_phases:
        side = one_phase(bus, charger.phases[number % there])
        return replace(charger, phases=side, rated_kva=charger.rated_kva / there)
    phases = sorted(charger.phases[(number + k) % there] for k in range(car_phases))
    return replace(charger, phases=tuple(phases), rated_kva=charger.rated_kva * car_phases / there)


KIND = Kind(
    "ev", "Electric vehicles that come, charge or discharge, and go", EvSettings, EvFleet, terminals, is_der=True
)
