"""Charts of services, by ports that have the same names with every control that gives them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from derloop.report import traces
from derloop.report.figures import Charted, Figure
from derloop.report.traces import COLOURS, Trace


def service_figures(run: Charted) -> list[Figure]:
    """Return a chart for each service of which something moved."""
    made = [*_regulation(run), *_frequency(run), *_unserved(run)]
    return [figure for figure in made if any(any(trace["y"]) for trace in figure.traces)]


def _regulation(run: Charted) -> Iterator[Figure]:
    for signal in run.ending("signal_kw"):
        response = run.named(f"{signal.federate}.response_kw")
        if response is None:
            continue
        time_ns, given_kw = run.total(response)
        asked = traces.line(run.times, signal.name, *run.total(signal), "orange", dash="dash", width=1.5, stepped=True)
        given = traces.line(run.times, response.name, time_ns, given_kw, "blue", width=2)
        note = "What is asked for, and what members were measured to give: that of one step before."
        lines = [given, asked, *run.limits_of(response, time_ns)]
        yield Figure(f"regulation-{signal.federate}", "Regulation signal and response", note, "kW", lines)


def _frequency(run: Charted) -> Iterator[Figure]:
    """Yield the frequency: of the bulk system, and as sources that hold an island have it, 0 where there is none."""
    feeders = {signal.federate for signal in run.ending("head_kw")}
    bulk = run.ending("f_hz")
    islands = [s for s in run.signals if s.federate in feeders and s.port.endswith(".f_hz") and s.labels]
    notes = {"Of the bulk system.": bulk, "As the sources that hold an island have it.": islands}
    lines: list[Trace] = []
    for signal in (*bulk, *islands):  # what else ends so is told to devices, and may be a step old
        time_ns, values = run.read(signal.name)
        highest = values.max(axis=1)  # a source that does not run has none
        known = np.where(highest > 0, highest, np.nan)
        name = signal.port.removesuffix(".f_hz") if signal in islands else signal.federate
        lines.append(traces.line(run.times, name, time_ns, known, _colour(len(lines))))
    if lines:
        note = " ".join(text for text, found in notes.items() if found)
        yield Figure("frequency", "Frequency", note, "Hz", lines)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _unserved(run: Charted) -> Iterator[Figure]:
    found = run.ending("unserved_kwh", "critical_unserved_kwh")
    lines = [traces.line(run.times, s.name, *run.total(s), _colour(i), stepped=True) for i, s in enumerate(found)]
    if lines:
        yield Figure("unserved", "Energy not served", "Since the start: all loads, critical ones.", "kWh", lines)


def price_figures(run: Charted) -> Iterator[Figure]:
    """Yield prices that change, in their own unit."""
    for signal in run.ending("price_per_kwh"):
        time_ns, values = run.read(signal.name)
        lines = [traces.line(run.times, signal.name, time_ns, values.mean(axis=1), "amber", stepped=True)]
        if values.size and np.ptp(values) > 0:
            yield Figure(f"price-{signal.federate}", f"Price: {signal.federate}", "Of energy.", signal.unit, lines)
