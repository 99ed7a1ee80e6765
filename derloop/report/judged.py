"""Charts of what checks judge: each signal beside its limits, where no other chart shows both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from derloop.report import traces
from derloop.report.figures import Charted, Figure, SignalOfRun, bounds, checks_of
from derloop.report.traces import COLOURS, TimeArray, Trace
from derloop.report.wording import is_number, number

LIMITS = ("min", "max")
JUDGED = ("stays-within", "ends-within")
"""Kinds of checks whose limits are values that their signal may have."""
FEW = 6
"""So many elements have a line each."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One limit of one check, and from when to when it holds."""

    check: str
    pattern: str
    value: float
    from_s: float
    to_s: float | None
    is_of_sum: bool


def judged_figures(run: Charted, facts: Mapping[str, Any]) -> list[Figure]:
    """Return a chart for each signal that checks hold within limits and that has no chart with them yet."""
    asked = [limit for check in checks_of(facts) for limit in _asked(check)]
    shown = {"head_kw", "v_pu"}
    made = (_figure(run, signal, asked) for signal in run.signals if signal.labels and signal.port not in shown)
    return [figure for figure in made if figure is not None]


def _asked(check: Mapping[str, Any]) -> Iterator[Asked]:
    settings = check.get("settings", check)
    settings = settings if isinstance(settings, Mapping) else {}
    parts = settings.get("of")
    for part in parts if isinstance(parts, list) else []:
        yield from _asked(part)
    if check.get("kind") in JUDGED and isinstance(settings.get("signal"), str):
        name, from_s, to_s = str(check.get("name") or check["kind"]), settings.get("from_s"), settings.get("to_s")
        for value in (settings.get(limit) for limit in LIMITS):
            if is_number(value):
                yield Asked(name, settings["signal"], float(value), float(from_s or 0), to_s, parts == "sum")  # type: ignore[arg-type]


def _figure(run: Charted, signal: SignalOfRun, asked: list[Asked]) -> Figure | None:
    limits = list(dict.fromkeys(a for a in asked if fnmatchcase(signal.name, a.pattern)))
    if not limits:
        return None
    time_ns, values = run.read(signal.name)
    if not values.size:
        return None
    is_of_sum = all(a.is_of_sum for a in limits)
    lines = [*bounds(run, signal.name), *_lines(run, signal, is_of_sum), *(_limit(run, a, time_ns) for a in limits)]
    what = "Sum over all elements" if is_of_sum and len(signal.labels) > 1 else "What checks judge"
    return Figure(f"judged-{signal.name}", signal.name, f"{what}, and their limits (dashed).", signal.unit, lines)


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


def _limit(run: Charted, limit: Asked, time_ns: TimeArray) -> Trace:
    """Return the limit as a line over the time in which it holds."""
    ends_s = time_ns[-1] / 1e9 if limit.to_s is None else limit.to_s
    at_ns = (np.array([limit.from_s, ends_s]) * 1e9).astype(time_ns.dtype)
    values = np.full(2, limit.value)
    return traces.line(run.times, f"{limit.check}: {number(limit.value)}", at_ns, values, "limit", dash="dash")
