"""Who steps which units: a crew is a thread or a process with the units that it steps, one after the other.

Between two crews values cross by the middleware, which costs a switch of threads or a message at least; within one
they lie where they were written. So few crews are fast, as many as there are cores; with a crew for each unit, whatever
kills a process has killed one unit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from derloop.federation import Federation, Unit

SLACK = 1.1
"""How much heavier than an even share a crew may become for the sake of what its units say to each other."""


@dataclass(frozen=True, slots=True)
class Crew:
    """Units that are stepped by one thread or process, by ascending rank."""

    units: tuple[Unit, ...]

    @property
    def name(self) -> str:
        return "+".join(unit.name for unit in self.units)

    @property
    def members(self) -> tuple[str, ...]:
        """Its federates."""
        return tuple(member for unit in self.units for member in unit.members)

    @property
    def blocking(self) -> bool:
        return any(unit.blocking for unit in self.units)


def one_each(units: Sequence[Unit]) -> tuple[Crew, ...]:
    """Return a crew for each unit."""
    return tuple(Crew((unit,)) for unit in units)


def computing_together(units: Sequence[Unit]) -> tuple[Crew, ...]:
    """Return one crew of all units that only compute, and one for each that waits on sockets or hardware."""
    computing = tuple(sorted((unit for unit in units if not unit.blocking), key=lambda unit: unit.rank))
    return (*((Crew(computing),) if computing else ()), *one_each([unit for unit in units if unit.blocking]))


def crews_of(federation: Federation, units: Sequence[Unit], most: int | None) -> tuple[Crew, ...]:
    """Return at most `most` crews of `units`, even in what they give out; None: one for each unit.

    Units with many wires between them come together, as far as no crew becomes much heavier than the others by it.
    A unit's weight is the number of values that it gives out, which stands for what they cost.
    """
    if most is None or most >= len(units):
        return one_each(units)
    sharing = _Sharing(federation, units, most)
    while len(sharing.together) > most:
        sharing.join(*sharing.next_pair())
    return tuple(sorted((Crew(found) for found in sharing.found()), key=lambda crew: crew.units[0].rank))


class _Sharing:
    """Units on their way into crews: every one alone at first, then two crews become one, again and again."""

    def __init__(self, federation: Federation, units: Sequence[Unit], most: int) -> None:
        self._units = units
        self.together: dict[int, list[int]] = {at: [at] for at in range(len(units))}
        self._weight = {at: _weight(federation, unit) for at, unit in enumerate(units)}
        self._most = max(SLACK * sum(self._weight.values()) / most, *self._weight.values())
        self._wires = _wires_between(units)

    def next_pair(self) -> tuple[int, int]:
        """Return the crews with the most wires between them that one crew can carry; without such, the lightest."""
        fitting = [pair for pair in self._wires if self._load(pair) <= self._most]
        if fitting:
            return min(fitting, key=lambda pair: (-self._wires[pair], self._load(pair), pair))
        first, second = sorted(self.together, key=lambda at: (self._weight[at], at))[:2]
        return min(first, second), max(first, second)

    def _load(self, pair: tuple[int, int]) -> int:
        return self._weight[pair[0]] + self._weight[pair[1]]

    def join(self, into: int, other: int) -> None:
        self.together[into] += self.together.pop(other)
        self._weight[into] += self._weight.pop(other)
        joined: Counter[tuple[int, int]] = Counter()
        for (a, b), count in self._wires.items():
            low, high = sorted(into if at == other else at for at in (a, b))
            if low != high:
                joined[low, high] += count
        self._wires = joined

    def found(self) -> Iterator[tuple[Unit, ...]]:
        for these in self.together.values():
            yield tuple(sorted((self._units[at] for at in these), key=lambda unit: unit.rank))


def _weight(federation: Federation, unit: Unit) -> int:
    ports = (port for member in unit.members for port in federation.interfaces[member].outputs.values())
    return 1 + sum(port.size for port in ports)


def _wires_between(units: Sequence[Unit]) -> Counter[tuple[int, int]]:
    at_of = {member: at for at, unit in enumerate(units) for member in unit.members}
    found: Counter[tuple[int, int]] = Counter()
    for at, unit in enumerate(units):
        for wire in unit.incoming:
            if (source := at_of.get(wire.source.federate)) is not None:
                found[min(at, source), max(at, source)] += 1
    return found


def phases_of(crews: Sequence[Crew]) -> Mapping[str, int]:
    """Return the phase of an instant in which each unit is stepped, by the unit's name.

    A unit comes in a later phase than those of lower rank in other crews with which it has a wire, in whichever
    direction: a value that is delayed on its way to a unit of lower rank may not come before that one was stepped.
    Within a crew, rank alone puts them in order.

    Units have a level each, as if all were alone. A phase is some levels on end, as few phases as the wires between
    crews allow. So units of one level are in one phase whoever steps them, and crews work side by side.
    """
    crew_of = {unit.name: at for at, crew in enumerate(crews) for unit in crew.units}
    lower = _neighbours_below([unit for crew in crews for unit in crew.units])
    levels = _levels(lower)
    crossing = {(levels[high], levels[low]) for high in lower for low in lower[high] if crew_of[low] != crew_of[high]}
    ends: list[int] = []
    for high, low in sorted(crossing):
        if not ends or ends[-1] < low:
            ends.append(high - 1)
    return {name: bisect_left(ends, level) for name, level in levels.items()}


def _levels(lower: Mapping[str, Collection[str]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, neighbours in lower.items():
        found[name] = 1 + max((found[low] for low in neighbours), default=-1)
    return found


def _neighbours_below(units: Sequence[Unit]) -> dict[str, set[str]]:
    """Return, by ascending rank, the units of lower rank with which each has a wire."""
    unit_of = {member: unit for unit in units for member in unit.members}
    found: dict[str, set[str]] = {unit.name: set() for unit in sorted(units, key=lambda unit: unit.rank)}
    for unit in units:
        for wire in unit.incoming:
            low, high = sorted((unit, unit_of[wire.source.federate]), key=lambda each: each.rank)
            found[high.name].add(low.name)
    return found
