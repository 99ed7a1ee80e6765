"""From a typed scenario to the federation of its federates."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from derloop import document, plugins
from derloop.contract import Federate, Interface
from derloop.errors import PluginError, Problem, ScenarioError, did_you_mean
from derloop.federation import Absent, Federation, of_units, wiring_problems
from derloop.kind import NONE_GRANTED, Context, Permissions, Place, Terminal
from derloop.placement import hosts_of
from derloop.scenario.asked_signals import check_problems
from derloop.scenario.carrying import among, carriers, carriers_last, knowing
from derloop.scenario.consequences import blamed, lost, stated, told_once
from derloop.scenario.kinds import check_federate, kind_problems
from derloop.scenario.models import FederateEntry, Scenario
from derloop.scenario.once_asked import OnceAsked
from derloop.scenario.wiring import wires


def assemble(
    scenario: Scenario,
    permissions: Permissions = NONE_GRANTED,
    only: Collection[str] | None = None,
    known: Mapping[str, Interface] | None = None,
) -> Federation:
    """Build the federates and wire them; raise ScenarioError with every problem that shows before the first step.

    only: build these and take the interfaces of the others from `known`: a federate process knows its own, which must
    be as `known` has them. Of other feeders it reads those that its own need to know.
    """
    problems: list[Problem] = []
    contexts = (
        _contexts(scenario, permissions, problems) if only is None else _own_contexts(scenario, permissions, only)
    )
    if problems:
        problems += _beyond(scenario, contexts, blamed(problems))
        raise ScenarioError(told_once(problems, scenario), str(scenario.path))
    federates: dict[str, Federate] = {}
    for name in carriers_last(scenario):
        entry = scenario.federates[name]
        if only is not None and name not in only:
            federates[name] = Absent((known or {})[name])
        elif problems and name in knowing(scenario):
            continue  # it is not known what there is
        elif (federate := _built(entry, among(scenario, contexts[name], federates), problems)) is not None:
            federates[name] = federate
    problems += [*_shared(federates), *_unlike(federates, known or {})]
    if problems:
        problems += _loose_ends(scenario, federates)
        raise ScenarioError(told_once(problems, scenario), str(scenario.path))
    return _federation(scenario, {name: federates[name] for name in scenario.federates})


def _shared(federates: Mapping[str, Federate]) -> Iterator[Problem]:
    """Yield each federate that is the same object as one before it: its state would be that of both."""
    first: dict[int, str] = {}
    for name, federate in federates.items():
        if (other := first.setdefault(id(federate), name)) != name:
            yield Problem(f"/federates/{name}", f"its kind gave what {other!r} is already; each needs one of its own")


def _unlike(federates: Mapping[str, Federate], known: Mapping[str, Interface]) -> Iterator[Problem]:
    """Yield each federate that has other ports, or another step, than all others know it by."""
    for name, federate in federates.items():
        own, told = federate.interface, known.get(name)
        if told is None or (what := _unlike_part(own, told)) is None:
            continue
        why = f"its {what} is another one in its own process than where the run was started"
        yield Problem(
            f"/federates/{name}", f"{why}; what it has must follow from the scenario, and labels have an order"
        )


def _unlike_part(own: Interface, told: Interface) -> str | None:
    sides = {"input": (own.inputs, told.inputs), "output": (own.outputs, told.outputs)}
    for side, (here, there) in sides.items():
        if found := next((port for port in {**there, **here} if here.get(port) != there.get(port)), None):
            return f"{side} {found!r}"
    return "step" if own.step_ns != told.step_ns else None


def further_problems(scenario: Scenario, permissions: Permissions) -> list[Problem]:
    """Return what is wrong with the federates of a scenario of which others, or other parts, could not be read."""
    problems: list[Problem] = []
    contexts = _contexts(scenario, permissions, problems)
    broken = blamed(problems) | (stated(scenario) - set(scenario.federates))
    return told_once([*problems, *_beyond(scenario, contexts, broken)], scenario)


def _beyond(scenario: Scenario, contexts: Mapping[str, Context], broken: Collection[str]) -> list[Problem]:
    """Return what can be told although `broken` cannot be built: nothing of what follows from that."""
    unbuilt = lost(scenario, contexts, broken)
    problems: list[Problem] = []
    federates: dict[str, Federate] = {}
    for name, entry in scenario.federates.items():
        if name not in unbuilt and (federate := _built(entry, contexts[name], problems)) is not None:
            federates[name] = federate
    return [*problems, *_loose_ends(scenario, federates)]


def _loose_ends(scenario: Scenario, federates: Mapping[str, Federate]) -> list[Problem]:
    """Return what is wrong with steps, stated wires and checks, as far as these federates tell."""
    interfaces = {name: federate.interface for name, federate in federates.items()}
    unknown = stated(scenario) - set(interfaces)
    problems = _own_problems(scenario, interfaces)
    problems += _stated_wire_problems(scenario, interfaces, unknown)
    return problems + check_problems(scenario, interfaces, unknown, [*of_units(stated(scenario))])


def _stated_wire_problems(
    scenario: Scenario, interfaces: Mapping[str, Interface], unknown: Collection[str]
) -> Iterator[Problem]:
    for wire in wires({}, scenario.file.wires, scenario.file.coupling):
        ends = wire.source.federate, wire.target.federate
        if not any(end in unknown for end in ends):
            yield from (p for p in wiring_problems(interfaces, [wire]) if p.pointer == wire.pointer)
        for end in ends if any(end in unknown for end in ends) else ():
            if end not in stated(scenario):
                yield Problem(wire.pointer, f"{wire}: no federate {end!r}" + did_you_mean(end, [*stated(scenario)]))


def _federation(scenario: Scenario, federates: Mapping[str, Federate]) -> Federation:
    interfaces = {name: federate.interface for name, federate in federates.items()}
    problems = _own_problems(scenario, interfaces)
    coupling, pacing = scenario.file.coupling, scenario.file.pacing
    problems += pacing.problems(interfaces)
    wired = wires(interfaces, scenario.file.wires, coupling, carriers(scenario))
    try:
        federation = Federation(federates, wired, coupling.convergence(), pacing.pacing(interfaces))
    except ScenarioError as error:
        problems += [*error.problems, *check_problems(scenario, interfaces, (), [*of_units(interfaces)])]
        raise ScenarioError(problems, str(scenario.path)) from error
    problems += hosts_of(federation.units, scenario.file.hosts)[1]
    if problems := [*problems, *check_problems(scenario, federation.recorded([*federates]))]:
        raise ScenarioError(problems, str(scenario.path))
    return federation


def _own_problems(scenario: Scenario, interfaces: Mapping[str, Interface]) -> list[Problem]:
    """Return what is wrong with federates by themselves."""
    problems = [p for name, interface in interfaces.items() for p in _step_problems(scenario, name, interface)]
    return problems + [p for name in interfaces for p in _unheard_problems(scenario, name, interfaces)]


def _unheard_problems(scenario: Scenario, name: str, interfaces: Mapping[str, Interface]) -> Iterator[Problem]:
    """Yield what a federate whose settings name its outputs says to inputs that are not there."""
    setting = scenario.federates[name].kind.outputs_at
    for output in interfaces[name].outputs if setting else ():
        federate, _, port = output.partition(".")
        if port and federate in interfaces and port not in interfaces[federate].inputs:
            inputs = [*interfaces[federate].inputs]
            what = f"{federate!r} has no input {port}, as it is set; it has " + (", ".join(inputs) or "none")
            yield Problem(document.pointer(("federates", name, str(setting), output)), what)


def _step_problems(scenario: Scenario, name: str, interface: Interface) -> list[Problem]:
    if scenario.until_ns % interface.step_ns == 0:
        return []
    step_s, until_s = interface.step_ns / 1e9, scenario.until_ns / 1e9
    what = f"a step of {step_s:.15g} s does not divide the duration of {until_s:.15g} s"
    return [Problem(f"/federates/{name}/step_s", what)]


def _contexts(scenario: Scenario, permissions: Permissions, problems: list[Problem]) -> dict[str, Context]:
    """Return the context of every federate: first the feeders, then where devices meet them, then who they are."""
    base = _bases(scenario, permissions)
    feeders = _feeders(scenario, base, problems)
    meets = _meets(scenario, feeders, problems)
    terminals: dict[str, tuple[Terminal, ...]] = {}
    for name in _meeting(scenario, meets):
        found = _terminals(scenario.federates[name], _at_feeder(base[name], feeders, meets), problems)
        terminals |= {} if found is None else {name: found}
    labels = {name: tuple(t.label for t in found) for name, found in terminals.items()}
    known = _Known(feeders, meets, terminals, labels)
    return {name: _whole(each, known) for name, each in base.items()}


def _own_contexts(scenario: Scenario, permissions: Permissions, own: Collection[str]) -> dict[str, Context]:
    """Return those of some federates alone, of a scenario in which nothing is wrong.

    Feeders are read, and devices are looked for at them, once any of these asks.
    """
    base = _bases(scenario, permissions)

    def place(name: str) -> Place:
        try:
            return _place(scenario.federates[name], base[name])
        except (Exception, SystemExit) as error:
            raise ScenarioError(kind_problems(name, error), str(scenario.path)) from error

    feeders = OnceAsked(_places(scenario), place)
    meets = _meets(scenario, feeders, [])

    def found(name: str) -> tuple[Terminal, ...]:
        problems: list[Problem] = []
        terminals = _terminals(scenario.federates[name], _at_feeder(base[name], feeders, meets), problems)
        if terminals is None:
            raise ScenarioError(problems, str(scenario.path))
        return terminals

    terminals = OnceAsked(_meeting(scenario, meets), found)
    labels = OnceAsked(terminals, lambda name: tuple(t.label for t in terminals[name]))
    known = _Known(feeders, meets, terminals, labels)
    return {name: _whole(base[name], known) for name in own}


def _bases(scenario: Scenario, permissions: Permissions) -> dict[str, Context]:
    """Return the contexts as far as they follow from the scenario's text."""
    settings = {name: entry.settings for name, entry in scenario.federates.items()}
    kinds = {name: entry.kind.name for name, entry in scenario.federates.items()}
    contexts = {name: _context(scenario, name, permissions) for name in scenario.federates}
    return {name: replace(context, settings=settings, kinds=kinds) for name, context in contexts.items()}


def _meeting(scenario: Scenario, meets: Mapping[str, str]) -> list[str]:
    """Return the federates of which it can be said where their devices stand, or that there is nowhere."""
    may_have = _may_have_feeder(scenario)
    entries = scenario.federates.items()
    return [name for name, entry in entries if entry.kind.meets_feeder and (name in meets or not may_have)]


def _at_feeder(context: Context, feeders: Mapping[str, Place], meets: Mapping[str, str]) -> Context:
    return replace(context, feeder=feeders.get(meets.get(context.name, "")))


class _Known(NamedTuple):
    """What is known of feeders, and of devices at them: see `Context`."""

    feeders: Mapping[str, Place]
    meets: Mapping[str, str]
    terminals: Mapping[str, tuple[Terminal, ...]]
    labels: Mapping[str, tuple[str, ...]]


def _whole(context: Context, known: _Known) -> Context:
    """Return a context with all that is known."""
    name, feeders, meets, terminals = context.name, known.feeders, known.meets, known.terminals
    context = replace(context, **known._asdict())
    if name in feeders:
        at_it = OnceAsked([fleet for fleet in terminals if meets.get(fleet) == name], terminals.__getitem__)
        return replace(context, feeder=feeders[name], terminals=at_it)
    if name in meets:
        return replace(context, feeder=feeders.get(meets[name]))
    return replace(context, feeder=next(iter(feeders.values())) if len(feeders) == 1 else None)


def _meets(scenario: Scenario, feeders: Mapping[str, Place], problems: list[Problem]) -> dict[str, str]:
    """Return the feeder's name for each federate whose devices stand at one."""
    known = _places(scenario)
    found: dict[str, str] = {}
    for name, entry in scenario.federates.items():
        if not entry.kind.meets_feeder:
            continue
        feeder = entry.feeder or (known[0] if len(known) == 1 else "")
        if feeder in feeders:
            found[name] = feeder
        elif what := _unmet(entry.feeder, known, stated(scenario) - set(scenario.federates)):
            problems.append(Problem(f"/federates/{name}/feeder", what))
    return found


def _unmet(feeder: str, known: Sequence[str], unread: Collection[str]) -> str:
    """Return why devices that name `feeder` meet none; empty where that only follows from what is wrong elsewhere."""
    if feeder and feeder not in known and feeder not in unread:
        return f"no feeder is called {feeder!r}" + did_you_mean(feeder, known)
    return "" if feeder or len(known) < 2 else f"is missing: there are several feeders, {', '.join(known)}"


def _may_have_feeder(scenario: Scenario) -> bool:
    """Return whether a federate is a feeder, or cannot be read and so may be one."""
    return any(entry.kind.place for entry in scenario.federates.values()) or bool(
        stated(scenario) - set(scenario.federates)
    )


def _context(scenario: Scenario, name: str, permissions: Permissions) -> Context:
    return Context(
        name=name,
        folder=scenario.folder,
        start=scenario.start,
        step_ns=scenario.step_ns,
        until_ns=scenario.until_ns,
        seed=_seed(scenario.file.seed, name),
        permissions=permissions,
    )


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")


def _places(scenario: Scenario) -> list[str]:
    """Return the names of the feeders."""
    return [name for name, entry in scenario.federates.items() if entry.kind.place]


def _place(entry: FederateEntry, context: Context) -> Place:
    assert entry.kind.place
    return entry.kind.place(entry.settings, context)


def _feeders(scenario: Scenario, contexts: Mapping[str, Context], problems: list[Problem]) -> dict[str, Place]:
    feeders: dict[str, Place] = {}
    for name in _places(scenario):
        try:
            feeders[name] = _place(scenario.federates[name], contexts[name])
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a kind's own; whose it is, is said
            problems += kind_problems(name, error)
    return feeders


def _terminals(entry: FederateEntry, context: Context, problems: list[Problem]) -> tuple[Terminal, ...] | None:
    assert entry.kind.terminals
    if context.feeder is None:
        what = f"kind {entry.kind.name!r} meets a feeder, and the scenario has no federate that is one"
        problems.append(Problem(f"/federates/{entry.name}/kind", what))
        return None
    try:
        found = entry.kind.terminals(entry.settings, context)
        if not all(isinstance(terminal, Terminal) for terminal in found):
            raise PluginError(f"the kind {entry.kind.name!r} gives terminals that are no Terminal")
        return found
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a kind's own; whose it is, is said
        problems += kind_problems(entry.name, error)
        return None


def _built(entry: FederateEntry, context: Context, problems: list[Problem]) -> Federate | None:
    try:
        federate = entry.kind.build(entry.settings, context)
        if entry.via != "model":
            name, _, argument = entry.via.partition(":")
            terminals = context.terminals.get(entry.name, ())
            federate = plugins.realisation(name)(federate, entry.settings, terminals, argument, context)
        check_federate(federate, entry.kind.name)
        return federate
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a kind's own; whose it is, is said
        problems += kind_problems(entry.name, error)
    return None
