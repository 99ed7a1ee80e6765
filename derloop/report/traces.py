"""What charts consist of: lines and bands as plain JSON for plotly, with few enough points to stay quick.

A colour is a token such as "@blue" or "@blue/0.2"; the page puts in the colour of its theme. An `x` is a number: which
of `Times` holds for the trace.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray

TimeArray = NDArray[np.int64]
Trace = dict[str, Any]

MAX_POINTS = 2000
"""Of one trace; one that has more is thinned to the smallest and largest values of as many equal parts."""
SIGNIFICANT = 6
COLOURS = ("blue", "orange", "green", "purple", "amber", "sky", "brown", "grey")


@dataclass
class Times:
    """The time axes of a page, each held once."""

    axes: list[object] = field(default_factory=list)
    _known: dict[bytes, int] = field(default_factory=dict)
    thinned: bool = False

    def add(self, time_ns: TimeArray) -> int:
        """Return the number of the axis `time_ns`; evenly spaced ones are kept as first, step and count, in s."""
        key = time_ns.tobytes()
        if key not in self._known:
            self._known[key] = len(self.axes)
            self.axes.append(_axis(time_ns))
        return self._known[key]


def _axis(time_ns: TimeArray) -> object:
    steps = np.diff(time_ns)
    if steps.size and (steps == steps[0]).all():
        return {"from": int(time_ns[0]) / 1e9, "step": int(steps[0]) / 1e9, "count": int(time_ns.size)}
    return [round(t / 1e9, 6) for t in time_ns.tolist()]


def thin(values: FloatArray, points: int = MAX_POINTS) -> NDArray[np.intp]:
    """Return which of `values`, shape (k,), to draw so that about `points` show every extreme.

    The smallest and the largest of each of `points` / 2 equal parts, and the first and the last; and where a line has a
    gap, NaN, the first of each part, so that it stays one.
    """
    count = values.size
    if count <= points:
        return np.arange(count)
    parts = max(1, points // 2 - 1)
    width = -(-count // parts)
    padded = np.pad(values, (0, -count % width), mode="edge").reshape(-1, width)
    begins = np.arange(len(padded)) * width
    is_none = np.isnan(padded)
    smallest, largest = (
        np.where(is_none, np.inf, padded).argmin(axis=1),
        np.where(is_none, -np.inf, padded).argmax(axis=1),
    )
    gaps = (begins + is_none.argmax(axis=1))[is_none.any(axis=1)]
    kept = np.concatenate([[0, count - 1], begins + smallest, begins + largest, gaps])
    return np.unique(np.minimum(kept, count - 1))


def rounded(values: FloatArray) -> list[float | None]:
    """Return `values` with six significant digits or to whole numbers, for JSON; None for what is not finite."""
    finite = np.isfinite(values)
    safe = np.where(finite, values, 0.0)
    size = np.where(safe == 0, 1.0, np.abs(safe))
    decimals = np.clip(SIGNIFICANT - 1 - np.floor(np.log10(size)), 0, 15)
    near = np.where(size < 1e-9, safe, np.round(safe * 10.0**decimals) / 10.0**decimals)
    return [v if ok else None for v, ok in zip(near.tolist(), finite.tolist(), strict=True)]


def line(
    times: Times,
    name: str,
    time_ns: TimeArray,
    values: FloatArray,
    colour: str,
    *,
    dash: str = "solid",
    width: float = 1.8,
    stepped: bool = False,
    points: int = MAX_POINTS,
    who: Sequence[str] | None = None,
) -> Trace:
    """Return a line; `who` names the element that gives each value, for the pointer."""
    at = thin(values, points)
    times.thinned |= at.size < values.size
    trace: Trace = {
        "type": "scatter",
        "mode": "lines" if at.size > 1 else "lines+markers",  # one point has no line
        "name": label(name),
        "x": times.add(time_ns[at]),
        "y": rounded(values[at]),
        "line": {"color": f"@{colour}", "width": width, "dash": dash, "shape": "hv" if stepped else "linear"},
    }
    if who is not None:
        trace["text"] = [label(who[i]) for i in at]
        trace["hovertemplate"] = "%{y} at %{text}<extra>%{fullData.name}</extra>"
    return trace


def band(
    times: Times, name: str, time_ns: TimeArray, values: FloatArray, labels: Sequence[str], colour: str
) -> list[Trace]:
    """Return the smallest, 5 %, median, 95 % and largest of `values`, shape (k, n), over the elements; NaN is none."""
    prefix = f"{name} " if name else ""
    smallest, low, median, high, largest = _percentiles(values, [0, 5, 50, 95, 100])
    is_none = np.isnan(values)
    lowest = [labels[i] for i in np.where(is_none, np.inf, values).argmin(axis=1)]
    highest = [labels[i] for i in np.where(is_none, -np.inf, values).argmax(axis=1)]
    edge, inner = f"{colour}/0.55", f"{colour}/0"
    return [
        line(times, f"{prefix}largest", time_ns, largest, edge, width=1, who=highest),
        line(times, f"{prefix}95 %", time_ns, high, inner, width=0) | _filled(colour, 0.13),
        line(times, f"{prefix}median", time_ns, median, colour, width=2) | _filled(colour, 0.30),
        line(times, f"{prefix}5 %", time_ns, low, inner, width=0) | _filled(colour, 0.30),
        line(times, f"{prefix}smallest", time_ns, smallest, edge, width=1, who=lowest) | _filled(colour, 0.13),
    ]


def _percentiles(values: FloatArray, shares: Sequence[float]) -> FloatArray:
    """Return percentiles over the elements, (shares, k), of those that are not NaN; NaN where all are."""
    is_none = np.isnan(values)
    if not is_none.any():
        return np.asarray(np.percentile(values, shares, axis=1))
    known = ~is_none.all(axis=1)
    found = np.full((len(shares), len(values)), np.nan)
    if known.any():
        found[:, known] = np.nanpercentile(values[known], shares, axis=1)
    return found


def mean_band(
    times: Times, name: str, time_ns: TimeArray, values: FloatArray, labels: Sequence[str], colour: str
) -> list[Trace]:
    """Return the mean over the elements, within the span from the smallest to the largest."""
    mean = line(times, f"{name} mean", time_ns, values.mean(axis=1), colour, width=2)
    if len(labels) == 1:
        return [mean | {"name": label(name)}]
    lowest = [labels[i] for i in values.argmin(axis=1)]
    highest = [labels[i] for i in values.argmax(axis=1)]
    edge = f"{colour}/0.45"
    return [
        line(times, f"{name} largest", time_ns, values.max(axis=1), edge, width=1, who=highest),
        line(times, f"{name} smallest", time_ns, values.min(axis=1), edge, width=1, who=lowest) | _filled(colour, 0.18),
        mean,
    ]


def _filled(colour: str, opacity: float) -> Trace:
    return {"fill": "tonexty", "fillcolor": f"@{colour}/{opacity}"}


def label(text: str) -> str:
    """Return `text` so that plotly shows it as it stands: its labels know a kind of HTML."""
    return html.escape(text, quote=False)
