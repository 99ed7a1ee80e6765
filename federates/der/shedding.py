"""Loads that a control can take off, and what they draw when they come back.

With `connected` 1 or 0, a load draws `P = demand connected (1 + most_pu w)`. The share `w` of appliances beyond the
usual that all run at once, for want of what they missed, grows while it is off and dies away when it is on:

    dw/dt = (1 - w) / builds_s     while off             dw/dt = -w / decays_s     while on

exact at any step. (Cold-load pickup as an exponential: E. Agneholm and J. Daalder, "Cold load pick-up of residential
load", IEE Proc. Gener. Transm. Distrib. 147, 2000, 44-50.) A load that lacks voltage while it is connected is not off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray, Port, Values
from derloop.kind import Settings
from derloop.memory import remembers
from federates.der.instants import Instants


class ColdLoad(Settings):
    """What loads draw more when they come back."""

    most_pu: float = Field(gt=0.0, le=10.0, description="Most beyond the usual, pu of it.", examples=[0.5])
    builds_s: float = Field(default=1800.0, gt=0.0, le=1e6, description="Time constant while off, s.", examples=[1800])
    decays_s: float = Field(default=900.0, gt=0.0, le=1e6, description="Time constant when on, s.", examples=[900])


class Sheddable(Settings):
    """Settings of loads that may be taken off."""

    sheddable: bool = Field(
        default=False, description="Whether a control takes loads off: the input connected, 1 or 0.", examples=[True]
    )
    cold_load: ColdLoad | None = Field(
        default=None, description="What sheddable loads draw more when they come back.", examples=[{"most_pu": 0.5}]
    )

    @property
    def takes(self) -> tuple[str, ...]:
        """Inputs that a control may drive."""
        return ("connected",) if self.sheddable else ()

    @model_validator(mode="after")
    def _comes_back_if_it_goes(self) -> Self:
        if self.cold_load is not None and not self.sheddable:
            raise ValueError("cold_load is of loads that are sheddable")
        return self


@remembers("_on", "_missed_pu")
class Shedding:
    """n loads. State: the share `w` of what they missed, and whether they are on."""

    def __init__(self, settings: Sheddable, count: int) -> None:
        self._cold = settings.cold_load
        self.is_possible = settings.sheddable
        self._missed_pu, self._on, self._instants = np.zeros(count), np.ones(count), Instants()

    def inputs(self, labels: tuple[str, ...]) -> dict[str, Port]:
        return {"connected": Port("1", labels)} if self.is_possible else {}

    def outputs(self, labels: tuple[str, ...]) -> dict[str, Port]:
        """What they would draw if they were all on, supplied, and not cold."""
        return {"demand_kw": Port("kW", labels)} if self.is_possible else {}

    def drawn(
        self, now_ns: int, p_kw: FloatArray, q_kvar: FloatArray, inputs: Values, demand_kw: FloatArray | None = None
    ) -> Mapping[str, FloatArray]:
        """Return the outputs of loads that draw these powers (n,) where they are on.

        demand_kw: (n,), what they ask for, where that is something else.
        """
        if not self.is_possible:
            return {"p_kw": p_kw, "q_kvar": q_kvar}
        self._pass(self._instants.passed_ns(now_ns) / 1e9)
        self._on = np.where(inputs["connected"] >= 0.5, 1.0, 0.0)
        most_pu = self._cold.most_pu if self._cold else 0.0
        factor = self._on * (1.0 + most_pu * self._missed_pu)
        asked_kw = p_kw if demand_kw is None else demand_kw
        return {"p_kw": p_kw * factor, "q_kvar": q_kvar * factor, "demand_kw": asked_kw}

    def _pass(self, passed_s: float) -> None:
        if self._cold is None or passed_s == 0.0:
            return
        tau_s = np.where(self._on > 0.0, self._cold.decays_s, self._cold.builds_s)
        end_pu = 1.0 - self._on
        self._missed_pu = end_pu + (self._missed_pu - end_pu) * np.exp(-passed_s / tau_s)


def all_on(count: int) -> Values:
    """Return the inputs of loads of which none is off."""
    return {"connected": np.ones(count)}
