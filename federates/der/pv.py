"""Solar PV systems: irradiance to DC to AC, with smart-inverter functions.

Powers are positive when injected. With the irradiance `G` (W/m2) in the plane of the array:

- cell temperature `T = T_ambient + G (NOCT - 20) / 800` (R. G. Ross, 14th IEEE PVSC, 1980);
- DC power `P_dc = dc_kw (G / 1000) (1 - losses) (1 + gamma (T - 25))` (PVWatts version 5, NREL/TP-6A20-62641, eq. 8);
- AC power of the inverter (the same, eq. 11), with `P_dc0 = rated_kva / eta` and `z = P_dc / P_dc0`,
  `P_ac = P_dc0 (eta / 0.9637) (-0.0162 z^2 + 0.9858 z - 0.0059)`, between 0 and the rating: this is `p_available_kw`.

Then the limit `p_limit_kw` (where the fleet is curtailable), the reactive function, and the rating.
Below `q_full_above_p_pu` of its rating a system's reactive capability falls in proportion to its active power
(IEEE 1547-2018, 5.2, asks for full capability from 20 % of rated power; to be confirmed against the standard):
at night there is none.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, Terminal
from federates.der import Stepped
from federates.der.inverter import Inverters, Smart
from federates.der.placement import At, Size, Spot, draw, place

ETA_REFERENCE = 0.9637
"""Efficiency of the inverter whose part-load curve PVWatts uses."""


class PvSpot(Spot):
    """One PV system."""

    dc_kw: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="Power of the array at 1000 W/m2 and 25 degC, kW. Without it, the fleet's dc_ac_ratio.",
        examples=[7.2],
    )


class PvSettings(Stepped):
    """A fleet of PV systems."""

    at: At[PvSpot] = Field(
        description="Where the systems stand: a list of places, or a spread.",
        examples=[{"count": 40, "on": "loads"}, [{"bus": "645.2", "rated_kva": 6.0}]],
    )
    rated_kva: Size | None = Field(
        default=None,
        description="Rated apparent power of each inverter, kVA: a number, or [min, max] to draw from.",
        examples=[6.0, [4.0, 8.0]],
    )
    dc_ac_ratio: Size = Field(
        default=(1.2, 1.2),
        description="Power of the array at standard conditions over rated kVA: a number, or [min, max] to draw from.",
        examples=[1.2, [1.0, 1.4]],
    )
    losses_pu: float = Field(
        default=0.14,
        ge=0.0,
        lt=1.0,
        description="Losses before the inverter, pu: soiling, shading, mismatch, wiring (PVWatts: 0.14).",
        examples=[0.14],
    )
    inverter_efficiency_pu: float = Field(
        default=0.96, gt=0.5, le=1.0, description="Efficiency of the inverter at rated power, pu.", examples=[0.96]
    )
    temperature_coefficient_per_k: float = Field(
        default=-0.0035,
        ge=-0.02,
        le=0.0,
        description="Change of DC power with cell temperature, pu per K; 0 leaves temperature out.",
        examples=[-0.0035],
    )
    ambient_c: float = Field(default=25.0, ge=-60.0, le=60.0, description="Air temperature, degC.", examples=[25.0])
    noct_c: float = Field(
        default=45.0,
        ge=20.0,
        le=80.0,
        description="Nominal operating cell temperature, degC: at 800 W/m2 and 20 degC of air.",
        examples=[45.0],
    )
    q_full_above_p_pu: float = Field(
        default=0.2,
        ge=0.0,
        le=1.0,
        description="Active power from which on the reactive capability is full, pu of rated kVA; "
        "0 makes it full at all times, also at night.",
        examples=[0.2],
    )
    curtailable: bool = Field(
        default=False, description="Whether the fleet takes a limit of active power, p_limit_kw.", examples=[True]
    )
    smart: Smart = Field(
        default=Smart(), description="Smart-inverter functions.", examples=[{"volt_var": "category-b"}]
    )


class PvFleet:
    """n PV systems. Their only state is the lag of their reactive function."""

    def __init__(self, settings: PvSettings, context: Context) -> None:
        systems = context.terminals.get(context.name) or terminals(settings, context)
        labels = tuple(system.label for system in systems)
        self._settings = settings
        rated_kva = np.array([system.rated_kva for system in systems])
        self.inverters = Inverters(
            settings.smart, rated_kva, seed=context.seed, q_full_above_p_pu=settings.q_full_above_p_pu
        )
        self._dc_kw = _dc_kw(settings, context, rated_kva)
        self._nothing_kw = np.zeros(rated_kva.shape)
        inputs = self.inverters.ports(labels) | {"irradiance_wm2": Port("W/m2", labels)}
        if settings.curtailable:
            inputs["p_limit_kw"] = Port("kW", labels)
        outputs = {"p_kw": Port("kW", labels), "q_kvar": Port("kvar", labels), "p_available_kw": Port("kW", labels)}
        self._interface = Interface(settings.step_ns(context), inputs, outputs)

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        zeros = np.zeros(self._dc_kw.shape)
        return {"p_kw": zeros, "q_kvar": zeros, "p_available_kw": zeros}

    def step(self, now_ns: int, inputs: Values) -> Values:
        available = self._available_kw(inputs["irradiance_wm2"])
        wanted = np.minimum(available, self.inverters.p_most_kw)
        limit_kw = inputs["p_limit_kw"] if self._settings.curtailable else None
        seen = self.inverters.seen(inputs)
        p_kw, q_kvar = self.inverters.step(now_ns, seen, wanted, (self._nothing_kw, wanted), limit_kw)
        return {"p_kw": p_kw, "q_kvar": q_kvar, "p_available_kw": available}

    def stop(self) -> None:
        pass

    def _available_kw(self, irradiance_wm2: FloatArray) -> FloatArray:
        dc_kw = dc_power_kw(irradiance_wm2, self._dc_kw, self._settings)
        return ac_power_kw(dc_kw, self.inverters.rated_kva, self._settings.inverter_efficiency_pu)


def dc_power_kw(irradiance_wm2: FloatArray, dc_kw: FloatArray, settings: PvSettings) -> FloatArray:
    """Return the DC power (n,) of arrays of `dc_kw` (n,), kW."""
    sun = np.maximum(irradiance_wm2, 0.0)
    warmer_k = settings.ambient_c - 25.0 + sun * ((settings.noct_c - 20.0) / 800.0)
    derating = np.maximum(1.0 + settings.temperature_coefficient_per_k * warmer_k, 0.0)
    return dc_kw * sun * derating * ((1.0 - settings.losses_pu) / 1000.0)


def ac_power_kw(dc_kw: FloatArray, rated_kva: FloatArray, efficiency_pu: float) -> FloatArray:
    """Return the AC power (n,), kW, from the DC power (n,)."""
    limit_kw = rated_kva / efficiency_pu
    z = np.minimum(dc_kw / limit_kw, 1.0)
    ac_kw = limit_kw * (efficiency_pu / ETA_REFERENCE) * ((0.9858 - 0.0162 * z) * z - 0.0059)
    return np.clip(ac_kw, 0.0, rated_kva)


def _dc_kw(settings: PvSettings, context: Context, rated_kva: FloatArray) -> FloatArray:
    dc_kw = rated_kva * draw(settings.dc_ac_ratio, rated_kva.size, context, "dc_ac_ratio")
    if isinstance(settings.at, tuple):
        own = [np.nan if spot.dc_kw is None else spot.dc_kw for spot in settings.at]
        dc_kw = np.where(np.isnan(own), dc_kw, own)
    return dc_kw


def terminals(settings: PvSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the systems meet the feeder."""
    return settings.smart.seeing(place(settings.at, settings.rated_kva, context))


KIND = Kind("pv", "Solar PV systems with smart inverters", PvSettings, PvFleet, terminals, is_der=True)
