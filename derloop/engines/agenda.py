"""When each unit has its turns: the phases of an instant, alike in every process of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from heapq import heapify, heappop, heapreplace
from typing import Any

from derloop.crews import Crew, phases_of
from derloop.engines.exchange import layout_of
from derloop.engines.stepping import readers_of
from derloop.errors import EngineError
from derloop.federation import Federation

PHASE_NS = 1000
"""HELICS counts in double seconds: a microsecond is exact for a century, a nanosecond for 52 days."""

Crews = Sequence[Crew]


@dataclass(frozen=True, slots=True)
class Seat:
    """What is known of a unit wherever it takes part."""

    name: str
    rank: int
    step_ns: int
    phase_ns: int
    """How long after an instant its turn is granted."""
    size: int
    """Of its payload."""
    readers: tuple[str, ...]
    """The units that read what it gives out."""
    crew: int
    cell: str
    """The federate of HELICS that it belongs to: the name of that one's first unit."""


def cell_name(crews: Crews) -> str:
    """Return the name of the federate of HELICS that these crews are."""
    return crews[0].units[0].name


def seats_of(federation: Federation, cells: Sequence[Crews]) -> tuple[Seat, ...]:
    """Return the seats of a run whose crews belong to `cells`, and have numbers in the order in which they are there.

    Raises EngineError for a step into which the phases of an instant do not fit.
    """
    every = [crew for crews in cells for crew in crews]
    phases, numbers = phases_of(every), {id(crew): number for number, crew in enumerate(every)}
    seats = tuple(
        Seat(
            unit.name,
            unit.rank,
            unit.step_ns,
            (phases[unit.name] + 1) * PHASE_NS,
            layout_of(federation, unit).size,
            readers_of(federation, unit),
            numbers[id(crew)],
            cell_name(crews),
        )
        for crews in cells
        for crew in crews
        for unit in crew.units
    )
    _check_room(seats)
    return seats


def _check_room(seats: Sequence[Seat]) -> None:
    last_ns = rest_ns(seats)
    for seat in seats:
        if seat.step_ns <= last_ns:
            raise EngineError(
                f"a step of {seat.step_ns / 1e9:g} s of {seat.name!r} is too short for HELICS: "
                f"{last_ns // PHASE_NS - 1} units, one after the other, take {last_ns / 1e9:g} s of phases"
            )


def rest_ns(seats: Iterable[Seat]) -> int:
    """Return a phase of each instant in which nobody of the run has a turn any more."""
    return max(seat.phase_ns for seat in seats) + PHASE_NS


def seats_to_json(seats: Iterable[Seat]) -> list[dict[str, Any]]:
    return [asdict(seat) for seat in seats]


def seats_from_json(said: Iterable[dict[str, Any]]) -> tuple[Seat, ...]:
    return tuple(Seat(**{**seat, "readers": tuple(seat["readers"])}) for seat in said)


class Agenda:
    """The turns of some units until the end of the run. Those that always have them together are kept as one."""

    def __init__(self, seats: Iterable[Seat], until_ns: int) -> None:
        self._until_ns = until_ns
        together: dict[tuple[int, int], list[Seat]] = {}
        for seat in sorted(seats, key=lambda seat: seat.rank):
            together.setdefault((seat.phase_ns, seat.step_ns), []).append(seat)
        self._due = [
            (phase_ns, number, step_ns, phase_ns, tuple(seat.name for seat in group))
            for number, ((phase_ns, step_ns), group) in enumerate(together.items())
        ]
        heapify(self._due)
        self._rank = {seat.name: seat.rank for group in together.values() for seat in group}

    @property
    def next_ns(self) -> int | None:
        """When the next turn is granted; None after the last."""
        return self._due[0][0] if self._due else None

    def take(self, granted_ns: int) -> list[tuple[str, int]]:
        """Return whose turn it is at `granted_ns`, by rank, and for which instant."""
        turns: list[tuple[str, int]] = []
        due, groups = self._due, 0
        while due and due[0][0] == granted_ns:
            _, number, step_ns, phase_ns, names = due[0]
            now_ns = granted_ns - phase_ns
            turns += [(name, now_ns) for name in names]
            groups += 1
            if now_ns + step_ns < self._until_ns:
                heapreplace(due, (granted_ns + step_ns, number, step_ns, phase_ns, names))
            else:
                heappop(due)
        if groups > 1:
            turns.sort(key=lambda turn: self._rank[turn[0]])
        return turns
