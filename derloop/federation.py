"""Federates and the wires between them, proven to fit, and the units that engines step, before any engine sees them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from derloop.contract import Cautious, Federate, Interface, Keeping, Port, Values
from derloop.coupling import Convergence
from derloop.errors import DerloopError, FederateError, ScenarioError, cause
from derloop.order import groups_of, ranked
from derloop.pacing import Pacing
from derloop.wires import Ref, Wire, wiring_problems

LOOP = "loop@"
"""With what the names begin under which a converged loop's passes and residual are recorded."""
PACE = "pace@"
"""With what the names begin under which a paced run records how it keeps time."""
LOOP_PORTS = {"passes": Port("1", ("passes",)), "residual": Port("1", ("largest",))}
"""What is recorded of a converged loop at each instant."""


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
            groups, problems = groups_of(self.interfaces, self.wires)
        if problems:
            raise ScenarioError(problems)
        arriving: dict[str, list[Wire]] = {name: [] for name in federates}
        for wire in wires:
            arriving[wire.target.federate].append(wire)
        self.units = tuple(
            self._unit(rank, members, [wire for member in members for wire in arriving[member]])
            for rank, members in enumerate(ranked(groups, self.wires))
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
