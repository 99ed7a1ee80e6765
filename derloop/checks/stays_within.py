"""Check `stays-within`: signals stay between two limits, for a share of time and elements, short excursions allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from derloop.checks.bounds import amount
from derloop.checks.window import LONGEST_S, NS, NothingToJudge, Series, Windowed, percent, read
from derloop.contract import FloatArray
from derloop.verdict import CheckKind, Recorded, Verdict

BoolArray = NDArray[np.bool_]
ROUNDING = 1e-9
"""Of a limit, and of a share: as a part of it."""


class Sustained(Windowed):
    """How much of time and place may lie outside."""

    share: float = Field(
        1.0, gt=0, le=1, description="Least share (1 = all) of the values, over time and elements, that lie within."
    )
    settle_s: float = Field(
        0.0, ge=0, le=LONGEST_S, description="An excursion of one element that is shorter than this is allowed, s."
    )

    @property
    def excused(self) -> str:
        """What may lie outside, as text."""
        return f", but for less than {self.settle_s:g} s at a time" if self.settle_s else ""

    @property
    def counted(self) -> str:
        """What counts as outside, as text."""
        return f" for {self.settle_s:g} s or longer" if self.settle_s else ""


def of_all(settings: Sustained) -> bool:
    """Return whether all values must lie within: a share of them may yet be reached."""
    return settings.share == 1


class StaysWithin(Sustained):
    """Signals stay within limits."""

    signal: str = Field(
        min_length=1, max_length=200, description="Glob of federate.port.", examples=["grid.v_pu", "*.soc_pu"]
    )
    min: float | None = Field(None, description="Lower limit, in the signal's unit.", examples=[0.1])
    max: float | None = Field(None, description="Upper limit, in the signal's unit.", examples=[1.0])

    @model_validator(mode="after")
    def _limits_make_a_band(self) -> StaysWithin:
        if self.min is None and self.max is None:
            raise ValueError("needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} must not be greater than max {self.max:g}")
        return self


@dataclass(frozen=True, slots=True)
class Band:
    """Between two limits, which belong to it; infinite where there is none."""

    low: float
    high: float
    unit: str

    def __str__(self) -> str:
        if np.isinf(self.low):
            return f"at most {amount(self.high, self.unit)}"
        if np.isinf(self.high):
            return f"at least {amount(self.low, self.unit)}"
        return f"within {self.low:g} to {amount(self.high, self.unit)}"

    @property
    def beyond(self) -> str:
        """What is not within, as text."""
        if np.isinf(self.low):
            return f"above {amount(self.high, self.unit)}"
        if np.isinf(self.high):
            return f"below {amount(self.low, self.unit)}"
        return f"outside {self.low:g} to {amount(self.high, self.unit)}"

    def excess(self, values: FloatArray) -> FloatArray:
        """Return how far each value lies outside; negative: how far inside of the nearer limit."""
        return np.maximum(values - self.high, self.low - values)

    def is_left(self, values: FloatArray) -> BoolArray:
        """Return which values lie outside by more than rounding: a store at its floor of 0.1 may tell 1e-17 less."""
        above = values > self.high + ROUNDING * abs(self.high)
        below = values < self.low - ROUNDING * abs(self.low)
        found: BoolArray = above | below
        return found

    def limit_near(self, value: float) -> float:
        return self.high if value - self.high >= self.low - value else self.low


@dataclass(frozen=True, slots=True)
class _Worst:
    """What counts of one series: how many values lie outside, and the worst value that is not excused."""

    series: Series
    outside: int
    excess: float
    at: tuple[int, int]
    """Instant and element."""

    @property
    def value(self) -> float:
        return float(self.series.values[self.at])

    @property
    def where(self) -> str:
        return self.series.where(self.at[1])

    @property
    def when_ns(self) -> int:
        return int(self.series.time_ns[self.at[0]])

    @property
    def when(self) -> str:
        return self.series.calendar.at(self.when_ns)


def judge(settings: StaysWithin, recorded: Recorded) -> Verdict:
    """Return whether the signals stay within `min` and `max`. Raises: NothingToJudge."""
    found = read(recorded, settings.signal, settings)
    low = -np.inf if settings.min is None else settings.min
    high = np.inf if settings.max is None else settings.max
    return judge_band(KIND.name, found, Band(low, high, found[0].unit), settings, "scenario")


def judge_band(kind: str, found: Sequence[Series], band: Band, allowed: Sustained, source: str) -> Verdict:
    """Return whether `found` lies within `band` as far as `allowed` asks. Raises: NothingToJudge.

    Measured is the worst value; where a share less than 1 is asked for, the share that lies within.
    """
    parts = [_worst(series, band, allowed.settle_s) for series in found]
    worst = max(parts, key=lambda part: part.excess)
    total = sum(series.values.size for series in found)
    outside = sum(part.outside for part in parts)
    if allowed.share < 1:
        return _judged_by_share(kind, worst, band, 1 - outside / total, allowed, source)
    return _judged_by_value(kind, worst, band, outside / total, allowed, source)


def _worst(series: Series, band: Band, settle_s: float) -> _Worst:
    excess, outside = band.excess(series.values), band.is_left(series.values)
    if settle_s > 0:
        _require_longer(series, settle_s)
        brief = outside & (_lasting_ns(outside, np.append(series.time_ns, series.end_ns)) < round(settle_s * NS))
        excess, outside = np.where(brief, -np.inf, excess), outside & ~brief
    instant, element = np.unravel_index(int(np.argmax(excess)), excess.shape)
    at = int(instant), int(element)
    return _Worst(series, int(outside.sum()), float(excess[at]), at)


def _require_longer(series: Series, settle_s: float) -> None:
    judged_ns = series.end_ns - int(series.time_ns[0])
    if judged_ns < round(settle_s * NS):
        raise NothingToJudge(f"{series.name}: {judged_ns / NS:g} s are judged, less than settle_s {settle_s:g}")


def _lasting_ns(flags: BoolArray, edges_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each True of `flags`, shape (k, n), how long it is so in its column there.

    edges_ns: where the rows begin, and the last one ends, (k + 1,).
    """
    rows = np.arange(len(flags))[:, None]
    before = np.maximum.accumulate(np.where(flags, -1, rows), axis=0)
    after = np.minimum.accumulate(np.where(flags, len(flags), rows)[::-1], axis=0)[::-1]
    lasting: NDArray[np.int64] = edges_ns[after] - edges_ns[before + 1]
    return lasting


def _judged_by_value(kind: str, worst: _Worst, band: Band, outside: float, allowed: Sustained, source: str) -> Verdict:
    passed = outside == 0
    beyond = None if passed else band.limit_near(worst.value)
    place = f"{amount(worst.value, worst.series.unit, 5, beyond)}, {worst.where}, {worst.when}"
    within = f"all values are {band}{allowed.excused}; nearest to a limit: {place}"
    text = within if passed else f"{percent(outside)} of the values are {band.beyond}{allowed.counted}; worst: {place}"
    return Verdict(
        check=kind,
        kind=kind,
        outcome="PASS" if passed else "FAIL",
        text=text,
        measured=worst.value,
        limit=band.limit_near(worst.value),
        margin=-worst.excess + 0.0,
        unit=band.unit,
        where=worst.where,
        when_ns=worst.when_ns,
        source=source,
    )


def _judged_by_share(kind: str, worst: _Worst, band: Band, within: float, allowed: Sustained, source: str) -> Verdict:
    place = f"{amount(worst.value, worst.series.unit, 5)}, {worst.where}, {worst.when}"
    share, asked = percent(within), percent(allowed.share)
    return Verdict(
        check=kind,
        kind=kind,
        outcome="PASS" if within >= allowed.share - ROUNDING else "FAIL",
        text=f"{share} of the values are {band}{allowed.excused}; {asked} are asked for; worst: {place}",
        measured=within,
        limit=allowed.share,
        margin=within - allowed.share,
        unit="1",
        where=worst.where,
        when_ns=worst.when_ns,
        source=source,
    )


KIND = CheckKind(
    name="stays-within",
    summary="Signals stay between two limits, for a share of time and elements; short excursions can be allowed.",
    settings=StaysWithin,
    judge=judge,
    signals=lambda settings: ((("signal",), settings.signal),),
    fails_for_good=of_all,
)
