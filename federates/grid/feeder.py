"""The feeder as it is known before anything is solved: its file, judged and read, and where devices may meet it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from derloop.errors import did_you_mean
from derloop.kind import Bus, Context, FeederLoad, PlaceError, Sensitivity, Terminal
from federates.fleets import Problems
from federates.grid import inventory
from federates.grid.answering import answers
from federates.grid.apparatus import Apparatus
from federates.grid.crossing import HEAD, behind
from federates.grid.engine import SolverError
from federates.grid.faults import misplaced, unseen
from federates.grid.feeder_file import feeder_problems
from federates.grid.settings import OpenDssSettings
from federates.grid.short_circuit import angles_deg, source_impedances_ohm
from federates.grid.solver import Solver
from federates.grid.switchgear import relayed
from federates.spells import missed


class Feeder:
    """What is known of a feeder before anything is solved; and the solver that has read it."""

    def __init__(self, settings: OpenDssSettings, context: Context) -> None:
        self.path = feeder_path(settings.feeder, context)
        try:
            self.solver = Solver(self.path)
        except SolverError as error:
            raise PlaceError([(("feeder",), f"OpenDSS refuses {settings.feeder}: {error}")]) from error
        relays, problems = relayed(settings.protection, self.solver)
        self.apparatus = Apparatus(self.solver, settings.operated, relays)
        self._buses, self._loads = inventory.buses(self.solver), inventory.loads(self.solver)
        wrong = [*misplaced(settings.faults, self._buses), *unseen(settings.faults, settings.step_ns(context))]
        wrong += [*_moved_twice(settings, self.apparatus), *_opened_twice(settings, self.apparatus, self.solver)]
        wrong += _missed(settings, context)
        if problems := [*problems, *self.apparatus.problems, *wrong]:
            raise PlaceError(problems)
        self._impedances_ohm: Mapping[str, Mapping[tuple[int, int], complex]] = {}
        self._angles_deg: Mapping[tuple[str, int], float] = {}
        self._settings = settings

    @property
    def buses(self) -> Mapping[str, Bus]:
        return self._buses

    @property
    def loads(self) -> Mapping[str, FeederLoad]:
        return self._loads

    def source_impedance_ohm(self, bus: str, phases: tuple[int, ...]) -> complex:
        """Return what phases of a bus have behind them, where each of them carries the same power.

        A single phase has all of its own impedance, the way back through neutral and earth in it. Of what it shares
        with another one that counts by the angle between them: 120 degrees apart half is taken off, so that three have
        the impedance of positive sequence; of the two legs of a centre-tapped winding all of it is. Where the bus has a
        neutral, the way back is that. Two phases that nothing earths have the loop of both, as it is in pu of what each
        carries and of its voltage to neutral: 2/3.
        """
        if not self._impedances_ohm:
            solver = Solver(self.path)  # an engine of its own: it solves
            self._angles_deg, self._impedances_ohm = angles_deg(solver), source_impedances_ohm(solver)
        between, back = self._impedances_ohm[bus], self._buses[bus].neutral
        if len(phases) == 2 and self._buses[bus].is_between_phases:
            one, other = phases
            return (between[one, one] + between[other, other] - between[one, other] - between[other, one]) * 2 / 3
        alike = {(one, other): self._alike(bus, one, other) for one in phases for other in phases}
        earthed = sum((part * between[pair] for pair, part in alike.items()), 0j)
        if back is None:
            return earthed / len(phases)
        shared = sum((part * (between[one, back] + between[back, one]) for (one, _), part in alike.items()), 0j)
        return (earthed - shared + sum(alike.values()) * between[back, back]) / len(phases)

    def _alike(self, bus: str, one: int, other: int) -> float:
        """Return how far two nodes of a bus have the same voltage, 1 to -1, by the nearest sixth of a turn.

        Of phases that nothing earths each has what the other two take back, whatever they have to earth.
        """
        if self._buses[bus].is_between_phases:
            return 1.0 if one == other else -0.5
        sixths = round((self._angles_deg[bus, one] - self._angles_deg[bus, other]) / 60.0)
        return float(np.cos(np.pi / 3.0 * sixths))

    def sensitivity(self, terminals: Sequence[Terminal]) -> Sensitivity:
        """Return how all nodes, and what is monitored, answer devices at these terminals: see `answering`."""
        s = self._settings
        return answers(self.path, terminals, s.monitored, s.ratings_a)

    def delivered_port(self, federate: str) -> str:
        """Return the output with the powers of devices that follow the voltage; empty: only the head's is told."""
        return f"{federate}.solved_kw" if self._settings.powers == "everywhere" else ""

    @property
    def can_be_fed(self) -> bool:
        """Its source's voltage may come from outside: it has that alone, and no island that compares itself with it."""
        return self._settings.island is None and inventory.is_fed_by_head_alone(self.solver)

    def behind(self, switch: str) -> frozenset[str]:
        """Return the buses that a switch, when it is open, cuts off from the head: see `island`."""
        return behind(inventory.conducting(self.solver), inventory.head_bus(self.solver), switch)


def _missed(settings: OpenDssSettings, context: Context) -> Problems:
    """Return the outages that no instant has."""
    if settings.island is None or settings.island.outages is None:
        return []
    path = ("island", "outages", "events")
    return missed(settings.island.outages.events, path, settings.step_ns(context), context.name)


def _moved_twice(settings: OpenDssSettings, apparatus: Apparatus) -> Problems:
    """Return that others would move the switch of the island, and close it without synchronism, if they would."""
    if settings.island is None or settings.island.switch == HEAD:
        return []
    switch = settings.island.switch
    if switch.lower() not in apparatus.movable:
        return []
    what = f"{switch!r} is among the switches of operated or protection too, which would close it without synchronism"
    return [(("island", "switch"), what)]


def _opened_twice(settings: OpenDssSettings, apparatus: Apparatus, solver: Solver) -> Problems:
    """Return which switches the file's own protection opens and closes too, where that acts: nobody would be told."""
    if settings.regulators == "locked":
        return []
    moved: dict[str, tuple[str, ...]] = dict.fromkeys(apparatus.movable, ("protection",))
    moved |= dict.fromkeys(apparatus.switches, ("operated", "switches"))
    if settings.island is not None and settings.island.switch != HEAD:
        moved.setdefault(settings.island.switch.lower(), ("island", "switch"))
    of_file = {name: opened.removeprefix("line.") for name, opened in inventory.opening(solver).items()}
    what = "of the feeder file opens it too, and tells nobody: disable that in the file, and see protection"
    return [(moved[line], f"{line!r}: {name} {what}") for name, line in of_file.items() if line in moved]


def feeder_path(feeder: str, context: Context) -> Path:
    """Return the feeder's path when it may be given to OpenDSS; raise PlaceError with every reason why not."""
    try:
        path = (context.folder / feeder).resolve()
        is_file = path.is_file()
    except ValueError as error:
        raise PlaceError([(("feeder",), f"{feeder!r} cannot be opened: it holds a null character")]) from error
    except OSError as error:
        raise PlaceError([(("feeder",), f"{feeder!r} cannot be opened: {error}")]) from error
    except RuntimeError:  # a ring of links, before Python 3.13
        is_file = False
    if not is_file and (context.folder / feeder).is_symlink():
        raise PlaceError([(("feeder",), f"{feeder!r} cannot be opened: it is a link that leads to no file")])
    if '"' in str(path):  # no quoting of OpenDSS's holds one
        raise PlaceError([(("feeder",), f"a path with a quotation mark cannot be given to OpenDSS: {path}")])
    if context.permissions.trust_feeder:
        if not is_file:
            raise PlaceError([(("feeder",), f"no file {feeder!r} in {context.folder}")])
        return path
    if not path.is_relative_to(context.folder.resolve()):
        raise PlaceError([(("feeder",), f"{feeder!r} leaves the scenario's folder; --trust-feeder allows it")])
    if not is_file:
        there = [str(p.relative_to(context.folder)) for p in sorted(context.folder.glob("**/*.dss"))[:50]]
        raise PlaceError([(("feeder",), f"no file {feeder!r}" + did_you_mean(feeder, there))])
    if problems := feeder_problems(path, context.folder.resolve()):
        raise PlaceError([(("feeder",), str(problem)) for problem in problems])
    return path


def check_terminals(context: Context, feeder: Feeder) -> None:
    """Refuse devices at places that the feeder does not have, of any kind, and loads that are driven twice."""
    problems = [
        f"{name}: {terminal.label!r} is at {terminal.bus}.{'.'.join(map(str, terminal.phases))}, which {problem}"
        for name, terminals in context.terminals.items()
        for terminal in terminals
        if (problem := _misplaced(terminal, feeder))
    ]
    problems += _driven_twice(context)
    if problems:
        raise PlaceError([((), problem) for problem in problems])


def _misplaced(terminal: Terminal, feeder: Feeder) -> str:
    """Return why a terminal has no place in the feeder; empty where it has one."""
    bus = feeder.buses.get(terminal.bus)
    if bus is None:
        return "the feeder does not have" + did_you_mean(terminal.bus, [*feeder.buses])
    if terminal.element in feeder.loads:
        return ""
    if not terminal.phases or not set(terminal.phases) <= set(bus.phases):
        return f"is not all there: the bus has {', '.join(map(str, bus.phases))}"
    if terminal.element:
        return f"has no load {terminal.element!r}" + did_you_mean(terminal.element, [*feeder.loads])
    if len(terminal.phases) == 1 and bus.is_between_phases:
        return "nothing earths: a device stands between two of its phases there, or all three"
    return ""


def _driven_twice(context: Context) -> list[str]:
    driven = sorted((t.element, name) for name, terminals in context.terminals.items() for t in terminals if t.element)
    drivers = {element: [name for _, name in found] for element, found in groupby(driven, key=lambda pair: pair[0])}
    return [
        f"load {element!r} is driven more than once, by {' and '.join(names)}"
        for element, names in drivers.items()
        if len(names) > 1
    ]
