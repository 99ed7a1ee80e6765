"""Every signal of a run: its statistics, exact, and a sketch of its course that fits on a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from derloop.contract import FloatArray
from derloop.report import traces
from derloop.report.figures import Charted, SignalOfRun
from derloop.report.traces import MAX_POINTS, TimeArray, Trace

MAX_ELEMENTS = 24
"""Up to so many elements are drawn each; of more, a band and the most extreme."""
EXTREMES = 3
BUDGET = 600_000
"""Points of all sketches together."""
FEWEST_POINTS = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One signal: over all elements and instants, smallest and largest with where and when."""

    signal: SignalOfRun
    smallest: dict[str, Any]
    mean: float | None
    largest: dict[str, Any]
    sketch: int | None
    """Number of the sketch; None where there is none."""


@dataclass(frozen=True, slots=True)
class EverySignal:
    rows: list[Row]
    sketches: list[dict[str, Any]]
    points: int
    """Of each trace, at most."""


def every_signal(run: Charted) -> EverySignal:
    """Return a row for each signal, and sketches for as many as the budget allows."""
    needed = sum(_trace_count(s) for s in run.signals)
    points = int(np.clip(BUDGET // max(1, needed), FEWEST_POINTS, MAX_POINTS))
    rows: list[Row] = []
    sketches: list[dict[str, Any]] = []
    left = BUDGET
    for signal in run.signals:
        time_ns, values = run.read(signal.name)
        number = None
        left -= _trace_count(signal) * min(points, time_ns.size)
        if values.size and left >= 0:
            number = len(sketches)
            sketches.append(_sketch(run, signal, time_ns, values, points))
        rows.append(_row(run, signal, time_ns, values, number))
    return EverySignal(rows, sketches, points)


def _trace_count(signal: SignalOfRun) -> int:
    count = len(signal.labels)
    return count if count <= MAX_ELEMENTS else 5 + 2 * EXTREMES


def _row(run: Charted, signal: SignalOfRun, time_ns: TimeArray, values: FloatArray, number: int | None) -> Row:
    if not values.size:
        return Row(signal, {}, None, {}, number)
    smallest = _extreme(run, signal, time_ns, values, int(values.argmin()))
    largest = _extreme(run, signal, time_ns, values, int(values.argmax()))
    return Row(signal, smallest, float(values.mean()), largest, number)


def _extreme(run: Charted, signal: SignalOfRun, time_ns: TimeArray, values: FloatArray, at: int) -> dict[str, Any]:
    instant, element = divmod(at, values.shape[1])
    when = run.calendar.at(int(time_ns[instant]))
    return {"value": float(values[instant, element]), "where": signal.labels[element], "when": when}


def _sketch(run: Charted, signal: SignalOfRun, time_ns: TimeArray, values: FloatArray, points: int) -> dict[str, Any]:
    drawn: list[Trace] = []
    note = f"{len(signal.labels)} elements" if len(signal.labels) > 1 else ""
    elements = list(range(len(signal.labels)))
    if len(elements) > MAX_ELEMENTS:
        drawn = traces.band(run.times, "all:", time_ns, values, signal.labels, "grey")
        elements = _most_extreme(values)
        note += ": all as a band (smallest, middle 90 %, largest), and by name those that reach the highest and lowest"
    for i, element in enumerate(elements):
        colour = traces.COLOURS[i % len(traces.COLOURS)]
        label = signal.labels[element]
        drawn.append(traces.line(run.times, label, time_ns, values[:, element], colour, width=1.4, points=points))
    return {"name": traces.label(signal.name), "unit": traces.label(signal.unit), "note": note, "traces": drawn}


def _most_extreme(values: FloatArray) -> list[int]:
    highest = np.argsort(-values.max(axis=0), kind="stable")[:EXTREMES]
    lowest = np.argsort(values.min(axis=0), kind="stable")[:EXTREMES]
    return list(dict.fromkeys([*highest.tolist(), *lowest.tolist()]))
