"""Deferrable appliances: each has to run its cycle between the time it is ready and its deadline.

Powers are positive when drawn. On each day, with the probability `runs_pu`, an appliance is ready at an hour that is
drawn (uniform) from `ready_h` and has to be done by `deadline_h`; hours count from local midnight of that day. A cycle
that has begun is not interrupted, unless its feeder has no voltage: it goes on when that is back. It begins

- `at-once`: at the first step after it is ready;
- `latest`: at the last step from which it can be done in time;
- `commanded`: at the first step at which the input `allow` is 0.5 or more, and at the last one even if it is not.

Steps in which a cycle cannot be done by its deadline are refused.

The cycle is a list of powers, pu of rated kVA times power factor, each for `cycle_step_s`. With its energy `W(s)` up to
`s` after its begin `t_0`, the power that is returned at `t` is its mean until the next step,
`p = (W(t + h - t_0) - W(t - t_0)) / h`: a cycle takes its energy exactly, whatever the step.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, PlaceError, Terminal
from derloop.memory import remembers
from federates.der import Stepped
from federates.der.clock import Clock
from federates.der.instants import Instants
from federates.der.placement import At, Size, Spot, stream
from federates.der.plain import are_powered, place_drawing, tan_phi, voltage_ports

NEVER: Final = np.iinfo(np.int64).max // 4
IntArray = NDArray[np.int64]
_Hour = Annotated[float, Field(ge=0.0, le=48.0)]
_Share = Annotated[float, Field(ge=0.0, le=1.0)]


class ApplianceSettings(Stepped):
    """A fleet of appliances that can wait."""

    at: At[Spot] = Field(
        description="Where the appliances stand: a list of places, or a spread.",
        examples=[{"count": 40, "on": "loads"}, [{"bus": "645.2", "rated_kva": 2.2}]],
    )
    rated_kva: Size | None = Field(
        default=None,
        description="Apparent power of each appliance, kVA: a number, or [min, max] to draw from.",
        examples=[2.2],
    )
    pf: float = Field(default=0.98, gt=0.0, le=1.0, description="Power factor, lagging.", examples=[0.98])
    mode: Literal["at-once", "latest", "commanded"] = Field(
        default="at-once", description="When a cycle begins.", examples=["commanded"]
    )
    ready_h: tuple[_Hour, _Hour] = Field(
        default=(16.0, 21.0),
        description="Earliest and latest hour at which an appliance is ready, h since local midnight.",
        examples=[[16.0, 21.0]],
    )
    deadline_h: float = Field(
        default=30.0,
        ge=0.0,
        le=72.0,
        description="When it has to be done, h since midnight of that day.",
        examples=[30.0],
    )
    runs_pu: float = Field(
        default=1.0, ge=0.0, le=1.0, description="Probability that it runs on a day.", examples=[0.7]
    )
    cycle_pu: tuple[_Share, ...] = Field(
        default=(1.0, 0.1, 0.1, 1.0, 0.1, 0.05),
        min_length=1,
        max_length=1000,
        description="Powers of a cycle, one after the other, pu of the rated power.",
        examples=[[1.0, 0.1, 0.1, 1.0, 0.1, 0.05]],
    )
    cycle_step_s: float = Field(
        default=900.0, ge=1.0, le=86400.0, description="How long each power of a cycle holds, s.", examples=[900.0]
    )

    @property
    def takes(self) -> tuple[str, ...]:
        """Inputs that a control may drive."""
        return ("allow",) if self.mode == "commanded" else ()

    @property
    def cycle_s(self) -> float:
        """How long a cycle takes, s."""
        return len(self.cycle_pu) * self.cycle_step_s

    @model_validator(mode="after")
    def _can_be_done_in_time(self) -> Self:
        earliest, latest = self.ready_h
        if earliest > latest:
            raise ValueError(f"ready_h is [earliest, latest], but {earliest:g} is after {latest:g}")
        needs_h = latest + self.cycle_s / 3600.0
        if self.deadline_h < needs_h:
            what = f"deadline_h {self.deadline_h:g} comes too early: ready at {latest:g} and done at {needs_h:g}"
            raise ValueError(f"{what}; the next day's hours go on from 24")
        if self.deadline_h > earliest + 24.0:
            what = f"at most {earliest + 24.0:g}, when the next day's cycle may be ready"
            raise ValueError(f"deadline_h {self.deadline_h:g} is too late: {what}")
        return self


@remembers("_latest", "_held", "_cycle", "_done")
class ApplianceFleet:
    """n appliances. State: which cycle is next or under way, and the step at which it began, NEVER if it waits."""

    def __init__(self, settings: ApplianceSettings, context: Context) -> None:
        machines = context.terminals.get(context.name) or terminals(settings, context)
        labels = tuple(machine.label for machine in machines)
        self._settings = settings
        self._interface = _interface(settings, context, labels)
        self._rated_kw = settings.pf * np.array([machine.rated_kva for machine in machines])
        self._step_s = self._interface.step_ns / 1e9
        self._ready, self._last = _cycles(settings, context, labels)
        self._edges_s = settings.cycle_step_s * np.arange(len(settings.cycle_pu) + 1)
        self._work_s = np.concatenate([[0.0], np.cumsum(settings.cycle_pu)]) * settings.cycle_step_s
        self._rows, self._cycle = np.arange(len(labels)), np.zeros(len(labels), dtype=np.int64)
        self._held = self._latest = np.full(len(labels), NEVER)
        self._done = np.zeros(len(labels))
        self._instants = Instants()

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return dict.fromkeys(self._interface.outputs, np.zeros(self._rows.size))

    def step(self, now_ns: int, inputs: Values) -> Values:
        number = now_ns // self._interface.step_ns
        if self._instants.passed_ns(now_ns) > 0:
            self._finish(number)
        waits = (self._held == NEVER) & (self._ready[self._rows, self._cycle] <= number)
        powered = are_powered(inputs)
        begins = waits & powered & self._may_begin(number, inputs)
        runs = begins | ((self._held < NEVER) & powered)
        self._latest = np.where(begins, number, self._held + ((self._held < NEVER) & ~powered))
        return self._outputs(number, waits & ~begins, runs)

    def stop(self) -> None:
        pass

    def _finish(self, number: int) -> None:
        """Keep what was begun at the last instant, and go on to the next cycle where one is over."""
        over = (number - self._latest) * self._step_s >= self._settings.cycle_s - 1e-9
        self._held = np.where(over, NEVER, self._latest)
        self._cycle = self._cycle + over
        self._done = self._done + over

    def _may_begin(self, number: int, inputs: Values) -> NDArray[np.bool_]:
        if self._settings.mode == "at-once":
            return np.ones(self._rows.size, dtype=bool)
        must: NDArray[np.bool_] = number >= self._last[self._rows, self._cycle]
        return must | (inputs["allow"] >= 0.5) if self._settings.mode == "commanded" else must

    def _outputs(self, number: int, waits: NDArray[np.bool_], runs: NDArray[np.bool_]) -> Values:
        since_s = np.where(runs, number - self._latest, 0) * self._step_s
        energy_s = self._energy_s(since_s + self._step_s) - self._energy_s(since_s)
        p_kw = np.where(runs, self._rated_kw * energy_s / self._step_s, 0.0)
        told = {"waiting": waits.astype(float), "running": runs.astype(float), "done": self._done}
        return {"p_kw": p_kw, "q_kvar": p_kw * tan_phi(self._settings.pf), **told}

    def _energy_s(self, since_s: FloatArray) -> FloatArray:
        found: FloatArray = np.interp(since_s, self._edges_s, self._work_s)
        return found


def _cycles(settings: ApplianceSettings, context: Context, labels: tuple[str, ...]) -> tuple[IntArray, IntArray]:
    """Return the steps at which cycles are ready and at which they begin at the latest, (n, m + 1); the last is never.

    Cycles that are ready before the run begins are not part of it.
    """
    clock, step_s = Clock.of(context.start, context.until_ns), settings.step_ns(context) / 1e9
    before = int(settings.ready_h[1] // 24.0)  # where hours go on from 24, days before the run have some in it
    days = np.arange(-before, int(clock.shows_s(context.until_ns) // 86400.0) + 1)
    # day after day: cycles of a longer run are the same ones, and more
    drawn = np.array([stream(context, f"cycles {label}").random((days.size, 2)) for label in labels])
    low_h, high_h = settings.ready_h
    hours = low_h + (high_h - low_h) * drawn[:, :, 0] + 24.0 * days
    runs = (drawn[:, :, 1] < settings.runs_pu) & (hours * 3600.0 >= clock.start_s)
    done_by_s = (settings.deadline_h + 24.0 * days) * 3600.0
    last_s = clock.elapsed_s(done_by_s.astype(np.float64)) - settings.cycle_s
    ready_s = clock.elapsed_s(hours * 3600.0)
    ready = np.where(runs, np.ceil(ready_s / step_s - 1e-9), NEVER).astype(np.int64)
    last = np.where(runs, np.floor(last_s / step_s + 1e-9), NEVER).astype(np.int64)
    too_short = runs & (ready_s > last_s + 1e-6)
    _refuse_late(too_short, labels, "deadline_h", "there is too little time where the clock is set forward")
    _refuse_late(ready > last, labels, "step_s", f"a step of {step_s:g} s is too long")
    never = np.full((len(labels), 1), NEVER)
    return np.sort(np.hstack([ready, never])), np.sort(np.hstack([last, never]))


def _refuse_late(late: NDArray[np.bool_], labels: tuple[str, ...], setting: str, why: str) -> None:
    """Raise PlaceError at this setting where a cycle (n, m) could not be done by its deadline."""
    if late.any():
        who = labels[int(np.argmax(late.any(axis=1)))]
        raise PlaceError([((setting,), f"{why}: a cycle of {who!r} would be done after its deadline_h")])


def _interface(settings: ApplianceSettings, context: Context, labels: tuple[str, ...]) -> Interface:
    units = {"p_kw": "kW", "q_kvar": "kvar", "waiting": "1", "running": "1", "done": "1"}
    inputs = voltage_ports(labels) | ({"allow": Port("1", labels)} if settings.mode == "commanded" else {})
    return Interface(settings.step_ns(context), inputs, {name: Port(unit, labels) for name, unit in units.items()})


def terminals(settings: ApplianceSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the appliances meet the feeder."""
    return place_drawing(settings.at, settings.rated_kva, context)


KIND = Kind(
    "appliance",
    "Appliances whose cycles can wait until a deadline",
    ApplianceSettings,
    ApplianceFleet,
    terminals,
    draws=True,
)
