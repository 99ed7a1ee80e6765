"""Demand response: asks fleets to draw less at times, and measures what they drew less than their baseline.

Powers are positive when drawn. In an event each member is sent what `members` says, and outside what leaves it alone:

- `shift_k`: a shift of the setpoints of thermostats, K (0 outside);
- `curtail_pu`: a share of what can be curtailed (0 outside);
- `allow`: 0, so that appliances wait (1 outside).

Each member's power is metered, as the mean of each interval. The baseline of a member on the day of an event is that
of a 10-of-10 method, as the California ISO's: interval by interval the mean of the ten most recent days
without an event that are like it (Monday to Friday, or weekend), times the adjustment of the day,

    adjustment = clip(metered / mean of the ten days, 1 - a, 1 + a)

over the second, third and fourth hour before the day's first event, with `a = most_adjustment_pu`. It is known when
that event begins, and stands until midnight. Days are those of the run, before them those of `history`, which are taken
to be like the days of the events.

All that is told at `t` is of the step that ends then. The reduction is `baseline - metered`; its energy in events is
`reduced_kwh`. What is drawn beyond the baseline after an event, until midnight, is `rebound_kwh`. Where a day has had
no event yet, the baseline is what is metered.

Silence. A device is silent when what was heard of it is older than `silent_after_s` (`<member>.age_s`, which a network
tells). From the day's first event on, s silent devices of n are taken to draw s/n of the baseline: no reduction is
credited that nobody has measured, and no rebound charged. Before, what was heard last counts. `silent` says how many
there are. Members are asked all the same; whether they hear it is up to the network, and what they do if not, to its
`lease`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, PlaceError, Settings
from derloop.memory import remembers
from federates.control.baseline import ten_of_ten
from federates.control.eligible import ns, untimely, without_days
from federates.control.metering import DAY_S, NS_PER_S, Calendar, History, Meter
from federates.der import Stepped
from federates.der.clock import Clock, seconds_of_day
from federates.der.instants import Instants
from federates.fleets import Problems, unknown, untaken
from federates.spells import Spell, check_in_turn

AT_REST: Mapping[str, float] = {"shift_k": 0.0, "curtail_pu": 0.0, "allow": 1.0}
"""What is sent outside of events, and so the inputs of members that can be driven."""
LEAST_SILENT_S, SILENT_STEPS = 300.0, 2
UNITS = {"shift_k": "K", "curtail_pu": "pu", "allow": "1"}
_TOLD = {
    "metered_kw": "kW",
    "baseline_kw": "kW",
    "reduction_kw": "kW",
    "reduced_kwh": "kWh",
    "rebound_kwh": "kWh",
    "silent": "1",
}


# --- settings ----------------------------------------------------------------------------------------


class DemandResponseEvent(Spell):
    """A time in which members are asked to draw less."""

    lasts_s: float = Field(gt=0.0, le=DAY_S, description="How long, s.", examples=[7200.0])


class Asked(Settings):
    """What a member is asked for in an event: one of these."""

    shift_k: float | None = Field(
        default=None, ge=-30.0, le=30.0, description="Shift of its setpoints, K.", examples=[2.0]
    )
    curtail_pu: float | None = Field(
        default=None, gt=0.0, le=1.0, description="Share of its curtailable part.", examples=[1.0]
    )
    allow: Literal[0] | None = Field(default=None, description="0: its appliances wait.", examples=[0])

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError(f"needs one of {', '.join(AT_REST)}")
        return self

    @property
    def port(self) -> str:
        return next(iter(self.model_dump(exclude_none=True)))

    @property
    def value(self) -> float:
        return float(getattr(self, self.port))


class DemandResponseSettings(Stepped):
    """A programme of demand response."""

    members: dict[str, Asked] = Field(
        min_length=1,
        max_length=1000,
        description="What each fleet is asked for in an event, by its name.",
        examples=[{"homes": {"shift_k": 2.0}, "plants": {"curtail_pu": 1.0}}],
    )
    events: tuple[DemandResponseEvent, ...] = Field(
        min_length=1, max_length=10_000, description="When.", examples=[[{"begins_s": 54000, "lasts_s": 7200}]]
    )
    interval_s: float = Field(
        default=900.0, ge=60.0, le=3600.0, description="Interval of metering, s; divides a day.", examples=[900.0]
    )
    most_adjustment_pu: float = Field(
        default=0.2, ge=0.0, lt=1.0, description="Most adjustment on the day, up or down, pu.", examples=[0.2]
    )
    silent_after_s: float | None = Field(
        default=None,
        gt=0.0,
        le=DAY_S,
        description="Age of what was heard of a device, from which on it is silent, s. Without it, 300 s, or two "
        "steps where these are longer.",
        examples=[900.0],
    )
    history: dict[str, History] = Field(
        default={},
        description="What members drew on days before the run, by their names.",
        examples=[{"homes": {"file": "profiles/air_conditioners_july.csv", "columns": ["day_1_kw"]}}],
    )

    def silent_s(self, step_ns: int) -> float:
        """Return the age from which on a device is silent, s."""
        return self.silent_after_s or max(LEAST_SILENT_S, SILENT_STEPS * step_ns / NS_PER_S)

    @model_validator(mode="after")
    def _divides_a_day(self) -> Self:
        if DAY_S % self.interval_s != 0.0 or 3600.0 % self.interval_s != 0.0:
            raise ValueError(f"interval_s {self.interval_s:g} does not divide an hour")
        return self

    @model_validator(mode="after")
    def _has_events_in_order(self) -> Self:
        check_in_turn(self.events, "events")
        return self

    @model_validator(mode="after")
    def _knows_of_members(self) -> Self:
        if strangers := sorted(self.history.keys() - self.members.keys()):
            raise ValueError(f"history of {', '.join(strangers)}, which is no member")
        return self


# --- the programme -----------------------------------------------------------------------------------


@remembers("_reduction_kw", "_baseline_kw", "_reduced_kwh", "_rebound_kwh", "_silent", "_metered_kw")
class DemandResponse:
    """m members. State: their meters, the day's baseline, and what was counted."""

    def __init__(self, settings: DemandResponseSettings, context: Context) -> None:
        self._settings, self._members = settings, tuple(settings.members)
        self._step_ns = settings.step_ns(context)
        self._calendar = Calendar(context.start, settings.interval_s)
        self._events = [e for e in settings.events if e.begins_s * NS_PER_S < context.until_ns]
        _refuse(settings, context, self._calendar, self._events)
        self._interface = _interface(settings, context, self._step_ns)
        self._history_kw = [
            self._calendar.read(settings.history.get(m), ("history", m), context) for m in self._members
        ]
        self._event_days = {self._calendar.day(ns(event.begins_s)) for event in self._events}
        m = len(self._members)
        self._meter, self._instants = Meter(self._calendar, m), Instants()
        self._metered_kw, self._reduction_kw = np.zeros(m), np.zeros(m)
        self._reduced_kwh, self._rebound_kwh = np.zeros(m), np.zeros(m)
        self._silent, self._silent_after_s = np.zeros(m), settings.silent_s(self._step_ns)
        self._baseline_kw: FloatArray | None = None

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self._outputs(0)

    def step(self, now_ns: int, inputs: Values) -> Values:
        if passed_ns := self._instants.passed_ns(now_ns):
            self._account(now_ns - passed_ns, now_ns, inputs)
        return self._outputs(now_ns)

    def stop(self) -> None:
        pass

    def statistics(self) -> Mapping[str, float]:
        """Return what each member drew less in events than its baseline, and beyond it afterwards, kWh."""
        counted = {"reduced_kwh": self._reduced_kwh, "rebound_kwh": self._rebound_kwh}
        each = {f"{m}_{what}": float(v[i]) for what, v in counted.items() for i, m in enumerate(self._members)}
        return {**each, **{what: float(v.sum()) for what, v in counted.items()}}

    def _account(self, from_ns: int, until_ns: int, inputs: Values) -> None:
        """Measure the step that has just passed against the baseline, then meter it."""
        if self._is_on(from_ns) and self._baseline_kw is None:
            self._baseline_kw = self._adjusted(from_ns)
        self._read(from_ns, inputs)
        self._reduction_kw = np.zeros(len(self._members))
        if self._baseline_kw is not None:
            self._reduction_kw = self._baseline_kw[:, self._calendar.interval(from_ns)] - self._metered_kw
            reduced_kwh = self._reduction_kw * ((until_ns - from_ns) / NS_PER_S / 3600.0)
            if self._is_on(from_ns):
                self._reduced_kwh = self._reduced_kwh + reduced_kwh
            else:
                self._rebound_kwh = self._rebound_kwh - reduced_kwh
        self._meter.add(self._metered_kw, from_ns, until_ns)
        if self._calendar.day(until_ns) > self._calendar.day(from_ns):
            self._baseline_kw = None

    def _read(self, from_ns: int, inputs: Values) -> None:
        """Read what each member drew (m,): silent devices their share of the baseline, or what was heard last."""
        each_kw = [inputs[f"{member}.p_kw"] for member in self._members]
        are_silent = [inputs[f"{member}.age_s"] > self._silent_after_s for member in self._members]
        self._silent = np.array([float(are.sum()) for are in are_silent])
        if self._baseline_kw is None:
            self._metered_kw = np.array([p_kw.sum() for p_kw in each_kw])
            return
        heard_kw = np.array([p_kw.sum(where=~are) for p_kw, are in zip(each_kw, are_silent, strict=True)])
        shares = np.array([are.mean() for are in are_silent])
        self._metered_kw = heard_kw + shares * self._baseline_kw[:, self._calendar.interval(from_ns)]

    def _is_on(self, now_ns: int) -> bool:
        return any(ns(event.begins_s) <= now_ns < ns(event.ends_s) for event in self._events)

    def _adjusted(self, now_ns: int) -> FloatArray:
        """Return the baseline of each member (m, k) on the day whose first event begins at `now_ns`."""
        today, begin = self._calendar.day(now_ns), self._calendar.interval(now_ns)
        days = self._calendar.like(today, self._meter.days_kw.keys() - self._event_days)
        per_hour, most_pu = round(3600.0 / self._settings.interval_s), self._settings.most_adjustment_pu
        found = []
        for i in range(len(self._members)):
            history_kw = np.vstack([self._history_kw[i], *(self._meter.days_kw[d][i][None, :] for d in days)])
            found.append(ten_of_ten(history_kw, self._meter.today_kw[i], begin, per_hour, most_pu).p_kw)
        return np.array(found)

    def _outputs(self, now_ns: int) -> Values:
        is_on, outputs = self._is_on(now_ns), {"event": np.array([float(self._is_on(now_ns))])}
        for member, asked in self._settings.members.items():
            size = self._interface.outputs[f"{member}.{asked.port}"].size
            outputs[f"{member}.{asked.port}"] = np.full(size, asked.value if is_on else AT_REST[asked.port])
        told = self._metered_kw, self._metered_kw + self._reduction_kw, self._reduction_kw
        return outputs | dict(zip(_TOLD, (*told, self._reduced_kwh, self._rebound_kwh, self._silent), strict=True))


def _interface(settings: DemandResponseSettings, context: Context, step_ns: int) -> Interface:
    labels = {member: context.labels[member] for member in settings.members}
    inputs = {f"{member}.p_kw": Port("kW", labels[member], "before") for member in labels}
    inputs |= {f"{member}.age_s": Port("s", labels[member], "before", otherwise=0.0) for member in labels}
    outputs = {"event": Port("1", (context.name,))}
    for member, asked in settings.members.items():
        outputs[f"{member}.{asked.port}"] = Port(UNITS[asked.port], labels[member])
    return Interface(step_ns, inputs, outputs | {name: Port(unit, tuple(labels)) for name, unit in _TOLD.items()})


# --- what is refused ---------------------------------------------------------------------------------


def _refuse(
    settings: DemandResponseSettings, context: Context, calendar: Calendar, events: list[DemandResponseEvent]
) -> None:
    """Raise PlaceError with what cannot be asked for, metered or compared."""
    problems: Problems = []
    for member, asked in settings.members.items():
        if what := unknown(member, context) or untaken(member, asked.port, context):
            problems.append((("members", member), what))
    step_ns = settings.step_ns(context)
    if ns(settings.interval_s) % step_ns or ns(seconds_of_day(context.start)) % step_ns:
        what = f"a step of {step_ns / NS_PER_S:g} s does not divide {settings.interval_s:g} s since midnight"
        problems.append((("interval_s",), what))
    if Clock.of(context.start, context.until_ns).changes_ns:
        problems.append((("events",), "the clock is changed during the run, and a baseline needs days of 24 h"))
    for i, event in enumerate(events):
        problems += untimely(("events", i), event, calendar)
    if not problems:
        known = {m: len(settings.history[m].columns) if m in settings.history else 0 for m in settings.members}
        problems += without_days(known, events, calendar)
    if problems:
        raise PlaceError(problems)


KIND = Kind(
    "demand-response",
    "Asks fleets to draw less, and measures it against a 10-of-10 baseline",
    DemandResponseSettings,
    DemandResponse,
)
