"""Balances: nothing is made and nothing is lost. Judged in every run, without being asked for.

What a federate declares to conserve (`contract.Balance`) is recomputed from what was recorded of it, and of the sources
of its inputs. With `P` what enters less what leaves, from one instant `t` to the next, `t + h`, and the store `E`

    open(t) = P(t) - (E(t + h) - E(t)) / h

must vanish at each instant, for each element, and so must its integral over the run. Allowed is the tolerance times the
largest term that the element has in the run, its declared resolution, and, where there is a store, what rounding of `E`
to double precision leaves.

A run is read once, in blocks that stay in the processor's cache; a second time only to find where a balance that does
not close parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import tee

import numpy as np
from numpy.typing import NDArray

from derloop.contract import Balance, FloatArray, Interface
from derloop.results.held import Held, abreast
from derloop.verdict import BALANCE, Recorded, Verdict
from derloop.wires import Ref, Wire

HOUR_NS = 3.6e12
ROUNDINGS = 16 * float(np.finfo(float).eps)
"""Of a store: a few operations, each rounded."""
SOURCE = "conservation of energy"
BLOCK_VALUES = 2**15
"""Of each port in a block."""


def judge_balances(
    interfaces: Mapping[str, Interface], wires: Sequence[Wire], recorded: Recorded
) -> tuple[Verdict, ...]:
    """Return a verdict for each balance that a federate declares and of which enough was recorded to judge it."""
    ends = {wire.target: wire for wire in wires}
    there = {signal.name for signal in recorded.select("*")}  # a process that ended early left none
    verdicts: list[Verdict] = []
    for name, interface in interfaces.items():
        for balance in interface.balances:
            books = _Books(name, interfaces, balance, ends, recorded)
            if books.signals <= there and (verdict := books.judged()):
                verdicts.append(verdict)
    return tuple(verdicts)


@dataclass(slots=True)
class _Block:
    """The terms of a balance at some instants, which the next block overwrites."""

    time_ns: NDArray[np.int64]
    """Shape (k,)."""
    powers: dict[str, FloatArray]
    """For each port (k, n), until the next instant."""
    stores: list[FloatArray]
    """Each (k + 1, n): at these instants and the next."""


class _Tally:
    """What is known of each element (n,) after the blocks read so far."""

    def __init__(self, balance: Balance, step_h: float, most: int, n: int) -> None:
        self._balance, self._step_h = balance, step_h
        terms = len(balance.powers) + bool(balance.stored)
        self._net, self._scratch = np.empty((most, n)), np.empty((most + 1, n))
        self.instants = 0
        self.largest_of, self._moved_of = np.zeros((terms, n)), np.zeros((terms, n))
        self.worst = np.zeros(n)
        """Farthest open at an instant, or farthest that a loss was negative."""
        self._open = np.zeros(n)
        """Sums over instants, as the powers that were moved."""
        self.stored = np.zeros(n)
        """Largest magnitude of the stores."""

    def add(self, block: _Block) -> None:
        count = block.time_ns.size
        net, scratch = self.net(block), self._scratch[:count]
        for term, power in enumerate(block.powers.values()):
            self._weigh(term, np.abs(power, out=scratch))
        if block.stores:
            change = self.change(block)
            self._weigh(-1, np.abs(change, out=change))
            for store in block.stores:
                _raise(self.stored, np.abs(store, out=self._scratch[: count + 1]))
        self.instants += count
        _raise(self.worst, np.abs(net, out=scratch))
        _add(self._open, net)
        for port in self._balance.lost:
            if port in block.powers:
                _raise(self.worst, np.negative(block.powers[port], out=scratch))

    @property
    def open(self) -> FloatArray:
        """Integral of what is open (n,), as an energy."""
        return self._open * self._step_h

    def _weigh(self, term: int, power: FloatArray) -> None:
        _raise(self.largest_of[term], power)
        _add(self._moved_of[term], power)

    def net(self, block: _Block) -> FloatArray:
        """Return what enters and neither leaves nor is stored (k, n)."""
        net = self._net[: block.time_ns.size]
        net.fill(0.0)
        for port, power in block.powers.items():
            (np.add if port in self._balance.enters else np.subtract)(net, power, out=net)
        return np.subtract(net, self.change(block), out=net) if block.stores else net

    def change(self, block: _Block) -> FloatArray:
        """Return what is stored more, as a power (k, n)."""
        change = self._scratch[: block.time_ns.size]
        change.fill(0.0)
        for store in block.stores:
            change += store[1:]
            change -= store[:-1]
        change /= self._step_h
        return change

    def allowed(self, resolution: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return how far each element may be open at an instant, as a power, and over the run, as an energy."""
        b, rounding_kwh = self._balance, ROUNDINGS * self.stored
        at_instants = b.tolerance * self.largest_of.max(axis=0) + resolution + rounding_kwh / self._step_h
        hours = self.instants * self._step_h
        moved = self._moved_of.max(axis=0) * self._step_h
        over_run = b.tolerance * moved + resolution * hours + rounding_kwh * self.instants
        return at_instants, over_run


class _Books:
    """One balance of one federate, and where its terms were recorded."""

    def __init__(
        self,
        federate: str,
        interfaces: Mapping[str, Interface],
        balance: Balance,
        ends: Mapping[Ref, Wire],
        recorded: Recorded,
    ) -> None:
        self._federate, self._balance, self._recorded = federate, balance, recorded
        self._interfaces, interface = interfaces, interfaces[federate]
        ports = {**interface.inputs, **interface.outputs}
        sources = {port: _source(federate, port, ends) for port in (*balance.powers, *balance.stored)}
        self._sources = {port: source for port, source in sources.items() if ports[port].size}
        widest = max((ports[port].size for port in self._sources), default=1)
        self._most = max(1, BLOCK_VALUES // widest)
        self._labels = () if balance.whole or not self._sources else ports[next(iter(self._sources))].labels
        self._elements = 1 if balance.whole else widest
        self._step_h = interface.step_ns / HOUR_NS
        self._unit = ports[balance.powers[0]].unit

    @property
    def signals(self) -> set[str]:
        """The names of what it is judged by."""
        return {str(source.signal) for source in self._sources.values()}

    @property
    def _name(self) -> str:
        partner = f" with {self._balance.partner}" if self._balance.partner else ""
        return f"{self._balance.quantity} balance of {self._federate}{partner}"

    def judged(self) -> Verdict | None:
        """Return the verdict; None where no two instants were recorded that it needs."""
        tally = _Tally(self._balance, self._step_h, self._most, self._elements)
        for block in self._blocks():
            tally.add(block)
        if not tally.instants:
            return None
        b = self._balance
        resolution = np.broadcast_to(b.resolution or 0.0, tally.open.shape)
        allowed, allowed_over_run = tally.allowed(resolution)
        at_instants = _over(tally.worst, allowed)
        over_run = _over(np.abs(tally.open), allowed_over_run)
        element = int(np.maximum(at_instants, over_run).argmax())
        share = float(max(at_instants[element], over_run[element]))
        measured = share * b.tolerance
        if share > 1:
            text, when_ns, element = self._parted(allowed, tally, element)
        else:
            text, when_ns = f"closes at {tally.instants} instants and over the run", None
            if resolution[element] > b.tolerance * tally.largest_of[:, element].max():
                text += f", to the {resolution[element]:.1g} {self._unit} that its values cannot tell"
        return Verdict(
            check=self._name,
            kind=BALANCE,
            outcome="FAIL" if share > 1 else "PASS",
            text=text,
            measured=measured,
            limit=b.tolerance,
            margin=b.tolerance - measured,
            unit="1",
            where=self._where(element),
            when_ns=when_ns,
            source=SOURCE,
        )

    def _where(self, element: int) -> str:
        return f"{self._federate} at {self._labels[element]!r}" if self._labels else self._federate

    def _parted(self, allowed: FloatArray, tally: _Tally, element: int) -> tuple[str, int | None, int]:
        """Return what is wrong where the balance parts first, in words, with instant and element."""
        for block in self._blocks():
            net, created = tally.net(block), self._created(block)
            apart = np.maximum(np.abs(net), created) > allowed
            if apart.any():
                row = int(apart.any(axis=1).argmax())
                at = int(apart[row].argmax())
                is_created = bool((created > allowed)[row, at])
                what = "a loss is negative" if is_created else _amount(float(net[row, at]), self._unit)
                terms = [f"{port} {power[row, at]:.9g}" for port, power in block.powers.items()]
                terms += [f"stored more {tally.change(block)[row, at]:.9g}"] if block.stores else []
                when_ns = int(block.time_ns[row])
                when = self._recorded.calendar.at(when_ns)
                return f"from {when} on, {what} ({', '.join(terms)}; {self._unit})", when_ns, at
        amount = _amount(float(tally.open[element]), f"{self._unit}h")
        return f"over the run {amount}, though each instant closes", None, element

    def _created(self, block: _Block) -> FloatArray:
        """Return how far losses are negative (k, n)."""
        losses = [-power for port, power in block.powers.items() if port in self._balance.lost]
        return np.max([np.zeros((block.time_ns.size, self._elements)), *losses], axis=0)  # type: ignore[no-any-return]

    def _blocks(self) -> Iterator[_Block]:
        """Yield the terms of the balance, block by block."""
        b = self._balance
        if not b.stored and not b.passed:
            for time_ns, rows in self._rows():
                yield _Block(time_ns, rows, [])
            return
        time_ns, first = np.empty(self._most + 1, np.int64), 1
        kept = {port: np.empty((self._most + 1, self._elements)) for port in self._sources}
        for block_ns, rows in self._rows():  # row 0 is the last instant of the block before
            end = block_ns.size + 1
            time_ns[1:end] = block_ns
            for port, values in rows.items():
                kept[port][1:end] = values
            if end - first > 1:
                now, then = slice(first, end - 1), slice(first + 1, end)
                powers = {port: kept[port][then if port in b.passed else now] for port in b.powers if port in kept}
                yield _Block(time_ns[now], powers, [kept[port][first:end] for port in b.stored if port in kept])
            time_ns[0], first = block_ns[-1], 0
            for values in kept.values():
                values[0] = values[end - 1]

    def _rows(self) -> Iterator[tuple[NDArray[np.int64], dict[str, FloatArray]]]:
        """Yield the federate's instants (k,) and for each port (k, n); those before a port is known are left out."""
        series = {port: self._recorded.batches(str(source.signal)) for port, source in self._sources.items()}
        own = next((port for port, source in self._sources.items() if source.signal.federate == self._federate), None)
        if own is None:
            return
        clocked, series[own] = tee(series[own])
        held = [
            Held(series[port], self._interfaces[source.signal.federate].step_ns, source.before)
            for port, source in self._sources.items()
        ]
        for time_ns, found in abreast((time_ns for time_ns, _ in clocked), held, self._most):
            yield time_ns, {port: self._counted(port, values) for port, values in zip(series, found, strict=True)}

    def _counted(self, port: str, values: FloatArray) -> FloatArray:
        if port in self._balance.times:
            values = values * self._balance.times[port]
        return values.sum(axis=1, keepdims=True) if self._balance.whole else values


def _raise(highest: FloatArray, values: FloatArray) -> None:
    """Raise the highest values so far (n,) to those of `values` (k, n)."""
    np.maximum(highest, values.max(axis=0), out=highest)


def _add(sums: FloatArray, values: FloatArray) -> None:
    """Add values (k, n) to sums so far (n,), one instant after the other, however a run comes in blocks; they are lost.

    numpy adds row by row, but pairwise where there is one column.
    """
    values[0] += sums
    sums[:] = np.add.reduce(values, axis=0) if sums.size > 1 else np.add.accumulate(values, axis=0)[-1]


@dataclass(frozen=True, slots=True)
class _Source:
    signal: Ref
    before: bool
    """As a delayed wire carries it: the last value before an instant."""


def _source(federate: str, port: str, ends: Mapping[Ref, Wire]) -> _Source:
    """Return what was recorded of a port: of an output itself, of an input its wire's source."""
    wire = ends.get(Ref(federate, port))
    return _Source(wire.source, wire.coupling == "delayed") if wire else _Source(Ref(federate, port), False)


def _over(open_: FloatArray, allowed: FloatArray) -> FloatArray:
    """Return what is open as a share of what is allowed (n,): 0 where nothing is open, whatever is allowed."""
    share: FloatArray = np.divide(open_, allowed, out=np.where(open_ > 0, np.inf, 0.0), where=allowed > 0)
    return share


def _amount(net: float, unit: str) -> str:
    return f"{abs(net):.3g} {unit} {'vanish' if net > 0 else 'come from nowhere'}"
