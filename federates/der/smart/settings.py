"""What a scenario says of smart-inverter functions: which are on, and their numbers."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from math import sqrt
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from derloop.kind import Seen, Settings, Terminal
from federates.der.smart.active_power import ActivePowerLimit, Ramp
from federates.der.smart.capability import Priority
from federates.der.smart.constant import ConstantPf, ConstantQ
from federates.der.smart.droop import FrequencyDroop
from federates.der.smart.enter_service import EnterService
from federates.der.smart.points import Function, Normal
from federates.der.smart.ride_through import RideThrough
from federates.der.smart.trip import FrequencyTrip, VoltageTrip
from federates.der.smart.volt_var import PRESETS, StandardVoltVar, VoltVar
from federates.der.smart.volt_watt import VoltWatt
from federates.der.smart.watt_var import WattVar

REACTIVE: Final = ("constant_pf", "constant_q", "volt_var", "watt_var")
IN_HZ: Final = ("frequency_droop", "frequency_trip", "enter_service")


def _written(value: Any) -> str:
    if isinstance(value, str):
        return "preset"
    is_standard = "category" in value if isinstance(value, dict) else isinstance(value, StandardVoltVar)
    return "standard" if is_standard else "curve"


class Smart(Settings):
    """Smart-inverter functions. At most one of the reactive ones is on; with none, the power factor is 1."""

    volt_var: (
        Annotated[
            Annotated[Normal, Tag("preset")]
            | Annotated[StandardVoltVar, Tag("standard")]
            | Annotated[VoltVar, Tag("curve")],
            Discriminator(_written),
        ]
        | None
    ) = Field(
        default=None,
        description="Volt-var: the default curve of a category of IEEE 1547-2018, such a curve with points of one's "
        "own in the standard's ranges, or any falling curve.",
        examples=[
            "category-b",
            {"category": "category-b", "v2_pu": 0.97},
            {"v_pu": [0.92, 0.98, 1.02, 1.08], "q_pu": [0.44, 0, 0, -0.44], "response_s": 5},
        ],
    )
    constant_pf: ConstantPf | None = Field(
        default=None,
        description="Constant power factor.",
        examples=[{"pf": 0.95, "reactive": "absorbed"}],
    )
    constant_q: ConstantQ | None = Field(
        default=None, description="Constant reactive power.", examples=[{"q_pu": -0.2, "response_s": 10}]
    )
    watt_var: WattVar | None = Field(
        default=None, description="Reactive power against active power.", examples=[{"category": "category-b"}]
    )
    volt_watt: VoltWatt | None = Field(
        default=None, description="Most active power against voltage; {} for the defaults.", examples=[{"p2_pu": 0.2}]
    )
    frequency_droop: FrequencyDroop | None = Field(
        default=None,
        description="Active power against frequency; {} for the defaults. Needs f_hz.",
        examples=[{"k_over": 0.05}],
    )
    active_power_limit: ActivePowerLimit | None = Field(
        default=None,
        description="Most active power, and how fast it is followed; also how fast p_limit_kw is.",
        examples=[{"p_max_pu": 0.5, "response_s": 15}],
    )
    ramp: Ramp | None = Field(
        default=None, description="How fast active power may change of its own accord.", examples=[{"up_s": 60}]
    )
    voltage_trip: VoltageTrip | None = Field(
        default=None, description="Trip by voltage.", examples=[{"category": "category-iii"}]
    )
    frequency_trip: FrequencyTrip | None = Field(
        default=None, description="Trip by frequency; {} for the defaults. Needs f_hz.", examples=[{"uf1_hz": 58.5}]
    )
    ride_through: RideThrough | None = Field(
        default=None,
        description="Cease to energize and momentary cessation by voltage.",
        examples=[{"category": "category-iii"}],
    )
    enter_service: EnterService | None = Field(
        default=None,
        description="How a device comes (back) into service; {} for the defaults. Needs f_hz. "
        "Without it, what has tripped stays out.",
        examples=[{"delay_s": 300, "ramp_s": 300}],
    )
    permit_service: bool = Field(
        default=True, description="Whether service is permitted: false takes every device out.", examples=[True]
    )
    priority: Priority = Field(
        default="reactive",
        description="What is kept when the rating cannot carry both: reactive or active power; active-above-minimum "
        "keeps reactive power only up to what the standard asks for.",
        examples=["reactive"],
    )
    category: Normal = Field(
        default="category-b",
        description="Category of normal operation: the minimum that active-above-minimum keeps.",
        examples=["category-b"],
    )
    q_injected_max_pu: float = Field(
        default=0.44, ge=0.0, le=1.0, description="Most reactive power injected, pu of rated kVA.", examples=[0.44]
    )
    q_absorbed_max_pu: float = Field(
        default=0.44, ge=0.0, le=1.0, description="Most reactive power absorbed, pu of rated kVA.", examples=[0.44]
    )
    p_min_pu: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="Least active power to which frequency droop goes, pu of rated kW. Without it, what the device "
        "can do: 0 for PV, charging for a battery.",
        examples=[0.1],
    )
    current_max_pu: float | None = Field(
        default=None,
        ge=1.0,
        le=3.0,
        description="Most current, pu of rated: lowers the power that a low voltage can carry, P first.",
        examples=[1.2],
    )
    f_nominal_hz: Literal[50, 60] = Field(
        default=60,
        description="Nominal frequency, Hz. At 50 the standard's frequencies are scaled by 50/60.",
        examples=[60],
    )
    voltage: Seen = Field(
        default="mean",
        description="What several phases are to the functions: their mean, the one farthest from nominal, or the "
        "positive sequence. Trip, ride-through and entering service see the lowest and the highest phase.",
        examples=["mean"],
    )

    @property
    def curve(self) -> VoltVar | None:
        """The volt-var curve in numbers, if there is one."""
        if isinstance(self.volt_var, str):
            return PRESETS[self.volt_var]
        return self.volt_var.curve if isinstance(self.volt_var, StandardVoltVar) else self.volt_var

    def seeing(self, terminals: tuple[Terminal, ...]) -> tuple[Terminal, ...]:
        """Return the terminals as these functions look at them."""
        return tuple(replace(t, sees=self.voltage, extremes=self.needs_extremes) for t in terminals)

    def cautions(self, fleet: str, step_ns: int) -> tuple[str, ...]:
        """Return what must be known of these functions of a fleet in steps of this length."""
        return () if self.enter_service is None else self.enter_service.cautions(fleet, step_ns)

    @cached_property
    def needs_frequency(self) -> bool:
        """Whether a function that is on looks at the frequency."""
        return any(getattr(self, name) is not None for name in IN_HZ)

    @property
    def needs_extremes(self) -> bool:
        """Whether a function that is on looks at the lowest and the highest phase."""
        return any(f is not None for f in (self.voltage_trip, self.ride_through, self.enter_service))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        on = [name for name in REACTIVE if getattr(self, name) is not None]
        if len(on) > 1:
            raise ValueError(f"{' and '.join(on)} exclude each other")
        self._has_frequencies_in_range()
        if self.curve is not None:
            self._can(max(self.curve.q_pu), -min(self.curve.q_pu), "volt_var")
        if self.constant_pf is not None:
            q_pu = sqrt(1.0 - self.constant_pf.pf**2)
            injects = self.constant_pf.reactive == "injected"
            self._can(q_pu if injects else 0.0, 0.0 if injects else q_pu, "constant_pf")
        if self.constant_q is not None:
            self._can(self.constant_q.q_pu, -self.constant_q.q_pu, "constant_q")
        if self.watt_var is not None:
            q = [float(v[0]) for name, v in self.watt_var.points().items() if name.startswith("q")]
            self._can(max(q), -min(q), "watt_var")
        return self

    def _has_frequencies_in_range(self) -> None:
        for name in IN_HZ:
            function: Function | None = getattr(self, name)
            if function is not None:
                try:
                    function.check(function.points(self.f_nominal_hz), self.f_nominal_hz)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error

    def _can(self, injected_pu: float, absorbed_pu: float, function: str) -> None:
        for asked, most, name in (
            (injected_pu, self.q_injected_max_pu, "q_injected_max_pu"),
            (absorbed_pu, self.q_absorbed_max_pu, "q_absorbed_max_pu"),
        ):
            if asked > most + 1e-12:
                raise ValueError(f"{function} asks for {asked:.4g} pu of reactive power, but {name} is {most:g}")
