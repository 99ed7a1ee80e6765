"""From a typed scenario to the federation of its federates."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from derloop import document, plugins
from derloop.contract import Federate, Interface
from derloop.errors import Problem, ScenarioError, did_you_mean
from derloop.federation import Absent, Federation, of_units
from derloop.kind import NONE_GRANTED, Context, Permissions
from derloop.placement import hosts_of
from derloop.scenario.asked_signals import check_problems
from derloop.scenario.carrying import among, carriers, carriers_last, knowing
from derloop.scenario.consequences import blamed, lost, stated, told_once
from derloop.scenario.contexts import all_contexts, own_contexts
from derloop.scenario.kinds import check_federate, kind_problems
from derloop.scenario.models import FederateEntry, Scenario
from derloop.scenario.wiring import wires
from derloop.wires import wiring_problems


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
        all_contexts(scenario, permissions, problems) if only is None else own_contexts(scenario, permissions, only)
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
    contexts = all_contexts(scenario, permissions, problems)
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
