"""Which wires a scenario has: those that it states, and those that follow from the ports' names.

A port called `<federate>.<port>` belongs to the named federate: the grid's input `pv.p_kw` is wired from output `p_kw`
of `pv`, a control's output `battery.p_set_kw` to input `p_set_kw` of `battery`. A wire that the scenario states to an
input takes the place of the implied one.

A federate that carries stands between others. Its input `pv.p_kw` hears that output of `pv`, its output `vpp.pv.p_kw`
tells input `pv.p_kw` of `vpp`, in place of the wire that ended there. It hears what was said before an instant, and
tells it at that instant: so it closes no loop, and what it passes on at once comes when an input that sees the value
`before` would have seen it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from derloop.contract import Arrival, Interface
from derloop.scenario.models import CouplingSettings, WireSettings
from derloop.wires import Coupling, Ref, Wire


def wires(
    interfaces: Mapping[str, Interface],
    stated: Sequence[WireSettings],
    coupling: CouplingSettings,
    carriers: Collection[str] = (),
) -> tuple[Wire, ...]:
    """Return every wire of the scenario, the stated ones first; `carriers` are the federates that carry."""
    others = {name: interface for name, interface in interfaces.items() if name not in carriers}
    carried = [wire for name in carriers if name in interfaces for wire in _carried(name, interfaces)]
    taken_over = {wire.target for wire in carried if wire.source.federate in carriers}
    return (*(wire for wire in _between(others, stated, coupling) if wire.target not in taken_over), *carried)


def _carried(carrier: str, interfaces: Mapping[str, Interface]) -> Iterator[Wire]:
    """Yield the wires into a federate that carries, and out of it."""
    pointer = f"/federates/{carrier}"
    for port in interfaces[carrier].inputs:
        yield Wire(_ref(port), Ref(carrier, port), "delayed", pointer)
    for port in interfaces[carrier].outputs:
        target = _ref(port)
        if target.federate in interfaces and target.port in interfaces[target.federate].inputs:
            yield Wire(Ref(carrier, port), target, "direct", pointer)


def _between(
    interfaces: Mapping[str, Interface], stated: Sequence[WireSettings], coupling: CouplingSettings
) -> tuple[Wire, ...]:
    """Return the wires between federates of which none carries, the stated ones first."""
    explicit = [_stated(interfaces, w, f"/wires/{i}", coupling) for i, w in enumerate(stated)]
    ends = {w.target for w in explicit}
    implied = {pair: None for pair in _implied(interfaces) if pair[1] not in ends}
    made = [
        Wire(source, target, _coupling(_arrival(interfaces, target), coupling), f"/federates/{target.federate}")
        for source, target in implied
    ]
    return (*explicit, *made)


def _ref(text: str) -> Ref:
    federate, _, port = text.partition(".")
    return Ref(federate, port)


def _stated(interfaces: Mapping[str, Interface], wire: WireSettings, pointer: str, coupling: CouplingSettings) -> Wire:
    target = _ref(wire.target)
    chosen = wire.coupling or _coupling(_arrival(interfaces, target), coupling)
    return Wire(_ref(wire.source), target, chosen, pointer)


def _implied(interfaces: Mapping[str, Interface]) -> Iterator[tuple[Ref, Ref]]:
    for name, interface in interfaces.items():
        for port in interface.inputs:
            other = _ref(port)
            if other.federate in interfaces and other.port in interfaces[other.federate].outputs:
                yield other, Ref(name, port)
        for port in interface.outputs:
            other = _ref(port)
            if other.federate in interfaces and other.port in interfaces[other.federate].inputs:
                yield Ref(name, port), other


def _arrival(interfaces: Mapping[str, Interface], target: Ref) -> Arrival:
    """Return how the target wants its value; what cannot repeat a step is not iterated with."""
    interface = interfaces.get(target.federate)
    port = interface.inputs.get(target.port) if interface else None
    if interface is None or port is None:
        return "now"
    return "before" if port.arrival == "coupled" and not interface.repeatable else port.arrival


def _coupling(arrival: Arrival, coupling: CouplingSettings) -> Coupling:
    if arrival == "coupled":
        return coupling.mode
    return "delayed" if arrival == "before" else "direct"
