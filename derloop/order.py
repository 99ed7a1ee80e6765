"""In which order federates are stepped within an instant, and which of them together: wires as a graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush

from derloop.contract import Interface
from derloop.errors import Problem
from derloop.wires import Ref, Wire

Group = tuple[str, ...]
"""Federates that are stepped together, in their order."""


def groups_of(interfaces: Mapping[str, Interface], wires: Sequence[Wire]) -> tuple[list[Group], list[Problem]]:
    """Return the federates that must be stepped together; and what is wrong."""
    undelayed = [w for w in wires if w.coupling != "delayed"]
    found = _strongly_connected(list(interfaces), undelayed)
    number_of = {name: number for number, together in enumerate(found) for name in together}
    inner: list[list[Wire]] = [[] for _ in found]
    for w in undelayed:
        if number_of[w.source.federate] == number_of[w.target.federate]:
            inner[number_of[w.source.federate]].append(w)
    groups: list[Group] = []
    problems: list[Problem] = []
    for together, inside in zip(found, inner, strict=True):
        try:
            groups.append(_sorted(together, [w for w in inside if w.coupling == "direct"]))
        except CycleError as error:
            loop = " -> ".join(reversed(error.args[1]))
            problems.append(Problem("/wires", f"loop {loop}: make one of its wires delayed, or let it converge"))
            continue
        problems += _loop_problems(interfaces, together) if inside else []
    return groups, problems


def ranked(groups: Sequence[Group], wires: Sequence[Wire]) -> list[Group]:
    """Return groups so that each comes after those that it hears at the same instant."""
    group_of = {member: group for group in groups for member in group}
    firsts = [group[0] for group in groups]
    between = [
        Wire(Ref(group_of[w.source.federate][0], w.source.port), Ref(group_of[w.target.federate][0], w.target.port))
        for w in wires
        if w.coupling != "delayed" and group_of[w.source.federate] != group_of[w.target.federate]
    ]
    return [group_of[first] for first in _sorted(firsts, between)]


def _loop_problems(interfaces: Mapping[str, Interface], members: Sequence[str]) -> list[Problem]:
    problems = []
    loop = ", ".join(members)
    if len({interfaces[m].step_ns for m in members}) > 1:
        steps = ", ".join(f"{m} {interfaces[m].step_ns / 1e9:.15g} s" for m in members)
        what = f"converged loop of {loop}: all must have one step, but: {steps}"
        problems.append(Problem("/coupling", what))
    for m in members:
        if not interfaces[m].repeatable:
            what = f"converged loop of {loop}: {m!r} cannot repeat a step; delay a wire of the loop"
            problems.append(Problem(f"/federates/{m}", what))
    return problems


def _strongly_connected(names: Sequence[str], wires: Sequence[Wire]) -> list[list[str]]:
    """Return groups of `names` of which each can be reached from each along `wires`, in their order (Kosaraju)."""
    ahead: dict[str, list[str]] = {name: [] for name in names}
    behind: dict[str, list[str]] = {name: [] for name in names}
    for w in wires:
        ahead[w.source.federate].append(w.target.federate)
        behind[w.target.federate].append(w.source.federate)
    seen: set[str] = set()
    left = [name for start in names for name in _left(start, ahead, seen)]
    home: dict[str, str] = {}
    seen = set()
    for start in reversed(left):
        home |= dict.fromkeys(_left(start, behind, seen), start)
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(home[name], []).append(name)
    return list(groups.values())


def _left(start: str, edges: Mapping[str, Sequence[str]], seen: set[str]) -> Iterator[str]:
    """Yield what can be reached from `start` and was not `seen`, each when all that follows from it has been."""
    if start in seen:
        return
    seen.add(start)
    path = [(start, iter(edges[start]))]
    while path:
        name, following = path[-1]
        if (other := next((n for n in following if n not in seen), None)) is None:
            path.pop()
            yield name
        else:
            seen.add(other)
            path.append((other, iter(edges[other])))


def _sorted(names: Sequence[str], wires: Sequence[Wire]) -> Group:
    """Return `names` so that each wire's source precedes its target; otherwise as they stand."""
    before: dict[str, set[str]] = {name: set() for name in names}
    for w in wires:
        before[w.target.federate].add(w.source.federate)
    sorter = TopologicalSorter(before)
    sorter.prepare()
    at_of = {name: at for at, name in enumerate(names)}
    order: list[str] = []
    ready: list[int] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heappush(ready, at_of[name])
        order.append(names[heappop(ready)])
        sorter.done(order[-1])
    return tuple(order)
