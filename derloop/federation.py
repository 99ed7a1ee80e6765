"""Federates and the wires between them: checked, ordered, loops found, before any engine sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from typing import Literal, NamedTuple

from derloop.contract import Cautious, Federate, Interface, Keeping, Port, Values
from derloop.coupling import Convergence
from derloop.errors import DerloopError, FederateError, Problem, ScenarioError, cause, did_you_mean
from derloop.pacing import Pacing

Coupling = Literal["direct", "delayed", "converged"]
LOOP = "loop@"
"""With what the names begin under which a converged loop's passes and residual are recorded."""
PACE = "pace@"
"""With what the names begin under which a paced run records how it keeps time."""
LOOP_PORTS = {"passes": Port("1", ("passes",)), "residual": Port("1", ("largest",))}
"""What is recorded of a converged loop at each instant."""


class Ref(NamedTuple):
    """One port of one federate."""

    federate: str
    port: str

    def __str__(self) -> str:
        return f"{self.federate}.{self.port}"


@dataclass(frozen=True, slots=True)
class Wire:
    """From an output to an input."""

    source: Ref
    target: Ref
    coupling: Coupling = "direct"
    """direct: this instant's value. delayed: the last one before. converged: iterated to a common value."""
    pointer: str = ""
    """Where the scenario says so."""

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"


@dataclass(frozen=True, slots=True)
class Unit:
    """What an engine steps and places as one: a federate, or the federates of a converged loop.

    A converged loop iterates inside its unit. So engines see no iteration, their results are equal by
    construction, and no pass of an iteration crosses a process boundary.
    """

    name: str
    rank: int
    """Within an instant, units are stepped by ascending rank."""
    members: tuple[str, ...]
    """In the order in which they are stepped."""
    step_ns: int
    blocking: bool
    inside: tuple[Wire, ...]
    incoming: tuple[Wire, ...]

    @property
    def is_loop(self) -> bool:
        return any(w.coupling == "converged" for w in self.inside)


def loop_name(unit: Unit) -> str:
    """Return the name under which a converged loop's passes and residual are recorded."""
    return f"{LOOP}{unit.members[0]}"


def pace_name(unit: Unit) -> str:
    """Return the name under which it is recorded how a unit of a paced run keeps time."""
    return f"{PACE}{unit.members[0]}"


def turn_ports(members: tuple[str, ...]) -> dict[str, Port]:
    """Return what is recorded of each turn of a unit, with these members, in a paced run.

    Seconds are those of the clock on the wall.
    """
    return {
        "late_s": Port("s", ("begin", "end")),  # after the instant's due time
        "step_s": Port("s", members),  # what each step took, all passes of a loop together
        "skipped": Port("1", ("skipped",)),  # 1: missed, so the last values hold
    }


def of_units(federates: Iterable[str]) -> Iterator[str]:
    """Yield every signal that may be recorded of loops and of units' pace, whichever units these federates form."""
    for name in federates:
        yield from (f"{LOOP}{name}.{port}" for port in LOOP_PORTS)
        yield from (f"{PACE}{name}.{port}" for port in turn_ports((name,)))


@dataclass(frozen=True, slots=True)
class Absent:
    """A federate that another process runs: only its interface is known here."""

    interface: Interface

    def start(self) -> Values:
        raise DerloopError("this federate runs in another process")

    def step(self, now_ns: int, inputs: Values) -> Values:
        raise DerloopError(f"this federate runs in another process, also at {now_ns} ns with {len(inputs)} inputs")

    def stop(self) -> None:
        """Nothing is held."""


class Federation:
    """The federates and wires of a run, proven to fit together.

    Raises ScenarioError with every problem that the wiring has.
    """

    def __init__(
        self,
        federates: Mapping[str, Federate],
        wires: Sequence[Wire],
        convergence: Convergence | None = None,
        pacing: Pacing | None = None,
    ) -> None:
        self.federates = dict(federates)
        self.interfaces: dict[str, Interface] = {name: f.interface for name, f in federates.items()}
        self.wires = tuple(wires)
        self.convergence = convergence or Convergence()
        self.pacing = pacing
        """How the run is held to the wall clock; None: it goes as fast as it can."""
        problems = wiring_problems(self.interfaces, self.wires)
        if not problems:
            groups, problems = _groups(self.interfaces, self.wires)
        if problems:
            raise ScenarioError(problems)
        ranked = _ranked(groups, self.wires)
        arriving: dict[str, list[Wire]] = {name: [] for name in federates}
        for wire in wires:
            arriving[wire.target.federate].append(wire)
        self.units = tuple(
            self._unit(rank, members, [wire for member in members for wire in arriving[member]])
            for rank, members in enumerate(ranked)
        )
        self.unit_of = {member: unit for unit in self.units for member in unit.members}
        self._leaving: dict[str, list[Wire]] = {unit.name: [] for unit in self.units}
        self._ahead: dict[str, dict[str, None]] = {name: {} for name in federates}
        for wire in wires:
            unit = self.unit_of[wire.source.federate]
            self._ahead[wire.source.federate][wire.target.federate] = None
            if wire.target.federate not in unit.members:
                self._leaving[unit.name].append(wire)

    def _unit(self, rank: int, members: tuple[str, ...], arriving: Sequence[Wire]) -> Unit:
        first = self.interfaces[members[0]]
        return Unit(
            name="+".join(members),
            rank=rank,
            members=members,
            step_ns=first.step_ns,
            blocking=any(self.interfaces[m].blocking for m in members),
            inside=tuple(w for w in arriving if w.source.federate in members),
            incoming=tuple(w for w in arriving if w.source.federate not in members),
        )

    def leaving(self, unit: Unit) -> Sequence[Wire]:
        """Return the wires from `unit` to others, in the order of `wires`."""
        return self._leaving[unit.name]

    def downstream(self, starts: Collection[str], avoiding: Collection[str] = ()) -> set[str]:
        """Return `starts` and every federate that wires of any coupling lead to from there, not through `avoiding`."""
        found, avoided, more = {*starts}, {*avoiding}, [*starts]
        while more:
            for name in self._ahead[more.pop()]:
                if name not in found and name not in avoided:
                    found.add(name)
                    more.append(name)
        return found

    def recorded(self, members: Collection[str]) -> dict[str, Interface]:
        """Return what is recorded of these federates, of the converged loops that they are in, and of their pace."""
        found = {name: self.interfaces[name] for name in members}
        for unit in self.units:
            if unit.is_loop and unit.members[0] in members:
                found[loop_name(unit)] = Interface(unit.step_ns, outputs=LOOP_PORTS)
            if self.pacing and unit.members[0] in members:
                found[pace_name(unit)] = Interface(unit.step_ns, outputs=turn_ports(unit.members))
        return found

    def may_skip(self, unit: Unit) -> bool:
        """Return whether `unit` may leave out an instant that it has missed: it goes on also without being stepped."""
        skips = self.pacing is not None and self.pacing.overrun == "skip"
        return skips and all(self.interfaces[m].paced for m in unit.members)

    @property
    def longest_wait_s(self) -> float:
        """For how long a run that is well may have nothing to do but to wait for the clock on the wall."""
        return self.pacing.wall_s(min(unit.step_ns for unit in self.units)) if self.pacing else 0.0

    def keep_in(self, folder: Path) -> None:
        """Tell the federates that leave files of their own where the run's folder is."""
        for name, federate in self.federates.items():
            if isinstance(federate, Keeping):
                try:
                    federate.keep_in(folder)
                except (Exception, SystemExit) as error:  # the last would end the run as if all were well
                    raise FederateError(name, None, f"cannot keep its files: {cause(error)}") from error

    def leave_to_others(self) -> None:
        """Let go of the federates, and of the memory that they take: other processes have their own from now on."""
        self.federates = {name: Absent(interface) for name, interface in self.interfaces.items()}

    @property
    def cautions(self) -> list[str]:
        """What federates have to say before the run begins."""
        return [text for name, each in self.federates.items() for text in _cautions(name, each)]

    @property
    def start_s(self) -> float:
        """How long starting all of them may take beyond what it may take others."""
        return sum(interface.start_s for interface in self.interfaces.values())

    def stop_s(self, units: Iterable[Unit]) -> float:
        """Return how long stopping these units may take beyond what it may take others."""
        return sum(self.interfaces[member].stop_s for unit in units for member in unit.members)

    def port(self, ref: Ref) -> Port:
        """Return the output that `ref` names."""
        return self.interfaces[ref.federate].outputs[ref.port]


def _cautions(name: str, federate: Federate) -> list[str]:
    try:
        told = federate.cautions if isinstance(federate, Cautious) else ()
        if isinstance(told, str):
            raise TypeError(f"{told!r} is one text, and no list of them")
        return [str(text) for text in told]
    except (Exception, SystemExit) as error:
        raise FederateError(name, None, f"has no cautions: {cause(error)}") from error


def wiring_problems(interfaces: Mapping[str, Interface], wires: Sequence[Wire]) -> list[Problem]:
    """Return everything that is wrong with `wires`, apart from loops."""
    problems = [p for w in wires for p in wire_problems(interfaces, w)]
    ends = Counter(w.target for w in wires)
    for ref, count in ends.items():
        if count > 1:
            sources = ", ".join(str(w.source) for w in wires if w.target == ref)
            problems.append(Problem(f"/federates/{ref.federate}", f"{count} wires end at {ref}: {sources}"))
    for name, interface in interfaces.items():
        for port, spec in interface.inputs.items():
            if Ref(name, port) not in ends and spec.otherwise is None:
                problems.append(Problem(f"/federates/{name}", _unwired(interfaces, name, port, spec)))
        problems += [Problem(f"/federates/{name}", what) for what in _balance_problems(interface)]
    return problems


def _balance_problems(interface: Interface) -> Iterator[str]:
    """Yield why balances that a federate declares could not be judged."""
    ports = {**interface.inputs, **interface.outputs}
    for balance in interface.balances:
        about = f"its {balance.quantity} balance"
        named = [*balance.powers, *balance.stored, *balance.times, *balance.passed]
        if unknown := [port for port in named if port not in ports]:
            yield f"{about}: no port {unknown[0]!r}" + did_you_mean(unknown[0], [*ports])
            continue
        if not any(port in interface.outputs for port in balance.powers):
            yield f"{about} needs a power that the federate gives out"
            continue
        unit = ports[balance.powers[0]].unit
        units = dict.fromkeys(balance.powers, unit) | dict.fromkeys(balance.stored, f"{unit}h")
        yield from (
            f"{about}: {port!r} is in {ports[port].unit!r}, not in {needed!r}"
            for port, needed in units.items()
            if ports[port].unit != needed and port not in balance.times
        )
        yield from (
            f"{about}: {len(factors)} factors do not fit {ports[port].size} elements of {port!r}"
            for port, factors in balance.times.items()
            if len(factors) != ports[port].size
        )
        if not balance.tolerance > 0:
            yield f"{about} has a tolerance of {balance.tolerance:g}; it must be greater than 0"
        if not balance.whole and len({ports[port].size for port in named}) > 1:
            yield f"{about} is element by element, but its ports are not equally long"
            continue
        elements = 1 if balance.whole else ports[named[0]].size
        if len(balance.resolution) not in (0, 1, elements):
            yield f"{about}: {len(balance.resolution)} resolutions do not fit {elements} elements"


def _unwired(interfaces: Mapping[str, Interface], name: str, port: str, spec: Port) -> str:
    what = f"no wire ends at {name}.{port} ({spec.size} x {spec.unit}){_unheard(interfaces, port)}"
    if sent := [*_sent_to_others(interfaces, port)]:
        return f"{what}; {', '.join(sent)}"
    fitting = [
        f"{other}.{output}"
        for other, interface in interfaces.items()
        for output, offered in interface.outputs.items()
        if other != name and not [*_unlike(offered, spec)]
    ]
    hint = f"; fitting outputs: {', '.join(fitting[:6])}" if fitting else "; no output fits it"
    return what + hint


def _sent_to_others(interfaces: Mapping[str, Interface], port: str) -> Iterator[str]:
    """Yield who sends what this input waits for, and to whom: a control names the fleets that it does so."""
    for name, interface in interfaces.items():
        ends = [output.partition(".") for output in interface.outputs]
        if to := [member for member, _, inner in ends if inner == port and member in interfaces]:
            yield f"{name!r} sends {port} to {', '.join(to[:6])}" + (" ..." if to[6:] else "")


def _unheard(interfaces: Mapping[str, Interface], port: str) -> str:
    """Return why nobody is heard by an input that is called as the output that it hears; empty for another input."""
    federate, _, output = port.partition(".")
    if not output:
        return ""
    if federate not in interfaces:
        return f": no federate is called {federate!r}"
    return "" if output in interfaces[federate].outputs else f": {federate!r} has no output {output!r}"


def wire_problems(interfaces: Mapping[str, Interface], wire: Wire) -> list[Problem]:
    """Return what is wrong with one wire by itself."""
    ports: list[Port] = []
    problems: list[Problem] = []
    for ref, side in ((wire.source, "output"), (wire.target, "input")):
        if ref.federate not in interfaces:
            what = f"{wire}: no federate {ref.federate!r}" + did_you_mean(ref.federate, [*interfaces])
            problems.append(Problem(wire.pointer, what))
            continue
        interface = interfaces[ref.federate]
        known = interface.outputs if side == "output" else interface.inputs
        if ref.port not in known:
            what = f"{wire}: {ref.federate!r} has no {side} {ref.port!r}" + did_you_mean(ref.port, [*known])
            problems.append(Problem(wire.pointer, what))
            continue
        ports.append(known[ref.port])
    if len(ports) == 2:
        problems += _misfits(wire, *ports)
    if wire.source.federate == wire.target.federate:
        problems.append(Problem(wire.pointer, f"{wire}: a federate keeps its own state; it needs no wire for it"))
    return problems


def _misfits(wire: Wire, source: Port, target: Port) -> list[Problem]:
    return [Problem(wire.pointer, f"{wire}: {what}") for what in _unlike(source, target)]


def _unlike(source: Port, target: Port) -> Iterator[str]:
    """Yield why an output does not fit an input. Elements are wired by their places, not by their labels."""
    if source.unit != target.unit:
        yield f"unit {source.unit!r} does not fit {target.unit!r}"
    if source.size != target.size:
        yield f"{source.size} elements do not fit {target.size}"
    elif source.labels != target.labels:
        there = {label: at for at, label in enumerate(target.labels)}
        moved = [(label, at) for at, label in enumerate(source.labels) if there.get(label, at) != at]
        yield from (
            f"{label!r} is element {at + 1} there and {there[label] + 1} here; both need one order"
            for label, at in moved[:1]
        )


def _groups(interfaces: Mapping[str, Interface], wires: Sequence[Wire]) -> tuple[list[tuple[str, ...]], list[Problem]]:
    """Return the federates that must be stepped together, each group in order; and what is wrong."""
    undelayed = [w for w in wires if w.coupling != "delayed"]
    found = _strongly_connected(list(interfaces), undelayed)
    number_of = {name: number for number, together in enumerate(found) for name in together}
    inner: list[list[Wire]] = [[] for _ in found]
    for w in undelayed:
        if number_of[w.source.federate] == number_of[w.target.federate]:
            inner[number_of[w.source.federate]].append(w)
    groups: list[tuple[str, ...]] = []
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


def _sorted(names: Sequence[str], wires: Sequence[Wire]) -> tuple[str, ...]:
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


def _ranked(groups: Sequence[tuple[str, ...]], wires: Sequence[Wire]) -> list[tuple[str, ...]]:
    group_of = {member: group for group in groups for member in group}
    firsts = [group[0] for group in groups]
    between = [
        Wire(Ref(group_of[w.source.federate][0], w.source.port), Ref(group_of[w.target.federate][0], w.target.port))
        for w in wires
        if w.coupling != "delayed" and group_of[w.source.federate] != group_of[w.target.federate]
    ]
    return [group_of[first] for first in _sorted(firsts, between)]
