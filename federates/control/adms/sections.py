"""A feeder as sections between switches: where a fault is, and which switches feed what."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sections:
    """s sections of a feeder, joined by n switches."""

    names: tuple[str, ...]
    """Of each section: its first bus in the order of the feeder."""
    of_bus: Mapping[str, int]
    ends: tuple[tuple[int, int], ...]
    """The two sections that each switch joins."""
    sources: frozenset[int]
    """The sections in which a source stands."""

    def fed(self, closed: Sequence[bool] | BoolArray) -> list[int]:
        """Return by how many sources each section is fed with these switches (n,) closed: 2 and more is no tree.

        A ring counts as one source more.
        """
        root = list(range(len(self.names)))
        rings = [0] * len(self.names)
        for (a, b), is_closed in zip(self.ends, closed, strict=True):
            if is_closed:
                a, b = _root(root, a), _root(root, b)
                if a == b:
                    rings[a] += 1
                else:
                    root[b], rings[a] = a, rings[a] + rings[b]
        count = [0] * len(self.names)
        for source in self.sources:
            count[_root(root, source)] += 1
        found = [_root(root, section) for section in range(len(self.names))]
        return [count[r] + (rings[r] if count[r] else 0) for r in found]

    def entered_by(self, closed: Sequence[bool] | BoolArray) -> dict[int, int]:
        """Return the switch by which each section is fed; sections of sources, and dead ones, have none."""
        found: dict[int, int] = {}
        reached = set(self.sources)
        front = list(self.sources)
        while front:
            section = front.pop(0)
            for switch, ends in enumerate(self.ends):
                other = ends[1] if ends[0] == section else ends[0] if ends[1] == section else section
                if closed[switch] and other not in reached:
                    reached.add(other)
                    found[other] = switch
                    front.append(other)
        return found

    def faulted(self, closed: Sequence[bool] | BoolArray, seen: Sequence[bool] | BoolArray) -> set[int]:
        """Return the sections into which a fault current went and out of which it did not go on.

        closed: (n,) before the fault. seen: (n,) whether the fault passed each switch.
        """
        entered = self.entered_by(closed)
        into = {section for section, switch in entered.items() if seen[switch]}
        left = {self._other(switch, section) for section, switch in entered.items() if seen[switch]}
        return into - left

    def behind(self, closed: Sequence[bool] | BoolArray, switches: Collection[int]) -> set[int]:
        """Return the sections that are fed through one of these switches, with those (n,) closed."""
        found: set[int] = set()
        for section, switch in self.entered_by(closed).items():  # those nearer to a source come first
            if switch in switches or self._other(switch, section) in found:
                found.add(section)
        return found

    def _other(self, switch: int, section: int) -> int:
        a, b = self.ends[switch]
        return a if b == section else b

    def around(self, section: int) -> list[int]:
        """Return the switches at the boundary of a section."""
        return [switch for switch, ends in enumerate(self.ends) if section in ends]


def sections(
    buses: Iterable[str], branches: Iterable[tuple[str, ...]], switches: Sequence[tuple[str, ...]], heads: Iterable[str]
) -> Sections:
    """Return the sections of a feeder. branches: buses that are joined without a switch; switches: pairs, by one."""
    order = list(buses)
    root = {bus: bus for bus in order}

    def top(bus: str) -> str:
        while root[bus] != bus:
            root[bus] = root[root[bus]]
            bus = root[bus]
        return bus

    for first, *others in branches:
        for other in others:
            root[top(other)] = top(first)
    number: dict[str, int] = {}
    names: list[str] = []
    for bus in order:
        if top(bus) not in number:
            number[top(bus)] = len(names)
            names.append(bus)
    of_bus = {bus: number[top(bus)] for bus in order}
    ends = tuple((of_bus[a], of_bus[b]) for a, b in switches)
    return Sections(tuple(names), of_bus, ends, frozenset(of_bus[bus] for bus in heads))


def _root(root: list[int], at: int) -> int:
    while root[at] != at:
        at = root[at]
    return at
