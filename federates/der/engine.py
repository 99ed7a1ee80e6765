"""Engines that make power and heat of fuel: part-load efficiency, least load, ramps, least times, starts; n of them.

With the load `l = p / P` and the efficiencies by points, straight between them and level beyond,

    fuel = p / eta_el(l)        heat = fuel eta_th(l)        flue = fuel - p - heat

An engine that runs stays between `min_load_pu` and its rating once its ramp has brought it there; one that is
stopped ramps down. It runs for `least_run_s` at least, stands for `least_off_s` at least, and each start takes
`start_fuel_kwh` and `start_cost`. One that the grid throws off stops at once.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray
from derloop.kind import Settings
from derloop.memory import remembers
from federates.der.hysteresis import BoolArray

NS_PER_H = 3.6e12
_Share = Annotated[float, Field(gt=0.0, le=1.0)]


# --- settings ----------------------------------------------------------------------------------------


class Efficiency(Settings):
    """Efficiencies against load, by points."""

    load_pu: tuple[_Share, ...] = Field(
        default=(0.5, 0.75, 1.0),
        min_length=1,
        max_length=50,
        description="Loads of the points, pu of rated power, rising.",
        examples=[[0.5, 0.75, 1.0]],
    )
    electrical_pu: tuple[_Share, ...] = Field(
        default=(0.34, 0.37, 0.39), description="Power over fuel at the points, pu.", examples=[[0.34, 0.37, 0.39]]
    )
    thermal_pu: tuple[_Share, ...] = Field(
        default=(0.52, 0.49, 0.47), description="Heat over fuel at the points, pu.", examples=[[0.52, 0.49, 0.47]]
    )

    @model_validator(mode="after")
    def _is_physical(self) -> Self:
        counts = len(self.load_pu), len(self.electrical_pu), len(self.thermal_pu)
        if len(set(counts)) > 1:
            raise ValueError(
                f"load_pu, electrical_pu and thermal_pu have {counts[0]}, {counts[1]} and {counts[2]} points"
            )
        if any(after <= before for before, after in pairwise(self.load_pu)):
            raise ValueError(f"the loads of an efficiency curve must rise: {list(self.load_pu)}")
        for load, electrical, thermal in zip(self.load_pu, self.electrical_pu, self.thermal_pu, strict=True):
            if electrical + thermal > 1.0:
                raise ValueError(f"at load {load:g} power and heat are {electrical + thermal:g} of the fuel; at most 1")
        if any(after <= before for before, after in pairwise(self.heat_pu)):
            raise ValueError("heat must rise with load: load_pu * thermal_pu / electrical_pu falls from point to point")
        return self

    @property
    def heat_pu(self) -> tuple[float, ...]:
        """Heat at the points, pu of rated power."""
        rows = zip(self.load_pu, self.electrical_pu, self.thermal_pu, strict=True)
        return tuple(load * thermal / electrical for load, electrical, thermal in rows)


class EngineSettings(Settings):
    """What an engine can do."""

    efficiency: Efficiency = Field(
        default=Efficiency(), description="Part-load efficiencies.", examples=[{"load_pu": [0.5, 1.0]}]
    )
    min_load_pu: float = Field(
        default=0.5, gt=0.0, le=1.0, description="Least load, pu of rated power.", examples=[0.5]
    )
    ramp_pu_per_min: float = Field(
        default=0.2, gt=0.0, le=100.0, description="Fastest change, pu of rated power a minute.", examples=[0.2]
    )
    least_run_s: float = Field(default=1800.0, ge=0.0, le=1e6, description="Least time of running, s.", examples=[1800])
    least_off_s: float = Field(default=900.0, ge=0.0, le=1e6, description="Least time of standing, s.", examples=[900])
    start_fuel_kwh: float = Field(default=0.0, ge=0.0, le=1e6, description="Fuel of each start, kWh.", examples=[5.0])
    start_cost: float = Field(default=0.0, ge=0.0, le=1e9, description="Cost of each start, in money.", examples=[3.0])


# --- the engines -------------------------------------------------------------------------------------


class Running(NamedTuple):
    """What engines do for a step, each (n,)."""

    on: BoolArray
    p_kw: FloatArray
    heat_kw: FloatArray
    fuel_kw: FloatArray


class Plan(NamedTuple):
    """What engines would do in the next step, and what else they could, each (n,)."""

    on: BoolArray
    p_kw: FloatArray
    least_kw: FloatArray
    most_kw: FloatArray


@remembers("starts", "_since_s", "_was", "now")
class Engines:
    """n engines. State: what they did until now, and do now; how long they have run or stood; their starts."""

    def __init__(self, settings: EngineSettings, rated_kw: FloatArray, step_ns: int) -> None:
        zeros = np.zeros(rated_kw.shape)
        self._settings, self.rated_kw = settings, rated_kw
        self._ramp_kw = settings.ramp_pu_per_min * (step_ns / NS_PER_H) * 60.0 * rated_kw
        self.now = self._was = Running(zeros > 0.0, zeros, zeros, zeros)
        self._since_s = np.full(rated_kw.shape, np.inf)
        self.starts = zeros

    @property
    def were_on(self) -> BoolArray:
        """Which ran (n,) until now."""
        return self._was.on

    def go_on(self, passed_s: float) -> None:
        """Go on to the next instant."""
        switched = self.now.on != self._was.on
        self.starts = self.starts + (switched & self.now.on)
        self._since_s = np.where(switched, 0.0, self._since_s) + passed_s
        self._was = self.now

    def plan(self, wants: BoolArray, target_kw: FloatArray) -> Plan:
        """Return what the engines would do if they should run (n,), with these powers (n,)."""
        s, was_kw = self._settings, self._was.p_kw
        free = self._since_s >= np.where(self._was.on, s.least_run_s, s.least_off_s)
        on = np.where(free, wants, self._was.on)
        floor_kw = s.min_load_pu * self.rated_kw
        target_kw = np.where(on, np.clip(target_kw, floor_kw, self.rated_kw), 0.0)
        p_kw = was_kw + np.clip(target_kw - was_kw, -self._ramp_kw, self._ramp_kw)
        waits_kw = np.minimum(was_kw, floor_kw)  # on the way up it may wait for the grid
        least = np.where(on, np.minimum(p_kw, np.maximum(was_kw - self._ramp_kw, waits_kw)), p_kw)
        most = np.where(on, np.maximum(p_kw, np.minimum(was_kw + self._ramp_kw, self.rated_kw)), p_kw)
        return Plan(on, p_kw, least, most)

    def carry(self, on: BoolArray, p_kw: FloatArray) -> None:
        """Run (n,) and give `p_kw` (n,) from now on."""
        self.now = burnt(self._settings.efficiency, self.rated_kw, on, p_kw)

    def p_for_heat_kw(self, heat_kw: FloatArray) -> FloatArray:
        """Return the power (n,) at which the engines give this heat (n,)."""
        return p_for_heat_kw(self._settings.efficiency, self.rated_kw, heat_kw)


def burnt(curve: Efficiency, rated_kw: FloatArray, on: BoolArray, p_kw: FloatArray) -> Running:
    """Return what engines that give `p_kw` (n,) burn, and their heat."""
    load = p_kw / rated_kw
    fuel_kw = p_kw / np.interp(load, curve.load_pu, curve.electrical_pu)
    return Running(on, p_kw, fuel_kw * np.interp(load, curve.load_pu, curve.thermal_pu), fuel_kw)


def p_for_heat_kw(curve: Efficiency, rated_kw: FloatArray, heat_kw: FloatArray) -> FloatArray:
    """Return the power (n,) at which engines give this heat (n,)."""
    return rated_kw * np.interp(heat_kw / rated_kw, (0.0, *curve.heat_pu), (0.0, *curve.load_pu))
