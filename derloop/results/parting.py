"""Where several runs of one scenario part, signal by signal: a model, its emulator, the equipment itself.

The first run is the reference; every other is compared with it in what both have. How a run kept time with the clock on
the wall is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, nan, sqrt
from typing import Protocol

import numpy as np

from derloop.contract import FloatArray
from derloop.results.compare import EXACT, Tolerance, Tolerances
from derloop.results.pairs import abreast, distance, why_unlike
from derloop.results.signals import Piece, Signal, TimeArray


class Run(Protocol):
    """Something with series of which a part can be read: a run's folder."""

    def signals(self) -> tuple[Signal, ...]: ...
    def batches(self, name: str, start_ns: int | None = None, stop_ns: int | None = None, /) -> Iterator[Piece]: ...


@dataclass(frozen=True, slots=True)
class Place:
    """One element of a signal at one instant."""

    time_ns: int
    element: int
    label: str


@dataclass(frozen=True, slots=True)
class Parting:
    """How far one run is from the reference in one signal."""

    instants: int
    """How many both have."""
    lacking: int
    """How many only one of them has."""
    worst: float
    """Largest absolute difference, in the signal's unit; infinite where only one of two values is a finite number."""
    rms: float
    """Root of the mean square of the differences, over all elements and instants, as far as they are finite."""
    at: Place | None
    """Where the worst is; None where they are equal everywhere."""
    first: Place | None
    """Where it is first beyond the tolerance; None where it never is."""


@dataclass(frozen=True, slots=True)
class Row:
    """One signal that all runs have."""

    signal: Signal
    largest: float
    """Largest absolute value of the reference."""
    partings: tuple[Parting, ...]
    """Of each run but the reference."""
    values: tuple[tuple[float, ...], ...]
    """For each of `partings`: what every run has where it is worst, the reference first; empty where equal."""

    @property
    def relative(self) -> float:
        """The worst of all, as a part of the reference's largest value."""
        worst = max((parting.worst for parting in self.partings), default=0.0)
        return worst / self.largest if self.largest else inf if worst else 0.0

    @property
    def is_within(self) -> bool:
        return all(parting.first is None for parting in self.partings)

    @property
    def is_equal(self) -> bool:
        return all(parting.at is None and not parting.lacking for parting in self.partings)


@dataclass(frozen=True, slots=True)
class Partings:
    """How several runs part."""

    rows: tuple[Row, ...]
    """The signals that all have, those that part most, relative to their largest value, first."""
    left_out: tuple[str, ...]
    """Signals that only some have, or have otherwise, in words."""

    @property
    def same(self) -> bool:
        """Whether no signal is beyond its tolerance anywhere, and all runs have the same instants, one at least."""
        every = [parting for row in self.rows for parting in row.partings]
        is_whole = any(parting.instants for parting in every) and not any(parting.lacking for parting in every)
        return is_whole and all(row.is_within for row in self.rows)


def partings(runs: Sequence[Run], tolerances: Tolerances = EXACT) -> Partings:
    """Compare every run with the first; memory does not grow with the runs' length."""
    known = [{s.name: s for s in run.signals() if not s.is_of_the_clock} for run in runs]
    left_out = tuple(_left_out(known))
    common = [s for s in known[0].values() if all(not why_unlike(s.name, s, other.get(s.name)) for other in known[1:])]
    rows = [_row(signal, runs, tolerances.of(signal.name)) for signal in common]
    return Partings(tuple(sorted(rows, key=lambda row: -row.relative)), left_out)


def _left_out(known: Sequence[dict[str, Signal]]) -> Iterator[str]:
    for name in {name: None for signals in known for name in signals}:
        missing = [letter(k) for k, signals in enumerate(known) if name not in signals]
        reasons = (why_unlike(name, known[0].get(name), other.get(name)) for other in known[1:])
        if missing:
            yield f"{name}: not in {', '.join(missing)}"
        elif why := next(filter(None, reasons), None):
            yield why


def letter(number: int) -> str:
    """Return what a run is called in tables: A, B ..."""
    return chr(ord("A") + number)


def _row(signal: Signal, runs: Sequence[Run], tolerance: Tolerance) -> Row:
    reference, others = runs[0], runs[1:]
    tallies = [_tallied(signal, reference, other, tolerance) for other in others]
    found = tuple(tally.result() for tally in tallies)
    values = tuple(tuple(_values_at(signal, runs, parting.at)) for parting in found)
    return Row(signal, max((tally.largest for tally in tallies), default=0.0), found, values)


def _values_at(signal: Signal, runs: Iterable[Run], place: Place | None) -> Iterator[float]:
    """Yield what each run has at a place; NaN for one that does not have the instant."""
    if place is not None:
        for run in runs:
            pieces = run.batches(signal.name, place.time_ns, place.time_ns + 1)
            yield next((float(values[0, place.element]) for _, values in pieces), nan)


def _tallied(signal: Signal, a: Run, b: Run, tolerance: Tolerance) -> _Tally:
    tally = _Tally(signal, tolerance)
    for piece_a, piece_b in abreast(a.batches(signal.name), b.batches(signal.name), len(signal.labels)):
        tally.add(piece_a, piece_b)
    return tally


class _Tally:
    """What has been found of one signal in one pair of runs so far."""

    def __init__(self, signal: Signal, tolerance: Tolerance) -> None:
        self._labels, self._tolerance = signal.labels, tolerance
        self._instants = self._lacking = self._count = 0
        self._squares, self._worst, self.largest = 0.0, 0.0, 0.0
        self._at: Place | None = None
        self._first: Place | None = None

    def add(self, a: Piece, b: Piece) -> None:
        """Take pieces of both that cover the same stretch of time."""
        (time_a, values_a), (time_b, values_b) = a, b
        if not np.array_equal(time_a, time_b):
            in_b, in_a = np.isin(time_a, time_b), np.isin(time_b, time_a)
            self._lacking += int((~in_b).sum() + (~in_a).sum())
            time_a, values_a, values_b = time_a[in_b], values_a[in_b], values_b[in_a]
        if time_a.size:
            self._add_common(time_a, values_a, values_b)

    def result(self) -> Parting:
        rms = sqrt(self._squares / self._count) if self._count else 0.0
        return Parting(self._instants, self._lacking, self._worst, rms, self._at, self._first)

    def _add_common(self, time_ns: TimeArray, a: FloatArray, b: FloatArray) -> None:
        apart = distance(a, b)
        finite = np.isfinite(apart)
        self._instants += time_ns.size
        self._count += int(finite.sum())
        self._squares += float(np.square(apart[finite]).sum())
        self.largest = max(self.largest, float(np.abs(a[np.isfinite(a)]).max(initial=0.0)))
        worst = float(apart.max())
        if worst > self._worst:
            self._worst, self._at = worst, self._place(time_ns, int(apart.argmax()))
        beyond = (apart > self._tolerance.allowed(a, b)) | ~finite
        if self._first is None and beyond.any():
            self._first = self._place(time_ns, int(beyond.argmax()))

    def _place(self, time_ns: TimeArray, flat: int) -> Place:
        row, element = divmod(flat, len(self._labels))
        return Place(int(time_ns[row]), element, self._labels[element])
