"""Combined heat and power: engines whose heat is used, with a thermal store, a boiler and an absorption chiller.

Electrical powers are positive when injected. All flows that are returned at an instant `t` hold until the next step.

Engine. With the load `l = p / P` and the efficiencies by points, straight between them and level beyond,

    fuel = p / eta_el(l)        heat = fuel eta_th(l)        flue = fuel - p - heat

An engine that runs stays between `min_load_pu` and its rating once its ramp has brought it there; one that is
stopped ramps down. It runs for `least_run_s` at least, stands for `least_off_s` at least, and each start takes
`start_fuel_kwh` and `start_cost`.

Who leads:

- `heat-led`: it starts when the store is below `start_below_pu` and stops above `stop_above_pu`; between, its heat is
  about what is used and what fills the store to `stop_above_pu` within an hour;
- `power-led`: it follows the course `power_pu`, and stops where that is below `min_load_pu`;
- `commanded`: the same with the input `p_set_kw`.

Heat. The chiller turns heat into cold with its COP: `chiller = cold / COP`. With the net inflow
`n = heat - demand - chiller` and the store's loss `lambda` (1/h), over a step

    E(t + h) = E exp(-lambda h) + n a        a = (1 - exp(-lambda h)) / lambda        loss = n - (E(t + h) - E) / h

Where that would be below 0 the boiler helps; what it cannot give is unmet, cold first. Where it would be above
the store's size, the rest is dumped. So in every step

    E(t + h) - E(t) = (heat + boiler - used - chiller - dumped - loss) h

Fuel and cost add up: `fuel_kwh` has the engine's, the starts' and the boiler's. (Components as in the U.S. EPA's
"Catalog of CHP Technologies", 2017; default efficiencies are round numbers for a gas engine, lower heating value.)
"""

from __future__ import annotations

from itertools import pairwise
from math import exp, expm1
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, Settings, Terminal
from federates.der import Stepped
from federates.der.course import Allowed, Course, read_course
from federates.der.hysteresis import BoolArray, hysteresis
from federates.der.instants import Instants
from federates.der.placement import At, Size, Spot, draw, place
from federates.der.plain import tan_phi

NS_PER_H = 3.6e12
_Share = Annotated[float, Field(gt=0.0, le=1.0)]
_OUTPUTS = {
    **{"p_kw": "kW", "q_kvar": "kvar", "on": "1", "heat_kw": "kW", "fuel_kw": "kW", "flue_kw": "kW"},
    **{"boiler_kw": "kW", "used_kw": "kW", "chiller_kw": "kW", "cooling_kw": "kW", "dumped_kw": "kW", "loss_kw": "kW"},
    **{"unmet_heat_kw": "kW", "unmet_cooling_kw": "kW", "stored_kwh": "kWh"},
    **{"starts": "1", "fuel_kwh": "kWh", "cost": "1"},
}


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
        heat = [x * t / e for x, e, t in zip(self.load_pu, self.electrical_pu, self.thermal_pu, strict=True)]
        if any(after <= before for before, after in pairwise(heat)):
            raise ValueError("heat must rise with load: load_pu * thermal_pu / electrical_pu falls from point to point")
        return self

    @property
    def heat_pu(self) -> tuple[float, ...]:
        """Heat at the points, pu of rated power."""
        rows = zip(self.load_pu, self.electrical_pu, self.thermal_pu, strict=True)
        return tuple(load * thermal / electrical for load, electrical, thermal in rows)


class Chiller(Settings):
    """An absorption chiller, which makes cold of heat."""

    capacity_kw: float = Field(gt=0.0, le=1e9, description="Most cold, kW.", examples=[100.0])
    cop: float = Field(default=0.7, gt=0.0, le=2.0, description="Cold over heat; 0.7: single effect.", examples=[0.7])
    demand_kw: Course = Field(description="Cold that is asked for at each plant, kW.", examples=[50.0])


class ChpSettings(Stepped):
    """A group of plants."""

    at: At[Spot] = Field(
        description="Where the plants stand: a list of places, or a spread.",
        examples=[[{"bus": "671", "rated_kva": 200.0}]],
    )
    rated_kva: Size | None = Field(
        default=None,
        description="Rated apparent power of each engine, kVA: a number, or [min, max] to draw from.",
        examples=[200.0],
    )
    pf: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Power factor; reactive power is injected.", examples=[0.95]
    )
    mode: Literal["heat-led", "power-led", "commanded"] = Field(
        default="heat-led", description="What an engine follows.", examples=["power-led"]
    )
    power_pu: Course | None = Field(
        default=None, description="What a power-led engine gives, pu of rated power.", examples=[0.8]
    )
    heat_demand_kw: Course = Field(
        description="Heat that is asked for at each plant, kW.",
        examples=[120.0, {"file": "profiles/heat.csv", "column": "heat_kw"}],
    )
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
    fuel_price_per_kwh: float = Field(default=0.0, ge=0.0, le=1e3, description="Price of fuel.", examples=[0.05])
    store_kwh: Size = Field(
        default=(100.0, 100.0), description="Size of each store, kWh: a number, or [min, max].", examples=[100.0]
    )
    store_initial_pu: float = Field(
        default=0.5, ge=0.0, le=1.0, description="What is stored at the start, pu of store_kwh.", examples=[0.5]
    )
    store_loss_pu_per_h: float = Field(
        default=0.005, ge=0.0, le=1.0, description="Share of what is stored that is lost in an hour.", examples=[0.005]
    )
    start_below_pu: float = Field(
        default=0.3, ge=0.0, le=1.0, description="A heat-led engine starts below this, pu of the store.", examples=[0.3]
    )
    stop_above_pu: float = Field(
        default=0.9, ge=0.0, le=1.0, description="A heat-led engine stops above this, pu of the store.", examples=[0.9]
    )
    boiler_kw: float = Field(default=0.0, ge=0.0, le=1e9, description="Most heat of each boiler, kW.", examples=[100.0])
    boiler_efficiency_pu: float = Field(
        default=0.9, gt=0.0, le=1.0, description="Heat over fuel of a boiler, pu.", examples=[0.9]
    )
    chiller: Chiller | None = Field(
        default=None, description="Absorption chiller.", examples=[{"capacity_kw": 100.0, "demand_kw": 50.0}]
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.start_below_pu >= self.stop_above_pu:
            what = f"start_below_pu {self.start_below_pu:g} must be less than stop_above_pu {self.stop_above_pu:g}"
            raise ValueError(what)
        if (self.power_pu is not None) != (self.mode == "power-led"):
            raise ValueError(
                "power_pu is what a power-led engine follows: it stands with mode power-led, and only then"
            )
        return self


# --- the plants --------------------------------------------------------------------------------------


class _Engine(NamedTuple):
    """What engines do for a step, each (n,)."""

    on: BoolArray
    p_kw: FloatArray
    heat_kw: FloatArray
    fuel_kw: FloatArray


class _Heat(NamedTuple):
    """Where heat flows for a step, each (n,)."""

    boiler_kw: FloatArray
    used_kw: FloatArray
    chiller_kw: FloatArray
    dumped_kw: FloatArray
    loss_kw: FloatArray
    unmet_heat_kw: FloatArray
    unmet_cooling_kw: FloatArray


class ChpGroup:
    """n plants. State: what the engines do since the last instant, their clocks, the stores, and what was counted."""

    def __init__(self, settings: ChpSettings, context: Context) -> None:
        plants = context.terminals.get(context.name) or terminals(settings, context)
        n = len(plants)
        self._settings = settings
        self._interface = _interface(settings, context, tuple(plant.label for plant in plants))
        self._step_h = self._interface.step_ns / NS_PER_H
        self._rated_kw = settings.pf * np.array([plant.rated_kva for plant in plants])
        self._size_kwh = draw(settings.store_kwh, n, context, "store_kwh")
        self._courses = _Courses(settings, context, self._interface.step_ns)
        zeros = np.zeros(n)
        self._engine = self._was = _Engine(zeros > 0.0, zeros, zeros, zeros)
        self._heat = _Heat(*[zeros] * 7)
        self._stored_kwh = self._next_kwh = settings.store_initial_pu * self._size_kwh
        self._since_s = np.full(n, np.inf)
        self._starts = self._fuel_kwh = zeros
        self._instants = Instants()

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self._outputs()

    def step(self, now_ns: int, inputs: Values) -> Values:
        self._pass(self._instants.passed_ns(now_ns))
        demand_kw, cold_kw = self._courses.demand_kw(now_ns)
        wants, target_kw = self._wanted(now_ns, inputs, demand_kw + self._courses.heat_for(cold_kw))
        self._engine = self._run(wants, target_kw)
        self._heat = self._share_out(demand_kw, cold_kw)
        return self._outputs()

    def stop(self) -> None:
        pass

    def _pass(self, passed_ns: int) -> None:
        """Let what holds since the last instant run on: the stores, the clocks and the counters."""
        if passed_ns == 0:
            return
        hours, s = passed_ns / NS_PER_H, self._settings
        switched = self._engine.on != self._was.on
        starts = switched & self._engine.on
        self._since_s = np.where(switched, 0.0, self._since_s) + passed_ns / 1e9
        boiler_fuel = self._heat.boiler_kw / s.boiler_efficiency_pu
        self._fuel_kwh = self._fuel_kwh + (self._engine.fuel_kw + boiler_fuel) * hours + starts * s.start_fuel_kwh
        self._starts = self._starts + starts
        self._stored_kwh, self._was = self._next_kwh, self._engine

    def _wanted(self, now_ns: int, inputs: Values, heat_kw: float) -> tuple[BoolArray, FloatArray]:
        """Return which engines should run (n,), and with what power (n,)."""
        s = self._settings
        if s.mode == "heat-led":
            low, high = s.start_below_pu * self._size_kwh, s.stop_above_pu * self._size_kwh
            wants = ~hysteresis(self._stored_kwh, low, high, ~self._was.on)
            asked_pu = (heat_kw + (high - self._stored_kwh)) / self._rated_kw
            return wants, self._rated_kw * np.interp(
                asked_pu, (0.0, *s.efficiency.heat_pu), (0.0, *s.efficiency.load_pu)
            )
        asked_kw = inputs["p_set_kw"] if s.mode == "commanded" else self._rated_kw * self._courses.power_pu(now_ns)
        return asked_kw >= s.min_load_pu * self._rated_kw * (1.0 - 1e-12), asked_kw

    def _run(self, wants: BoolArray, target_kw: FloatArray) -> _Engine:
        s, was = self._settings, self._was
        free = self._since_s >= np.where(was.on, s.least_run_s, s.least_off_s)
        on = np.where(free, wants, was.on)
        target_kw = np.where(on, np.clip(target_kw, s.min_load_pu * self._rated_kw, self._rated_kw), 0.0)
        ramp_kw = s.ramp_pu_per_min * self._step_h * 60.0 * self._rated_kw
        p_kw = was.p_kw + np.clip(target_kw - was.p_kw, -ramp_kw, ramp_kw)
        load, curve = p_kw / self._rated_kw, s.efficiency
        fuel_kw = p_kw / np.interp(load, curve.load_pu, curve.electrical_pu)
        return _Engine(on, p_kw, fuel_kw * np.interp(load, curve.load_pu, curve.thermal_pu), fuel_kw)

    def _share_out(self, demand_kw: float, cold_kw: float) -> _Heat:
        """Return where heat flows, and keep what the stores will hold at the next instant."""
        chiller_kw = self._courses.heat_for(self._courses.cold_possible(cold_kw))
        net_kw = self._engine.heat_kw - demand_kw - chiller_kw
        rate, h = self._settings.store_loss_pu_per_h, self._step_h
        kept, a = exp(-rate * h), -expm1(-rate * h) / rate if rate > 0.0 else h
        free_kwh = self._stored_kwh * kept + net_kw * a
        boiler_kw = np.clip(-free_kwh / a, 0.0, self._settings.boiler_kw)
        lacking_kw = np.maximum(-free_kwh / a - boiler_kw, 0.0)
        dumped_kw = np.maximum((free_kwh - self._size_kwh) / a, 0.0)
        no_cold_kw = np.minimum(lacking_kw, chiller_kw)
        inflow_kw = net_kw + boiler_kw + lacking_kw - dumped_kw
        self._next_kwh = np.clip(self._stored_kwh * kept + inflow_kw * a, 0.0, self._size_kwh)
        loss_kw = inflow_kw - (self._next_kwh - self._stored_kwh) / h
        used_kw = demand_kw - (lacking_kw - no_cold_kw)
        unmet_cold = cold_kw - self._courses.cold_possible(cold_kw) + self._courses.cold_of(no_cold_kw)
        return _Heat(
            boiler_kw, used_kw, chiller_kw - no_cold_kw, dumped_kw, loss_kw, lacking_kw - no_cold_kw, unmet_cold
        )

    def _outputs(self) -> Values:
        s, engine, heat = self._settings, self._engine, self._heat
        counted = {"starts": self._starts, "fuel_kwh": self._fuel_kwh}
        counted["cost"] = self._starts * s.start_cost + self._fuel_kwh * s.fuel_price_per_kwh
        flue_kw = engine.fuel_kw - engine.p_kw - engine.heat_kw
        return {
            **{"p_kw": engine.p_kw, "q_kvar": engine.p_kw * tan_phi(s.pf), "on": engine.on.astype(float)},
            **{"heat_kw": engine.heat_kw, "fuel_kw": engine.fuel_kw, "flue_kw": flue_kw, **heat._asdict()},
            **{"cooling_kw": self._courses.cold_of(heat.chiller_kw), "stored_kwh": self._stored_kwh, **counted},
        }


class _Courses:
    """What is asked for over time."""

    def __init__(self, settings: ChpSettings, context: Context, step_ns: int) -> None:
        kilowatts = Allowed(0.0, 1e9, "kW")
        chiller = settings.chiller
        self._heat = read_course(settings.heat_demand_kw, ("heat_demand_kw",), kilowatts, context, step_ns)
        cold = chiller.demand_kw if chiller else 0.0
        self._cold = read_course(cold, ("chiller", "demand_kw"), kilowatts, context, step_ns)
        self._power = read_course(settings.power_pu or 0.0, ("power_pu",), Allowed(0.0, 1.0, "pu"), context, step_ns)
        self._cop, self._capacity_kw = (chiller.cop, chiller.capacity_kw) if chiller else (1.0, 0.0)

    def demand_kw(self, now_ns: int) -> tuple[float, float]:
        """Return the heat and the cold that are asked for at each plant, kW."""
        return self._heat.at(now_ns), self._cold.at(now_ns)

    def power_pu(self, now_ns: int) -> float:
        return self._power.at(now_ns)

    def cold_possible(self, cold_kw: float) -> float:
        return min(cold_kw, self._capacity_kw)

    def heat_for(self, cold_kw: float) -> float:
        return self.cold_possible(cold_kw) / self._cop

    def cold_of(self, heat_kw: FloatArray) -> FloatArray:
        return heat_kw * self._cop


def _interface(settings: ChpSettings, context: Context, labels: tuple[str, ...]) -> Interface:
    inputs = {"p_set_kw": Port("kW", labels)} if settings.mode == "commanded" else {}
    return Interface(settings.step_ns(context), inputs, {name: Port(unit, labels) for name, unit in _OUTPUTS.items()})


def terminals(settings: ChpSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the plants meet the feeder."""
    return place(settings.at, settings.rated_kva, context)


KIND = Kind("chp", "Combined heat and power, with store, boiler and chiller", ChpSettings, ChpGroup, terminals)
