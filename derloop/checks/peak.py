"""Check `peak`: a power, averaged over the intervals in which a utility meters demand, stays at or below a limit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from derloop.checks.window import NS, NothingToJudge, Series, Windowed, read_in
from derloop.contract import FloatArray
from derloop.verdict import CheckKind, Recorded, Verdict

ROUNDING = 1e-9
"""Of the limit: what averaging may add to a constant power."""


class Peak(Windowed):
    """The peak of a power stays at or below a limit."""

    signal: str = Field(
        min_length=1, max_length=200, description="Glob of federate.port, in kW.", examples=["grid.head_kw"]
    )
    limit_kw: float = Field(ge=-1e9, le=1e9, description="Largest power allowed, kW.", examples=[3200.0])
    window_s: float = Field(
        900.0,
        ge=0,
        le=31 * 86400,
        description="Interval over which power is averaged, s; intervals follow each other from the scenario's start. "
        "900 is what utilities meter as demand; 0 judges each value.",
        examples=[900.0, 0.0],
    )


def judge(settings: Peak, recorded: Recorded) -> Verdict:
    """Return whether the largest demand of any element is at or below the limit. Raises: NothingToJudge."""
    found = read_in(recorded, settings.signal, settings, "kW")
    peaks = [_peak(series, settings.window_s) for series in found]
    series, (value, when_ns, element) = max(zip(found, peaks, strict=True), key=lambda pair: pair[1][0])
    passed = value <= settings.limit_kw + ROUNDING * abs(settings.limit_kw)
    relation = "does not exceed" if passed else "exceeds"
    over = f" over {settings.window_s:g} s" if settings.window_s else ""
    peak, when = f"the peak of {series.where(element)}", recorded.calendar.at(when_ns)
    return Verdict(
        check=KIND.name,
        kind=KIND.name,
        outcome="PASS" if passed else "FAIL",
        text=f"{peak}, {value:.6g} kW{over} from {when}, {relation} {settings.limit_kw:g} kW",
        measured=value,
        limit=settings.limit_kw,
        margin=settings.limit_kw - value,
        unit="kW",
        where=series.where(element),
        when_ns=when_ns,
        source="scenario",
    )


def _peak(series: Series, window_s: float) -> tuple[float, int, int]:
    """Return the largest demand, the instant its interval begins, and the element."""
    time_ns, demand = _demand(series, round(window_s * NS))
    interval, element = np.unravel_index(int(np.argmax(demand)), demand.shape)
    return float(demand[interval, element]), int(time_ns[interval]), int(element)


def _demand(series: Series, window_ns: int) -> tuple[NDArray[np.int64], FloatArray]:
    """Return where the intervals begin, (m,), and the mean power in each, (m, n).

    An interval of which the run has only a part is averaged over that part.
    """
    if window_ns == 0 or series.step_ns % window_ns == 0:
        return series.time_ns, series.values
    if window_ns % series.step_ns:
        steps = f"{window_ns / NS:g} s is no multiple of the step of {series.name}, {series.step_ns / NS:g} s"
        raise NothingToJudge(f"window_s: {steps}")
    if series.time_ns.size * series.step_ns < window_ns:
        raise NothingToJudge(f"{series.name} covers less than one interval of {window_ns / NS:g} s")
    interval = series.time_ns // window_ns
    begins = np.flatnonzero(np.diff(interval, prepend=interval[0] - 1))
    counts = np.diff(begins, append=interval.size)
    return series.time_ns[begins], np.add.reduceat(series.values, begins, axis=0) / counts[:, None]


KIND = CheckKind(
    name="peak",
    summary="A power, averaged as utilities meter demand, stays at or below a limit.",
    settings=Peak,
    judge=judge,
    signals=lambda settings: ((("signal",), settings.signal),),
)
