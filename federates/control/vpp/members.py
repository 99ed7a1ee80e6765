"""Members: what a virtual power plant hears of the devices of its fleets, and what these may be asked for.

A device that is silent, of which nothing was heard for `silent_after_s`, or since the run began, is asked to rest, and
is part of the load: nothing is taken from what it last said. Of the others, nobody is asked for more than it says that
it can do now: a battery keeps its reserve for backup, a car what it needs for its departure (p_max_kw is then
negative), as their kinds know. An empty store that was never heard otherwise takes as much as it says it can draw for a
step: how much more it holds shows once it has something. What owners and the plant agreed besides (`preferences`)
narrows that further. The settings of a kind tell the window of state of charge that its devices keep to, with
`window_pu`: energy counts from its edges. What was heard is from the last instant, or as old as its age says, which
over a perfect link is that same step; the power that was heard has taken its energy since then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, model_validator

from derloop.contract import FloatArray, Port, Values
from derloop.errors import did_you_mean
from derloop.kind import Context, PlaceError, Settings
from derloop.memory import remembers
from federates.fleets import Problems

MEASURED = {"p_kw": "kW", "p_max_kw": "kW", "p_min_kw": "kW"}
"""What every member must tell, with its unit."""
OPTIONAL = {"soc_pu": "pu", "stored_kwh": "kWh"}
"""What it may tell besides."""
UNTOLD = -1.0
LEAST_PU = 1e-6
"""State of charge below which it cannot be told what a store holds."""
SET = "p_set_kw"
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200)]


# --- settings ----------------------------------------------------------------------------------------


class Members(Settings):
    """Which fleets take part: those that fit in all that is said."""

    names: tuple[Pattern, ...] = Field(
        default=("*",), min_length=1, description="Patterns of fleets' names.", examples=[["batteries", "ev_*"]]
    )
    kinds: tuple[Pattern, ...] = Field(
        default=("*",), min_length=1, description="Patterns of their kinds.", examples=[["battery"]]
    )
    buses: tuple[Pattern, ...] = Field(
        default=("*",),
        min_length=1,
        description="Patterns of the buses at which all of a fleet's devices stand.",
        examples=[["67*"]],
    )


class Preferences(Settings):
    """What was agreed with the owners of some fleets, besides what their devices keep to by themselves."""

    members: tuple[Pattern, ...] = Field(
        default=("*",), min_length=1, description="Patterns of the fleets' names.", examples=[["homes_*"]]
    )
    reserve_soc_pu: float = Field(
        default=0.0, ge=0.0, le=1.0, description="State of charge below which nobody is discharged.", examples=[0.3]
    )
    top_soc_pu: float = Field(
        default=1.0, ge=0.0, le=1.0, description="State of charge above which nobody is charged.", examples=[0.9]
    )
    share_pu: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Share of each device's power that may be used.", examples=[0.8]
    )

    @model_validator(mode="after")
    def _is_a_window(self) -> Self:
        if self.reserve_soc_pu >= self.top_soc_pu:
            what = f"{self.reserve_soc_pu:g} must be less than top_soc_pu {self.top_soc_pu:g}"
            raise ValueError(f"reserve_soc_pu {what}")
        return self


# --- what is heard of them ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """What n devices, member after member, told last: each (n,). Powers are positive when injected."""

    p_kw: FloatArray
    """0 of silent ones."""
    low_kw: FloatArray
    high_kw: FloatArray
    soc_pu: FloatArray
    """-1 of those that have no store, or do not tell."""
    discharging_kwh: FloatArray
    """What could be given, at the device's terminals; 0 where it is not known."""
    charging_kwh: FloatArray
    """What could be taken, at the device's terminals; 0 where it is not known."""
    rated_kw: FloatArray
    """The larger of what could be injected and drawn now: what a plan counts on for later."""
    discharges: NDArray[np.bool_]
    """Who may be discharged at all."""
    is_heard: NDArray[np.bool_]
    now_pu: FloatArray
    """State of charge, less what was given since it was heard."""
    size_kwh: FloatArray
    """What each store holds; 0 where it is not known."""

    def reach_kw(
        self, reserve_pu: FloatArray | float, top_pu: FloatArray | float, held_h: FloatArray, efficiency_pu: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return the powers (n,) that bring stores up to `top_pu`, and down to `reserve_pu`, in `held_h` (n,).

        Without end where it is not known what they hold.
        """
        is_known = self.size_kwh > 0.0
        up_kwh, down_kwh = np.maximum([top_pu - self.now_pu, self.now_pu - reserve_pu], 0.0) * self.size_kwh
        least_kw, most_kw = -up_kwh / efficiency_pu / held_h, down_kwh * efficiency_pu / held_h
        return np.where(is_known, least_kw, -np.inf), np.where(is_known, most_kw, np.inf)

    def within_kwh(self, reserve_pu: float, top_pu: float) -> tuple[float, float]:
        """Return what all of them could give above `reserve_pu`, and then take up to `top_pu`."""
        above_pu, room_pu = self.now_pu - reserve_pu, top_pu - np.maximum(self.now_pu, reserve_pu)
        above_kwh, room_kwh = np.maximum([above_pu, room_pu], 0.0) * self.size_kwh
        given_kwh = np.minimum(self.discharging_kwh, above_kwh)
        taken_kwh = np.where(self.size_kwh > 0.0, np.minimum(self.charging_kwh, room_kwh), self.charging_kwh)
        return float(given_kwh.sum()), float(taken_kwh.sum())

    @property
    def charge_kw(self) -> float:
        """What all of them could draw, as a plan counts on it: those without a store what they can now, engines 0."""
        return float(np.where(self.soc_pu < 0.0, np.maximum(-self.low_kw, 0.0), self.rated_kw).sum())

    @property
    def discharge_kw(self) -> float:
        """What all of them could inject, as a plan counts on it."""
        return float(self.rated_kw[self.discharges].sum())


@remembers("_told_kwh")
class Fleets:
    """The members, as ports and vectors."""

    def __init__(
        self,
        names: Sequence[str],
        preferences: Sequence[Preferences],
        silent_after_s: float,
        context: Context,
        step_h: float,
        efficiency_pu: float,
    ) -> None:
        """step_h: of the plant. efficiency_pu: of charging, and of discharging, as it takes it."""
        if problems := _agreed_with_nobody(preferences, names):
            raise PlaceError(problems)
        self.names = tuple(names)
        self.labels = {name: context.labels[name] for name in names}
        self.size = sum(map(len, self.labels.values()))
        self._edges = np.cumsum([len(self.labels[name]) for name in names])[:-1]
        self.silent_after_s = silent_after_s
        agreed = [_agreed(name, preferences) for name in names]
        own = [getattr(context.settings.get(name), "window_pu", (0.0, 1.0)) for name in names]
        self._reserve_pu = self.each([max(p.reserve_soc_pu, low) for p, (low, _) in zip(agreed, own, strict=True)])
        self._top_pu = self.each([min(p.top_soc_pu, top) for p, (_, top) in zip(agreed, own, strict=True)])
        self._is_agreed = (
            self.each([p.reserve_soc_pu > low for p, (low, _) in zip(agreed, own, strict=True)]) > 0.0,
            self.each([p.top_soc_pu < top for p, (_, top) in zip(agreed, own, strict=True)]) > 0.0,
        )
        """Whose (n,) reserve, and whose top, the devices do not keep to by themselves."""
        self._efficiency_pu = efficiency_pu
        self._share_pu = self.each([p.share_pu for p in agreed])
        self._told_kwh = np.zeros(self.size)
        self._step_s = self.each([_step_s(name, context) for name in names])
        self.held_h = np.maximum(step_h, self._step_s / 3600.0)
        """For how long (n,) a device holds what it is told, at least: a step of the plant's, or of its own."""

    @property
    def inputs(self) -> dict[str, Port]:
        """What is read of them; arrives as it was at the last instant, or later."""
        ports: dict[str, Port] = {}
        for member, labels in self.labels.items():
            ports |= {f"{member}.{port}": Port(unit, labels, "before") for port, unit in MEASURED.items()}
            ports |= {f"{member}.{port}": Port(unit, labels, "before", UNTOLD) for port, unit in OPTIONAL.items()}
            ports[f"{member}.age_s"] = Port("s", labels, "before", 0.0)
        return ports

    @property
    def outputs(self) -> dict[str, Port]:
        return {f"{m}.{SET}": Port("kW", self.labels[m]) for m in self.names}

    def each(self, of_member: Sequence[float]) -> FloatArray:
        """Return one value of each member as one of each device (n,)."""
        return np.repeat(np.asarray(of_member, float), [len(self.labels[name]) for name in self.names])

    def gathered(self, inputs: Values, port: str) -> FloatArray:
        """Return what all members tell on a port (n,)."""
        return np.concatenate([inputs[f"{m}.{port}"] for m in self.names])

    def parted(self, setpoints_kw: FloatArray) -> dict[str, FloatArray]:
        """Return the setpoints of all devices (n,), kW, by the port of their member."""
        return {f"{m}.{SET}": v for m, v in zip(self.names, np.split(setpoints_kw, self._edges), strict=True)}

    def measured(self, inputs: Values, run_s: float = np.inf) -> Measured:
        """Return what was heard, within what silence and preferences leave of it. run_s: how long the run lasts."""
        heard = self.gathered(inputs, "age_s") <= min(self.silent_after_s, run_s)
        soc_pu = self.gathered(inputs, "soc_pu")
        stores = heard & (soc_pu >= 0.0)
        low, high = self._shared(self.gathered(inputs, "p_min_kw"), self.gathered(inputs, "p_max_kw"))
        high = np.where(stores & (soc_pu <= self._reserve_pu), np.minimum(high, np.maximum(low, 0.0)), high)
        low = np.where(stores & (soc_pu >= self._top_pu), np.maximum(low, np.minimum(high, 0.0)), low)
        size_kwh = self._size_kwh(inputs, soc_pu, stores)
        p_kw = np.where(heard, self.gathered(inputs, "p_kw"), 0.0)
        of_store_kw = np.where(p_kw > 0.0, p_kw / self._efficiency_pu, p_kw * self._efficiency_pu)
        since_kwh = of_store_kw * np.maximum(self._step_s, self.gathered(inputs, "age_s")) / 3600.0
        now_pu = np.clip(soc_pu - _over(since_kwh, size_kwh), 0.0, 1.0)
        is_unknown = stores & (size_kwh == 0.0) & (self.gathered(inputs, "stored_kwh") >= 0.0)
        least_kwh = np.maximum(-low, 0.0) * self._step_s / 3600.0 * self._efficiency_pu
        told = Measured(
            p_kw,
            np.where(heard, low, 0.0),
            np.where(heard, high, 0.0),
            soc_pu,
            np.maximum(now_pu - self._reserve_pu, 0.0) * size_kwh,
            np.where(is_unknown, least_kwh, np.maximum(self._top_pu - now_pu, 0.0) * size_kwh),
            np.where(heard, np.maximum(high, -low), 0.0),
            self._reserve_pu < self._top_pu,
            heard,
            now_pu,
            size_kwh,
        )
        return self._as_agreed(told)

    def _shared(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the share of low and high (n,) that may be used, and what devices must do anyway, whole."""
        rest, least, most = np.clip(0.0, low, np.maximum(low, high)), self._share_pu * low, self._share_pu * high
        return np.minimum(np.maximum(low, least), rest), np.maximum(np.minimum(high, most), rest)

    def _as_agreed(self, told: Measured) -> Measured:
        """Return it with no more power than leads to what was agreed by the next step."""
        reserves, tops = self._is_agreed
        least_kw, most_kw = told.reach_kw(self._reserve_pu, self._top_pu, self.held_h, self._efficiency_pu)
        high = np.where(reserves, np.minimum(told.high_kw, np.maximum(told.low_kw, most_kw)), told.high_kw)
        low = np.where(tops, np.maximum(told.low_kw, np.minimum(told.high_kw, least_kw)), told.low_kw)
        return replace(told, low_kw=low, high_kw=high)

    def _size_kwh(self, inputs: Values, soc_pu: FloatArray, stores: NDArray[np.bool_]) -> FloatArray:
        """Return what each can hold (n,): as it told last, for an empty store does not say how large it is."""
        stored_kwh = self.gathered(inputs, "stored_kwh")
        tells = stores & (stored_kwh > 0.0) & (soc_pu > LEAST_PU)
        self._told_kwh = np.where(tells, _over(stored_kwh, np.where(tells, soc_pu, 1.0)), self._told_kwh)
        return np.where(stores, self._told_kwh, 0.0)


def _over(values: FloatArray, by: FloatArray) -> FloatArray:
    """Return values (n,) over others, 0 where these are not positive."""
    return np.divide(values, by, out=np.zeros(values.shape), where=by > 0.0)


def _step_s(name: str, context: Context) -> float:
    """Return the time from one step of a fleet to the next."""
    own: float | None = getattr(context.settings.get(name), "step_s", None)
    return context.step_ns / 1e9 if own is None else own


def _agreed(name: str, preferences: Sequence[Preferences]) -> Preferences:
    """Return the first preferences that are for a fleet."""
    found = (p for p in preferences if any(fnmatchcase(name, pattern) for pattern in p.members))
    return next(found, Preferences())


def _agreed_with_nobody(preferences: Sequence[Preferences], names: Sequence[str]) -> Problems:
    return [
        (("preferences", i, "members", k), f"no member is called {pattern!r}" + did_you_mean(pattern, names))
        for i, agreed in enumerate(preferences)
        for k, pattern in enumerate(agreed.members)
        if not any(fnmatchcase(name, pattern) for name in names)
    ]
