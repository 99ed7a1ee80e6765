"""Heat pumps and air conditioners: buildings whose thermostats switch a compressor.

Powers are positive when drawn. A building is a network of one or two heat capacities: the air `a` with what is light
(first order), and where comfort matters the mass `m` of walls and furniture behind it (second order):

    C_a dT_a/dt = (T_out - T_a) / R + (T_m - T_a) / R_m + gain + heat
    C_m dT_m/dt = (T_a - T_m) / R_m

(S. Katipamula and N. Lu, "Evaluation of residential HVAC control strategies for demand response programs", ASHRAE
Trans. 112, 2006: the equivalent thermal parameters of GridLAB-D; Bacher and Madsen, Energy and Buildings 43, 2011.)
Over a step, in which all else holds, it is solved exactly: with `x = sqrt(C) T` the matrix is symmetric, and each of
its modes decays by `exp(lambda h)`. So the results at the steps do not depend on how long these are, as long as no
thermostat would have switched between.

The compressor draws its rated power or nothing. Its heat is `heat = COP p` in heating, `-COP p` in cooling,

    COP = g T_hot / (T_hot - T_cold) in heating,    g T_cold / (T_hot - T_cold) in cooling    (K)

with the share `g` of Carnot's efficiency, between 1 and `cop_max` (the lift is at least 1 K). `supply_c` is one end of
the lift, and the outside air the other.

The heat balance of a building holds to rounding, with the temperatures' mean over the step that has just passed:
`stored(t + h) = stored(t) + (heat(t) + gain(t) - loss(t + h)) h`, with `stored = C_a T_a + C_m T_m` and
`loss = (T_a - T_out) / R`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, Settings, Terminal
from federates.der.course import Allowed, Course, read_course
from federates.der.hysteresis import BoolArray
from federates.der.instants import Instants
from federates.der.placement import At, Size, Spot, draw, stream
from federates.der.plain import place_drawing, tan_phi
from federates.der.thermostat import Thermostat, Thermostatic

KELVIN = 273.15
NS_PER_H = 3.6e12


class Mass(Settings):
    """The heat capacity of walls and furniture."""

    capacity_kwh_per_k: Size = Field(
        description="Heat capacity, kWh/K: a number, or [min, max] to draw from.", examples=[8.0]
    )
    resistance_k_per_kw: Size = Field(
        description="Between the air and the mass, K/kW: a number, or [min, max] to draw from.", examples=[0.5]
    )


class HeatPumpSettings(Thermostatic):
    """A fleet of buildings, each with a heat pump or an air conditioner."""

    at: At[Spot] = Field(
        description="Where the buildings stand: a list of places, or a spread. rated_kva is what the compressor draws.",
        examples=[{"count": 40, "on": "loads"}, [{"bus": "645.2", "rated_kva": 3.0}]],
    )
    rated_kva: Size | None = Field(
        default=None,
        description="Apparent power of each compressor, kVA: a number, or [min, max] to draw from.",
        examples=[3.0, [2.0, 4.0]],
    )
    pf: float = Field(default=0.95, gt=0.0, le=1.0, description="Power factor, lagging.", examples=[0.95])
    duty: Literal["heating", "cooling"] = Field(
        default="heating", description="Whether it heats or cools.", examples=["cooling"]
    )
    outside_c: Course = Field(
        description="Air temperature, degC: a number, or a column of a profile.",
        examples=[5.0, {"file": "profiles/clear_sky_july.csv", "column": "temperature_c"}],
    )
    setpoint_c: Size = Field(
        default=(21.0, 21.0),
        description="Setpoint, degC: a number, or [min, max] to draw from.",
        examples=[21.0, [23.0, 25.0]],
    )
    capacity_kwh_per_k: Size = Field(
        default=(4.0, 8.0),
        description="Heat capacity of a building's air and what is light in it (without `mass`: of all), kWh/K: "
        "a number, or [min, max] to draw from.",
        examples=[[4.0, 8.0]],
    )
    resistance_k_per_kw: Size = Field(
        default=(4.0, 6.0),
        description="From the air in the building to the outside, K/kW: a number, or [min, max] to draw from.",
        examples=[[4.0, 6.0]],
    )
    mass: Mass | None = Field(
        default=None,
        description="Walls and furniture behind the air: makes the building second order.",
        examples=[{"capacity_kwh_per_k": 8.0, "resistance_k_per_kw": 0.5}],
    )
    gain_kw: Course = Field(
        default=0.3,
        description="Heat of people, appliances and sun, kW: a number, or a column of a profile.",
        examples=[0.3],
    )
    carnot_pu: float = Field(
        default=0.4, gt=0.0, le=0.8, description="Share of Carnot's efficiency, pu.", examples=[0.4]
    )
    supply_c: float | None = Field(
        default=None,
        ge=-20.0,
        le=90.0,
        description="Temperature of condensation in heating (without it, 45), of evaporation in cooling (8), degC.",
        examples=[45.0],
    )
    cop_max: float = Field(default=7.0, ge=1.0, le=20.0, description="Most coefficient of performance.", examples=[7.0])

    @property
    def heats(self) -> bool:
        return self.duty == "heating"

    def cop(self, outside_c: float) -> float:
        """Return heat moved over power drawn."""
        ours = self.supply_c if self.supply_c is not None else 45.0 if self.heats else 8.0
        lift = max(ours - outside_c if self.heats else outside_c - ours, 1.0)
        return min(max(self.carnot_pu * (ours + KELVIN) / lift, 1.0), self.cop_max)


class Buildings:
    """n networks of s heat capacities; the first node is the air, which alone meets the outside."""

    def __init__(self, capacity: FloatArray, to_outside: FloatArray, between: FloatArray) -> None:
        """capacity: (n, s), kWh/K. to_outside: (n,), kW/K. between: (n,), kW/K, of the two nodes; unused for s = 1."""
        n, s = capacity.shape
        flow = np.zeros((n, s, s))
        flow[:, 0, 0] = -to_outside
        if s == 2:
            flow -= between[:, None, None] * np.array([[1.0, -1.0], [-1.0, 1.0]])
        root = np.sqrt(capacity)
        self._root = root
        self.capacity = capacity
        self._rate, self._modes = np.linalg.eigh(flow / (root[:, :, None] * root[:, None, :]))

    def after(self, inside_c: FloatArray, source_kw: FloatArray, passed_h: float) -> tuple[FloatArray, FloatArray]:
        """Return the temperatures (n, s) after a time, and their mean over it. `source_kw` (n,) flows into the air."""
        z = np.einsum("nij,ni->nj", self._modes, inside_c * self._root)
        z_end = -self._modes[:, 0, :] * (source_kw / self._root[:, 0])[:, None] / self._rate
        way = self._rate * passed_h
        now = z_end + (z - z_end) * np.exp(way)
        mean = z_end + (z - z_end) * np.expm1(way) / way
        return self._temperatures(now), self._temperatures(mean)

    def _temperatures(self, z: FloatArray) -> FloatArray:
        found: FloatArray = np.einsum("nij,nj->ni", self._modes, z) / self._root
        return found


class HeatPumpFleet:
    """n buildings. State: temperatures, the thermostats', and the heat that has flowed in since the last instant."""

    def __init__(self, settings: HeatPumpSettings, context: Context) -> None:
        machines = context.terminals.get(context.name) or terminals(settings, context)
        n = len(machines)
        self._settings, self._heats = settings, settings.heats
        self._interface = _interface(settings, context, tuple(machine.label for machine in machines))
        self._p_on_kw = settings.pf * np.array([machine.rated_kva for machine in machines])
        self._outside = read_course(settings.outside_c, ("outside_c",), _AIR, context, self._interface.step_ns)
        self._gain = read_course(settings.gain_kw, ("gain_kw",), _GAIN, context, self._interface.step_ns)
        self._to_outside = 1.0 / draw(settings.resistance_k_per_kw, n, context, "resistance_k_per_kw")
        self._buildings = _buildings(settings, context, self._to_outside)
        self._setpoint_c = draw(settings.setpoint_c, n, context, "setpoint_c")
        air_c = self._setpoint_c + settings.deadband_k * (stream(context, "inside_c").random(n) - 0.5)
        self._inside_c = np.repeat(air_c[:, None], self._buildings.capacity.shape[1], axis=1)
        self._thermostat = Thermostat(settings, self._heats, self._at_first(context))
        self._source_kw, self._loss_kw = np.zeros(n), np.zeros(n)
        self._instants, self._weather = Instants(), (self._outside.at(0), self._gain.at(0))

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self._outputs(np.zeros(self._p_on_kw.shape, dtype=bool))

    def step(self, now_ns: int, inputs: Values) -> Values:
        passed_ns = self._instants.passed_ns(now_ns)
        self._pass(passed_ns / NS_PER_H)
        self._thermostat.keep(passed_ns / 1e9)
        self._weather = self._outside.at(now_ns), self._gain.at(now_ns)
        target_c = self._setpoint_c + self._settings.planned_shift_k(now_ns)
        if self._settings.responds:
            target_c = target_c + inputs["shift_k"]
        return self._outputs(self._thermostat.switch(self._inside_c[:, 0], target_c))

    def stop(self) -> None:
        pass

    def _at_first(self, context: Context) -> BoolArray:
        """Return which are on (n,) when the run begins: each with the share of time that it needs to."""
        steady_kw = (self._setpoint_c - self._outside.at(0)) * self._to_outside - self._gain.at(0)
        share = np.where(self._heats, steady_kw, -steady_kw) / (self._p_on_kw * self._settings.cop(self._outside.at(0)))
        found: BoolArray = stream(context, "on").random(share.size) < share
        return found

    def _pass(self, passed_h: float) -> None:
        """Let what holds since the last instant warm the buildings."""
        if passed_h > 0.0:
            outside_c, _ = self._weather
            self._inside_c, mean_c = self._buildings.after(
                self._inside_c, self._source_kw + self._to_outside * outside_c, passed_h
            )
            self._loss_kw = self._to_outside * (mean_c[:, 0] - outside_c)

    def _outputs(self, on: BoolArray) -> Values:
        outside_c, gain_kw = self._weather
        p_kw = np.where(on, self._p_on_kw, 0.0)
        heat_kw = p_kw * (self._settings.cop(outside_c) * (1.0 if self._heats else -1.0))
        self._source_kw = heat_kw + gain_kw
        stored_kwh = (self._buildings.capacity * self._inside_c).sum(axis=1)
        gains = np.full(p_kw.shape, gain_kw)
        heats = {"heat_kw": heat_kw, "gain_kw": gains, "loss_kw": self._loss_kw, "stored_kwh": stored_kwh}
        seen = {"inside_c": self._inside_c[:, 0], "on": on.astype(float)}
        return {"p_kw": p_kw, "q_kvar": p_kw * tan_phi(self._settings.pf), **seen, **heats}


_AIR = Allowed(-60.0, 60.0, "degC")
_GAIN = Allowed(-100.0, 1000.0, "kW")


def _buildings(settings: HeatPumpSettings, context: Context, to_outside: FloatArray) -> Buildings:
    n = to_outside.size
    air = draw(settings.capacity_kwh_per_k, n, context, "capacity_kwh_per_k")
    if settings.mass is None:
        return Buildings(air[:, None], to_outside, np.zeros(n))
    mass = draw(settings.mass.capacity_kwh_per_k, n, context, "mass capacity_kwh_per_k")
    between = 1.0 / draw(settings.mass.resistance_k_per_kw, n, context, "mass resistance_k_per_kw")
    return Buildings(np.column_stack([air, mass]), to_outside, between)


def _interface(settings: HeatPumpSettings, context: Context, labels: tuple[str, ...]) -> Interface:
    units = {"p_kw": "kW", "q_kvar": "kvar", "inside_c": "degC", "on": "1"}
    units |= {"heat_kw": "kW", "gain_kw": "kW", "loss_kw": "kW", "stored_kwh": "kWh"}
    inputs = {"shift_k": Port("K", labels)} if settings.responds else {}
    return Interface(settings.step_ns(context), inputs, {name: Port(unit, labels) for name, unit in units.items()})


def terminals(settings: HeatPumpSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the buildings meet the feeder."""
    return place_drawing(settings.at, settings.rated_kva, context)


KIND = Kind("heat-pump", "Buildings with heat pumps or air conditioners", HeatPumpSettings, HeatPumpFleet, terminals)
