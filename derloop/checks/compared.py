"""Check `compared`: a measure of a signal beside the same measure of another run, or of golden results.

With `M` of this run and `M0` of the other, over the same window (runs of two lengths need `to_s`):

    reduction = (M0 - M) / |M0|           at least `reduction`: 0.1 is a tenth less, -0.05 up to a twentieth more
    difference = |M - M0| / |M0|          at most `difference`

Of golden results this run is looked at in their instants alone. Elements that only one of the two has are left out, and
the verdict says how many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from derloop.calendar import UNDATED, Calendar
from derloop.checks.bounds import Measured, amount, at_least, at_most
from derloop.checks.elements import Elements, held, read_elements
from derloop.checks.window import NS, NothingToJudge, Series, percent
from derloop.contract import FloatArray
from derloop.errors import DerloopError, did_you_mean
from derloop.kind import FileName, PlaceError
from derloop.results.golden import Kept, kept
from derloop.results.signals import Piece, Signal
from derloop.results.store import RunFolder
from derloop.verdict import CheckKind, Recorded, Verdict, never

HOUR_NS = 3.6e12
Measure = Literal["peak", "least", "mean", "largest", "energy"]

MEASURES: dict[Measure, Callable[[Series], FloatArray]] = {
    "peak": lambda series: series.values.max(axis=0),
    "least": lambda series: series.values.min(axis=0),
    "mean": lambda series: np.average(series.values, axis=0, weights=series.lasts_ns),
    "largest": lambda series: np.abs(series.values).max(axis=0),
    "energy": lambda series: series.lasts_ns @ series.values / HOUR_NS,
}
"""From a series to one number for each element, (n,)."""
EXTREMES: dict[Measure, Callable[[FloatArray], NDArray[np.intp]]] = {
    "peak": lambda values: values.argmax(axis=0),
    "least": lambda values: values.argmin(axis=0),
    "largest": lambda values: np.abs(values).argmax(axis=0),
}
"""From values to the row of each element's extreme, (n,)."""


class Compared(Elements):
    """A measure of a signal beside that of another run."""

    against: FileName = Field(
        min_length=1,
        max_length=1000,
        description="Folder of the other run, or of golden results, relative to the scenario's and inside it.",
        examples=["golden/quickstart", "runs/without"],
    )
    measure: Measure = Field(
        "peak",
        description="peak: largest value. least: smallest. mean: over time. largest: largest magnitude. "
        "energy: integral over time, in the unit times hours.",
    )
    reduction: float | None = Field(
        None, ge=-1000, le=1, description="Least share by which it is smaller than the other's.", examples=[0.1]
    )
    difference: float | None = Field(
        None, ge=0, le=1000, description="Largest difference, as a share of the other's.", examples=[0.01]
    )

    @model_validator(mode="after")
    def _is_one(self) -> Compared:
        if (self.reduction is None) == (self.difference is None):
            raise ValueError("needs either reduction or difference")
        return self


class _Golden:
    """Golden results as a run that can be judged."""

    def __init__(self, folder: Path) -> None:
        self._kept: Kept = kept(folder)
        self.calendar = UNDATED

    def select(self, pattern: str) -> tuple[Signal, ...]:
        return tuple(signal for signal in self._kept.signals() if fnmatchcase(signal.name, pattern))

    def batches(self, name: str) -> Iterator[Piece]:
        return self._kept.batches(name)

    def read(self, name: str) -> Piece:
        pieces = list(self.batches(name))
        return pieces[0] if pieces else (np.empty(0, np.int64), np.empty((0, 0)))


def placed(settings: Compared, folder: Path) -> Compared:
    """Return `settings` with the real path of the other run. Raises PlaceError where there is none."""
    root = folder.resolve()
    try:
        path = (root / settings.against).resolve()
        what = _refused(path, root)
        found = None if what else _opened(path).select(settings.signal)
    except (DerloopError, OSError, ValueError) as error:
        raise PlaceError([(("against",), f"{settings.against!r}: {error}")]) from error
    if what:
        raise PlaceError([(("against",), f"{settings.against!r} {what}")])
    if not found:
        possible = [signal.name for signal in _opened(path).select("*")]
        what = f"{settings.against!r} has no signal {settings.signal!r}" + did_you_mean(settings.signal, possible)
        raise PlaceError([(("signal",), what)])
    return settings.model_copy(update={"against": str(path)})


def _refused(path: Path, root: Path) -> str:
    if not path.is_relative_to(root):
        return f"is outside the scenario's folder {str(root)!r}"
    if not path.is_dir():
        return f"is no folder in the scenario's folder {str(root)!r}"
    if not any((path / name).exists() for name in ("golden.json", "series")):
        return "is neither a run's folder nor golden results"
    return ""


def _opened(path: Path) -> RunFolder | _Golden:
    return _Golden(path) if (path / "golden.json").exists() else RunFolder(path)


@dataclass(frozen=True, slots=True)
class _Pair:
    where: str
    ours: float
    theirs: float
    when_ns: int | None
    """Of an extreme of ours."""
    calendar: Calendar

    @property
    def place(self) -> str:
        return self.where if self.when_ns is None else f"{self.where}, {self.calendar.at(self.when_ns)}"


def judge(settings: Compared, recorded: Recorded) -> Verdict:
    """Return whether the worst element compares as asked. Raises: NothingToJudge."""
    other = _opened(Path(settings.against))
    theirs = {series.name: series for series in read_elements(other, settings)}
    ours = read_elements(recorded, settings)
    for series in ours:
        if series.name in theirs:
            _require_as_long(series, theirs[series.name], isinstance(other, _Golden))
    alone = len(_names(ours) ^ _names(theirs.values()))
    if isinstance(other, _Golden):
        ours = [_sampled(series, theirs[series.name]) for series in ours if series.name in theirs]
    pairs = [pair for series in ours if series.name in theirs for pair in _pairs(settings, series, theirs[series.name])]
    if not pairs:
        raise NothingToJudge(f"{settings.against} has no signal {settings.signal!r} with the same elements")
    unit = ours[0].unit + ("h" if settings.measure == "energy" else "")
    found = _judged(settings, pairs, unit)
    return replace(found, text=f"{found.text}; {_left_out(alone)}") if alone else found


def _names(series: Iterable[Series]) -> set[tuple[str, str]]:
    return {(each.name, label) for each in series for label in each.labels}


def _left_out(elements: int) -> str:
    return f"left out: {elements} element{'s' * (elements != 1)} that only one of the two has"


def _require_as_long(ours: Series, theirs: Series, is_golden: bool) -> None:
    """Raise NothingToJudge where one covers more time; of golden results, where they have an instant after ours."""
    longest_ns = max(ours.step_ns, theirs.step_ns)
    is_as_long = ours.end_ns > theirs.time_ns[-1] if is_golden else abs(ours.end_ns - theirs.end_ns) < longest_ns
    if not is_as_long:
        ends = f"ends at {ours.end_ns / NS:g} s here and at {theirs.end_ns / NS:g} s there"
        raise NothingToJudge(f"{ours.name} {ends}: give to_s, up to which both are looked at")


def _sampled(ours: Series, theirs: Series) -> Series:
    values = held(ours, theirs.time_ns)
    return replace(ours, step_ns=theirs.step_ns, time_ns=theirs.time_ns, values=values, end_ns=theirs.end_ns)


def _pairs(settings: Compared, ours: Series, theirs: Series) -> list[_Pair]:
    if ours.unit != theirs.unit:
        raise NothingToJudge(f"{ours.name} is in {ours.unit!r} here and in {theirs.unit!r} there")
    measured, other = MEASURES[settings.measure](ours), MEASURES[settings.measure](theirs)
    at = {label: i for i, label in enumerate(theirs.labels)}
    common = [(i, at[label]) for i, label in enumerate(ours.labels) if label in at]
    when_ns = EXTREMES[settings.measure](ours.values) if settings.measure in EXTREMES else None
    at_ns = [None] * len(ours.labels) if when_ns is None else ours.time_ns[when_ns].tolist()
    return [_Pair(ours.where(i), float(measured[i]), float(other[j]), at_ns[i], ours.calendar) for i, j in common]


def _judged(settings: Compared, pairs: list[_Pair], unit: str) -> Verdict:
    worst, reduction = min(((pair, _reduction(settings, pair)) for pair in pairs), key=lambda found: found[1])
    said = f"{settings.measure} {amount(worst.ours, unit)} beside {amount(worst.theirs, unit)}, {worst.place}"
    source = f"scenario; compared with {Path(settings.against).name}"
    if settings.reduction is not None:
        text = f"{said}: {percent(reduction)} less, {percent(settings.reduction)} asked for"
        return at_least(
            KIND.name, Measured(reduction, "1", worst.where, worst.when_ns), settings.reduction, text, source
        )
    assert settings.difference is not None
    apart = abs(reduction)
    text = f"{said}: {percent(apart)} apart, {percent(settings.difference)} allowed"
    return at_most(KIND.name, Measured(apart, "1", worst.where, worst.when_ns), settings.difference, text, source)


def _reduction(settings: Compared, pair: _Pair) -> float:
    """Return by which share ours is less, or, where a difference is judged, the difference as a negative."""
    less = pair.theirs - pair.ours
    if settings.difference is not None:
        less = -abs(less)
    if pair.theirs == 0 and less != 0:
        raise NothingToJudge(f"{pair.where}: {settings.measure} is 0 in the other run, and there is no share of that")
    return less / abs(pair.theirs) if less else 0.0


KIND = CheckKind(
    name="compared",
    summary="A measure of a signal (peak, energy, mean ...) is less than, or equal to, that of another run.",
    settings=Compared,
    judge=judge,
    signals=lambda settings: ((("signal",), settings.signal),),
    placed=placed,
    fails_for_good=never,
)
