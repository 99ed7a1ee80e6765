"""Settings that a sweep says in two places: one of the two would be lost, and the table would not tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from derloop.document import pointer, shown
from derloop.errors import Problem
from derloop.scenario.overrides import parts_of
from derloop.sweep.models import SweepFile

FILE, COMMAND_LINE = "/set", "the command line"


@dataclass(frozen=True)
class Mention:
    """Where a sweep says what a setting is."""

    where: str
    path: str

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """Its way from the top, the same however it is written: `at.0`, `/at/0`, `at.00`."""
        return tuple(p.lstrip("0") or "0" if p.isascii() and p.isdigit() else p for p in parts_of(self.path))


def collisions(sweep: SweepFile, also: Sequence[str]) -> list[Problem]:
    """Return a problem for each setting that is said again, or that lies within another one.

    also: overrides of the command line. They may change what the file sets, and the last of them counts, as in a run.
    """
    places = list(_places(sweep, also))
    first = {place.parts: place for place in reversed(places)}
    return [
        _problem(place, other)
        for place in places
        for length in range(1, len(place.parts) + 1)
        if (other := first.get(place.parts[:length])) not in (None, place) and not _is_meant(place, other)
    ]


def _places(sweep: SweepFile, also: Sequence[str]) -> Iterator[Mention]:
    yield from (Mention(FILE, path) for path in sweep.set_)
    yield from (Mention(COMMAND_LINE, override.partition("=")[0]) for override in also)
    for index, parameter in enumerate(sweep.vary):
        is_one = isinstance(parameter.path, str)
        for number, path in enumerate(parameter.paths):
            yield Mention(pointer(("vary", index, "path", *(() if is_one else (number,)))), path)
    if sweep.seeds:
        yield Mention("/seeds", "seed")


def _is_meant(one: Mention, other: Mention) -> bool:
    return COMMAND_LINE in (one.where, other.where) and {one.where, other.where} <= {FILE, COMMAND_LINE}


def _problem(place: Mention, other: Mention) -> Problem:
    """Return the problem; it is told of the file where one of the two is in the command line. `place` is the deeper."""
    is_turned = place.where == COMMAND_LINE
    within = "holds" if is_turned else "lies within"
    relation = "is the same setting as" if place.parts == other.parts else within
    if is_turned:
        place, other = other, place
    said = f"{shown(place.path)} {relation} {shown(other.path)} of {other.where}"
    return Problem(place.where, f"{said}: a run can follow only one of the two")
