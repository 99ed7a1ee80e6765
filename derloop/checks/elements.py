"""Which elements of a signal a check judges, each for itself or their sum, and which of two signals belong together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from derloop.checks.window import NothingToJudge, Series, Windowed, read
from derloop.contract import FloatArray
from derloop.verdict import Recorded

Named = Callable[[str], Sequence[str]]


class Elements(Windowed):
    """A signal, element by element or as a whole."""

    signal: str = Field(
        min_length=1, max_length=200, description="Glob of federate.port.", examples=["grid.head_kw", "*.p_kw"]
    )
    of: Literal["each", "sum"] = Field(
        "each", description="each: every element for itself. sum: all elements of all signals that fit, together."
    )


def read_elements(recorded: Recorded, settings: Elements) -> list[Series]:
    """Return what `settings` name, within their window. Raises: NothingToJudge."""
    found = read(recorded, settings.signal, settings)
    return [total(found, settings.signal)] if settings.of == "sum" else found


def total(found: Sequence[Series], pattern: str) -> Series:
    """Return the sum over all elements as a series of one. Raises: NothingToJudge where the instants differ."""
    first = found[0]
    if any(not np.array_equal(series.time_ns, first.time_ns) for series in found):
        raise NothingToJudge(f"the signals that fit {pattern!r} have different steps, and so no sum")
    values: FloatArray = np.sum([series.values.sum(axis=1) for series in found], axis=0)[:, None]
    return replace(first, name=pattern, labels=("sum",), values=values, is_sum=True)


def read_one(recorded: Recorded, pattern: str, window: Windowed) -> Series:
    """Return the one signal that fits `pattern`. Raises: NothingToJudge, also where several do."""
    found = read(recorded, pattern, window)
    if len(found) > 1:
        raise NothingToJudge(f"{pattern!r} fits several signals: {', '.join(s.name for s in found[:5])}")
    return found[0]


def without(found: Sequence[Series], patterns: Sequence[str], named: Named = lambda label: (label,)) -> list[Series]:
    """Return the signals without the elements of which a name fits one of `patterns`, in either case.

    named: the names of an element, by its label. Raises: NothingToJudge where nothing is left.
    """

    def is_ignored(label: str) -> bool:
        return any(fnmatchcase(name.lower(), pattern.lower()) for name in named(label) for pattern in patterns)

    left = [series.only(np.array([not is_ignored(label) for label in series.labels])) for series in found]
    left = [series for series in left if series.labels]
    if not left:
        raise NothingToJudge(f"every element is ignored: {', '.join(patterns)}")
    return left


def left_out(found: Sequence[Series], judged: Sequence[Series]) -> str:
    """Return how many elements of `found` are not among `judged`, for the end of a verdict's text; empty if all are."""
    count, left = (sum(len(series.labels) for series in each) for each in (found, judged))
    return f"; {count - left} of {count} elements are ignored" if left < count else ""


def in_order(series: Series, other: Series) -> Series:
    """Return `series` with its elements in the order of those of `other`, by label.

    What has one element belongs to that one of the other, or to all of them. Raises: NothingToJudge.
    """
    if len(series.labels) == 1:
        spread: FloatArray = np.repeat(series.values, len(other.labels), axis=1)
        return replace(series, labels=other.labels, values=spread)
    at = {label: i for i, label in enumerate(series.labels)}
    if not set(other.labels) <= set(at):
        raise NothingToJudge(f"{series.name} and {other.name} have different elements")
    return replace(series, labels=other.labels, values=series.values[:, [at[label] for label in other.labels]])


def held(series: Series, time_ns: NDArray[np.int64]) -> FloatArray:
    """Return what `series` holds at `time_ns`, its last value until then; none lies before its first instant."""
    return series.values[np.searchsorted(series.time_ns, time_ns, side="right") - 1]
