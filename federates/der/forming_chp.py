"""Grid-forming engines whose heat is used: combined heat and power that can hold an island, and start it.

Powers are positive when injected. An engine that runs is a source with droop (`droop.py`), and so is the active power
`P` found by the feeder at each instant; where the feeder's head is there it is `P_0`. With the load `l = P / S` and the
efficiencies by points,

    fuel = P / eta_el(l)        heat = fuel eta_th(l)        flue = fuel - P - heat

What was given, and so the fuel, the heat and all that becomes of it (`heat_plant.py`: store, boiler, absorption
chiller), are means over the step that has just passed.

With its governor an engine takes up to `block_load_pu` of its rating at once, more than what it gave until now; a
larger step stalls it (`fault` 2; ISO 8528-5 gives the steps that engines of a mean effective pressure can take). It
cannot be driven: it trips on reverse power. In parallel with the head `P_0` follows its ramp, and is `min_load_pu` at
least; in an island it may run below.

A control that supervises it tells it to run: it is in service `start_s` later, needs no voltage for that where
`black_start` is true, and takes `start_fuel_kwh` and `start_cost`. With `tank_kwh` fuel is what is in the tank: when
that is empty it gives no more. Without, it comes by a line that does not fail.

`p_heat_kw` says with what power an engine would give the heat that is asked for, and fill the store to
`fill_to_pu` within an hour: what a control that is led by heat sends back as `p_set_kw`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pydantic import Field

from derloop.contract import Balance, FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, Terminal
from derloop.memory import remembers
from federates.der import Stepped
from federates.der.droop import LINES, Droop, Forming, Reach, Told, forming, frequencies, frequency_ports, input_ports
from federates.der.engine import NS_PER_H, Efficiency, Running, burnt, p_for_heat_kw
from federates.der.heat_plant import Flows, HeatPlants, HeatSettings
from federates.der.instants import Instants
from federates.der.placement import Size, Spot, draw, place

_UNITS = {
    **LINES,
    **{"given_kw": "kW", "heat_kw": "kW", "fuel_kw": "kW", "flue_kw": "kW", "boiler_fuel_kw": "kW"},
    **{**dict.fromkeys(Flows._fields, "kW"), "stored_kwh": "kWh", "stored_pu": "pu", "p_heat_kw": "kW"},
    **{"starts": "1", "fuel_kwh": "kWh", "tank_pu": "pu", "cost": "1"},
}
_FUEL_KW, _HEAT_KW = ("given_kw", "heat_kw"), ("used_kw", "chiller_kw", "dumped_kw")
FUEL = Balance(
    "fuel",
    enters=("fuel_kw",),
    leaves=_FUEL_KW,
    lost=("flue_kw",),
    passed=("fuel_kw", *_FUEL_KW, "flue_kw"),
)
HEAT = Balance(
    "heat",
    enters=("heat_kw", "boiler_kw"),
    leaves=_HEAT_KW,
    lost=("loss_kw",),
    stored=("stored_kwh",),
    passed=("heat_kw", "boiler_kw", *_HEAT_KW, "loss_kw"),
)


class FormingChpSettings(Forming, HeatSettings, Stepped):
    """A group of grid-forming plants."""

    at: tuple[Spot, ...] = Field(
        min_length=1,
        max_length=50,
        description="Where the plants stand: buses with three phases.",
        examples=[[{"bus": "671", "rated_kva": 500.0}]],
    )
    rated_kva: Size | None = Field(
        default=None,
        description="Rated apparent power of each engine, kVA: a number, or [min, max] to draw from.",
        examples=[500.0],
    )
    efficiency: Efficiency = Field(
        default=Efficiency(), description="Part-load efficiencies.", examples=[{"load_pu": [0.5, 1.0]}]
    )
    p_droop_pu: float = Field(
        default=0.04, gt=0.0, le=0.1, description="Fall of the frequency at rated power, pu.", examples=[0.04]
    )
    min_load_pu: float = Field(
        default=0.5, gt=0.0, le=1.0, description="Least P_0 beside the head, pu of the rating.", examples=[0.5]
    )
    ramp_pu_per_min: float = Field(
        default=0.2, gt=0.0, le=100.0, description="Fastest change of P_0, pu of the rating a minute.", examples=[0.2]
    )
    block_load_pu: float = Field(
        default=0.6, gt=0.0, le=2.0, description="Most load taken at once, pu of the rating.", examples=[0.6]
    )
    start_s: float = Field(
        default=30.0, ge=0.0, le=86400.0, description="From being told to run until it is in service, s.", examples=[30]
    )
    black_start: bool = Field(default=True, description="Whether it starts where there is no voltage.", examples=[True])
    fill_to_pu: float = Field(
        default=0.9, ge=0.0, le=1.0, description="Where p_heat_kw would bring the store, pu.", examples=[0.9]
    )
    tank_kwh: float | None = Field(
        default=None, gt=0.0, le=1e9, description="Fuel in the tank of each engine at the start, kWh.", examples=[8000]
    )
    start_fuel_kwh: float = Field(default=0.0, ge=0.0, le=1e6, description="Fuel of each start, kWh.", examples=[5.0])
    start_cost: float = Field(default=0.0, ge=0.0, le=1e9, description="Cost of each start, in money.", examples=[3.0])
    fuel_price_per_kwh: float = Field(default=0.0, ge=0.0, le=1e3, description="Price of fuel.", examples=[0.05])


class _State(NamedTuple):
    """What engines are, each (n,)."""

    p_kw: FloatArray
    """Given since the last instant."""
    p_set_kw: FloatArray
    """P_0 of the last instant."""
    told_s: FloatArray
    """For how long each has been told to run; negative while it is not."""
    starts: FloatArray
    burnt_kwh: FloatArray
    """Fuel of engines and boilers, starts included."""
    tank_kwh: FloatArray


@remembers("_running", "_state", "_told")
class FormingChp:
    """n plants. State: their droop, their engines and their heat."""

    def __init__(self, settings: FormingChpSettings, context: Context) -> None:
        plants = context.terminals.get(context.name) or terminals(settings, context)
        labels, n = tuple(plant.label for plant in plants), len(plants)
        self._settings, self._rated_kw = settings, np.array([plant.rated_kva for plant in plants])
        self._others = frequency_ports(settings, context)
        outputs = {name: Port(unit, labels) for name, unit in _UNITS.items()} | self._others
        inputs = input_ports(settings, labels)
        self._interface = Interface(settings.step_ns(context), inputs, outputs, balances=(FUEL, HEAT))
        step_ns = self._interface.step_ns
        self._step_s = step_ns / 1e9
        self._droop = Droop(settings, self._rated_kw, self._step_s)
        self._heat = HeatPlants(settings, context, draw(settings.store_kwh, n, context, "store_kwh"), step_ns)
        zeros, tank_kwh = np.zeros(n), np.full(n, np.inf if settings.tank_kwh is None else settings.tank_kwh)
        self._state = _State(zeros, zeros, zeros - 1.0, zeros, zeros, tank_kwh)
        self._running = Running(zeros > 0.0, zeros, zeros, zeros)
        self._told = Told(zeros, zeros + settings.v_set_pu, zeros)
        self._now_ns, self._instants = 0, Instants()

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        """Before the first step, engines stand."""
        return self._outputs(0, self._told, np.full(self._rated_kw.shape, float(self._settings.f_nominal_hz)))

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Return the lines that hold at this instant, and what was burnt until now."""
        passed_ns = self._instants.passed_ns(now_ns)
        if passed_ns:
            self._pass(now_ns - passed_ns, inputs, passed_ns)
        return self._outputs(now_ns, Told.of(self._settings, self._rated_kw, inputs), inputs["f_hz"])

    def stop(self) -> None:
        pass

    def statistics(self) -> dict[str, float]:
        """Return how many engines have tripped, their starts and what they burnt, kWh."""
        tripped, state = float((self._droop.trip_cause > 0.0).sum()), self._state
        return {"tripped": tripped, "starts": float(state.starts.sum()), "fuel_kwh": float(state.burnt_kwh.sum())}

    def _pass(self, then_ns: int, inputs: Values, passed_ns: int) -> None:
        """Let what was given since the last instant burn its fuel and make its heat."""
        s, state, run = self._settings, self._state, self._told.run >= 0.5
        p_kw = np.maximum(inputs["p_kw"], 0.0)
        self._running = burnt(s.efficiency, self._rated_kw, p_kw > 0.0, p_kw)
        self._heat.share_out(then_ns, self._running.heat_kw)
        self._heat.go_on()
        begins = run & (state.told_s < 0.0)
        told_s = np.where(run, np.maximum(state.told_s, 0.0) + passed_ns / 1e9, -1.0)
        engine_kwh = self._running.fuel_kw * (passed_ns / NS_PER_H) + begins * s.start_fuel_kwh
        boiler_kwh = self._heat.boiler_fuel_kw * (passed_ns / NS_PER_H)
        self._state = _State(
            p_kw,
            np.minimum(self._set_kw(self._told.p_set_kw), self._reach().most_kw),
            told_s,
            state.starts + begins,
            state.burnt_kwh + engine_kwh + boiler_kwh,
            np.maximum(state.tank_kwh - engine_kwh, 0.0),
        )
        self._droop.go_on(inputs, passed_ns / 1e9)

    def _set_kw(self, asked_kw: FloatArray) -> FloatArray:
        """Return P_0 (n,) as far as its ramp allows from that of the last instant."""
        s, was_kw = self._settings, self._state.p_set_kw
        wanted_kw = np.clip(asked_kw, s.min_load_pu * self._rated_kw, self._rated_kw)
        ramp_kw = s.ramp_pu_per_min * self._step_s / 60.0 * self._rated_kw
        return np.where(self._told.run >= 0.5, np.clip(wanted_kw, was_kw - ramp_kw, was_kw + ramp_kw), 0.0)

    def _outputs(self, now_ns: int, told: Told, f_hz: FloatArray) -> Values:
        s, state, running = self._settings, self._state, self._running
        self._told = told
        waited = np.maximum(state.told_s, 0.0) + 1e-9 >= s.start_s
        has_voltage = (f_hz > 0.0) | s.black_start
        ready = (waited & (state.tank_kwh > 0.0) & (has_voltage | (state.p_kw > 0.0))).astype(float)
        reach = self._reach()
        set_kw = np.minimum(self._set_kw(told.p_set_kw), reach.most_kw)
        lines = self._droop.lines(told._replace(p_set_kw=set_kw), ready, reach)
        heat_kw = self._heat.asked_kw(now_ns) + s.fill_to_pu * self._heat.size_kwh - self._heat.stored_kwh
        return {
            **lines,
            **{"given_kw": state.p_kw, "heat_kw": running.heat_kw, "fuel_kw": running.fuel_kw},
            **{"flue_kw": running.fuel_kw - state.p_kw - running.heat_kw, "boiler_fuel_kw": self._heat.boiler_fuel_kw},
            **{**self._heat.flows._asdict(), "stored_kwh": self._heat.stored_kwh},
            "stored_pu": self._heat.stored_kwh / self._heat.size_kwh,
            "p_heat_kw": p_for_heat_kw(s.efficiency, self._rated_kw, heat_kw),
            **{"starts": state.starts, "fuel_kwh": state.burnt_kwh},
            "tank_pu": np.ones(state.p_kw.shape) if s.tank_kwh is None else state.tank_kwh / s.tank_kwh,
            "cost": state.starts * s.start_cost + state.burnt_kwh * s.fuel_price_per_kwh,
            **frequencies(self._others, float(f_hz[0])),
        }

    def _reach(self) -> Reach:
        """Return what engines can give until the next step: what they give now and a block more, while fuel lasts."""
        s, state = self._settings, self._state
        fuel_kw = np.minimum(state.tank_kwh / (self._step_s / 3600.0), 1e12) * min(s.efficiency.electrical_pu)
        block_kw = state.p_kw + s.block_load_pu * self._rated_kw
        return Reach(np.zeros(fuel_kw.shape), np.minimum(np.minimum(fuel_kw, block_kw), self._rated_kw))


def terminals(settings: FormingChpSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the plants meet the feeder. Raises PlaceError for a place without three phases."""
    return forming(place(settings.at, settings.rated_kva, context))


KIND = Kind(
    "grid-forming-chp", "Combined heat and power that can hold an island", FormingChpSettings, FormingChp, terminals
)
