"""Series of a run's folder, and how well a regulation signal was followed in it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from derloop.checks.pjm_score import LEAST, SAMPLE_NS, scores
from derloop.contract import FloatArray
from derloop.errors import DerloopError, did_you_mean
from derloop.results.store import RunFolder
from federates.market.regulated import HOUR_S
from federates.market.value.series import Series


def ended(folder: RunFolder) -> RunFolder:
    """Return a run's folder; raise DerloopError where the run did not come to its end: its sums are not of all."""
    outcome = folder.run.get("outcome")
    if outcome != "completed":
        said = "was never begun" if outcome is None else f"is {outcome}"
        raise DerloopError(f"{folder.path}: the run {said}, and not completed: what it lacks would count as nothing")
    return folder


def duration_h(folder: RunFolder) -> float:
    return float(folder.run.get("duration_s", 0.0)) / HOUR_S


def series_of(folder: RunFolder, name: str, unit: str) -> Series:
    """Return a series, summed over its elements; raises DerloopError where there is none in that unit."""
    port, _, label = name.partition(":")
    signal = folder.signal(port)
    if signal.unit != unit:
        raise DerloopError(f"{name} is in {signal.unit}, needed is {unit}")
    time_ns, values = folder.read(port)
    if not time_ns.size:
        raise DerloopError(f"{folder.path}: {port} has no values")
    return Series(name, unit, signal.step_ns, time_ns, _picked(values, label, signal.labels, port))


def performance_of(folder: RunFolder, signal: str, response: str) -> Mapping[int, float]:
    """Return PJM's performance score of each hour of a run that can be scored."""
    asked, given = series_of(folder, signal, "kW"), series_of(folder, response, "kW")
    found: dict[int, float] = {}
    for hour in range(int(np.ceil(duration_h(folder)))):
        end_s = min((hour + 1) * HOUR_S, round(duration_h(folder) * HOUR_S))
        at = np.arange(hour * HOUR_S * 10**9, end_s * 10**9, SAMPLE_NS)
        if at.size >= LEAST and np.any(asked.at(at)):
            found[hour] = scores(asked.at(at), given.at(at)).performance
    return found


def _picked(values: FloatArray, label: str, labels: tuple[str, ...], port: str) -> FloatArray:
    """Return one element (k,), or the sum of all."""
    if not label:
        total: FloatArray = values.sum(axis=1)
        return total
    if label not in labels:
        raise DerloopError(f"{port} has no element {label!r}" + did_you_mean(label, labels))
    return values[:, labels.index(label)]
