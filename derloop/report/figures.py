"""The charts of a run, each where there is something to draw, in the order in which one asks.

What a signal is follows from its port's name: `head_kw` and `v_pu` beside each other are a feeder's, `p_kw` a fleet's,
`<fleet>.p_set_kw` what a control asks of a fleet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Protocol

import numpy as np

from derloop.calendar import Calendar
from derloop.contract import FloatArray
from derloop.report import traces
from derloop.report.traces import COLOURS, TimeArray, Times, Trace
from derloop.report.wording import is_number, number

SETPOINT = re.compile(r"^(?:(?P<fleet>.+)\.)?(?P<quantity>[pq])_set_(?P<unit>kw|kvar)$")


class SignalOfRun(Protocol):
    @property
    def federate(self) -> str: ...
    @property
    def port(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def is_of_all(self) -> bool: ...
    @property
    def unit(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def step_ns(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Figure:
    """One chart: its title and explanation are the page's, the rest is plotly's."""

    id: str
    title: str
    note: str
    unit: str
    traces: list[Trace]
    limits: list[dict[str, Any]] = field(default_factory=list)
    """Horizontal lines: {"value", "text"}."""
    marks: list[dict[str, Any]] = field(default_factory=list)
    """Points with a text: {"time_s", "value", "text", "late"}."""
    whole_numbers: bool = False


@dataclass(frozen=True, slots=True)
class Charted:
    """A run as the charts need it."""

    signals: tuple[SignalOfRun, ...]
    read: Callable[[str], tuple[TimeArray, FloatArray]]
    federates: Mapping[str, Mapping[str, Any]]
    limits: list[tuple[str, str, float]]
    """(signal pattern, text, value): what the checks ask for."""
    times: Times
    calendar: Calendar

    def ending(self, *ports: str) -> list[SignalOfRun]:
        """Return the signals with one of `ports` that have elements and values."""
        return [s for s in self.signals if s.port in ports and s.labels]

    def named(self, name: str) -> SignalOfRun | None:
        return next((s for s in self.signals if s.name == name and s.labels), None)

    def total(self, signal: SignalOfRun) -> tuple[TimeArray, FloatArray]:
        time_ns, values = self.read(signal.name)
        return time_ns, values.sum(axis=1)

    def colour(self, federate: str) -> str:
        """Return the colour that the fleet has in every chart."""
        fleets = list(dict.fromkeys(s.federate for s in self.ending("p_kw", "q_kvar", "given_kw")))
        return COLOURS[fleets.index(federate) % len(COLOURS)] if federate in fleets else "grey"

    def limits_of(self, signal: SignalOfRun) -> list[dict[str, Any]]:
        found = [(text, value) for pattern, text, value in self.limits if fnmatchcase(signal.name, pattern)]
        return [{"value": value, "text": traces.label(text)} for text, value in dict.fromkeys(found)]


def figures(run: Charted) -> list[Figure]:
    """Return every chart for which the run has signals with values."""
    makers = (
        _heads,
        _regulation,
        _voltages,
        _active_power,
        _reactive_power,
        _charge,
        _commands,
        _losses,
        _passes,
        _taps,
    )
    return [figure for make in makers for figure in make(run) if any(trace["y"] for trace in figure.traces)]


def _feeders(run: Charted) -> list[str]:
    return [s.federate for s in run.ending("head_kw")]


def _heads(run: Charted) -> Iterator[Figure]:
    for signal in run.ending("head_kw"):
        time_ns, head = run.total(signal)
        if not head.size:
            continue
        lines = [*bounds(run), traces.line(run.times, signal.name, time_ns, head, "blue", width=2.2)]
        note = "Drawn from the bulk system: positive into the feeder."
        if any("baseline" in t["name"] for t in lines):
            note += " Dotted: what it would have been without control, as the control estimates it."
        peak = [_peak(run, time_ns, head)]
        yield Figure(f"head-{signal.federate}", "Feeder head power", note, "kW", lines, run.limits_of(signal), peak)


def bounds(run: Charted, of: str | None = None) -> Iterator[Trace]:
    """Yield what controls keep a power below, and estimate that it were without them: the feeder's, or that of `of`."""
    looks: dict[str, dict[str, Any]] = {
        "baseline_kw": {"colour": "grey", "dash": "dot"},
        "limit_kw": {"colour": "orange", "dash": "dash", "stepped": True},
    }
    for port, look in looks.items():
        for signal in (s for s in run.ending(port) if (s.is_of_all if of is None else s.labels == (of,))):
            time_ns, values = run.total(signal)
            known = 1 if port == "baseline_kw" else 0  # a control that has measured nothing yet has no baseline
            yield traces.line(run.times, signal.name, time_ns[known:], values[known:], **look)


def _peak(run: Charted, time_ns: TimeArray, head: FloatArray) -> dict[str, Any]:
    at = int(head.argmax())
    value, when_ns = head[at].item(), int(time_ns[at])
    text = f"peak {number(value, 4)} kW<br>{run.calendar.at(when_ns)}"
    return {"time_s": when_ns / 1e9, "value": value, "text": text, "late": at > head.size / 2}


def _regulation(run: Charted) -> Iterator[Figure]:
    for signal in run.ending("signal_kw"):
        response = run.named(f"{signal.federate}.response_kw")
        if response is None:
            continue
        asked = traces.line(run.times, signal.name, *run.total(signal), "grey", dash="dash", width=1.5, stepped=True)
        given = traces.line(run.times, response.name, *run.total(response), "blue", width=2)
        note = "What is asked for, and what members were measured to give: that of one step before."
        title = "Regulation signal and response"
        yield Figure(f"regulation-{signal.federate}", title, note, "kW", [given, asked], run.limits_of(response))


def _voltages(run: Charted) -> Iterator[Figure]:
    for feeder in _feeders(run):
        signal = run.named(f"{feeder}.v_pu")
        if signal is None:
            continue
        time_ns, values = run.read(signal.name)
        if not values.size:
            continue
        lines = traces.band(run.times, "", time_ns, values, signal.labels, "blue")
        note = (
            f"All {len(signal.labels)} nodes: smallest and largest (the pointer names the node), middle 90 %, median."
        )
        yield Figure(f"voltage-{feeder}", "Node voltages", note, "pu", lines, run.limits_of(signal))


def _active_power(run: Charted) -> Iterator[Figure]:
    yield from _totals(run, "p_kw", "Active power by fleet", "kW")


def _reactive_power(run: Charted) -> Iterator[Figure]:
    yield from _totals(run, "q_kvar", "Reactive power by fleet", "kvar")


def _totals(run: Charted, port: str, title: str, unit: str) -> Iterator[Figure]:
    lines: list[Trace] = []
    for signal in run.ending(port):
        drawn = run.federates.get(signal.federate, {}).get("kind") == "load"
        name = f"{signal.federate} (drawn)" if drawn else signal.federate
        time_ns, total = run.total(signal)
        dash = "dot" if drawn else "solid"
        lines.append(traces.line(run.times, name, time_ns, total, run.colour(signal.federate), dash=dash))
        lines += _available(run, signal.federate) if port == "p_kw" else []
    lines += _forming(run, port)
    note = "Sum of each fleet: positive when injected; what loads draw is dotted and positive when drawn."
    if lines:
        yield Figure(f"fleets-{port}", title, note, unit, lines)


def _forming(run: Charted, port: str) -> Iterator[Trace]:
    """What sources that hold an island give: the feeder tells it, as it follows from what the island draws."""
    for feeder in _feeders(run):
        for signal in (s for s in run.ending(*(f"{fleet}.{port}" for fleet in run.federates)) if s.federate == feeder):
            name = signal.port.removesuffix(f".{port}")
            yield traces.line(run.times, name, *run.total(signal), run.colour(name))


def _available(run: Charted, fleet: str) -> list[Trace]:
    """The power that the fleet could give, where it is not what it gives."""
    signal = run.named(f"{fleet}.p_available_kw")
    if signal is None:
        return []
    time_ns, available = run.total(signal)
    given = run.total(signal_of(run, f"{fleet}.p_kw"))[1]
    if available.size != given.size or np.allclose(available, given, rtol=1e-3, atol=1e-6):
        return []
    return [
        traces.line(
            run.times, f"{fleet}, available", time_ns, available, f"{run.colour(fleet)}/0.6", dash="dash", width=1.2
        )
    ]


def signal_of(run: Charted, name: str) -> SignalOfRun:
    return next(s for s in run.signals if s.name == name)


def _charge(run: Charted) -> Iterator[Figure]:
    by_unit: dict[str, list[Trace]] = {}
    for signal in run.ending("soc_pu", "soc_pct", "soc"):
        time_ns, values = run.read(signal.name)
        if values.size:
            colour = run.colour(signal.federate)
            drawn = traces.mean_band(run.times, signal.federate, time_ns, values, signal.labels, colour)
            by_unit.setdefault(signal.unit, []).extend(drawn)
    for i, (unit, lines) in enumerate(by_unit.items()):
        yield Figure(f"soc-{i}", "State of charge", "Mean of each fleet, within its smallest and largest.", unit, lines)


def _commands(run: Charted) -> Iterator[Figure]:
    for signal in run.signals:
        if (found := SETPOINT.match(signal.port)) and signal.labels:
            fleet, quantity = found["fleet"] or signal.federate, f"{found['quantity']}_{found['unit']}"
            actual = run.named(f"{fleet}.{quantity}")
            if actual is not None:
                yield _command(run, signal, actual, fleet)


def _command(run: Charted, setpoint: SignalOfRun, actual: SignalOfRun, fleet: str) -> Figure:
    asked = traces.line(run.times, setpoint.name, *run.total(setpoint), "grey", dash="dash", width=1.5, stepped=True)
    given = traces.line(run.times, actual.name, *run.total(actual), run.colour(fleet), width=2)
    note = f"Sum over {len(setpoint.labels)} devices: what {setpoint.federate} asks for, and what the fleet does."
    return Figure(f"command-{setpoint.name}", f"Setpoint and actual: {fleet}", note, actual.unit, [given, asked])


def _losses(run: Charted) -> Iterator[Figure]:
    for signal in run.ending("losses_kw"):
        lines = [traces.line(run.times, signal.name, *run.total(signal), "purple")]
        yield Figure(f"losses-{signal.federate}", "Feeder losses", "In lines and transformers.", "kW", lines)


def _passes(run: Charted) -> Iterator[Figure]:
    found = [s for s in run.ending("passes") if s.federate.startswith("loop@")]
    lines = [
        traces.line(run.times, s.federate, *run.total(s), COLOURS[i % len(COLOURS)], width=1.2, stepped=True)
        for i, s in enumerate(found)
    ]
    note = "How often the federates of a converged loop were stepped for the same instant."
    if lines:
        yield Figure("passes", "Passes of the loop", note, "passes", lines, whole_numbers=True)


def _taps(run: Charted) -> Iterator[Figure]:
    for signal in run.ending("taps"):
        time_ns, values = run.read(signal.name)
        lines = [
            traces.line(run.times, name, time_ns, values[:, i], COLOURS[i % len(COLOURS)], stepped=True)
            for i, name in enumerate(signal.labels)
        ]
        whole = bool(np.equal(np.mod(values, 1), 0).all())
        note = "Position of each voltage regulator."
        yield Figure(
            f"taps-{signal.federate}", "Regulator taps", note, "tap" if whole else "pu", lines, whole_numbers=whole
        )


def check_limits(
    run: Mapping[str, Any], verdicts: list[Mapping[str, Any]], calendar: Calendar
) -> list[tuple[str, str, float]]:
    """Return (signal pattern, text, value) of the limits of the run's checks.

    From the settings of each check, where `run.json` has them; else the one that its verdict names.
    """
    judged = {str(v.get("check")): v for v in verdicts}
    found = {
        name: limits
        for check in checks_of(run)
        if (limits := _set_limits(check, judged, calendar))
        for name in [_name(check)]
    }
    unset = [limit for name, verdict in judged.items() if name not in found for limit in _limit_of(verdict)]
    return [limit for limits in found.values() for limit in limits] + unset


def _name(check: Mapping[str, Any]) -> str:
    return str(check.get("name") or check.get("kind"))


def _set_limits(
    check: Mapping[str, Any], judged: Mapping[str, Mapping[str, Any]], calendar: Calendar
) -> list[tuple[str, str, float]]:
    settings, name = check.get("settings"), _name(check)
    settings = settings if isinstance(settings, Mapping) else check
    signal = settings.get("signal") or signal_named(judged.get(name, {}))
    values = [settings.get(key) for key in ("min_pu", "max_pu", "min", "max", "limit_kw")]
    when = _when(settings, calendar)
    return [(str(signal), f"{name}: {number(v)}{when}", float(v)) for v in values if v is not None and is_number(v)]


def _when(settings: Mapping[str, Any], calendar: Calendar) -> str:
    """Return from when to when a check holds, if not all the time: its line has no ends."""
    words = {"from": settings.get("from_s") or None, "to": settings.get("to_s")}
    said = [f"{word} {calendar.at(float(s) * 1e9)}" for word, s in words.items() if is_number(s)]  # type: ignore[arg-type]
    return ", " + " ".join(said) if said else ""


def checks_of(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the checks of `run.json`, or those of its scenario, with kind and settings."""
    scenario = run.get("scenario")
    listed = run.get("checks") or (scenario.get("checks") if isinstance(scenario, Mapping) else None)
    return [c for c in listed if isinstance(c, Mapping)] if isinstance(listed, list) else []


def signal_named(verdict: Mapping[str, Any]) -> str:
    """Return the signal that a verdict is about: where it was worst says it, with the element or "in sum"."""
    return str(verdict.get("where", "")).partition(" at ")[0].removesuffix(" in sum")


def _limit_of(verdict: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    limit, signal = verdict.get("limit"), signal_named(verdict)
    of_value = verdict.get("kind") in ("voltage", "peak", "stays-within") and verdict.get("unit") != "1"
    if is_number(limit) and signal and of_value:
        yield signal, f"{verdict.get('check')}: {number(limit)}", float(limit)  # type: ignore[arg-type]
