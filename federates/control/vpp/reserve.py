"""Reserve: headroom and energy that are held back, and deployed when they are called.

`up_kw` to inject more, `down_kw` to draw more, each for `lasts_h`: of the headroom, each device holds a part in
proportion to what it has, and later services leave the stored energy that gives `up_kw lasts_h`, with its losses, and
the room that takes `down_kw lasts_h`, but for what devices without a store hold. In a call its share is deployed on top
of what is asked otherwise. `reserve_lacking_kw` is the part that members could not hold: for want of headroom, or,
outside of calls, of energy for `lasts_h`; `reserve_deployed_kw` is what is deployed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray, Port, Values
from derloop.memory import remembers
from federates.control.vpp.calls import Calls, called_pu, refuse_unheard
from federates.control.vpp.dispatch import Dispatch, share
from federates.control.vpp.service import Decides, Now, ServiceSettings, Stand


class Reserve(ServiceSettings):
    """Hold power back, and deploy it on call."""

    decides: ClassVar[tuple[Decides, ...]] = ("headroom",)
    kind: Literal["reserve"] = Field(description="Which service.", examples=["reserve"])
    up_kw: float = Field(default=0.0, ge=0.0, le=1e9, description="Held to inject more, kW.", examples=[200.0])
    down_kw: float = Field(default=0.0, ge=0.0, le=1e9, description="Held to draw more, kW.", examples=[0.0])
    lasts_h: float = Field(
        default=1.0, ge=0.0, le=24.0, description="For how long energy is held for it, h.", examples=[1.0]
    )
    up_calls: Calls = Field(
        default=(), description="When more injection is called.", examples=[[{"begins_s": 61200, "lasts_s": 1800}]]
    )
    down_calls: Calls = Field(
        default=(), description="When more drawing is called.", examples=[[{"begins_s": 43200, "lasts_s": 1800}]]
    )

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        if self.up_kw == self.down_kw == 0.0:
            raise ValueError("up_kw or down_kw must be greater than 0: nothing would be held")
        for calls, held_kw, what in ((self.up_calls, self.up_kw, "up"), (self.down_calls, self.down_kw, "down")):
            if calls and held_kw == 0.0:
                raise ValueError(f"{what}_calls call what is not held: {what}_kw is 0")
        return self


class _State(NamedTuple):
    reserve_deployed_kw: float = 0.0
    reserve_lacking_kw: float = 0.0


@remembers("_told")
class Reserver:
    """The service. It remembers nothing."""

    def __init__(self, settings: Reserve, stand: Stand) -> None:
        refuse_unheard(settings.up_calls, (*stand.path, "up_calls"), stand.step_ns)
        refuse_unheard(settings.down_calls, (*stand.path, "down_calls"), stand.step_ns)
        self._settings, self._stand = settings, stand
        self._told = _State()
        self.inputs: dict[str, Port] = {}
        self.outputs = {name: Port("kW", (stand.context.name,)) for name in _State._fields}

    def advance(self) -> None:
        """Nothing is remembered."""

    def serve(self, now: Now, dispatch: Dispatch) -> Dispatch:
        s, eta = self._settings, self._stand.efficiency_pu
        stores = now.members.soc_pu >= 0.0
        able_up = ~stores | (now.members.discharging_kwh > 0.0)
        up_kw = share(s.up_kw, np.where(able_up, np.maximum(dispatch.high_kw - dispatch.p_kw, 0.0), 0.0))
        down_kw = share(min(s.down_kw, dispatch.room_kw), np.maximum(dispatch.p_kw - dispatch.low_kw, 0.0))
        up_pu, down_pu = called_pu(s.up_calls, now.time_ns), called_pu(s.down_calls, now.time_ns)
        deployed_kw = up_pu * up_kw - down_pu * down_kw
        has_kw = self._lasting_kw(up_kw, now.members.discharging_kwh * eta, now, up_pu)
        has_kw += self._lasting_kw(down_kw, now.members.charging_kwh / eta, now, down_pu)
        lacking_kw = s.up_kw + s.down_kw - has_kw
        self._told = _State(float(deployed_kw.sum()), lacking_kw)
        kept = dispatch.kept(up_kw, down_kw, deployed_kw)
        kept_kwh = kept.kept_kwh + (s.up_kw - float(up_kw[~stores].sum())) * s.lasts_h / eta
        room_kwh = kept.kept_room_kwh + (s.down_kw - float(down_kw[~stores].sum())) * s.lasts_h * eta
        least_kw, most_kw = self._reach_kw(now, kept_kwh, room_kwh)
        high_kw = np.minimum(kept.high_kw, np.maximum(kept.p_kw, most_kw))
        low_kw = np.maximum(kept.low_kw, np.minimum(kept.p_kw, least_kw))
        return replace(kept, kept_kwh=kept_kwh, kept_room_kwh=room_kwh, low_kw=low_kw, high_kw=high_kw)

    def _lasting_kw(self, held_kw: FloatArray, energy_kwh: FloatArray, now: Now, is_called_pu: float) -> float:
        """Return how much of what is held (n,) energy (n,) lasts for; in a call, which takes of it, all."""
        lasts_h, is_known = self._settings.lasts_h, now.members.size_kwh > 0.0
        if is_called_pu > 0.0 or lasts_h == 0.0:
            return float(held_kw.sum())
        lasting_kw = min(float(held_kw[is_known].sum()), float(energy_kwh[is_known].sum()) / lasts_h)
        return lasting_kw + float(held_kw[~is_known].sum())

    def _reach_kw(self, now: Now, kept_kwh: float, room_kwh: float) -> tuple[FloatArray, FloatArray]:
        """Return the powers (n,) with which stores, in proportion, fill to `room_kwh` and empty to `kept_kwh`."""
        members, stand = now.members, self._stand
        given_kwh = _beyond(members.discharging_kwh, kept_kwh)
        taken_kwh = _beyond(members.charging_kwh, room_kwh)
        is_known, eta, held_h = members.size_kwh > 0.0, stand.efficiency_pu, stand.fleets.held_h
        least_kw = np.where(is_known, -taken_kwh / eta / held_h, -np.inf)
        return least_kw, np.where(is_known, given_kwh * eta / held_h, np.inf)

    def told(self) -> Values:
        return {name: np.array([value]) for name, value in self._told._asdict().items()}


def _beyond(energy_kwh: FloatArray, kept_kwh: float) -> FloatArray:
    """Return of each energy (n,) its part of what they are together beyond what is kept."""
    all_kwh = float(energy_kwh.sum())
    return energy_kwh * (max(1.0 - kept_kwh / all_kwh, 0.0) if all_kwh > 0.0 else 0.0)
