"""Two series side by side: stretches of time that both cover, how far they are apart, what cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import numpy as np

from derloop.contract import FloatArray
from derloop.results.signals import Piece, Signal


def abreast(a: Iterator[Piece], b: Iterator[Piece], size: int) -> Iterator[tuple[Piece, Piece]]:
    """Yield pieces of both that cover the same stretch of time, until both have ended."""
    nothing: Piece = np.empty(0, np.int64), np.empty((0, size))
    held_a, held_b = next(a, nothing), next(b, nothing)
    while held_a[0].size or held_b[0].size:
        until = min(_last(held_a), _last(held_b))
        (now_a, held_a), (now_b, held_b) = _cut(held_a, until), _cut(held_b, until)
        yield now_a, now_b
        held_a = held_a if held_a[0].size else next(a, nothing)
        held_b = held_b if held_b[0].size else next(b, nothing)


def _last(piece: Piece) -> int:
    return int(piece[0][-1]) if piece[0].size else np.iinfo(np.int64).max


def _cut(piece: Piece, until: int) -> tuple[Piece, Piece]:
    at = int(np.searchsorted(piece[0], until, side="right"))
    return (piece[0][:at], piece[1][:at]), (piece[0][at:], piece[1][at:])


def why_unlike(name: str, a: Signal | None, b: Signal | None) -> str | None:
    """Say why a signal cannot be compared; None if it can."""
    if a is None or b is None:
        return f"{name}: only the {'first' if b is None else 'second'} has it"
    if a.unit != b.unit:
        return f"{name}: in {a.unit} against {b.unit}"
    if a.labels == b.labels:
        return None
    if len(a.labels) != len(b.labels):
        return f"{name}: {len(a.labels)} elements against {len(b.labels)}{_lacking(a, b)}"
    at = next(i for i, (x, y) in enumerate(zip(a.labels, b.labels, strict=True)) if x != y)
    return f"{name}: element {at} is {a.labels[at]!r} against {b.labels[at]!r}"


def _lacking(a: Signal, b: Signal) -> str:
    words = []
    for one, other, which in ((a, b, "first"), (b, a, "second")):
        known = set(other.labels)
        only = [repr(label) for label in one.labels if label not in known]
        if only:
            words.append(f"; only the {which} has {', '.join(only[:3])}{', ...' if len(only) > 3 else ''}")
    return "".join(words)


def distance(a: FloatArray, b: FloatArray) -> FloatArray:
    """Absolute difference; 0 for NaN against NaN, and infinite where only one of the two is a finite number."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(a - b)
    apart[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    apart[np.isnan(apart)] = inf
    return apart


def clock_text(time_ns: int) -> str:
    """Time since the scenario's start as a clock shows it: "06:15:00", "1 d 00:00:00.5"."""
    seconds, ns = divmod(time_ns, 1_000_000_000)
    days, seconds = divmod(seconds, 86_400)
    part = f".{ns:09d}".rstrip("0") if ns else ""
    day = f"{days} d " if days else ""
    return f"{day}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{part}"
