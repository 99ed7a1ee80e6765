"""The charts of a run, each where there is something to draw, in the order in which one asks.

What a signal is follows from its port's name: `head_kw` and `v_pu` beside each other are a feeder's, `p_kw` a fleet's,
`<fleet>.p_set_kw` what a control asks of a fleet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from derloop import plugins
from derloop.calendar import Calendar
from derloop.contract import FloatArray
from derloop.errors import PluginError
from derloop.report import limits, traces
from derloop.report.limits import Limit
from derloop.report.traces import COLOURS, TimeArray, Times, Trace
from derloop.report.wording import number
from derloop.results.signals import delivered, phases

MOVED = {
    "taps": ("Regulator taps", "Position of each voltage regulator.", "tap"),
    "capacitors": ("Capacitor banks", "Steps of each bank that are on.", "steps"),
}
"""Ports of what moves in whole steps: title, note and unit of its chart."""
DEAD_PU = 0.01
"""Below this a node is taken to have no supply."""
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
    whole_numbers: bool = False


@dataclass(frozen=True, slots=True)
class Charted:
    """A run as the charts need it."""

    signals: tuple[SignalOfRun, ...]
    read: Callable[[str], tuple[TimeArray, FloatArray]]
    federates: Mapping[str, Mapping[str, Any]]
    limits: tuple[Limit, ...]
    """What the checks ask for."""
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

    def limits_of(self, signal: SignalOfRun, time_ns: TimeArray) -> list[Trace]:
        """Return the limits of a signal as lines."""
        return limits.lines((limit for limit in self.limits if limit.is_for(signal.name)), self.times, time_ns)


def figures(run: Charted) -> list[Figure]:
    """Return every chart for which the run has signals with values."""
    makers = (
        _buses,
        _heads,
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


def _of_feeder(title: str, feeder: str, run: Charted) -> str:
    """Return a title with the feeder's name, where there are several."""
    return f"{title}: {feeder}" if len(_feeders(run)) > 1 else title


def _buses(run: Charted) -> Iterator[Figure]:
    """Yield what several feeders draw together of the bus that they hang on."""
    for signal in run.ending("system_kw"):
        time_ns, drawn = run.total(signal)
        if not drawn.size:
            continue
        lines = [*bounds(run, signal.name), traces.line(run.times, signal.name, time_ns, drawn, "blue", width=2.2)]
        lines += [*_peak(run, time_ns, drawn), *run.limits_of(signal, time_ns)]
        note = "What all feeders draw through the bus, with what is lost behind it."
        yield Figure(f"bus-{signal.federate}", f"Power of the bus: {signal.federate}", note, "kW", lines)


def _heads(run: Charted) -> Iterator[Figure]:
    for signal in run.ending("head_kw"):
        time_ns, head = run.total(signal)
        if not head.size:
            continue
        lines = [*bounds(run), traces.line(run.times, signal.name, time_ns, head, "blue", width=2.2)]
        note = "Drawn from the bulk system: positive into the feeder."
        if any("baseline" in t["name"] for t in lines):
            note += " Dotted: what it would have been without control, as the control estimates it when it hears of it,"
            note += " so from what was measured a step before, or longer ago over a network."
        lines += [*_peak(run, time_ns, head), *run.limits_of(signal, time_ns)]
        title = _of_feeder("Feeder head power", signal.federate, run)
        yield Figure(f"head-{signal.federate}", title, note, "kW", lines)


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


def _peak(run: Charted, time_ns: TimeArray, head: FloatArray) -> Iterator[Trace]:
    """Yield a point where most is drawn, if anything ever is."""
    if head.max() <= 0:
        return
    at = slice(int(head.argmax()), int(head.argmax()) + 1)
    name = f"peak: {number(head[at][0].item(), 4)} kW, {run.calendar.at(time_ns[at][0].item())}"
    point = traces.line(run.times, name, time_ns[at], head[at], "blue")
    yield point | {"mode": "markers", "marker": {"color": "@blue", "size": 9}}


def _voltages(run: Charted) -> Iterator[Figure]:
    for feeder in _feeders(run):
        signal = run.named(f"{feeder}.v_pu")
        if signal is None:
            continue
        time_ns, values = run.read(signal.name)
        if not values.size:
            continue
        columns = phases(signal.labels)
        values, labels = values[:, columns], [signal.labels[i] for i in columns]
        note = f"All {len(labels)} nodes: smallest and largest (the pointer names the node), middle 90 %, median."
        supplied = np.where(values >= DEAD_PU, values, np.nan)
        note += "" if np.isfinite(supplied).all() else " What has no supply is left out, for as long as it has none."
        lines = traces.band(run.times, "", time_ns, supplied, labels, "blue")
        lines += run.limits_of(signal, time_ns)
        yield Figure(f"voltage-{feeder}", _of_feeder("Node voltages", feeder, run), note, "pu", lines)


def _active_power(run: Charted) -> Iterator[Figure]:
    what = "as the feeder delivers it where it tells that"
    yield from _totals(run, "p_kw", "Active power by fleet", "kW", what)


def _reactive_power(run: Charted) -> Iterator[Figure]:
    yield from _totals(run, "q_kvar", "Reactive power by fleet", "kvar", "as it gives or asks for it")


def _totals(run: Charted, port: str, title: str, unit: str, what: str) -> Iterator[Figure]:
    lines: list[Trace] = []
    for signal in run.ending(port):
        drawn = _draws(run.federates.get(signal.federate, {}).get("kind"))
        name = f"{signal.federate} (drawn)" if drawn else signal.federate
        time_ns, total = run.total(delivered(run.signals, signal) if port == "p_kw" else signal)
        dash = "dot" if drawn else "solid"
        lines.append(traces.line(run.times, name, time_ns, total, run.colour(signal.federate), dash=dash))
        lines += _available(run, signal.federate) if port == "p_kw" else []
    lines += _forming(run, port)
    lines = [line for line in lines if any(line["y"])] if port == "q_kvar" else lines
    note = f"Sum of each fleet, {what}: positive when injected; what is drawn is dotted and positive when drawn."
    if lines:
        yield Figure(f"fleets-{port}", title, note, unit, lines)


def _draws(kind: object) -> bool:
    """Return whether devices of a kind draw; of one that is not installed here, nobody knows it."""
    try:
        return plugins.kind(str(kind)).draws
    except PluginError:
        return False


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
    count = len(setpoint.labels)
    whose = f"Sum over {count} devices: what" if count > 1 else "What"
    note = f"{whose} {setpoint.federate} asks for, and what the fleet does."
    return Figure(f"command-{setpoint.name}", f"Setpoint and actual: {fleet}", note, actual.unit, [given, asked])


def _losses(run: Charted) -> Iterator[Figure]:
    found = run.ending("losses_kw")
    for signal in found:
        lines = [traces.line(run.times, signal.name, *run.total(signal), "purple")]
        title = f"Losses: {signal.federate}" if len(found) > 1 else "Feeder losses"  # a bus has some, too
        yield Figure(f"losses-{signal.federate}", title, "In lines and transformers.", "kW", lines)


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
    for signal in run.ending(*MOVED):
        time_ns, values = run.read(signal.name)
        lines = [
            traces.line(run.times, name, time_ns, values[:, i], COLOURS[i % len(COLOURS)], stepped=True)
            for i, name in enumerate(signal.labels)
        ]
        whole = bool(np.equal(np.mod(values, 1), 0).all())
        what, note, unit = MOVED[signal.port]
        name, title = f"{signal.port}-{signal.federate}", _of_feeder(what, signal.federate, run)
        yield Figure(name, title, note, unit if whole else "pu", lines, whole_numbers=whole)
