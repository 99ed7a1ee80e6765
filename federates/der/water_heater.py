"""Water heaters: tanks that a thermostat keeps warm, and hot water that is drawn from them.

Powers are positive when drawn from the grid. A tank is one heat capacity, fully mixed:

    C dT/dt = heat - UA (T - T_room) - g (T - T_inlet)      C = 4.186 kJ/(kg K) V      g = 4.186 kJ/(kg K) flow

(first-order model; J. Kondoh, N. Lu and D. J. Hammerstrom, "An Evaluation of the Water Heater Load Potential for
Providing Regulation Service", IEEE Trans. Power Syst. 26, 2011). `heat` is the rated power times `cop` (1 for an
element) while the thermostat is on. With `lambda = (UA + g) / C` and what the tank would settle at, `T_end`,
`T(t + h) = T_end + (T - T_end) exp(-lambda h)`: exact, with the flow's mean over the step.

Hot water: on each day each tank has `draws_per_day` draws of `draw_l` at `draw_l_per_min`. The share `peak_pu` of them
begins in the morning's or the evening's window (uniform, half of them each), the others at any time of the day. They
depend on seed and day alone.

The heat balance holds to rounding, with means over the step that has just passed:
`stored(t + h) = stored(t) + (heat(t) - loss(t + h) - used(t + h)) h`, `stored = C T`.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from derloop.contract import Balance, FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, Terminal
from federates.der.course import Allowed, Course, read_course
from federates.der.hysteresis import BoolArray
from federates.der.instants import Instants
from federates.der.placement import At, Size, Spot, draw, stream
from federates.der.plain import place_drawing, tan_phi
from federates.der.profile import seconds_of_day
from federates.der.thermostat import Thermostat, Thermostatic

NS_PER_H = 3.6e12
KWH_PER_L_K = 4.186 / 3600.0
"""Heat capacity of a litre of water, kWh/K."""
DAY_S = 86400.0
HEAT = Balance("heat", ("heat_kw",), ("loss_kw", "used_kw"), stored=("stored_kwh",), passed=("loss_kw", "used_kw"))
_Hour = Annotated[float, Field(ge=0.0, le=24.0)]


def _ordered(window: tuple[float, float]) -> tuple[float, float]:
    if window[0] >= window[1]:
        raise ValueError(f"a window is [begin, end], but {window[0]:g} is not before {window[1]:g}")
    return window


Window = Annotated[tuple[_Hour, _Hour], AfterValidator(_ordered)]


class WaterHeaterSettings(Thermostatic):
    """A fleet of water heaters."""

    at: At[Spot] = Field(
        description="Where the tanks stand: a list of places, or a spread.",
        examples=[{"count": 40, "on": "loads"}, [{"bus": "645.2", "rated_kva": 4.5}]],
    )
    rated_kva: Size | None = Field(
        default=None,
        description="Apparent power of each heater, kVA: a number, or [min, max] to draw from.",
        examples=[4.5, [2.0, 4.5]],
    )
    pf: float = Field(default=1.0, gt=0.0, le=1.0, description="Power factor, lagging.", examples=[1.0])
    cop: float = Field(
        default=1.0, ge=0.5, le=6.0, description="Heat over power drawn; 1 for an element.", examples=[1.0, 2.8]
    )
    volume_l: Size = Field(
        default=(150.0, 250.0),
        description="Volume of each tank, l: a number, or [min, max] to draw from.",
        examples=[200.0],
    )
    setpoint_c: Size = Field(
        default=(55.0, 55.0), description="Setpoint, degC: a number, or [min, max] to draw from.", examples=[55.0]
    )
    deadband_k: float = Field(
        default=5.0, gt=0.0, le=30.0, description="From switching on to switching off, K.", examples=[5.0]
    )
    least_off_s: float = Field(
        default=0.0, ge=0.0, le=86400.0, description="What is off stays off for so long, s.", examples=[0.0]
    )
    loss_kw_per_k: Size = Field(
        default=(0.0015, 0.0025),
        description="Standing loss of each tank, kW/K: a number, or [min, max] to draw from.",
        examples=[0.002],
    )
    room_c: Course = Field(default=20.0, description="Around the tanks, degC: a number or a profile.", examples=[20.0])
    inlet_c: Course = Field(default=12.0, description="Cold water, degC: a number or a profile.", examples=[12.0])
    draws_per_day: int = Field(default=12, ge=0, le=200, description="Draws of each tank on each day.", examples=[12])
    draw_l: Size = Field(
        default=(2.0, 25.0), description="Water of each draw, l: a number, or [min, max] to draw from.", examples=[10.0]
    )
    draw_l_per_min: float = Field(default=6.0, gt=0.0, le=100.0, description="Flow of a draw, l/min.", examples=[6.0])
    morning_h: Window = Field(
        default=(6.0, 9.0), description="Begin and end of the morning's peak, h since midnight.", examples=[[6.0, 9.0]]
    )
    evening_h: Window = Field(
        default=(17.0, 22.0),
        description="Begin and end of the evening's peak, h since midnight.",
        examples=[[17.0, 22.0]],
    )
    peak_pu: float = Field(
        default=0.7, ge=0.0, le=1.0, description="Share of the draws that begin in one of the peaks.", examples=[0.7]
    )


class HotWater:
    """The draws of n tanks, one day at a time."""

    def __init__(self, settings: WaterHeaterSettings, context: Context, n: int) -> None:
        self._settings, self._context, self._n = settings, context, n
        self._start_s = seconds_of_day(context.start)
        self._days: dict[int, tuple[FloatArray, FloatArray]] = {}

    def litres(self, begin_ns: int, end_ns: int) -> FloatArray:
        """Return what is drawn (n,) between two times since the scenario's start."""
        begin_s, end_s = begin_ns / 1e9 + self._start_s, end_ns / 1e9 + self._start_s
        days = range(int(begin_s // DAY_S) - 1, int(end_s // DAY_S) + 1)
        self._days = {day: self._days.get(day) or self._day(day) for day in days}
        drawn = [self._until(end_s, *self._days[day]) - self._until(begin_s, *self._days[day]) for day in days]
        found: FloatArray = np.sum(drawn, axis=0)
        return found

    def _until(self, time_s: float, begin_s: FloatArray, litres: FloatArray) -> FloatArray:
        rate = self._settings.draw_l_per_min / 60.0
        drawn: FloatArray = np.clip((time_s - begin_s) * rate, 0.0, litres).sum(axis=1)
        return drawn

    def _day(self, day: int) -> tuple[FloatArray, FloatArray]:
        """Return when each draw (n, m) begins, s since midnight of the first day, and its litres."""
        s, chance = self._settings, stream(self._context, f"hot water of day {day}")
        shape = (self._n, s.draws_per_day)
        kind, where = chance.random(shape), chance.random(shape)
        in_morning, in_evening = kind < s.peak_pu / 2.0, kind >= 1.0 - s.peak_pu / 2.0
        low = np.select([in_morning, in_evening], [s.morning_h[0], s.evening_h[0]], 0.0)
        high = np.select([in_morning, in_evening], [s.morning_h[1], s.evening_h[1]], 24.0)
        begin_s = day * DAY_S + 3600.0 * (low + (high - low) * where)
        return begin_s, chance.uniform(*s.draw_l, shape)


class WaterHeaterFleet:
    """n tanks. State: temperatures, the thermostats', and the heat that has flowed in since the last instant."""

    def __init__(self, settings: WaterHeaterSettings, context: Context) -> None:
        tanks = context.terminals.get(context.name) or terminals(settings, context)
        n = len(tanks)
        self._settings = settings
        self._interface = _interface(settings, context, tuple(tank.label for tank in tanks))
        step_ns = self._interface.step_ns
        self._room = read_course(settings.room_c, ("room_c",), Allowed(-30.0, 60.0, "degC"), context, step_ns)
        self._inlet = read_course(settings.inlet_c, ("inlet_c",), Allowed(0.0, 60.0, "degC"), context, step_ns)
        self._p_on_kw = settings.pf * np.array([tank.rated_kva for tank in tanks])
        self._capacity = KWH_PER_L_K * draw(settings.volume_l, n, context, "volume_l")
        self._ua = draw(settings.loss_kw_per_k, n, context, "loss_kw_per_k")
        self._setpoint_c = draw(settings.setpoint_c, n, context, "setpoint_c")
        self._water_c = self._setpoint_c + settings.deadband_k * (stream(context, "water_c").random(n) - 0.5)
        self._thermostat = Thermostat(settings, True, np.zeros(n, dtype=bool))
        self._water = HotWater(settings, context, n)
        self._heat_kw, self._loss_kw, self._used_kw = np.zeros(n), np.zeros(n), np.zeros(n)
        self._instants = Instants()

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self._outputs(np.zeros(self._p_on_kw.shape, dtype=bool))

    def step(self, now_ns: int, inputs: Values) -> Values:
        passed_ns = self._instants.passed_ns(now_ns)
        self._pass(now_ns, passed_ns)
        self._thermostat.keep(passed_ns / 1e9)
        target_c = self._setpoint_c + self._settings.planned_shift_k(now_ns)
        if self._settings.responds:
            target_c = target_c + inputs["shift_k"]
        return self._outputs(self._thermostat.switch(self._water_c, target_c))

    def stop(self) -> None:
        pass

    def _pass(self, now_ns: int, passed_ns: int) -> None:
        """Let the heat that flows since the last instant, and the water drawn, change the tanks."""
        if passed_ns == 0:
            return
        before_ns, hours = now_ns - passed_ns, passed_ns / NS_PER_H
        room_c, inlet_c = self._room.at(before_ns), self._inlet.at(before_ns)
        flow = KWH_PER_L_K * self._water.litres(before_ns, now_ns) / hours
        out = self._ua + flow
        end_c = (self._heat_kw + self._ua * room_c + flow * inlet_c) / out
        way = -out * hours / self._capacity
        mean_c = end_c + (self._water_c - end_c) * np.expm1(way) / way
        self._water_c = end_c + (self._water_c - end_c) * np.exp(way)
        self._loss_kw, self._used_kw = self._ua * (mean_c - room_c), flow * (mean_c - inlet_c)

    def _outputs(self, on: BoolArray) -> Values:
        p_kw = np.where(on, self._p_on_kw, 0.0)
        self._heat_kw = p_kw * self._settings.cop
        heats = {"heat_kw": self._heat_kw, "loss_kw": self._loss_kw, "used_kw": self._used_kw}
        seen = {"water_c": self._water_c, "on": on.astype(float), "stored_kwh": self._capacity * self._water_c}
        return {"p_kw": p_kw, "q_kvar": p_kw * tan_phi(self._settings.pf), **seen, **heats}


def _interface(settings: WaterHeaterSettings, context: Context, labels: tuple[str, ...]) -> Interface:
    units = {"p_kw": "kW", "q_kvar": "kvar", "water_c": "degC", "on": "1"}
    units |= {"heat_kw": "kW", "loss_kw": "kW", "used_kw": "kW", "stored_kwh": "kWh"}
    inputs = {"shift_k": Port("K", labels)} if settings.responds else {}
    outputs = {name: Port(unit, labels) for name, unit in units.items()}
    return Interface(settings.step_ns(context), inputs, outputs, balances=(HEAT,))


def terminals(settings: WaterHeaterSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the tanks meet the feeder."""
    return place_drawing(settings.at, settings.rated_kva, context)


KIND = Kind("water-heater", "Tanks of hot water with thermostats", WaterHeaterSettings, WaterHeaterFleet, terminals)
