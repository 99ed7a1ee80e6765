"""Where two runs part first, and by how much.

The first difference in time is near the cause: what follows from it differs too, and later. Within an instant the
federates' order in the run decides, then the ports', then the elements'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import inf

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.results.pairs import abreast, clock_text, distance, why_unlike
from derloop.results.signals import Piece, Signal, Source, TimeArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Two values agree when they are `abs` apart (in the signal's unit) or `rel` of the larger one, or less."""

    abs: float = 0.0
    rel: float = 0.0

    def allowed(self, a: FloatArray, b: FloatArray) -> FloatArray:
        if not self.rel:
            return np.full(a.shape, self.abs)
        return np.fmax(self.abs, self.rel * np.fmax(np.abs(a), np.abs(b)))


@dataclass(frozen=True)
class Tolerances:
    """A tolerance for each pattern of signal names; the first that matches holds, and where none does, exactness."""

    by_pattern: Mapping[str, Tolerance] = field(default_factory=dict)

    def of(self, name: str) -> Tolerance:
        return next((t for pattern, t in self.by_pattern.items() if fnmatchcase(name, pattern)), Tolerance())


EXACT = Tolerances()


@dataclass(frozen=True, slots=True)
class FirstDifference:
    """The earliest instant at which two runs part, and one element that does."""

    time_ns: int
    signal: Signal
    label: str | None
    """None when only one run has this instant."""
    a: float | None
    b: float | None
    """The values; None for the run that does not have this instant."""
    allowed: float = 0.0

    @property
    def apart(self) -> float:
        return inf if self.a is None or self.b is None else float(distance(np.array([self.a]), np.array([self.b]))[0])

    def __str__(self) -> str:
        when = f"{clock_text(self.time_ns)} ({self.time_ns / 1e9:.12g} s)"
        if self.a is None or self.b is None:
            return f"{when}: {self.signal.name}: only the {'first' if self.b is None else 'second'} has this instant"
        a, b = _told_apart(self.a, self.b)
        allowed = f"{self.apart:.3g} apart; allowed {self.allowed:.3g}" if np.isfinite(self.apart) else "not comparable"
        return f"{when}: {self.signal.name} at {self.label!r}: {a} against {b} ({allowed})"


@dataclass(frozen=True, slots=True)
class SignalComparison:
    """What became of one signal that both runs have."""

    signal: Signal
    instants: int
    """How many instants both have."""
    differing_instants: int
    """At how many of these at least one element differs by more than is allowed."""
    differing_elements: int
    """How many elements (labels) differ at any instant."""
    largest: float
    """Largest absolute difference, allowed or not; infinite where only one of two values is a finite number."""
    only_a: int
    only_b: int
    """How many instants only one of them has."""
    first: FirstDifference | None

    @property
    def same(self) -> bool:
        return self.first is None

    def __str__(self) -> str:
        lacking = [
            f"{count} instant{'s' if count > 1 else ''} only in the {which}"
            for count, which in ((self.only_a, "first"), (self.only_b, "second"))
            if count
        ]
        differing = (
            f"{self.differing_elements} of {len(self.signal.labels)} elements differ at {self.differing_instants} of "
            f"{self.instants} instants, by {self.largest:.3g} {self.signal.unit} at most"
        )
        return f"{self.signal.name}: " + "; ".join([differing] * bool(self.differing_instants) + lacking)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two runs compare; `same` when nothing parts them by more than is allowed."""

    first: FirstDifference | None
    signals: tuple[SignalComparison, ...]
    """What both have with the same unit and labels."""
    unlike: tuple[str, ...]
    """What cannot be compared, in words: signals that only one has, or with other labels or units."""

    @property
    def same(self) -> bool:
        return self.first is None and not self.unlike

    @property
    def largest(self) -> float:
        """Largest absolute difference of all."""
        return max((s.largest for s in self.signals), default=0.0)

    def __str__(self) -> str:
        if self.same:
            return f"no difference in {len(self.signals)} signals (largest, and allowed: {self.largest:.3g})"
        first = [f"first difference at {self.first}"] if self.first else []
        return "\n".join([*first, *self.unlike, *(f"  {s}" for s in self.signals if not s.same)])


def compare(a: Source, b: Source, tolerances: Tolerances = EXACT, *, common: bool = False) -> Comparison:
    """Compare every signal of `a` and `b`, instant by instant; memory does not grow with the runs' length.

    NaN agrees with NaN and an infinity with itself; against anything else no tolerance allows them. How a run kept time
    with the clock on the wall is left out.
    common: leave out signals that only one has.
    """
    in_a, in_b = ({s.name: s for s in source.signals() if not s.is_of_the_clock} for source in (a, b))
    names = [name for name in {**in_a, **in_b} if not common or (name in in_a and name in in_b)]
    unlike = [] if names else ["there is no signal that both have"]
    unlike += [why for name in names if (why := why_unlike(name, in_a.get(name), in_b.get(name)))]
    both = [s for name, s in in_a.items() if name in in_b and not why_unlike(name, s, in_b[name])]
    found = tuple(_compared(s, a, b, tolerances.of(s.name)) for s in both)
    differing = [s.first for s in found if s.first]
    return Comparison(min(differing, key=lambda first: first.time_ns, default=None), found, tuple(unlike))


class _Tally:
    """What has been found of one signal so far."""

    def __init__(self, signal: Signal, tolerance: Tolerance) -> None:
        self._signal, self._tolerance = signal, tolerance
        self._elements = np.zeros(len(signal.labels), bool)
        self._instants = self._differing = self._only_a = self._only_b = 0
        self._largest = 0.0
        self._first: FirstDifference | None = None

    def add(self, a: Piece, b: Piece) -> None:
        """Take pieces of both that cover the same stretch of time."""
        (time_a, values_a), (time_b, values_b) = a, b
        if not np.array_equal(time_a, time_b):
            in_b, in_a = np.isin(time_a, time_b), np.isin(time_b, time_a)
            self._add_lacking(time_a[~in_b], time_b[~in_a])
            time_a, values_a, values_b = time_a[in_b], values_a[in_b], values_b[in_a]
        if time_a.size:
            self._add_common(time_a, values_a, values_b)

    def result(self) -> SignalComparison:
        elements = int(self._elements.sum())
        counts = self._instants, self._differing, elements, self._largest, self._only_a, self._only_b
        return SignalComparison(self._signal, *counts, self._first)

    def _add_lacking(self, only_a: TimeArray, only_b: TimeArray) -> None:
        self._only_a += only_a.size
        self._only_b += only_b.size
        if only_a.size:
            self._propose(FirstDifference(int(only_a[0]), self._signal, None, np.nan, None))
        if only_b.size:
            self._propose(FirstDifference(int(only_b[0]), self._signal, None, None, np.nan))

    def _add_common(self, time_ns: TimeArray, a: FloatArray, b: FloatArray) -> None:
        apart = distance(a, b)
        allowed = self._tolerance.allowed(a, b)
        differs: BoolArray = (apart > allowed) | np.isinf(apart)
        self._instants += time_ns.size
        self._largest = max(self._largest, float(apart.max()))
        at_instants = differs.any(axis=1)
        if at_instants.any():
            self._elements |= differs.any(axis=0)
            self._differing += int(at_instants.sum())
            row = int(at_instants.argmax())
            at = row, int(differs[row].argmax())
            label = self._signal.labels[at[1]]
            values = float(a[at]), float(b[at]), float(allowed[at])
            self._propose(FirstDifference(int(time_ns[row]), self._signal, label, *values))

    def _propose(self, found: FirstDifference) -> None:
        if self._first is None or found.time_ns < self._first.time_ns:
            self._first = found


def _compared(signal: Signal, a: Source, b: Source, tolerance: Tolerance) -> SignalComparison:
    tally = _Tally(signal, tolerance)
    for piece_a, piece_b in abreast(a.batches(signal.name), b.batches(signal.name), len(signal.labels)):
        tally.add(piece_a, piece_b)
    return tally.result()


def _told_apart(a: float, b: float) -> tuple[str, str]:
    """Show two values with as many digits as it takes to see that they differ."""
    for digits in (6, 9, 12, 15):
        if f"{a:.{digits}g}" != f"{b:.{digits}g}":
            return f"{a:.{digits}g}", f"{b:.{digits}g}"
    return repr(a), repr(b)
