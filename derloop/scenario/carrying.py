"""Federates that are built knowing what there is: those that listen to others, and, last, those that carry.

A federate that carries stands between others, and carries what these say to each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from derloop.contract import Federate, Interface
from derloop.kind import Context
from derloop.scenario.models import Scenario
from derloop.scenario.wiring import wires
from derloop.wires import Wire, wire_problems


def carriers(scenario: Scenario) -> tuple[str, ...]:
    """Return the names of the federates that carry."""
    return tuple(name for name, entry in scenario.federates.items() if entry.kind.carries)


def knowing(scenario: Scenario) -> tuple[str, ...]:
    """Return the names of the federates that cannot be built without the others: those that listen or carry."""
    return tuple(name for name, entry in scenario.federates.items() if entry.kind.listens or entry.kind.carries)


def carriers_last(scenario: Scenario) -> list[str]:
    """Return the names of all federates in the order in which they can be built."""
    kinds = {name: entry.kind for name, entry in scenario.federates.items()}
    return sorted(kinds, key=lambda name: (kinds[name].carries, kinds[name].listens))


def among(scenario: Scenario, context: Context, federates: Mapping[str, Federate]) -> Context:
    """Return the context of a federate, with the others' interfaces if it listens, and what they say if it carries."""
    kind = scenario.federates[context.name].kind
    if not (kind.listens or kind.carries):
        return context
    carrying, aware = carriers(scenario), knowing(scenario)
    if not kind.carries:
        return replace(context, interfaces={n: f.interface for n, f in federates.items() if n not in aware})
    interfaces = {name: federate.interface for name, federate in federates.items() if name not in carrying}
    made = wires(interfaces, scenario.file.wires, scenario.file.coupling)
    sound = [wire for wire in made if not wire_problems(interfaces, wire)]
    said = tuple((str(w.source), str(w.target)) for w in sound if not _is_physical(scenario, context, interfaces, w))
    return replace(context, interfaces=interfaces, signals=said)


def _is_physical(scenario: Scenario, context: Context, interfaces: Mapping[str, Interface], wire: Wire) -> bool:
    """Return whether a wire is what passes at the terminals of devices, and nothing that anybody says."""
    ends = wire.source.federate, wire.target.federate
    is_coupled = interfaces[wire.target.federate].inputs[wire.target.port].arrival == "coupled"
    is_of_feeder = any(scenario.federates[end].kind.place for end in ends)
    return is_coupled or (is_of_feeder and any(end in context.terminals for end in ends))
