"""Demand response with incentives: in a call, the plant gives what it offered, and is paid for what it gave.

    delivered += h min(max(measured, 0), offered)        paid = incentive delivered - penalty (called - delivered)

in kWh and money, with what was measured of members for the step that ends now, less what another service deployed.
The plant answers every call, and calls that would not pay are refused: `incentive_per_kwh` and the `penalty_per_kwh`
that it spares are together more than `cost_per_kwh`, which is what a kWh costs it to replace and in wear. Before a call
it is left to other services to have energy in store; with `prepares_h` the members charge before a call begins, with
what is left of them.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import Port, Values
from derloop.memory import remembers
from derloop.texts import Currency
from federates.control.vpp.calls import NS_PER_S, Calls, called_pu, refuse_unheard
from federates.control.vpp.dispatch import Dispatch
from federates.control.vpp.service import Decides, Now, ServiceSettings, Stand


class Called(ServiceSettings):
    """Give power when called, for an incentive."""

    decides: ClassVar[tuple[Decides, ...]] = ()
    kind: Literal["demand-response"] = Field(description="Which service.", examples=["demand-response"])
    offered_kw: float = Field(gt=0.0, le=1e9, description="What is given in a call, kW.", examples=[300.0])
    calls: Calls = Field(min_length=1, description="When.", examples=[[{"begins_s": 61200, "lasts_s": 7200}]])
    incentive_per_kwh: float = Field(ge=0.0, le=1e4, description="Paid for each kWh given.", examples=[0.5])
    penalty_per_kwh: float = Field(
        default=0.0, ge=0.0, le=1e4, description="Owed for each kWh called and not given.", examples=[0.2]
    )
    cost_per_kwh: float = Field(default=0.0, ge=0.0, le=1e4, description="What a kWh costs the plant.", examples=[0.15])
    currency: Currency = Field(default="USD", description="ISO 4217 code of its money.", examples=["EUR"])
    prepares_h: float = Field(
        default=0.0, ge=0.0, le=24.0, description="How long before a call members charge, h.", examples=[4.0]
    )

    @model_validator(mode="after")
    def _pays_its_cost(self) -> Self:
        if self.incentive_per_kwh + self.penalty_per_kwh <= self.cost_per_kwh:
            what = f"incentive_per_kwh {self.incentive_per_kwh:g} and penalty_per_kwh {self.penalty_per_kwh:g}"
            raise ValueError(f"{what} do not cover cost_per_kwh {self.cost_per_kwh:g}: no call would be answered")
        return self


class _State(NamedTuple):
    called_kw: float = 0.0
    called_kwh: float = 0.0
    delivered_kwh: float = 0.0


@remembers("_held", "_latest")
class Answerer:
    """The service. State: what was called and delivered."""

    def __init__(self, settings: Called, stand: Stand) -> None:
        refuse_unheard(settings.calls, (*stand.path, "calls"), stand.step_ns)
        self._settings, self._step_h = settings, stand.step_h
        self._held = self._latest = _State()
        self.inputs: dict[str, Port] = {}
        labels = (stand.context.name,)
        self.outputs = {"called_kw": Port("kW", labels), "delivered_kwh": Port("kWh", labels)}
        self.outputs["paid"] = Port(settings.currency, labels)

    def advance(self) -> None:
        self._held = self._latest

    def serve(self, now: Now, dispatch: Dispatch) -> Dispatch:
        s, held = self._settings, self._held
        given_kw = min(max(float(now.members.p_kw.sum()) - now.deployed_kw, 0.0), held.called_kw)
        called_kw = s.offered_kw * called_pu(s.calls, now.time_ns)
        called_kwh = held.called_kwh + held.called_kw * self._step_h
        self._latest = _State(called_kw, called_kwh, held.delivered_kwh + given_kw * self._step_h)
        if called_kw > 0.0:
            return dispatch.toward(max(called_kw, dispatch.total_kw), hours=now.hours).settled()
        if self._prepares(now.time_ns):
            return dispatch.toward(-np.inf, hours=now.hours).settled()
        return dispatch

    def told(self) -> Values:
        s, latest = self._settings, self._latest
        owed = s.penalty_per_kwh * (latest.called_kwh - latest.delivered_kwh)
        told = (latest.called_kw, latest.delivered_kwh, s.incentive_per_kwh * latest.delivered_kwh - owed)
        return {name: np.array([value]) for name, value in zip(self.outputs, told, strict=True)}

    def _prepares(self, now_ns: int) -> bool:
        ahead_s = [call.begins_s - now_ns / NS_PER_S for call in self._settings.calls]
        return any(0.0 < left_s <= self._settings.prepares_h * 3600.0 for left_s in ahead_s)
