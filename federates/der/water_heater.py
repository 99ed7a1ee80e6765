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

Water that would boil is refused: a setpoint with its dead band and planned shifts above 99 degC, and a step in which a
heater that switches off too late brings it above 100 degC. A control's shift raises no setpoint so far.

All that is told at `t` holds until `t + h`, loss and use being means. So the heat balance holds to rounding:
`stored(t + h) = stored(t) + (heat - loss - used) h`, `stored = C T`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import Balance, FloatArray, Values
from derloop.kind import Context, Kind, PlaceError, Terminal
from derloop.memory import remembers
from federates.der.course import Allowed, Course, read_course
from federates.der.hot_water import HotWater, HotWaterSettings
from federates.der.placement import At, Size, Spot, draw, stream
from federates.der.plain import place_drawing
from federates.der.thermostat import Thermostatic
from federates.der.thermostatic import ThermostaticFleet

NS_PER_H = 3.6e12
KWH_PER_L_K = 4.186 / 3600.0
"""Heat capacity of a litre of water, kWh/K."""
BOILS_C = 100.0
HOTTEST_C = 99.0
"""At which a thermostat switches off, at the most."""


class WaterHeaterSettings(HotWaterSettings, Thermostatic):
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

    @model_validator(mode="after")
    def _does_not_boil(self) -> Self:
        low, high = self.setpoint_c
        most_c = HOTTEST_C - self.deadband_k / 2.0 - self.most_shift_k
        if low < 20.0 or high > most_c:
            what = f"{low:g} to {high:g} is not allowed: 20 to {most_c:g} degC with this deadband_k"
            raise ValueError(f"setpoint_c {what}" + " and these events" * (self.most_shift_k > 0.0))
        return self

    @property
    def most_shift_k(self) -> float:
        """The most by which planned events raise the setpoint, K."""
        times_s = [time_s for event in self.events for time_s in (event.begins_s, event.begins_s + event.lasts_s)]
        return max([0.0, *(self.planned_shift_k(round(time_s * 1e9)) for time_s in times_s)])

    @property
    def hottest_c(self) -> float:
        """At which the last heater switches off, degC."""
        return self.setpoint_c[1] + self.most_shift_k + self.deadband_k / 2.0


@remembers("_water_c", "_next_c")
class Tanks:
    """n tanks. State: their temperatures at this instant, and at the next."""

    units: Final[Mapping[str, str]] = {
        **{"water_c": "degC", "heat_kw": "kW", "loss_kw": "kW", "used_kw": "kW", "stored_kwh": "kWh"}
    }
    heats: Final = True
    balance: Final = Balance("heat", enters=("heat_kw",), leaves=("loss_kw", "used_kw"), stored=("stored_kwh",))

    def __init__(self, settings: WaterHeaterSettings, context: Context, water_c: FloatArray) -> None:
        """water_c: (n,), at the start."""
        step_ns, n = settings.step_ns(context), water_c.size
        self._room = read_course(settings.room_c, ("room_c",), Allowed(-30.0, 60.0, "degC"), context, step_ns)
        self._inlet = read_course(settings.inlet_c, ("inlet_c",), Allowed(0.0, 60.0, "degC"), context, step_ns)
        self.capacity = KWH_PER_L_K * draw(settings.volume_l, n, context, "volume_l")
        self._ua = draw(settings.loss_kw_per_k, n, context, "loss_kw_per_k")
        self._cop, self._step_ns = settings.cop, step_ns
        self._hot_water = HotWater(settings, context, n)
        self._water_c = self._next_c = water_c

    @property
    def felt_c(self) -> FloatArray:
        return self._water_c

    def go_on(self) -> None:
        self._water_c = self._next_c

    def hold(self, now_ns: int, p_kw: FloatArray) -> Values:
        hours, heat_kw = self._step_ns / NS_PER_H, p_kw * self._cop
        room_c, inlet_c = self._room.at(now_ns), self._inlet.at(now_ns)
        flow = KWH_PER_L_K * self._hot_water.litres(now_ns, now_ns + self._step_ns) / hours
        out = self._ua + flow
        end_c = (heat_kw + self._ua * room_c + flow * inlet_c) / out
        way = -out * hours / self.capacity
        mean_c = end_c + (self._water_c - end_c) * np.expm1(way) / way
        self._next_c = end_c + (self._water_c - end_c) * np.exp(way)
        flows = {"heat_kw": heat_kw, "loss_kw": self._ua * (mean_c - room_c), "used_kw": flow * (mean_c - inlet_c)}
        return {"water_c": self._water_c, **flows, "stored_kwh": self.capacity * self._water_c}


def fleet(settings: WaterHeaterSettings, context: Context) -> ThermostaticFleet:
    """Return n tanks with their heaters."""
    heaters = context.terminals.get(context.name) or terminals(settings, context)
    n = len(heaters)
    setpoint_c = draw(settings.setpoint_c, n, context, "setpoint_c")
    water_c = setpoint_c + settings.deadband_k * (stream(context, "water_c").random(n) - 0.5)
    tanks = Tanks(settings, context, water_c)
    step_ns = settings.step_ns(context)
    heat_kw = settings.pf * settings.cop * np.array([heater.rated_kva for heater in heaters])
    rise_k = float((heat_kw * (step_ns / NS_PER_H) / tanks.capacity).max())
    _refuse_boiling(settings, rise_k, step_ns)
    most_c = min(HOTTEST_C, BOILS_C - rise_k) - settings.deadband_k / 2.0
    return ThermostaticFleet(settings, context, heaters, tanks, setpoint_c, np.zeros(n, dtype=bool), most_c)


def _refuse_boiling(settings: WaterHeaterSettings, rise_k: float, step_ns: int) -> None:
    """Raise PlaceError where a heater that is on until the next step may bring its tank above the boiling point."""
    if settings.hottest_c + rise_k > BOILS_C:
        what = f"a step of {step_ns / 1e9:g} s is too long: in it a heater warms its tank by {rise_k:.3g} K"
        raise PlaceError([(("step_s",), f"{what}, from {settings.hottest_c:g} degC on, and water boils")])


def terminals(settings: WaterHeaterSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the tanks meet the feeder."""
    return place_drawing(settings.at, settings.rated_kva, context)


KIND = Kind("water-heater", "Tanks of hot water with thermostats", WaterHeaterSettings, fleet, terminals, draws=True)
