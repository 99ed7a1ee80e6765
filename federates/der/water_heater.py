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

All that is told at `t` holds until `t + h`, loss and use being means. So the heat balance holds to rounding:
`stored(t + h) = stored(t) + (heat - loss - used) h`, `stored = C T`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import Balance, FloatArray, Values
from derloop.kind import Context, Kind, Terminal
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
        if low < 20.0 or high + self.deadband_k / 2.0 > 99.0:
            what = f"{low:g} to {high:g} is not allowed: 20 to {99.0 - self.deadband_k / 2.0:g} degC"
            raise ValueError(f"setpoint_c {what} with this deadband_k")
        return self


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
        self._capacity = KWH_PER_L_K * draw(settings.volume_l, n, context, "volume_l")
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
        way = -out * hours / self._capacity
        mean_c = end_c + (self._water_c - end_c) * np.expm1(way) / way
        self._next_c = end_c + (self._water_c - end_c) * np.exp(way)
        flows = {"heat_kw": heat_kw, "loss_kw": self._ua * (mean_c - room_c), "used_kw": flow * (mean_c - inlet_c)}
        return {"water_c": self._water_c, **flows, "stored_kwh": self._capacity * self._water_c}


def fleet(settings: WaterHeaterSettings, context: Context) -> ThermostaticFleet:
    """Return n tanks with their heaters."""
    heaters = context.terminals.get(context.name) or terminals(settings, context)
    n = len(heaters)
    setpoint_c = draw(settings.setpoint_c, n, context, "setpoint_c")
    water_c = setpoint_c + settings.deadband_k * (stream(context, "water_c").random(n) - 0.5)
    tanks = Tanks(settings, context, water_c)
    return ThermostaticFleet(settings, context, heaters, tanks, setpoint_c, np.zeros(n, dtype=bool))


def terminals(settings: WaterHeaterSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the tanks meet the feeder."""
    return place_drawing(settings.at, settings.rated_kva, context)


KIND = Kind("water-heater", "Tanks of hot water with thermostats", WaterHeaterSettings, fleet, terminals, draws=True)
