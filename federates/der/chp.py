"""Combined heat and power: engines whose heat is used, with a thermal store, a boiler and an absorption chiller.

Electrical powers are positive when injected. All flows that are told at an instant `t` hold until the next step.

Engine (`engine.py`). With the load `l = p / P` and the efficiencies by points, straight between them and level beyond,

    fuel = p / eta_el(l)        heat = fuel eta_th(l)        flue = fuel - p - heat

An engine that runs stays between `min_load_pu` and its rating once its ramp has brought it there; one that is
stopped ramps down. It runs for `least_run_s` at least, stands for `least_off_s` at least, and each start takes
`start_fuel_kwh` and `start_cost`.

Who leads:

- `heat-led`: it starts when the store is below `start_below_pu` and stops above `stop_above_pu`; between, its heat is
  about what is used and what fills the store to `stop_above_pu` within an hour;
- `power-led`: it follows the course `power_pu`, and stops where that is below `min_load_pu`;
- `commanded`: the same with the input `p_set_kw`.

The smart-inverter functions come after that, within what the engine can do by its ramp and least load; one that they
take out of service stops, and so does one whose feeder has no voltage. `P` is the rating, less what a constant power
factor leaves. An engine that gives no power gives no reactive power.

Heat (`heat_plant.py`). The chiller turns heat into cold with its COP: `chiller = cold / COP`. With the store's loss,

    E(t + h) - E(t) = (heat + boiler - used - chiller - dumped - loss) h

in every step. Where the store would be empty the boiler helps; what it cannot give is unmet, cold first. Where it would
be full, the rest is dumped.

Fuel and cost add up: `fuel_kwh` has `fuel_kw`, `boiler_fuel_kw` and the starts', which warm the engine and are lost.
(Components as in the U.S. EPA's "Catalog of CHP Technologies", 2017; default efficiencies are round numbers for a gas
engine, lower heating value.)
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import Balance, FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, Terminal
from derloop.memory import remembers
from federates.der import Stepped
from federates.der.course import Allowed, Course, read_course
from federates.der.engine import NS_PER_H, Engines, EngineSettings
from federates.der.heat_plant import Flows, HeatPlants, HeatSettings
from federates.der.hysteresis import BoolArray, hysteresis
from federates.der.instants import Instants
from federates.der.inverter import Inverters, Smart
from federates.der.placement import At, Size, Spot, draw, place

_UNITS = {
    **{"p_kw": "kW", "q_kvar": "kvar", "on": "1", "heat_kw": "kW", "fuel_kw": "kW", "flue_kw": "kW"},
    **{"boiler_fuel_kw": "kW", **dict.fromkeys(Flows._fields, "kW"), "stored_kwh": "kWh"},
    **{"starts": "1", "fuel_kwh": "kWh", "cost": "1"},
}
FUEL = Balance("fuel", enters=("fuel_kw",), leaves=("p_kw", "heat_kw"), lost=("flue_kw",))
HEAT = Balance(
    "heat",
    enters=("heat_kw", "boiler_kw"),
    leaves=("used_kw", "chiller_kw", "dumped_kw"),
    lost=("loss_kw",),
    stored=("stored_kwh",),
)


class ChpSettings(HeatSettings, EngineSettings, Stepped):
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
    mode: Literal["heat-led", "power-led", "commanded"] = Field(
        default="heat-led", description="What an engine follows.", examples=["power-led"]
    )
    power_pu: Course | None = Field(
        default=None, description="What a power-led engine gives, pu of rated power.", examples=[0.8]
    )
    start_below_pu: float = Field(
        default=0.3, ge=0.0, le=1.0, description="A heat-led engine starts below this, pu of the store.", examples=[0.3]
    )
    stop_above_pu: float = Field(
        default=0.9, ge=0.0, le=1.0, description="A heat-led engine stops above this, pu of the store.", examples=[0.9]
    )
    fuel_price_per_kwh: float = Field(default=0.0, ge=0.0, le=1e3, description="Price of fuel.", examples=[0.05])
    smart: Smart = Field(
        default=Smart(),
        description="Smart-inverter functions.",
        examples=[{"constant_pf": {"pf": 0.95, "reactive": "injected"}}],
    )

    @property
    def takes(self) -> tuple[str, ...]:
        """Inputs that a control may drive."""
        return ("p_set_kw",) if self.mode == "commanded" else ()

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


@remembers("_burnt_kwh")
class ChpGroup:
    """n plants. State: the engines', the stores', the functions', and the fuel that was burnt."""

    def __init__(self, settings: ChpSettings, context: Context) -> None:
        plants = context.terminals.get(context.name) or terminals(settings, context)
        self._settings = settings
        rated_kva = np.array([plant.rated_kva for plant in plants])
        self.inverters = Inverters(settings.smart, rated_kva, seed=context.seed)
        self._interface = _interface(settings, context, self.inverters, tuple(plant.label for plant in plants))
        self.cautions = settings.smart.cautions(context.name, self._interface.step_ns)
        step_ns = self._interface.step_ns
        self._engines = Engines(settings, self.inverters.p_most_kw, step_ns)
        self._heat = HeatPlants(settings, context, draw(settings.store_kwh, len(plants), context, "store_kwh"), step_ns)
        power, allowed = settings.power_pu or 0.0, Allowed(0.0, 1.0, "pu")
        self._power_pu = read_course(power, ("power_pu",), allowed, context, step_ns)
        self._burnt_kwh = np.zeros(len(plants))
        self._instants = Instants()

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self._outputs(np.zeros(self._burnt_kwh.shape))

    def step(self, now_ns: int, inputs: Values) -> Values:
        if passed_ns := self._instants.passed_ns(now_ns):
            self._go_on(passed_ns)
        plan = self._engines.plan(*self._wanted(now_ns, inputs))
        seen, band = self.inverters.seen(inputs), (plan.least_kw, plan.most_kw)
        p_kw, q_kvar = self.inverters.step(now_ns, seen, plan.p_kw, band)
        p_kw, q_kvar = self.inverters.where_alive(inputs["v_pu"], p_kw, q_kvar)
        self._engines.carry(plan.on & self.inverters.in_service & (inputs["v_pu"] > 0.0), p_kw)
        self._heat.share_out(now_ns, self._engines.now.heat_kw)
        return self._outputs(np.where(p_kw > 0.0, q_kvar, 0.0))

    def stop(self) -> None:
        pass

    def _go_on(self, passed_ns: int) -> None:
        burning_kw = self._engines.now.fuel_kw + self._heat.boiler_fuel_kw
        self._burnt_kwh = self._burnt_kwh + burning_kw * (passed_ns / NS_PER_H)
        self._engines.go_on(passed_ns / 1e9)
        self._heat.go_on()

    def _wanted(self, now_ns: int, inputs: Values) -> tuple[BoolArray, FloatArray]:
        """Return which engines should run (n,), and with what power (n,)."""
        s, engines = self._settings, self._engines
        if s.mode == "heat-led":
            stored_kwh, size_kwh = self._heat.stored_kwh, self._heat.size_kwh
            low_kwh, high_kwh = s.start_below_pu * size_kwh, s.stop_above_pu * size_kwh
            rests = hysteresis(stored_kwh, low_kwh, high_kwh, ~engines.were_on)
            return ~rests, engines.p_for_heat_kw(self._heat.asked_kw(now_ns) + (high_kwh - stored_kwh))
        is_led = s.mode == "power-led"
        asked_kw = engines.rated_kw * self._power_pu.at(now_ns) if is_led else inputs["p_set_kw"]
        return asked_kw >= s.min_load_pu * engines.rated_kw * (1.0 - 1e-12), asked_kw

    def _outputs(self, q_kvar: FloatArray) -> Values:
        s, engine, starts = self._settings, self._engines.now, self._engines.starts
        fuel_kwh = self._burnt_kwh + starts * s.start_fuel_kwh
        counted = {"starts": starts, "fuel_kwh": fuel_kwh}
        counted["cost"] = starts * s.start_cost + fuel_kwh * s.fuel_price_per_kwh
        flue_kw = engine.fuel_kw - engine.p_kw - engine.heat_kw
        return {
            **{"p_kw": engine.p_kw, "q_kvar": q_kvar, "on": engine.on.astype(float), "heat_kw": engine.heat_kw},
            **{"fuel_kw": engine.fuel_kw, "flue_kw": flue_kw, "boiler_fuel_kw": self._heat.boiler_fuel_kw},
            **{**self._heat.flows._asdict(), "stored_kwh": self._heat.stored_kwh, **counted},
        }


def _interface(settings: ChpSettings, context: Context, inverters: Inverters, labels: tuple[str, ...]) -> Interface:
    inputs = inverters.ports(labels) | {port: Port("kW", labels) for port in settings.takes}
    outputs = {name: Port(unit, labels) for name, unit in _UNITS.items()}
    return Interface(settings.step_ns(context), inputs, outputs, balances=(FUEL, HEAT))


def terminals(settings: ChpSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the plants meet the feeder."""
    return settings.smart.seeing(place(settings.at, settings.rated_kva, context))


KIND = Kind(
    "chp", "Combined heat and power, with store, boiler and chiller", ChpSettings, ChpGroup, terminals, is_der=True
)
