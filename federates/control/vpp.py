"""A virtual power plant: sets the powers of its members, so that together they do the feeder a service.

Members are fleets of devices that take `p_set_kw`: batteries, whether models, emulated or real. Powers of members are
positive when injected; the feeder's head is positive when drawn from the bulk system.

Peak shaving. At each step, from what was measured at the last instant:

    load = head + sum p                   what the feeder would draw, losses included, if the members rested
    high = the highest load of the last hold_s
    need = high - (limit - margin) + I    to be injected, where high is above limit - margin
    room = recharge_below - high          to be drawn, where that is positive

The hold keeps a load that comes and goes with the clouds from passing the limit each time that it comes back.

`need` is shared in proportion to what each device could inject now, `p_max`, and `room` in proportion to
what it could draw, `-p_min`. So no device is asked for more than it can do, and while charging the head stays at
`recharge_below`, which is less than the limit, or below it: recharging makes no new peak unless the load alone rises
by their difference within one step.
Devices at or below `reserve_soc_pu` are not discharged, those at or above `recharge_to_soc_pu` are not charged.
If neither is needed, all setpoints are 0; at the first step too, before which nothing was measured.

`I` makes up for members that do other than asked:

    I(t) = max(0, I(t-) + gain (head - (limit - margin)))

with the measured head, from the second step of shaving on. While all of the capability is in use it does not grow,
and it is 0 when shaving begins.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, PlaceError, Settings
from federates.der import Stepped
from federates.fleets import named, untaken

MEASURED = {"p_kw": "kW", "soc_pu": "pu", "p_max_kw": "kW", "p_min_kw": "kW"}
"""What is read from each member, with its unit."""


class PeakShaving(Settings):
    """Keep what the feeder draws under a limit."""

    kind: Literal["peak-shaving"] = Field(description="Which service.", examples=["peak-shaving"])
    limit_kw: float = Field(
        gt=0.0, le=1e9, description="What the feeder may draw from the bulk system, kW.", examples=[3000.0]
    )
    reads: str = Field(
        default="grid.head_kw",
        pattern=r"^[^.\s]+\.[^\s]+$",
        description="Measurement of what the feeder draws, as federate.port.",
        examples=["grid.head_kw"],
    )
    margin_kw: float | None = Field(
        default=None, ge=0.0, description="How far below the limit to aim, kW. Without it, 1 % of it.", examples=[20.0]
    )
    recharge_below_kw: float | None = Field(
        default=None,
        description="Members recharge while the feeder draws less than this, and up to it, kW. "
        "Without it, 80 % of the limit.",
        examples=[2200.0],
    )
    reserve_soc_pu: float = Field(
        default=0.0, ge=0.0, le=1.0, description="State of charge below which nobody discharges.", examples=[0.2]
    )
    recharge_to_soc_pu: float = Field(
        default=1.0, ge=0.0, le=1.0, description="State of charge from which on nobody charges.", examples=[0.9]
    )
    gain: float = Field(
        default=0.2,
        ge=0.0,
        le=1.0,
        description="Share of an excess over the aim that is added to what is asked, in each step.",
        examples=[0.2],
    )

    hold_s: float = Field(
        default=600.0,
        ge=0.0,
        le=86400.0,
        description="How long a load counts after it was measured, s: the highest one decides, as it may come back.",
        examples=[600.0],
    )

    @property
    def aim_kw(self) -> float:
        """What the feeder is made to draw at a peak, kW."""
        return self.limit_kw - (0.01 * self.limit_kw if self.margin_kw is None else self.margin_kw)

    @property
    def recharge_kw(self) -> float:
        """What the feeder is made to draw at most while members recharge, kW."""
        return 0.8 * self.limit_kw if self.recharge_below_kw is None else self.recharge_below_kw

    @model_validator(mode="after")
    def _recharges_below_its_aim(self) -> Self:
        if self.recharge_kw > self.aim_kw:
            what = f"{self.recharge_kw:g} is above limit_kw less margin_kw, {self.aim_kw:g}"
            raise ValueError(f"recharging would make a new peak: recharge_below_kw {what}")
        return self


class VppSettings(Stepped):
    """A virtual power plant."""

    service: PeakShaving = Field(
        description="What it does for the feeder.",
        examples=[{"kind": "peak-shaving", "limit_kw": 3000.0, "reads": "grid.head_kw"}],
    )
    members: tuple[str, ...] = Field(
        min_length=1, description="Names of the fleets that it commands.", examples=[["batteries", "inverters"]]
    )


class _Fleet(NamedTuple):
    """What the members, one after the other, measured at the last instant: each (n,)."""

    p_kw: FloatArray
    soc_pu: FloatArray
    p_max_kw: FloatArray
    p_min_kw: FloatArray


class _State(NamedTuple):
    """What one step leaves to the next."""

    loads_kw: tuple[float, ...] = ()
    """As measured, no further back than they are held."""
    integral_kw: float | None = None
    """None while no shaving is needed."""


class Vpp:
    """A virtual power plant. State: as the last instant left it, and as this one does."""

    def __init__(self, settings: VppSettings, context: Context) -> None:
        _check_members(settings, context)
        self._service, self._members = settings.service, settings.members
        labels = {member: context.labels[member] for member in settings.members}
        self._edges = np.cumsum([len(labels[member]) for member in settings.members])[:-1]
        self._idle = np.zeros(sum(map(len, labels.values())))
        self._first_ns: int | None = None
        self._now_ns: int | None = None
        self._held = self._latest = _State()
        inputs = {settings.service.reads: Port("kW", (settings.service.reads,), "before")}
        for member in settings.members:
            ports = {f"{member}.{port}": Port(unit, labels[member], "before") for port, unit in MEASURED.items()}
            inputs |= ports
        self._holds = 1 + int(settings.service.hold_s * 1e9) // settings.step_ns(context)
        outputs = {f"{member}.p_set_kw": Port("kW", labels[member]) for member in settings.members}
        totals = {name: Port("kW", (context.name,)) for name in ("target_kw", "limit_kw", "baseline_kw")}
        self._interface = Interface(settings.step_ns(context), inputs, outputs | totals)

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self._outputs(self._idle)

    def step(self, now_ns: int, inputs: Values) -> Values:
        if self._first_ns is None or now_ns == self._first_ns:
            self._first_ns = now_ns
            return self._outputs(self._idle)
        if now_ns != self._now_ns:
            self._now_ns, self._held = now_ns, self._latest
        return self._outputs(self._setpoints_kw(float(inputs[self._service.reads][0]), self._measured(inputs)))

    def stop(self) -> None:
        pass

    def _measured(self, inputs: Values) -> _Fleet:
        return _Fleet(*(np.concatenate([inputs[f"{m}.{port}"] for m in self._members]) for port in MEASURED))

    def _setpoints_kw(self, head_kw: float, fleet: _Fleet) -> FloatArray:
        service = self._service
        loads_kw = (*self._held.loads_kw, head_kw + float(fleet.p_kw.sum()))[-self._holds :]
        load_kw = max(loads_kw)
        can_inject = np.where(fleet.soc_pu > service.reserve_soc_pu, np.maximum(fleet.p_max_kw, 0.0), 0.0)
        integral_kw = self._integral_kw(load_kw, head_kw, float(can_inject.sum()))
        self._latest = _State(loads_kw, integral_kw)
        if integral_kw is not None:
            return share(load_kw - service.aim_kw + integral_kw, can_inject)
        can_draw = np.where(fleet.soc_pu < service.recharge_to_soc_pu, np.maximum(-fleet.p_min_kw, 0.0), 0.0)
        return -share(service.recharge_kw - load_kw, can_draw)

    def _integral_kw(self, load_kw: float, head_kw: float, most_kw: float) -> float | None:
        """Return what is added to the need, None if there is no need."""
        aim_kw, held_kw = self._service.aim_kw, self._held.integral_kw
        if load_kw <= aim_kw:
            return None
        if held_kw is None:
            return 0.0
        moved_kw = held_kw + self._service.gain * (head_kw - aim_kw)
        is_full = load_kw - aim_kw + held_kw >= most_kw
        return max(min(moved_kw, held_kw) if is_full else moved_kw, 0.0)

    def _outputs(self, setpoints_kw: FloatArray) -> Values:
        """Return what members are asked for, and what the feeder would have drawn of late without them."""
        latest = self._latest.loads_kw
        outputs = {f"{m}.p_set_kw": p for m, p in zip(self._members, np.split(setpoints_kw, self._edges), strict=True)}
        outputs["target_kw"] = np.array([setpoints_kw.sum()])
        outputs["limit_kw"] = np.array([self._service.limit_kw])
        outputs["baseline_kw"] = np.array([latest[-1] if latest else 0.0])
        return outputs


def share(total_kw: float, can_kw: FloatArray) -> FloatArray:
    """Return `total_kw` shared in proportion to `can_kw` (n,), no more than that each; 0 for a negative total."""
    most_kw = float(can_kw.sum())
    if total_kw <= 0.0 or most_kw <= 0.0:
        return np.zeros(can_kw.shape)
    return can_kw * min(total_kw / most_kw, 1.0)


def _check_members(settings: VppSettings, context: Context) -> None:
    problems = named(settings.members, ("members",), context)
    for i, member in enumerate(settings.members):
        if what := untaken(member, "p_set_kw", context):
            problems.append((("members", i), what))
    if problems:
        raise PlaceError(problems)


KIND = Kind("vpp", "A virtual power plant that commands fleets", VppSettings, Vpp)
