"""Check `peak`: a power, averaged over the intervals in which a utility meters demand, stays at or below a limit.

Of an interval of which only a part was recorded, or lies in the window, nobody knows the demand. Such a part makes no
FAIL; where all else passes and its mean is above the limit, the verdict is INCONCLUSIVE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from derloop.checks.bounds import amount
from derloop.checks.window import NS, NothingToJudge, Series, Windowed, other_unit, read_in
from derloop.contract import FloatArray
from derloop.verdict import CheckKind, Recorded, SignalInfo, Verdict

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
        description="Interval over which power is averaged, s; intervals follow each other from the scenario's start, "
        "and whole ones are judged. 900 is what utilities meter as demand; 0 judges each value.",
        examples=[900.0, 0.0],
    )


class _Demand(NamedTuple):
    """The mean power of a series in intervals that follow each other."""

    series: Series
    begin_ns: NDArray[np.int64]
    """Where each begins, or the part of it that is known, (m,)."""
    lasts_ns: NDArray[np.int64]
    """How much of it is known, (m,)."""
    kw: FloatArray
    """(m, n)."""

    def only(self, kept: NDArray[np.bool_]) -> _Demand:
        return _Demand(self.series, self.begin_ns[kept], self.lasts_ns[kept], self.kw[kept])

    @property
    def largest(self) -> tuple[float, int, int]:
        """The largest of them, the instant at which it begins, and the element."""
        interval, element = np.unravel_index(int(np.argmax(self.kw)), self.kw.shape)
        return float(self.kw[interval, element]), int(self.begin_ns[interval]), int(element)


def judge(settings: Peak, recorded: Recorded) -> Verdict:
    """Return whether the largest demand of any element is at or below the limit. Raises: NothingToJudge."""
    most_kw = settings.limit_kw + ROUNDING * abs(settings.limit_kw)
    found = [_demand(series, settings.window_s) for series in read_in(recorded, settings.signal, settings, "kW")]
    window_ns = round(settings.window_s * NS)
    whole = [demand.only(demand.lasts_ns >= window_ns) for demand in found]
    if not all(demand.kw.size for demand in whole):
        few = next(demand.series.name for demand in whole if not demand.kw.size)
        raise NothingToJudge(f"{few} covers no whole interval of {settings.window_s:g} s, counted from the start")
    worst = max(whole, key=lambda demand: demand.largest[0])
    series, (value, when_ns, element) = worst.series, worst.largest
    passed = value <= most_kw
    if passed:
        _check_parts([demand.only(demand.lasts_ns < window_ns) for demand in found], most_kw, settings)
    relation = "does not exceed" if passed else "exceeds"
    over = f" over {settings.window_s:g} s" if settings.window_s else ""
    shown = amount(value, "kW", beyond=None if passed else settings.limit_kw)
    peak, when = f"the peak of {series.where(element)}", recorded.calendar.at(when_ns)
    return Verdict(
        check=KIND.name,
        kind=KIND.name,
        outcome="PASS" if passed else "FAIL",
        text=f"{peak}, {shown}{over} from {when}, {relation} {settings.limit_kw:g} kW",
        measured=value,
        limit=settings.limit_kw,
        margin=settings.limit_kw - value,
        unit="kW",
        where=series.where(element),
        when_ns=when_ns,
        source="scenario",
    )


def _no_multiple(signal: SignalInfo | Series, window_s: float) -> str:
    """Return that an interval is no whole number of steps, nor a step of intervals; nothing if it is."""
    window_ns = round(window_s * NS)
    if window_ns == 0 or signal.step_ns % window_ns == 0 or window_ns % signal.step_ns == 0:
        return ""
    return f"window_s: {window_s:g} s is no multiple of the step of {signal.name}, {signal.step_ns / NS:g} s"


def _demand(series: Series, window_s: float) -> _Demand:
    """Return the mean power in each interval, or in the part of it that is known. Raises: NothingToJudge."""
    window_ns = round(window_s * NS)
    if window_ns == 0 or series.step_ns % window_ns == 0:
        return _Demand(series, series.time_ns, np.full(series.time_ns.size, window_ns), series.values)
    if what := _no_multiple(series, window_s):
        raise NothingToJudge(what)
    interval = series.time_ns // window_ns
    first = np.flatnonzero(np.diff(interval, prepend=interval[0] - 1))
    weights = series.lasts_ns / series.step_ns
    sums = np.add.reduceat(series.values * weights[:, None], first, axis=0)
    lasts_ns = np.add.reduceat(series.lasts_ns, first)
    return _Demand(series, series.time_ns[first], lasts_ns, sums / np.add.reduceat(weights, first)[:, None])


def _check_parts(parts: Sequence[_Demand], most_kw: float, settings: Peak) -> None:
    """Raise NothingToJudge where a part of an interval is above the limit, which the whole one may not have been."""
    for demand in parts:
        if demand.kw.size and demand.largest[0] > most_kw:
            value, when_ns, element = demand.largest
            lasts_s = demand.lasts_ns[demand.begin_ns == when_ns][0] / NS
            part = f"{value:.6g} kW, {demand.series.where(element)}, from {demand.series.calendar.at(when_ns)}"
            raise NothingToJudge(
                f"all whole intervals are at or below {settings.limit_kw:g} kW, but it is {part} for {lasts_s:g} s, "
                f"and no more is known of that interval of {settings.window_s:g} s"
            )


KIND = CheckKind(
    name="peak",
    summary="A power, averaged as utilities meter demand, stays at or below a limit.",
    settings=Peak,
    judge=judge,
    misfit=lambda settings, signal: other_unit(signal, "kW") or _no_multiple(signal, settings.window_s),
    signals=lambda settings: ((("signal",), settings.signal),),
)
