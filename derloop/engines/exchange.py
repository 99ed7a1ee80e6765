"""What crosses between units: for each unit one vector, stamped with its instant.

A payload is `[stamp, ports..., earlier values of ports...]`. The stamp is the number of the unit's step (-1: before
the first), so a reader knows the exact step whose values it must see, and a value that is stale, lost or early ends the
run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from derloop.contract import FloatArray, Interface, Values
from derloop.errors import EngineError
from derloop.federation import Federation, Unit
from derloop.wires import Ref, Wire


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each port of a unit lies in its payload."""

    size: int
    latest: Mapping[Ref, slice]
    earlier: Mapping[Ref, slice]
    """The value before the latest: only where a delayed wire leads to a unit of higher rank."""


def layout_of(federation: Federation, unit: Unit) -> Layout:
    """Return the layout of what other units read of `unit`."""
    leaving = federation.leaving(unit)
    end = 1
    parts: list[dict[Ref, slice]] = [{}, {}]
    for part, wires in zip(parts, (leaving, [w for w in leaving if _is_forward(federation, w)]), strict=True):
        for ref in dict.fromkeys(w.source for w in wires):
            size = federation.port(ref).size
            part[ref] = slice(end, end + size)
            end += size
    return Layout(end, *parts)


def _is_forward(federation: Federation, wire: Wire) -> bool:
    source, target = (federation.unit_of[ref.federate] for ref in (wire.source, wire.target))
    return wire.coupling == "delayed" and source.rank < target.rank


class Outbox:
    """What a unit gives to others."""

    def __init__(self, federation: Federation, unit: Unit) -> None:
        self._layout = layout_of(federation, unit)
        self.attach(np.zeros(self._layout.size))

    def attach(self, payload: FloatArray) -> None:
        """Write into this array from now on."""
        self.payload, latest = payload, self._layout.latest
        self._latest = [(*ref, payload[part]) for ref, part in latest.items()]
        self._earlier = [(payload[part], payload[latest[ref]]) for ref, part in self._layout.earlier.items()]

    def post(self, stamp: int, outputs: Mapping[str, Values]) -> None:
        for earlier, latest in self._earlier:
            earlier[:] = latest
        self.payload[0] = stamp
        for federate, port, part in self._latest:
            part[...] = outputs[federate][port]


@dataclass(slots=True)
class Feed:
    """One unit whose payload another one reads. The engine keeps `payload` filled."""

    source: Unit
    layout: Layout
    comes_first: bool
    """The source is stepped before the reader within an instant."""
    payload: FloatArray
    """Not a number until the source has given something."""

    def expected_stamp(self, now_ns: int) -> int:
        return (now_ns - self.before_ns) // self.source.step_ns

    @property
    def before_ns(self) -> int:
        """How long before an instant a step of the source must be at least, for its values to be seen then."""
        return 0 if self.comes_first else 1


class Inbox:
    """What a unit reads of others."""

    def __init__(self, federation: Federation, unit: Unit) -> None:
        self._unit = unit
        sources = {source.name: source for source in (federation.unit_of[w.source.federate] for w in unit.incoming)}
        self.feeds = {
            name: Feed(source, layout := layout_of(federation, source), source.rank < unit.rank, _unsent(layout))
            for name, source in sources.items()
        }
        self._federation = federation
        self._values: dict[str, dict[str, FloatArray]] = {}
        self._delayed_forward: list[tuple[Feed, Wire, FloatArray, FloatArray]] = []
        self.attach({name: feed.payload for name, feed in self.feeds.items()})

    def attach(self, payloads: Mapping[str, FloatArray]) -> None:
        """Read from these arrays from now on: the source's own, or buffers that the engine fills."""
        self._values = {member: _unheard(self._federation.interfaces[member]) for member in self._unit.members}
        self._delayed_forward = []
        for name, payload in payloads.items():
            self.feeds[name].payload = payload
        self._stamped = [(f.payload, f.source.step_ns, f.before_ns, f) for f in self.feeds.values()]
        for wire in self._unit.incoming:
            self._attach_wire(wire)
        self._read_only = {member: MappingProxyType(values) for member, values in self._values.items()}

    def _attach_wire(self, wire: Wire) -> None:
        feed = self.feeds[self._federation.unit_of[wire.source.federate].name]
        latest = read_only(feed.payload[feed.layout.latest[wire.source]])
        self._values[wire.target.federate][wire.target.port] = latest
        if wire.coupling == "delayed" and feed.comes_first:
            earlier = read_only(feed.payload[feed.layout.earlier[wire.source]])
            self._delayed_forward.append((feed, wire, latest, earlier))

    def read(self, now_ns: int) -> Mapping[str, Values]:
        """Return the inputs of each member at `now_ns`; raise EngineError for a value of the wrong instant."""
        for payload, step_ns, before_ns, feed in self._stamped:
            if payload[0] != (now_ns - before_ns) // step_ns:
                raise EngineError(
                    f"{self._unit.name} at {now_ns / 1e9:g} s holds step {feed.payload[0]:g} of {feed.source.name}, "
                    f"expected step {feed.expected_stamp(now_ns)}: a value was lost or came late"
                )
        for feed, wire, latest, earlier in self._delayed_forward:
            stepped_now = now_ns % feed.source.step_ns == 0
            self._values[wire.target.federate][wire.target.port] = earlier if stepped_now else latest
        return self._read_only


def _unsent(layout: Layout) -> FloatArray:
    return np.full(layout.size, np.nan)


def _unheard(interface: Interface) -> dict[str, FloatArray]:
    """Return what the inputs are that need no wire; those that have one get another value."""
    optional = {name: port for name, port in interface.inputs.items() if port.otherwise is not None}
    return {name: read_only(np.full(port.size, port.otherwise)) for name, port in optional.items()}


def read_only(part: FloatArray) -> FloatArray:
    """Return a view of `part` that cannot be written into."""
    view = part.view()
    view.flags.writeable = False
    return view
