"""Peak shaving of customers: each device keeps what its own site draws under a limit of its own.

    p_i >= load_i - (limit_i - margin)                       where that is positive
    p_i = -min(recharge_below_i - load_i, what it could draw)    where that is positive, if `recharges`

with the load of its site as it was measured last, without the device itself, positive when drawn. What earlier services
have of the sum of all powers stays: devices then charge less, or shave less. Later services may inject more at a site
whose peak is shaved, and may not draw it over its limit. Told is what each site drew when it was measured, the device
included: `site_net_kw`, and `site_net_pu` of its limit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray, Port, Values
from derloop.kind import PlaceError
from derloop.memory import remembers
from federates.control.vpp.dispatch import Dispatch
from federates.control.vpp.reading import Signal
from federates.control.vpp.service import Decides, Now, ServiceSettings, Stand
from federates.fleets import Problems

Limit = Annotated[float, Field(gt=0.0, le=1e9)]


class SitePeakShaving(ServiceSettings):
    """Keep what each customer draws under a limit."""

    kind: Literal["site-peak-shaving"] = Field(description="Which service.", examples=["site-peak-shaving"])
    member: str = Field(
        min_length=1, description="Fleet that has one device at each site.", examples=["shop_batteries"]
    )
    draws: tuple[Signal, ...] = Field(
        min_length=1,
        description="What sites draw, as federate.port with one element for each device of the fleet.",
        examples=[["shops.p_kw"]],
    )
    injects: tuple[Signal, ...] = Field(
        default=(), description="What sites inject besides, likewise.", examples=[["rooftops.p_kw"]]
    )
    limit_kw: Limit | tuple[Limit, ...] = Field(
        description="What each site may draw, kW: one for all, or one for each.", examples=[400.0, [400.0, 250.0]]
    )
    margin_pu: float = Field(
        default=0.02, ge=0.0, lt=1.0, description="How far below its limit to aim, pu of it.", examples=[0.02]
    )
    recharges: bool = Field(
        default=True, description="Devices recharge between peaks. False where another service decides on that."
    )
    recharge_below_pu: float = Field(
        default=0.8, gt=0.0, lt=1.0, description="Up to what a site draws for that, pu of its limit.", examples=[0.8]
    )

    @property
    def decides(self) -> tuple[Decides, ...]:  # type: ignore[override]
        return ("sites", "recharge") if self.recharges else ("sites",)

    @model_validator(mode="after")
    def _counts_each_power_once(self) -> Self:
        signals = (*self.draws, *self.injects)
        if len({*signals}) < len(signals):
            raise ValueError("a power is named twice in draws and injects")
        if (own := f"{self.member}.p_kw") in signals:
            raise ValueError(f"{own} is what shaves: sites draw and inject without it")
        return self

    @model_validator(mode="after")
    def _recharges_below_its_aim(self) -> Self:
        if self.recharge_below_pu > 1.0 - self.margin_pu:
            raise ValueError(f"recharge_below_pu makes a new peak: it is above 1 less margin_pu {self.margin_pu:g}")
        return self


@remembers("_net_kw")
class SitePeakShaver:
    """The service. It remembers nothing but what it tells."""

    def __init__(self, settings: SitePeakShaving, stand: Stand) -> None:
        _refuse(settings, stand)
        self._settings, fleets = settings, stand.fleets
        labels = fleets.labels[settings.member]
        first = sum(len(fleets.labels[name]) for name in fleets.names[: fleets.names.index(settings.member)])
        self._at = slice(first, first + len(labels))
        self._limit_kw = np.broadcast_to(np.asarray(settings.limit_kw, float), (len(labels),))
        signals = (*settings.draws, *settings.injects)
        self.inputs = {signal: Port("kW", labels, "before") for signal in signals}
        self.inputs |= {f"{signal.partition('.')[0]}.age_s": Port("s", labels, "before", 0.0) for signal in signals}
        self.outputs = {"site_net_kw": Port("kW", labels), "site_net_pu": Port("pu", labels)}
        self._net_kw: FloatArray = np.zeros(len(labels))

    def advance(self) -> None:
        """Nothing is remembered."""

    def serve(self, now: Now, dispatch: Dispatch) -> Dispatch:
        if now.is_deaf:
            return dispatch
        s = self._settings
        load_kw = np.sum([now.inputs[signal] for signal in s.draws], axis=0)
        load_kw = load_kw - np.sum([now.inputs[signal] for signal in s.injects], axis=0)
        self._net_kw = load_kw - now.members.p_kw[self._at]
        floor_kw = np.full(dispatch.p_kw.shape, -np.inf)
        floor_kw[self._at] = load_kw - (1.0 - s.margin_pu) * self._limit_kw
        low_kw = np.clip(floor_kw, dispatch.low_kw, dispatch.high_kw)
        wanted_kw = np.maximum(dispatch.p_kw, low_kw)
        if s.recharges:
            wanted_kw[self._at] = np.minimum(wanted_kw[self._at], self._recharged_kw(load_kw, wanted_kw[self._at]))
        served = replace(dispatch, low_kw=low_kw).moved(wanted_kw - dispatch.p_kw)
        served = replace(served.toward(served.total_kw), low_kw=dispatch.low_kw)
        served = served.toward(served.total_kw)  # where only sites with a peak are left to keep what others have
        return replace(served, low_kw=np.minimum(low_kw, served.p_kw))

    def told(self) -> Values:
        return {"site_net_kw": self._net_kw, "site_net_pu": self._net_kw / self._limit_kw}

    def _recharged_kw(self, load_kw: FloatArray, wanted_kw: FloatArray) -> FloatArray:
        room_kw = self._settings.recharge_below_pu * self._limit_kw - load_kw
        return np.where(room_kw > 0.0, -room_kw, wanted_kw)


def _refuse(settings: SitePeakShaving, stand: Stand) -> None:
    """Raise PlaceError with what does not fit together."""
    problems: Problems = []
    labels = stand.fleets.labels.get(settings.member)
    if labels is None:
        possible = ", ".join(stand.fleets.names)
        raise PlaceError([((*stand.path, "member"), f"{settings.member!r} is no member; members are {possible}")])
    for key in ("draws", "injects"):
        for i, signal in enumerate(getattr(settings, key)):
            there = stand.context.labels.get(signal.partition(".")[0])
            if there is not None and len(there) != len(labels):
                what = f"{signal!r} has {len(there)} elements, and {settings.member!r} has {len(labels)} devices"
                problems.append(((*stand.path, key, i), what))
    if isinstance(settings.limit_kw, tuple) and len(settings.limit_kw) != len(labels):
        what = f"{len(settings.limit_kw)} limits for {len(labels)} devices of {settings.member!r}"
        problems.append(((*stand.path, "limit_kw"), what))
    if problems:
        raise PlaceError(problems)
