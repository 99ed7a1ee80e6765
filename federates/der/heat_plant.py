"""Where heat flows: a store, a boiler, an absorption chiller, and who asks for heat and cold; n of each.

The chiller turns heat into cold with its COP: `chiller = cold / COP`. With the heat that comes in, the net inflow
`n = heat - demand - chiller` and the store's loss `lambda` (1/h), over a step

    E(t + h) = E exp(-lambda h) + n a        a = (1 - exp(-lambda h)) / lambda        loss = n - (E(t + h) - E) / h

Where that would be below 0 the boiler helps; what it cannot give is unmet, cold first. Where it would be above
the store's size, the rest is dumped. So in every step

    E(t + h) - E(t) = (heat + boiler - used - chiller - dumped - loss) h
"""

from __future__ import annotations

from math import exp, expm1
from typing import NamedTuple

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray
from derloop.kind import Context, Settings
from derloop.memory import remembers
from federates.der.course import Allowed, Course, read_course
from federates.der.placement import Size

NS_PER_H = 3.6e12


# --- settings ----------------------------------------------------------------------------------------


class Chiller(Settings):
    """An absorption chiller, which makes cold of heat."""

    capacity_kw: float = Field(gt=0.0, le=1e9, description="Most cold, kW.", examples=[100.0])
    cop: float = Field(default=0.7, gt=0.0, le=2.0, description="Cold over heat; 0.7: single effect.", examples=[0.7])
    demand_kw: Course = Field(description="Cold that is asked for at each plant, kW.", examples=[50.0])


class HeatSettings(Settings):
    """Who asks for heat and cold, and what there is beside the engine."""

    heat_demand_kw: Course = Field(
        description="Heat that is asked for at each plant, kW.",
        examples=[120.0, {"file": "profiles/heat.csv", "column": "heat_kw"}],
    )
    store_kwh: Size = Field(
        default=(100.0, 100.0), description="Size of each store, kWh: a number, or [min, max].", examples=[100.0]
    )
    store_initial_pu: float = Field(
        default=0.5, ge=0.0, le=1.0, description="What is stored at the start, pu of store_kwh.", examples=[0.5]
    )
    store_loss_pu_per_h: float = Field(
        default=0.005, ge=0.0, le=1.0, description="Share of what is stored that is lost in an hour.", examples=[0.005]
    )
    boiler_kw: float = Field(default=0.0, ge=0.0, le=1e9, description="Most heat of each boiler, kW.", examples=[100.0])
    boiler_efficiency_pu: float = Field(
        default=0.9, gt=0.0, le=1.0, description="Heat over fuel of a boiler, pu.", examples=[0.9]
    )
    chiller: Chiller | None = Field(
        default=None, description="Absorption chiller.", examples=[{"capacity_kw": 100.0, "demand_kw": 50.0}]
    )


# --- the plants --------------------------------------------------------------------------------------


class Flows(NamedTuple):
    """Where heat flows for a step, each (n,)."""

    boiler_kw: FloatArray
    used_kw: FloatArray
    chiller_kw: FloatArray
    cooling_kw: FloatArray
    dumped_kw: FloatArray
    loss_kw: FloatArray
    unmet_heat_kw: FloatArray
    unmet_cooling_kw: FloatArray


@remembers("stored_kwh", "_next_kwh", "flows", settled=["stored_kwh", "size_kwh"])
class HeatPlants:
    """n plants. State: what is stored now and at the next instant, and the flows between."""

    def __init__(self, settings: HeatSettings, context: Context, size_kwh: FloatArray, step_ns: int) -> None:
        self._settings, self.size_kwh = settings, size_kwh
        self._demand = _Demand(settings, context, step_ns)
        self._step_h = step_ns / NS_PER_H
        self.stored_kwh = self._next_kwh = settings.store_initial_pu * size_kwh
        self.flows = Flows(*[np.zeros(size_kwh.shape)] * 8)

    @property
    def boiler_fuel_kw(self) -> FloatArray:
        return self.flows.boiler_kw / self._settings.boiler_efficiency_pu

    def go_on(self) -> None:
        """Go on to the next instant."""
        self.stored_kwh = self._next_kwh

    def asked_kw(self, now_ns: int) -> float:
        """Return the heat that is asked for at each plant, for the chiller too, kW."""
        heat_kw, cold_kw = self._demand.at(now_ns)
        return heat_kw + self._demand.heat_for(cold_kw)

    def share_out(self, now_ns: int, heat_kw: FloatArray) -> None:
        """Let this heat (n,) come in until the next instant."""
        demand_kw, cold_kw = self._demand.at(now_ns)
        chiller_kw = self._demand.heat_for(cold_kw)
        net_kw = heat_kw - demand_kw - chiller_kw
        rate, h = self._settings.store_loss_pu_per_h, self._step_h
        kept, a = exp(-rate * h), -expm1(-rate * h) / rate if rate > 0.0 else h
        free_kwh = self.stored_kwh * kept + net_kw * a
        boiler_kw = np.clip(-free_kwh / a, 0.0, self._settings.boiler_kw)
        lacking_kw = np.maximum(-free_kwh / a - boiler_kw, 0.0)
        dumped_kw = np.maximum((free_kwh - self.size_kwh) / a, 0.0)
        no_cold_kw = np.minimum(lacking_kw, chiller_kw)
        unmet_kw, driven_kw = lacking_kw - no_cold_kw, chiller_kw - no_cold_kw
        inflow_kw = net_kw + boiler_kw + lacking_kw - dumped_kw
        self._next_kwh = np.clip(self.stored_kwh * kept + inflow_kw * a, 0.0, self.size_kwh)
        loss_kw = inflow_kw - (self._next_kwh - self.stored_kwh) / h
        cop = self._demand.cop
        warm_kw = cold_kw - self._demand.possible_kw(cold_kw) + no_cold_kw * cop
        self.flows = Flows(
            boiler_kw, demand_kw - unmet_kw, driven_kw, driven_kw * cop, dumped_kw, loss_kw, unmet_kw, warm_kw
        )


class _Demand:
    """What is asked for over time, and what a chiller makes of heat."""

    def __init__(self, settings: HeatSettings, context: Context, step_ns: int) -> None:
        kilowatts = Allowed(0.0, 1e9, "kW")
        chiller = settings.chiller
        self._heat = read_course(settings.heat_demand_kw, ("heat_demand_kw",), kilowatts, context, step_ns)
        cold = chiller.demand_kw if chiller else 0.0
        self._cold = read_course(cold, ("chiller", "demand_kw"), kilowatts, context, step_ns)
        self.cop, self._capacity_kw = (chiller.cop, chiller.capacity_kw) if chiller else (1.0, 0.0)

    def at(self, now_ns: int) -> tuple[float, float]:
        """Return the heat and the cold that are asked for at each plant, kW."""
        return self._heat.at(now_ns), self._cold.at(now_ns)

    def heat_for(self, cold_kw: float) -> float:
        """Return the heat for as much of this cold as the chiller can make, kW."""
        return self.possible_kw(cold_kw) / self.cop

    def possible_kw(self, cold_kw: float) -> float:
        """Return how much of this cold the chiller can make, kW."""
        return min(cold_kw, self._capacity_kw)
