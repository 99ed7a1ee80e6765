"""Heat pumps and air conditioners: buildings whose thermostats switch a compressor.

Powers are positive when drawn. A building is a network of one or two heat capacities: the air `a` with what is light
(first order), and where comfort matters the mass `m` of walls and furniture behind it (second order):

    C_a dT_a/dt = (T_out - T_a) / R + (T_m - T_a) / R_m + gain + heat
    C_m dT_m/dt = (T_a - T_m) / R_m

(S. Katipamula and N. Lu, "Evaluation of residential HVAC control strategies for demand response programs", ASHRAE
Trans. 112, 2006: the equivalent thermal parameters of GridLAB-D; Bacher and Madsen, Energy and Buildings 43, 2011.)
Over a step, in which all else holds, it is solved exactly (`heat_network.py`), so the results at the steps do not
depend on how long these are, as long as no thermostat would have switched between.

The compressor draws its rated power or nothing. Its heat is `heat = COP p` in heating, `-COP p` in cooling,

    COP = g T_hot / (T_hot - T_cold) in heating,    g T_cold / (T_hot - T_cold) in cooling    (K)

with the share `g` of Carnot's efficiency, between 1 and `cop_max` (the lift is at least 1 K). `supply_c` is one end of
the lift, and the outside air the other.

All that is told at `t` holds until `t + h`, the loss being its mean. So the heat balance of a building holds to
rounding: `stored(t + h) = stored(t) + (heat + gain - loss) h`, with `stored = C_a T_a + C_m T_m` and
`loss = (T_a - T_out) / R`.
Of `heat`, in heating, `heat - p` is taken from the outside air; in cooling `p - heat` goes there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import Balance, FloatArray, Values
from derloop.kind import Context, Kind, Settings, Terminal
from derloop.memory import remembers
from federates.der.course import Allowed, Course, read_course
from federates.der.heat_network import HeatNetworks
from federates.der.hysteresis import BoolArray
from federates.der.placement import At, Size, Spot, draw, stream
from federates.der.plain import place_drawing
from federates.der.thermostat import Thermostatic
from federates.der.thermostatic import ThermostaticFleet

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

    @model_validator(mode="after")
    def _can_reach_its_setpoint(self) -> Self:
        low, high = self.setpoint_c
        if not 5.0 <= low <= high <= 40.0:
            raise ValueError(f"setpoint_c {low:g} to {high:g} is not allowed: 5 to 40 degC")
        if not (self.inner_c > high if self.heats else self.inner_c < low):
            what = "above the highest" if self.heats else "below the lowest"
            raise ValueError(f"supply_c {self.inner_c:g} must be {what} setpoint in {self.duty}")
        return self

    @property
    def heats(self) -> bool:
        return self.duty == "heating"

    @property
    def inner_c(self) -> float:
        """The end of the lift that is inside, degC."""
        return self.supply_c if self.supply_c is not None else 45.0 if self.heats else 8.0

    def cop(self, outside_c: float) -> float:
        """Return heat moved over power drawn."""
        ours = self.inner_c
        lift = max(ours - outside_c if self.heats else outside_c - ours, 1.0)
        return min(max(self.carnot_pu * (ours + KELVIN) / lift, 1.0), self.cop_max)


@remembers("_inside_c", "_next_c")
class Buildings:
    """n buildings. State: temperatures (n, s) of air and mass at this instant, and at the next."""

    units: Final[Mapping[str, str]] = {
        **{"inside_c": "degC", "heat_kw": "kW", "gain_kw": "kW", "loss_kw": "kW", "stored_kwh": "kWh"}
    }
    balance: Final = Balance("heat", enters=("heat_kw", "gain_kw"), leaves=("loss_kw",), stored=("stored_kwh",))

    def __init__(self, settings: HeatPumpSettings, context: Context, networks: HeatNetworks, air_c: FloatArray) -> None:
        """air_c: (n,), at the start, as is the mass."""
        step_ns = settings.step_ns(context)
        self._settings, self._networks, self._step_h = settings, networks, step_ns / NS_PER_H
        self._outside = read_course(settings.outside_c, ("outside_c",), _AIR, context, step_ns)
        self._gain = read_course(settings.gain_kw, ("gain_kw",), _GAIN, context, step_ns)
        self._inside_c = self._next_c = np.repeat(air_c[:, None], networks.capacity.shape[1], axis=1)

    @property
    def heats(self) -> bool:
        return self._settings.heats

    @property
    def felt_c(self) -> FloatArray:
        return self._inside_c[:, 0]

    def go_on(self) -> None:
        self._inside_c = self._next_c

    def hold(self, now_ns: int, p_kw: FloatArray) -> Values:
        outside_c, gain_kw = self._outside.at(now_ns), self._gain.at(now_ns)
        heat_kw = p_kw * (self._settings.cop(outside_c) * (1.0 if self.heats else -1.0))
        outward = self._networks.outward
        source_kw = heat_kw + gain_kw + outward * outside_c
        self._next_c, mean_c = self._networks.after(self._inside_c, source_kw, self._step_h)
        return {
            **{"inside_c": self._inside_c[:, 0], "heat_kw": heat_kw, "gain_kw": np.full(p_kw.shape, gain_kw)},
            "loss_kw": outward * (mean_c[:, 0] - outside_c),
            "stored_kwh": self._networks.stored_kwh(self._inside_c),
        }

    def first_on(self, p_on_kw: FloatArray, setpoint_c: FloatArray, chance: np.random.Generator) -> BoolArray:
        """Return which machines are on (n,) when the run begins: each with the share of time that it needs to."""
        outside_c = self._outside.at(0)
        steady_kw = (setpoint_c - outside_c) * self._networks.outward - self._gain.at(0)
        share = (steady_kw if self.heats else -steady_kw) / (p_on_kw * self._settings.cop(outside_c))
        found: BoolArray = chance.random(share.size) < share
        return found


def fleet(settings: HeatPumpSettings, context: Context) -> ThermostaticFleet:
    """Return n buildings with their machines."""
    machines = context.terminals.get(context.name) or terminals(settings, context)
    n = len(machines)
    setpoint_c = draw(settings.setpoint_c, n, context, "setpoint_c")
    air_c = setpoint_c + settings.deadband_k * (stream(context, "inside_c").random(n) - 0.5)
    buildings = Buildings(settings, context, _networks(settings, context, n), air_c)
    p_on_kw = settings.pf * np.array([machine.rated_kva for machine in machines])
    on = buildings.first_on(p_on_kw, setpoint_c, stream(context, "on"))
    return ThermostaticFleet(settings, context, machines, buildings, setpoint_c, on)


_AIR = Allowed(-60.0, 60.0, "degC")
_GAIN = Allowed(-100.0, 1000.0, "kW")


def _networks(settings: HeatPumpSettings, context: Context, n: int) -> HeatNetworks:
    outward = 1.0 / draw(settings.resistance_k_per_kw, n, context, "resistance_k_per_kw")
    air = draw(settings.capacity_kwh_per_k, n, context, "capacity_kwh_per_k")
    if settings.mass is None:
        return HeatNetworks(air[:, None], outward, np.zeros(n))
    mass = draw(settings.mass.capacity_kwh_per_k, n, context, "mass capacity_kwh_per_k")
    between = 1.0 / draw(settings.mass.resistance_k_per_kw, n, context, "mass resistance_k_per_kw")
    return HeatNetworks(np.column_stack([air, mass]), outward, between)


def terminals(settings: HeatPumpSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the buildings meet the feeder."""
    return place_drawing(settings.at, settings.rated_kva, context)


KIND = Kind(
    "heat-pump", "Buildings with heat pumps or air conditioners", HeatPumpSettings, fleet, terminals, draws=True
)
