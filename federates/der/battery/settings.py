"""Batteries behind inverters, of homes and of utilities, with smart-inverter functions.

Powers are positive when discharging, which is injecting. The active power `p(t)` that is returned at an instant `t`
holds until the next step, `t + h`; the energy `E(t)` stored, and the state of charge, are those at `t`. With the most
power `P`, the losses `b` and `a` of charging or of discharging, standby `w` and self-discharge `sigma`,

    x = p + b |p| + a p^2 / P                               from the cells
    dE/dt = -(x + w) - sigma E
    E(t + h) = E(t) k - (x + w) A                           k = exp(-sigma h)    A = (1 - k) / sigma

which is exact, because p holds; without self-discharge A = h. So that the energy stays in its window during the whole
step, p is held between

    p_max = f((E k - E_floor) / A - w)        p_min = f((E k - E_top) / A - w)

with the exact inverse `f` of x, and within the power limit and what the inverter can carry beside its reactive power.
The floor is the reserve for backup, or what is stored where that is less; in no mode the battery is discharged below
it. A battery at its floor takes what it needs on standby from the grid: its p_max is then a little below zero.
`loss_kw` is the mean of all that is lost until the next step, so that

    E(t + h) - E(t) = -(p + loss) h

`p_max_kw` is also what the active-power limit and volt-watt leave. Where the feeder has no voltage, a battery neither
gives nor takes anything, nor could it (`p_max_kw`, `p_min_kw`); its standby goes on.

Efficiency. Constant efficiencies are `b = 1 / eta_discharge - 1` and `b = 1 - eta_charge` with `a = 0`. The losses that
grow with the square of power are the model by which battery systems are measured (J. Weniger, T. Tjaden, PerMod, HTW
Berlin, 2020; H. Schmidt, D. U. Sauer, Sonnenenergie 4 (1996) 43-47); what is lost at no power is the standby.

Temperature. What is lost heats the battery, `T(t + h) = T_end + (T - T_end) exp(-h / (R C))` with
`T_end = T_ambient + R loss`; the power is lowered towards the limits of charging and of discharging, and 0 beyond.

Ageing (B. Xu et al., IEEE Trans. Smart Grid 9 (2018) 1131-1140). With depth `delta` and mean state of charge `sigma` of
cycles that are counted by rainflow (ASTM E1049-85), with time, and with temperature,

    f = sum n S_delta(delta) S_sigma(sigma) S_T(T) + sum k_t t S_sigma(sigma) S_T(T)
    health = alpha exp(-121 f) + (1 - alpha) exp(-f)        alpha = 0.0575

The window is of what the battery can hold at its health; of a full battery that shrinks only as it is discharged.

Modes:

- `idle`: 0;
- `commanded`: the input `p_set_kw` from a control;
- `self-consumption`: what the `site` draws, net: covers its load, takes its surplus;
- `time-of-use`: charges and discharges by periods of the day or by a price;
- `regulation`: after the frequency, `p = -c P clip(dead(f - f0) / (R f0), -1, 1)`, or after a signal.

Voltage is supported in every mode by the smart-inverter functions; with `q_commanded` the reactive power is what a
control asks for, `q_set_pu` of the rating, within the capability.
"""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from federates.der import Stepped
from federates.der.battery.ageing import AgeingSettings
from federates.der.battery.losses import ConversionLosses, constant
from federates.der.battery.regulation import Regulation
from federates.der.battery.site import BatterySite
from federates.der.battery.time_of_use import TimeOfUse
from federates.der.battery.warmth import CellTemperature
from federates.der.inverter import Smart
from federates.der.placement import At, Size, Spot
from federates.der.smart.settings import REACTIVE

BLOCKS: Final = {"self-consumption": "site", "time-of-use": "time_of_use", "regulation": "regulation"}
"""Which settings a mode needs."""


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
        description="Energy from empty to full when new, kWh: a number, or [min, max] to draw from.",
        examples=[13.5, [10.0, 16.0]],
    )
    mode: Literal["idle", "commanded", "self-consumption", "time-of-use", "regulation"] = Field(
        default="idle",
        description="Who sets the power: nobody, the input p_set_kw (a virtual power plant), what the site draws, "
        "the time of day or a price, the frequency or a regulation signal.",
        examples=["commanded"],
    )
    site: BatterySite | None = Field(
        default=None,
        description="What the site of each battery draws: for self-consumption, and so that time-of-use does not "
        "export.",
        examples=[{"draws": ["homes.p_kw"], "injects": ["rooftops.p_kw"]}],
    )
    time_of_use: TimeOfUse | None = Field(
        default=None,
        description="Periods or prices of mode time-of-use.",
        examples=[{"periods": [{"from_h": 17, "to_h": 21, "action": "discharge"}]}],
    )
    regulation: Regulation | None = Field(
        default=None, description="Numbers of mode regulation; {} for the defaults.", examples=[{"droop_pu": 0.005}]
    )
    charge_efficiency_pu: float = Field(
        default=0.95, gt=0.0, le=1.0, description="Energy stored for energy drawn from the grid, pu.", examples=[0.95]
    )
    discharge_efficiency_pu: float = Field(
        default=0.95, gt=0.0, le=1.0, description="Energy injected for energy taken from store, pu.", examples=[0.95]
    )
    losses: ConversionLosses | None = Field(
        default=None,
        description="Losses that depend on power, in place of the two efficiencies.",
        examples=[{"charge": {"proportional_pu": 0.01, "square_pu": 0.03}, "discharge": {"proportional_pu": 0.01}}],
    )
    standby_kw: float = Field(
        default=0.0,
        ge=0.0,
        le=1e6,
        description="Own consumption of each battery, taken from its store at all times, kW.",
        examples=[0.02],
    )
    self_discharge_pu_per_h: float = Field(
        default=0.0,
        ge=0.0,
        le=0.1,
        description="Share of what is stored that is lost in an hour; 2.8e-5: 2 % a month.",
        examples=[2.8e-5],
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
    reserve_soc_pu: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="Kept for backup: no mode discharges below it, pu of energy_kwh. Without it, soc_min_pu.",
        examples=[0.3],
    )
    temperature: CellTemperature | None = Field(
        default=None, description="Temperature, and the limits that it sets.", examples=[{"ambient_c": 20.0}]
    )
    ageing: AgeingSettings | None = Field(
        default=None, description="Ageing of the cells; {} for the defaults.", examples=[{"speed": 1.0}]
    )
    q_commanded: bool = Field(
        default=False,
        description="Whether the fleet takes a constant reactive power, q_set_pu, in the place of a reactive function.",
        examples=[True],
    )
    smart: Smart = Field(
        default=Smart(), description="Smart-inverter functions.", examples=[{"volt_var": "category-b"}]
    )

    @model_validator(mode="after")
    def _starts_in_its_window(self) -> Self:
        window = f"{self.soc_min_pu:g} to {self.soc_max_pu:g}"
        if self.soc_min_pu >= self.soc_max_pu:
            raise ValueError(f"soc_min_pu {self.soc_min_pu:g} must be less than soc_max_pu {self.soc_max_pu:g}")
        if not self.soc_min_pu <= self.soc_initial_pu <= self.soc_max_pu:
            raise ValueError(f"soc_initial_pu {self.soc_initial_pu:g} is outside the window, {window}")
        if not self.soc_min_pu <= self.reserve_pu <= self.soc_max_pu:
            raise ValueError(f"reserve_soc_pu {self.reserve_pu:g} is outside the window, {window}")
        return self

    @model_validator(mode="after")
    def _has_what_its_mode_needs(self) -> Self:
        needed = BLOCKS.get(self.mode)
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f"mode {self.mode!r} needs the setting {needed}")
        for mode, block in BLOCKS.items():
            unused = block != "site" and block != needed
            if unused and getattr(self, block) is not None:
                raise ValueError(f"{block} is for mode {mode!r}, and the mode is {self.mode!r}")
        if self.site is not None and self.mode not in ("self-consumption", "time-of-use"):
            raise ValueError(f"site is for modes 'self-consumption' and 'time-of-use', and the mode is {self.mode!r}")
        if self.site is None and self.time_of_use is not None and self.time_of_use.needs_site:
            raise ValueError("time_of_use has a period of self-consumption, which needs the setting site")
        return self

    @model_validator(mode="after")
    def _has_one_reactive_function(self) -> Self:
        if self.q_commanded and (own_q := [name for name in REACTIVE if getattr(self.smart, name) is not None]):
            raise ValueError(f"q_commanded takes the place of smart.{own_q[0]}: one of them")
        return self

    @model_validator(mode="after")
    def _says_its_losses_once(self) -> Self:
        twice = {"charge_efficiency_pu", "discharge_efficiency_pu"} & self.model_fields_set
        if self.losses is not None and twice:
            raise ValueError(f"losses stand in place of {' and '.join(sorted(twice))}: leave one of them out")
        return self

    @property
    def takes(self) -> tuple[str, ...]:
        """Inputs that a control may drive."""
        return ("p_set_kw",) * (self.mode == "commanded") + ("q_set_pu",) * self.q_commanded

    @property
    def window_pu(self) -> tuple[float, float]:
        """Between which states of charge a control may move it."""
        return self.reserve_pu, self.soc_max_pu

    @property
    def reserve_pu(self) -> float:
        """The state of charge below which no mode discharges."""
        return self.soc_min_pu if self.reserve_soc_pu is None else self.reserve_soc_pu

    @property
    def all_losses(self) -> ConversionLosses:
        """The losses against power, also of constant efficiencies."""
        return self.losses or constant(self.charge_efficiency_pu, self.discharge_efficiency_pu)
