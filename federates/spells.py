"""Times of a run that a scenario lists: calls, events, outages, planned islands."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from pydantic import Field

from derloop.kind import PlaceError, Settings

LONGEST_S = 1e8


class Timed(Protocol):
    """What begins at a time of the run, and lasts for some."""

    @property
    def begins_s(self) -> float: ...
    @property
    def lasts_s(self) -> float: ...


class Spell(Settings):
    """A time: its begin is part of it, its end is not."""

    begins_s: float = Field(ge=0.0, le=1e10, description="Begin, s since the scenario's start.", examples=[54000.0])
    lasts_s: float = Field(gt=0.0, le=LONGEST_S, description="How long, s.", examples=[7200.0])

    @property
    def ends_s(self) -> float:
        return round(self.begins_s + self.lasts_s, 9)  # to the nanosecond: 0.1 + 0.2 is 0.3

    def holds(self, now_s: float) -> bool:
        return self.begins_s <= now_s < self.ends_s


def check_in_turn(spells: Sequence[Spell], called: str) -> None:
    """Raise ValueError where one begins before the one ahead of it ends. called: what they are, in the plural."""
    for before, after in pairwise(spells):
        if after.begins_s < before.ends_s:
            what = f"one begins at {after.begins_s:g} s, before the one ahead of it ends at {before.ends_s:g} s"
            raise ValueError(f"{called} must follow each other: {what}")


def missed(
    events: Sequence[Timed], path: tuple[str | int, ...], step_ns: int, whose: str
) -> list[tuple[tuple[str | int, ...], str]]:
    """Return the events, which stand at `path`, that fall between two instants of the federate `whose`."""
    what = f"falls between two instants of {whose!r}, whose step is {step_ns / 1e9:g} s: it does nothing"
    return [
        ((*path, i), what)
        for i, event in enumerate(events)
        if -round(event.begins_s * 1e9) % step_ns >= round(event.lasts_s * 1e9)
    ]


def refuse_unseen(events: Sequence[Timed], path: tuple[str | int, ...], step_ns: int, whose: str) -> None:
    """Raise PlaceError with the events, which stand at `path`, that fall between two instants of the fleet `whose`."""
    if problems := missed(events, path, step_ns, whose):
        raise PlaceError(problems)
