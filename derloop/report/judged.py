"""Charts of what checks judge: each signal beside its limits or its reference, where no other chart shows both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from derloop.report import limits, traces
from derloop.report.figures import SETPOINT, Charted, Figure, SignalOfRun, bounds
from derloop.report.limits import checks_of, settings_of, within
from derloop.report.traces import COLOURS, Trace

JUDGED = ("stays-within", "ends-within")
"""Kinds of checks whose limits are values that their signal may have."""
SHOWN = ("head_kw", "v_pu")
"""Ports that have a chart with their limits anyway."""
STILL = 1e-6
FEW = 6
"""So many elements have a line each."""


def judged_figures(run: Charted) -> list[Figure]:
    """Return a chart for each signal that checks hold within limits and that has no chart with them yet."""
    made = (_figure(run, signal) for signal in run.signals if signal.labels and signal.port not in SHOWN)
    return [figure for figure in made if figure is not None]


def followed_figures(run: Charted, facts: Mapping[str, Any]) -> list[Figure]:
    """Return a chart of each signal that checks hold to a reference, beside that: the sums over their elements."""
    made = {figure.id: figure for check in checks_of(facts) for figure in _followed(run, check)}
    return list(made.values())


def _followed(run: Charted, check: Mapping[str, Any]) -> Iterator[Figure]:
    for part in within(check):
        yield from _followed(run, part)
    settings = settings_of(check)
    signal, reference = (run.named(str(settings.get(key))) for key in ("signal", "reference"))
    if check.get("kind") != "tracking" or signal is None or reference is None or SETPOINT.match(reference.port):
        return  # setpoints have a chart of their own
    if signal.unit == reference.unit:
        given = traces.line(run.times, signal.name, *run.total(signal), "blue", width=2)
        asked = traces.line(run.times, reference.name, *run.total(reference), "orange", dash="dash", stepped=True)
        title, note = str(check.get("name") or signal.name), "What is asked for (dashed) and what is done."
        yield Figure(f"followed-{signal.name}", title, note, signal.unit, [given, asked])


def _figure(run: Charted, signal: SignalOfRun) -> Figure | None:
    asked = [limit for limit in run.limits if limit.kind in JUDGED and limit.is_for(signal.name)]
    if not asked:
        return None
    time_ns, values = run.read(signal.name)
    if not values.size:
        return None
    is_of_sum = all(limit.is_of_sum for limit in asked)
    lines = [
        *bounds(run, signal.name),
        *_lines(run, signal, is_of_sum),
        *limits.lines(asked, run.times, time_ns),
    ]
    what = "Sum over all elements" if is_of_sum and len(signal.labels) > 1 else "What checks judge"
    return Figure(f"judged-{signal.name}", signal.name, f"{what}, and their limits (dashed).", signal.unit, lines)


def is_still(figure: Figure) -> bool:
    """Return whether nothing moves in a chart, but for rounding beside its largest value, which may be a limit's."""
    drawn = [[y for y in trace["y"] if y is not None] for trace in figure.traces if trace["line"]["dash"] != "dash"]
    largest = max((abs(y) for trace in figure.traces for y in trace["y"] if y is not None), default=0.0)
    return all(max(y, default=0.0) - min(y, default=0.0) <= STILL * largest for y in drawn)


def _lines(run: Charted, signal: SignalOfRun, is_of_sum: bool) -> list[Trace]:
    time_ns, values = run.read(signal.name)
    if is_of_sum:
        return [traces.line(run.times, signal.name, time_ns, values.sum(axis=1), "blue")]
    if len(signal.labels) > FEW:
        band = traces.band(run.times, "", time_ns, values, signal.labels, "blue")
        return [t | {"showlegend": t["name"] in ("smallest", "median", "largest")} for t in band]
    return [
        traces.line(run.times, label, time_ns, values[:, i], COLOURS[i % len(COLOURS)])
        for i, label in enumerate(signal.labels)
    ]
