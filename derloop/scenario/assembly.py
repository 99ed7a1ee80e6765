"""From a typed scenario to the federation of its federates."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from derloop import plugins
from derloop.contract import Federate, Interface, Port, Values
from derloop.errors import DerloopError, PluginError, Problem, ScenarioError, did_you_mean
from derloop.federation import Federation
from derloop.kind import Context, Place, PlaceError, Terminal
from derloop.scenario import document
from derloop.scenario.models import FederateEntry, Scenario
from derloop.scenario.wiring import wires


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


def assemble(
    scenario: Scenario,
    trust_feeder: bool = False,
    only: Collection[str] | None = None,
    known: Mapping[str, Interface] | None = None,
) -> Federation:
    """Build the federates and wire them; raise ScenarioError with every problem that shows before the first step.

    only: build these and take the interfaces of the others from `known`: a federate process knows its own.
    """
    contexts = _contexts(scenario, trust_feeder)
    federates: dict[str, Federate] = {}
    problems: list[Problem] = []
    for name, entry in scenario.federates.items():
        if only is not None and name not in only:
            federates[name] = Absent((known or {})[name])
        elif (federate := _built(entry, contexts[name], problems)) is not None:
            federates[name] = federate
    if problems:
        raise ScenarioError(problems, str(scenario.path))
    return _federation(scenario, federates)


def _federation(scenario: Scenario, federates: Mapping[str, Federate]) -> Federation:
    interfaces = {name: federate.interface for name, federate in federates.items()}
    problems = [p for name, interface in interfaces.items() for p in _step_problems(scenario, name, interface)]
    coupling = scenario.file.coupling
    try:
        federation = Federation(federates, wires(interfaces, scenario.file.wires, coupling), coupling.convergence())
    except ScenarioError as error:
        problems += [*error.problems, *_check_problems(scenario, interfaces)]
        raise ScenarioError(problems, str(scenario.path)) from error
    if problems := [*problems, *_check_problems(scenario, federation.recorded([*federates]))]:
        raise ScenarioError(problems, str(scenario.path))
    return federation


def _step_problems(scenario: Scenario, name: str, interface: Interface) -> list[Problem]:
    if scenario.until_ns % interface.step_ns == 0:
        return []
    what = f"a step of {interface.step_ns / 1e9:g} s does not divide the duration of {scenario.until_ns / 1e9:g} s"
    return [Problem(f"/federates/{name}/step_s", what)]


def _contexts(scenario: Scenario, trust_feeder: bool) -> dict[str, Context]:
    """Return the context of every federate: first the feeder, then where the devices meet it, then who they are."""
    problems: list[Problem] = []
    settings = {name: entry.settings for name, entry in scenario.federates.items()}
    base = {name: _context(scenario, name, trust_feeder) for name in scenario.federates}
    feeders = _feeders(scenario, base, problems)
    feeder = next(iter(feeders.values()), None)
    terminals: dict[str, tuple[Terminal, ...]] = {}
    for name, entry in scenario.federates.items():
        if entry.kind.terminals and not (problems and not feeder):
            context = replace(base[name], feeder=feeder)
            terminals[name] = _terminals(entry, context, problems)
    if problems:
        raise ScenarioError(problems, str(scenario.path))
    labels = {name: tuple(t.label for t in found) for name, found in terminals.items()}
    return {
        name: replace(context, terminals=terminals, labels=labels, settings=settings, feeder=feeders.get(name, feeder))
        for name, context in base.items()
    }


def _context(scenario: Scenario, name: str, trust_feeder: bool) -> Context:
    return Context(
        name=name,
        folder=scenario.folder,
        start=scenario.start,
        step_ns=scenario.step_ns,
        until_ns=scenario.until_ns,
        seed=_seed(scenario.file.seed, name),
        trust_feeder=trust_feeder,
    )


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")


def _feeders(scenario: Scenario, contexts: Mapping[str, Context], problems: list[Problem]) -> dict[str, Place]:
    feeders: dict[str, Place] = {}
    for name, entry in scenario.federates.items():
        if entry.kind.place:
            try:
                feeders[name] = entry.kind.place(entry.settings, contexts[name])
            except PlaceError as error:
                problems += _placed(name, error)
    if len(feeders) > 1:
        problems.append(Problem("/federates", f"more than one feeder: {', '.join(feeders)}; a scenario has one"))
    return feeders


def _terminals(entry: FederateEntry, context: Context, problems: list[Problem]) -> tuple[Terminal, ...]:
    assert entry.kind.terminals
    if context.feeder is None:
        what = f"kind {entry.kind.name!r} meets a feeder, and the scenario has no federate that is one"
        problems.append(Problem(f"/federates/{entry.name}/kind", what))
        return ()
    try:
        return entry.kind.terminals(entry.settings, context)
    except PlaceError as error:
        problems += _placed(entry.name, error)
        return ()


def _placed(name: str, error: PlaceError) -> list[Problem]:
    return [Problem(document.pointer(("federates", name, *path)), what) for path, what in error.problems]


def _built(entry: FederateEntry, context: Context, problems: list[Problem]) -> Federate | None:
    try:
        federate = entry.kind.build(entry.settings, context)
        if entry.via == "model":
            return federate
        name, _, argument = entry.via.partition(":")
        terminals = context.terminals.get(entry.name, ())
        return plugins.realisation(name)(federate, entry.settings, terminals, argument, context)
    except PlaceError as error:
        problems += _placed(entry.name, error)
    except (ValueError, PluginError) as error:
        problems.append(Problem(f"/federates/{entry.name}", str(error)))
    return None


def _check_problems(scenario: Scenario, interfaces: Mapping[str, Interface]) -> list[Problem]:
    """Refuse a check of a signal that nobody gives: it could never fail."""
    ports: dict[str, Port] = {
        f"{name}.{port}": spec for name, interface in interfaces.items() for port, spec in interface.outputs.items()
    }
    problems = []
    for index, check in enumerate(scenario.checks):
        for path, pattern in check.kind.signals(check.settings):
            if not any(fnmatchcase(name, pattern) for name in ports):
                where = document.pointer(("checks", index, *path))
                problems.append(Problem(where, f"no signal {pattern!r}" + did_you_mean(pattern, [*ports])))
    return problems
