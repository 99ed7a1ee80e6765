"""Who steps which units: a crew is a thread or a process with the units that it steps, one after the other.

To give a crew its turns costs a switch of threads or processes, there and back; within one, units take them one after
the other. So few crews are fast, as many as there are cores; with a crew for each unit, whatever kills a process has
killed one unit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace

from derloop.federation import Federation, Unit

SLACK = 1.1
"""How much heavier than an even share a bundle may become for the sake of what its units say to each other."""


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

    Units with many wires between them come together, as far as they are no more than a crew's even share; such bundles
    are then packed, each into the crew that has least so far, the heaviest first. A unit's weight is the number of
    values that it gives out, which stands for what it costs.
    """
    if most is None or most >= len(units):
        return one_each(units)
    weights = [_weight(federation, unit) for unit in units]
    bundles = _bundled(weights, _wires_between(units), SLACK * sum(weights) / most)
    packed = _packed(bundles, [sum(weights[at] for at in bundle) for bundle in bundles], most)
    crews = (Crew(tuple(sorted((units[at] for at in found), key=lambda unit: unit.rank))) for found in packed)
    return tuple(sorted(crews, key=lambda crew: crew.units[0].rank))


def _bundled(weights: Sequence[int], wires: Mapping[int, Counter[int]], heaviest: float) -> list[list[int]]:
    """Return bundles of positions: those with the most wires between them first, none above `heaviest` by being joined.

    wires: for each position, how many wires it has to others.
    """
    bundles = {at: [at] for at in range(len(weights))}
    weight, between = dict(enumerate(weights)), {at: Counter(found) for at, found in wires.items()}
    pairs = [(-count, low, high) for low in between for high, count in between[low].items() if low < high]
    heapify(pairs)
    while pairs:
        count, low, high = heappop(pairs)
        if low not in bundles or between[low].get(high) != -count or weight[low] + weight[high] > heaviest:
            continue  # one of them has been joined since, or they are too heavy, and grow no lighter
        bundles[low] += bundles.pop(high)
        weight[low] += weight.pop(high)
        for other, more in between.pop(high).items():
            del between[other][high]
            if other != low:
                between[low][other] += more
                between[other][low] += more
                heappush(pairs, (-between[low][other], min(low, other), max(low, other)))
    return list(bundles.values())


def _packed(bundles: Sequence[list[int]], weights: Sequence[int], most: int) -> list[list[int]]:
    crews: list[tuple[int, int, list[int]]] = [(0, number, []) for number in range(min(most, len(bundles)))]
    for at in sorted(range(len(bundles)), key=lambda at: -weights[at]):
        weight, number, found = crews[0]
        heapreplace(crews, (weight + weights[at], number, [*found, *bundles[at]]))
    return [found for _, _, found in crews]


def _weight(federation: Federation, unit: Unit) -> int:
    ports = (port for member in unit.members for port in federation.interfaces[member].outputs.values())
    return 1 + sum(port.size for port in ports)


def _wires_between(units: Sequence[Unit]) -> dict[int, Counter[int]]:
    at_of = {member: at for at, unit in enumerate(units) for member in unit.members}
    found: dict[int, Counter[int]] = {at: Counter() for at in range(len(units))}
    for at, unit in enumerate(units):
        for wire in unit.incoming:
            if (source := at_of.get(wire.source.federate)) is not None:
                found[at][source] += 1
                found[source][at] += 1
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
