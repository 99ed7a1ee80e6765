"""Notices that federates hunt over a delayed wire: an artefact of the coupling, which no verdict may rest on.

A device that acts on the voltage of one step ago, steeply, overshoots, sees that one step later, and overshoots the
other way: with a loop gain beyond one it does so for ever, with a period of two steps. That is told from weather and
loads by its regularity. For an element `x` of what a delayed wire of a loop carries, in each of `ROWS` steps in a row,

    |x(k) - x(k-2)| <= REGULAR |x(k) - x(k-1)|,    |x(k) - x(k-1)| >= LEAST max |x|,

and from the first to the last of them the difference does not decay. Normal noise is so by chance in ten rows about
once in 10^8 times: each further row divides it by five (counted for up to six rows).

It then must be so once more, for the wire and for something that comes back to its source, and for nothing that reaches
that source from elsewhere: what is driven does not hunt. A control that acts on what was measured a step ago does so in
the field as well; only inputs that are delayed for want of a converged coupling (arrival `coupled`) are watched.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from derloop.calendar import UNDATED, Calendar
from derloop.contract import FloatArray, Values
from derloop.federation import Federation, Unit
from derloop.memory import remembers
from derloop.wires import Wire

ROWS = 10
REGULAR = 0.25
LEAST = 1e-4
LASTING = 0.9
"""What must be left of the difference after `ROWS` steps."""


@dataclass(frozen=True, slots=True)
class Hunting:
    """Two federates that hunt, since when, and how much."""

    source: str
    target: str
    signal: str
    """"grid.rooftops.v_pu"."""
    element: str
    """The one that alternates most."""
    amplitude: float
    """From step to step, in `unit`."""
    unit: str
    elements: int
    """How many of its elements alternate."""
    size: int
    since_ns: int
    step_ns: int
    affected: tuple[str, ...]
    """Every federate that this reaches."""

    def __str__(self) -> str:
        return self.said(UNDATED)

    def said(self, calendar: Calendar) -> str:
        """Return what is found, and what can be done, with the instant as `calendar` says it."""
        return (
            f"{self.source} and {self.target} hunt since {calendar.at(self.since_ns)}: {self.signal} at "
            f"{self.element!r} goes up and down by {self.amplitude:.3g} {self.unit} from step to step ({self.elements} "
            f"of {self.size} elements do), for {self.target} acts on the value of {self.step_ns / 1e9:g} s ago; let "
            f"the coupling converge, take a smaller step, or a longer response time"
        )


@remembers("_rows", "_count")
class Block:
    """The last values of one vector: two rows that were, and up to `ROWS` new ones."""

    def __init__(self, size: int) -> None:
        self._rows = np.zeros((ROWS + 2, size))
        self._count = 0

    def add(self, values: FloatArray) -> bool:
        """Take a row; return whether the block is full."""
        if self._count == ROWS + 2:
            self._rows[:2] = self._rows[-2:]
            self._count = 2
        self._rows[self._count] = values
        self._count += 1
        return self._count == ROWS + 2

    def alternating(self) -> FloatArray | None:
        """Return by how much each element of a full block alternates, 0 where it does not; None where none does."""
        x = self._rows
        if not self._may_alternate():
            return None
        step, back = np.abs(x[2:] - x[1:-1]), np.abs(x[2:] - x[:-2])
        is_so = (back <= REGULAR * step).all(axis=0) & (step.min(axis=0) > LEAST * np.abs(x).max(axis=0))
        is_so &= step[-1] >= LASTING * step[0]
        return np.where(is_so, step[-1], 0.0) if is_so.any() else None

    def _may_alternate(self) -> bool:
        """Return whether the last rows by themselves alternate, anywhere: the whole block costs five times as much."""
        before, last, now = self._rows[-3:]
        step = np.abs(now - last)
        is_back = np.abs(now - before) <= REGULAR * step
        return 1 in is_back.tobytes() and bool((is_back & (step > LEAST * np.abs(now))).any())


@remembers("_block", "_suspects", "_since_ns", "found")
class Watch:
    """One delayed wire, watched where it begins."""

    def __init__(
        self, federation: Federation, unit: Unit, wire: Wire, hunters: Collection[str], affected: tuple[str, ...]
    ) -> None:
        """hunters: who may hunt with the unit over any of its delayed loops. affected: whom the unit reaches."""
        interfaces = federation.interfaces
        self._federate, self._output = wire.source
        answering = federation.downstream([wire.target.federate], unit.members)
        self._wire, self._port = wire, federation.port(wire.source)
        self._back = [w for w in unit.incoming if w.source.federate in answering]
        self._driving = [w for w in unit.incoming if w.source.federate not in hunters]
        self._looked_at = {w: federation.port(w.source).size for w in (*self._back, *self._driving)}
        self._every_ns = max(interfaces[ref.federate].step_ns for ref in (wire.source, wire.target))
        self._affected = affected
        self._block, self._suspects = Block(self._port.size), dict[Wire, Block]()
        self._since_ns = 0
        self.found: Hunting | None = None

    def see(self, now_ns: int, inputs: Mapping[str, Values], outputs: Mapping[str, Values]) -> None:
        """Take in an instant of the unit: what it was given from others, and what it gave."""
        if self.found is not None or now_ns % self._every_ns:
            return
        is_full = self._block.add(outputs[self._federate][self._output])
        for wire, block in self._suspects.items():
            block.add(inputs[wire.target.federate][wire.target.port])
        if not is_full:
            return
        alternating = self._block.alternating()
        if alternating is None:
            self._suspects = {}
        elif self._suspects:
            self._judge(alternating)
        else:
            self._since_ns = now_ns - ROWS * self._every_ns
            self._suspect()

    def _suspect(self) -> None:
        """Look at everything that reaches the source, for as long as it takes."""
        self._block = Block(self._port.size)
        self._suspects = {w: Block(size) for w, size in self._looked_at.items()}

    def _judge(self, alternating: FloatArray) -> None:
        moves = {wire: block.alternating() is not None for wire, block in self._suspects.items()}
        self._suspects = {}
        if any(moves[w] for w in self._back) and not any(moves[w] for w in self._driving):
            self.found = self._hunting(alternating)

    def _hunting(self, alternating: FloatArray) -> Hunting:
        worst = int(alternating.argmax())
        return Hunting(
            source=self._wire.source.federate,
            target=self._wire.target.federate,
            signal=str(self._wire.source),
            element=self._port.labels[worst],
            amplitude=float(alternating[worst]),
            unit=self._port.unit,
            elements=int((alternating > 0.0).sum()),
            size=self._port.size,
            since_ns=self._since_ns,
            step_ns=self._every_ns,
            affected=self._affected,
        )


def delayed_loops(federation: Federation, unit: Unit) -> list[Wire]:
    """Return the wires from `unit` to others that come back to it, and are delayed for want of a converged coupling."""
    return [w for w in federation.leaving(unit) if _is_delayed_loop(federation, unit, w)]


def _is_delayed_loop(federation: Federation, unit: Unit, wire: Wire) -> bool:
    arrival = federation.interfaces[wire.target.federate].inputs[wire.target.port].arrival
    if wire.coupling != "delayed" or arrival != "coupled":
        return False
    answering = federation.downstream([wire.target.federate], unit.members)
    return any(w.source.federate in answering for w in unit.incoming)


def watches(federation: Federation, unit: Unit) -> list[Watch]:
    """Return a watch for each delayed loop that begins at `unit`."""
    if not (loops := delayed_loops(federation, unit)):
        return []
    hunters = federation.downstream([wire.target.federate for wire in loops], unit.members)
    affected = tuple(sorted(federation.downstream(unit.members)))
    return [Watch(federation, unit, wire, hunters, affected) for wire in loops]
