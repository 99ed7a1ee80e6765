"""Which buses of a feeder nothing earths: those behind windings in delta, or in star without earth.

Buses that lines and other than transformers join, open ones too, are one part. A part is earthed where a source stands
in it, a transformer's star point, a corner of its delta or an end of its single-phase winding is earthed in it, or a
reactor leads to earth, or a wire of a line: from a phase, or from a neutral where a star point of a transformer is one.
One that no transformer feeds counts as earthed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

GROUND = 0
EARTHING = ("reactor", "autotrans")
"""Classes of elements, other than transformers, by which a part is earthed where they end at ground."""


CORNERS = 3
"""Nodes of a winding in delta, at most: OpenDSS gives it another one, for a neutral."""


PHASES = 3
"""Nodes of a bus beyond these are neutrals."""


class _Winding(NamedTuple):
    """One of a transformer."""

    bus: str
    has_ground: bool
    has_neutral: bool = False
    """Whether its star point is a node, at which a neutral may end."""


def _part(leads_to: dict[str, str], bus: str) -> str:
    """Return the bus by which the part of a bus is known."""
    while (other := leads_to.setdefault(bus, bus)) != bus:
        leads_to[bus] = leads_to[other]
        bus = other
    return bus


def unearthed(dss: Any) -> frozenset[str]:
    """Return the lower-case names of the buses that nothing earths."""
    windings = list(_windings(dss))
    floating = [winding.bus for winding in windings if not winding.has_ground]
    if not floating:
        return frozenset()
    leads_to, earthed = dict[str, str](), [winding.bus for winding in windings if winding.has_ground]
    of_neutrals: list[str] = []
    for element in _others(dss):
        buses = _buses(dss.CktElement)
        for bus in buses:
            leads_to[_part(leads_to, bus)] = _part(leads_to, buses[0])
        if element in EARTHING and GROUND in dss.CktElement.NodeOrder():
            earthed.append(buses[0])
        elif element == "line":
            wires = _wires_to_ground(dss.CktElement)
            earthed += [bus for bus, node in wires if node <= PHASES]
            of_neutrals += [bus for bus, node in wires if node > PHASES]
    earthed += _of_sources(dss)
    stars = {_part(leads_to, winding.bus) for winding in windings if winding.has_neutral}
    held = {_part(leads_to, bus) for bus in earthed} | (stars & {_part(leads_to, bus) for bus in of_neutrals})
    lost = {_part(leads_to, bus) for bus in floating} - held
    return frozenset(bus for bus in map(str.lower, dss.Circuit.AllBusNames()) if _part(leads_to, bus) in lost)


def _windings(dss: Any) -> Iterator[_Winding]:
    """Yield the windings of all transformers in service.

    In delta the neutral that they are said to have is none, but a corner may be earthed, as is one end of a
    single-phase winding. A star point may be earthed inside: `Rneut` is negative where it is not.
    """
    transformers = dss.Transformers
    for _ in range(transformers.First() and transformers.Count()):
        for number, (bus, nodes) in enumerate(_terminals(dss.CktElement), start=1):
            transformers.Wdg(number)
            if transformers.IsDelta():
                yield _Winding(bus, GROUND in nodes[:CORNERS])
            else:
                yield _Winding(bus, GROUND in nodes or transformers.Rneut() >= 0, nodes[-1] > PHASES)
        transformers.Next()


def _others(dss: Any) -> Iterator[str]:
    """Make what else delivers the active element, one after the other: lines, reactors ...; yield its class.

    What is not enabled is passed over: a line that is to be closed has been by then (`switching.admit`).
    """
    elements = dss.PDElements
    for _ in range(elements.First() and elements.Count()):
        element = elements.Name().lower().partition(".")[0]
        if element != "transformer":
            yield element
        elements.Next()


def _of_sources(dss: Any) -> Iterator[str]:
    for name in dss.Vsources.AllNames():
        dss.Circuit.SetActiveElement(f"Vsource.{name}")
        if dss.CktElement.Enabled() and GROUND in dss.CktElement.NodeOrder():
            yield _buses(dss.CktElement)[0]


def _terminals(element: Any) -> list[tuple[str, list[int]]]:
    """Return bus and nodes of each terminal of the active element."""
    nodes, wires = list(element.NodeOrder()), element.NumConductors()
    return [(bus, nodes[i * wires : (i + 1) * wires]) for i, bus in enumerate(_buses(element))]


def _wires_to_ground(element: Any) -> list[tuple[str, int]]:
    """Return bus and node at the other end of each conductor of the active line that ends at ground, unless it is open.

    An earthing switch that is open earths nothing.
    """
    if element.IsOpen(1, 0) or element.IsOpen(2, 0):
        return []
    (bus, nodes), (other_bus, others) = _terminals(element)
    pairs = [*zip(nodes, others, strict=True)]
    ends = [(bus, node) for node, other in pairs if other == GROUND] + [
        (other_bus, other) for node, other in pairs if node == GROUND
    ]
    return [(bus, node) for bus, node in ends if node != GROUND]


def _buses(element: Any) -> list[str]:
    return [name.partition(".")[0].lower() for name in element.BusNames()]
