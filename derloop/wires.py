"""Wires between the ports of federates, and everything that may be wrong with them, apart from loops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from derloop.contract import Interface, Port
from derloop.errors import Problem, did_you_mean

Coupling = Literal["direct", "delayed", "converged"]


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
