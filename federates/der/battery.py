"""Batteries behind inverters: power, energy, efficiency, standby, with smart-inverter functions.

Powers are positive when discharging, which is injecting. The active power `p(t)` that is returned at an instant `t`
holds until the next step, `t + h`; the state of charge returned at `t` is the state at `t`. With the energy `E`
stored, the cells give

    x = p / eta_discharge   (p >= 0)        x = p eta_charge   (p < 0)

    E(t + h) = E(t) - (x + standby) h

which is exact, because p holds. So that the energy stays in its window during the step, p is held between

    p_max = f((E - E_min) / h - standby)    p_min = f(-(E_max - E) / h - standby)

with the inverse `f(x) = x eta_discharge (x >= 0), x / eta_charge (x < 0)`, and within the power limit and what the
inverter can carry beside its reactive power. A battery that is empty takes what it
needs on standby from the grid: its p_max is then a little below zero.

Conversion and standby together are `loss_kw = x + standby - p`, so `E(t + h) = E(t) - (p + loss) h`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import Balance, FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, Terminal
from federates.der import Stepped
from federates.der.inverter import Inverters, Smart
from federates.der.placement import At, Size, Spot, draw, place

NS_PER_H = 3.6e12
ENERGY = Balance("energy", leaves=("p_kw",), lost=("loss_kw",), stored=("stored_kwh",))


class BatterySpot(Spot):
    """One battery."""

    energy_kwh: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="Energy from empty to full, kWh. Without it, the fleet's.",
        examples=[13.5],
    )


class BatterySettings(Stepped):
    """A fleet of batteries."""

    at: At[BatterySpot] = Field(
        description="Where the batteries stand: a list of places, or a spread.",
        examples=[{"count": 20, "on": "loads"}, [{"bus": "671.1.2.3", "rated_kva": 250.0, "energy_kwh": 1000.0}]],
    )
    rated_kva: Size | None = Field(
        default=None,
        description="Rated apparent power of each inverter, kVA: a number, or [min, max] to draw from.",
        examples=[5.0, [3.0, 7.0]],
    )
    power_kw: Size | None = Field(
        default=None,
        description="Most power of charging and of discharging, kW: a number, or [min, max] to draw from. "
        "Without it, and at most, the rated kVA.",
        examples=[5.0],
    )
    energy_kwh: Size = Field(
        default=(13.5, 13.5),
        description="Energy from empty to full, kWh: a number, or [min, max] to draw from.",
        examples=[13.5, [10.0, 16.0]],
    )
    mode: Literal["idle", "commanded"] = Field(
        default="idle",
        description="Who sets the power: nobody, or the input p_set_kw (a virtual power plant).",
        examples=["commanded"],
    )
    charge_efficiency_pu: float = Field(
        default=0.95, gt=0.0, le=1.0, description="Energy stored for energy drawn from the grid, pu.", examples=[0.95]
    )
    discharge_efficiency_pu: float = Field(
        default=0.95, gt=0.0, le=1.0, description="Energy injected for energy taken from store, pu.", examples=[0.95]
    )
    standby_kw: float = Field(
        default=0.0,
        ge=0.0,
        le=1e6,
        description="Own consumption of each battery, taken from its store at all times, kW.",
        examples=[0.02],
    )
    soc_min_pu: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="Least state of charge, pu of energy_kwh.", examples=[0.1]
    )
    soc_max_pu: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Most state of charge, pu of energy_kwh.", examples=[0.95]
    )
    soc_initial_pu: float = Field(
        default=0.5, ge=0.0, le=1.0, description="State of charge at the start, pu of energy_kwh.", examples=[0.5]
    )
    smart: Smart = Field(
        default=Smart(), description="Smart-inverter functions.", examples=[{"volt_var": "category-b"}]
    )

    @model_validator(mode="after")
    def _starts_in_its_window(self) -> Self:
        if self.soc_min_pu >= self.soc_max_pu:
            raise ValueError(f"soc_min_pu {self.soc_min_pu:g} must be less than soc_max_pu {self.soc_max_pu:g}")
        if not self.soc_min_pu <= self.soc_initial_pu <= self.soc_max_pu:
            window = f"{self.soc_min_pu:g} to {self.soc_max_pu:g}"
            raise ValueError(f"soc_initial_pu {self.soc_initial_pu:g} is outside the window, {window}")
        return self


@dataclass(frozen=True, slots=True)
class Storage:
    """What n batteries can hold."""

    energy_kwh: FloatArray
    """From empty to full (n,)."""
    soc_min_pu: float
    soc_max_pu: float


class BatteryFleet:
    """n batteries. State: the energy stored at the last instant, and the power that holds since then."""

    def __init__(self, settings: BatterySettings, context: Context) -> None:
        units = context.terminals.get(context.name) or terminals(settings, context)
        self._settings = settings
        self.inverters = Inverters(settings.smart, np.array([unit.rated_kva for unit in units]), seed=context.seed)
        self._power_kw = _power_kw(settings, context, self.inverters)
        self._energy_kwh = _energy_kwh(settings, context, len(units))
        self._least_kwh = settings.soc_min_pu * self._energy_kwh
        self._most_kwh = settings.soc_max_pu * self._energy_kwh
        self._interface = _interface(settings, context, self.inverters, tuple(unit.label for unit in units))
        self._step_h = self._interface.step_ns / NS_PER_H
        self._now_ns: int | None = None
        self._stored_kwh = settings.soc_initial_pu * self._energy_kwh
        self._p_kw = np.zeros(len(units))

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        zeros = np.zeros(self._energy_kwh.shape)
        return self._outputs(zeros, zeros, *self._p_range_kw(self.inverters.p_room_kw(zeros)))

    def step(self, now_ns: int, inputs: Values) -> Values:
        self._pass_until(now_ns)
        band = self._p_range_kw(self.inverters.p_most_kw)
        wanted = np.clip(self._wanted_kw(inputs), *band)
        self._p_kw, q_kvar = self.inverters.step(now_ns, self.inverters.seen(inputs), wanted, band)
        return self._outputs(self._p_kw, q_kvar, *self._p_range_kw(self.inverters.p_room_kw(q_kvar)))

    def stop(self) -> None:
        pass

    @property
    def storage(self) -> Storage:
        """What its batteries hold."""
        return Storage(self._energy_kwh, self._settings.soc_min_pu, self._settings.soc_max_pu)

    def _wanted_kw(self, inputs: Values) -> FloatArray:
        """Return the power (n,) that the mode asks for."""
        return inputs["p_set_kw"] if self._settings.mode == "commanded" else np.zeros(self._energy_kwh.shape)

    def _pass_until(self, now_ns: int) -> None:
        """Let the power that holds since the last instant take its energy; nothing if `now_ns` is that instant."""
        if self._now_ns is not None and now_ns != self._now_ns:
            taken_kw = self._from_store(self._p_kw) + self._settings.standby_kw
            stored = self._stored_kwh - taken_kw * ((now_ns - self._now_ns) / NS_PER_H)
            self._stored_kwh = np.clip(stored, self._least_kwh, self._most_kwh)
        self._now_ns = now_ns

    def _from_store(self, p_kw: FloatArray) -> FloatArray:
        s = self._settings
        return np.where(p_kw >= 0.0, p_kw / s.discharge_efficiency_pu, p_kw * s.charge_efficiency_pu)

    def _to_grid(self, x_kw: FloatArray) -> FloatArray:
        s = self._settings
        return np.where(x_kw >= 0.0, x_kw * s.discharge_efficiency_pu, x_kw / s.charge_efficiency_pu)

    def _p_range_kw(self, room_kw: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the least and the most active power (n,) that can hold for one step in this room of the inverter."""
        standby_kw = self._settings.standby_kw
        power = np.minimum(self._power_kw, room_kw)
        most = self._to_grid((self._stored_kwh - self._least_kwh) / self._step_h - standby_kw)
        least = self._to_grid((self._stored_kwh - self._most_kwh) / self._step_h - standby_kw)
        return np.clip(least, -power, power), np.clip(most, -power, power)

    def _outputs(self, p_kw: FloatArray, q_kvar: FloatArray, p_min_kw: FloatArray, p_max_kw: FloatArray) -> Values:
        soc_pu = self._stored_kwh / self._energy_kwh
        said = {"p_kw": p_kw, "q_kvar": q_kvar, "soc_pu": soc_pu, "p_max_kw": p_max_kw, "p_min_kw": p_min_kw}
        loss_kw = self._from_store(p_kw) - p_kw + self._settings.standby_kw
        return {**said, "loss_kw": loss_kw, "stored_kwh": self._stored_kwh}


def _interface(settings: BatterySettings, context: Context, inverters: Inverters, labels: tuple[str, ...]) -> Interface:
    inputs = inverters.ports(labels)
    if settings.mode == "commanded":
        inputs["p_set_kw"] = Port("kW", labels)
    units = {"p_kw": "kW", "q_kvar": "kvar", "soc_pu": "pu", "p_max_kw": "kW", "p_min_kw": "kW"}
    units |= {"loss_kw": "kW", "stored_kwh": "kWh"}
    outputs = {name: Port(unit, labels) for name, unit in units.items()}
    return Interface(settings.step_ns(context), inputs, outputs, balances=(ENERGY,))


def _power_kw(settings: BatterySettings, context: Context, inverters: Inverters) -> FloatArray:
    if settings.power_kw is None:
        return inverters.rated_kva
    drawn = draw(settings.power_kw, inverters.rated_kva.size, context, "power_kw")
    return np.minimum(drawn, inverters.rated_kva)


def _energy_kwh(settings: BatterySettings, context: Context, count: int) -> FloatArray:
    energy_kwh = draw(settings.energy_kwh, count, context, "energy_kwh")
    if isinstance(settings.at, tuple):
        own = [np.nan if spot.energy_kwh is None else spot.energy_kwh for spot in settings.at]
        energy_kwh = np.where(np.isnan(own), energy_kwh, own)
    return energy_kwh


def terminals(settings: BatterySettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the batteries meet the feeder."""
    return settings.smart.seeing(place(settings.at, settings.rated_kva, context))


KIND = Kind("battery", "Batteries with smart inverters", BatterySettings, BatteryFleet, terminals, is_der=True)
