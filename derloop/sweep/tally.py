"""Which values of which parameter fail which check: what a sweep is looked at for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from derloop.sweep.outcomes import Row
from derloop.sweep.table import shown

FEW = 12
"""Values of one parameter that are told one by one; of more, ranges."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How one check, or the runs as such, fared with one parameter."""

    check: str
    """"" for whether runs completed."""
    parameter: str
    bad: Mapping[str, tuple[int, int]]
    """For each value, or range of values: how many of its runs did not pass, and how many there are."""

    @property
    def tells(self) -> bool:
        """Whether the parameter makes a difference: some of its values fare better than others."""
        return len({bad / of for bad, of in self.bad.values()}) > 1


def tallies(parameters: Sequence[str], rows: Sequence[Row]) -> list[Tally]:
    """Return a tally for every parameter and check that some run has not passed; first that of the runs as such."""
    return [tally for at, name in enumerate(parameters) for tally in _of_parameter(at, name, rows)]


def _of_parameter(at: int, name: str, rows: Sequence[Row]) -> Iterator[Tally]:
    groups = _groups([row.trial.values[at] for row in rows], rows)
    if any(row.ending != "completed" for row in rows):
        yield Tally("", name, {g: (sum(r.ending != "completed" for r in of), len(of)) for g, of in groups.items()})
    for check in dict.fromkeys(check for row in rows for check in row.failing):
        ran = {g: [row for row in of if check in row.checks] for g, of in groups.items()}
        counted = {g: (sum(check in row.failing for row in of), len(of)) for g, of in ran.items() if of}
        yield Tally(check, name, counted)


def _groups(values: Sequence[Any], rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows by their values; by quarters of their range where there are many, all of them numbers."""
    is_numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if len({json.dumps(value) for value in values}) <= FEW or not is_numeric:
        order = sorted(zip(values, rows, strict=True), key=lambda pair: pair[0]) if is_numeric else None
        return _by_value(order or list(zip(values, rows, strict=True)))
    low, high = min(values), max(values)
    edges = [low + (high - low) * quarter / 4 for quarter in range(5)]
    names = [f"{a:.4g} .. {b:.4g}" for a, b in pairwise(edges)]
    found: dict[str, list[Row]] = {name: [] for name in names}
    for value, row in zip(values, rows, strict=True):
        found[names[min(int(4 * (value - low) / (high - low)), 3)]].append(row)
    return {name: of for name, of in found.items() if of}


def _by_value(pairs: Sequence[tuple[Any, Row]]) -> dict[str, list[Row]]:
    """Return the rows by their values as they are shown; with all their digits where some would look alike."""
    whole = {json.dumps(value): value for value, _ in pairs}
    is_told_apart = len({shown(value) for value in whole.values()}) == len(whole)
    found: dict[str, list[Row]] = {}
    for value, row in pairs:
        is_whole = isinstance(value, float) and not is_told_apart
        found.setdefault(json.dumps(value) if is_whole else shown(value), []).append(row)
    return found
