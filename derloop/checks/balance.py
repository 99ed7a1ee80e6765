"""Balances: nothing is made and nothing is lost. Judged in every run, without being asked for.

What a federate declares to conserve (`contract.Balance`) is recomputed from what was recorded of it, and of the sources
of its inputs. With `P` what enters less what leaves, from one instant `t` to the next, `t + h`, and the store `E`

    open(t) = P(t) - (E(t + h) - E(t)) / h

must vanish at each instant, for each element, and so must its integral over the run. Allowed is the tolerance times the
largest term that the element has in the run, its declared resolution, and, where there is a store, what rounding of `E`
to double precision leaves.

A run is read in pieces and once; a second time only to find where a balance that does not close parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from derloop.checks.window import clock
from derloop.contract import Balance, FloatArray, Interface
from derloop.federation import Ref, Wire
from derloop.results.held import Held
from derloop.verdict import BALANCE, Recorded, Verdict

HOUR_NS = 3.6e12
ROUNDINGS = 16 * float(np.finfo(float).eps)
"""Of a store: a few operations, each rounded."""
SOURCE = "conservation of energy"


def judge_balances(
    interfaces: Mapping[str, Interface], wires: Sequence[Wire], recorded: Recorded
) -> tuple[Verdict, ...]:
    """Return a verdict for each balance that a federate declares and of which enough was recorded to judge it."""
    ends = {wire.target: wire for wire in wires}
    verdicts: list[Verdict] = []
    for name, interface in interfaces.items():
        for balance in interface.balances:
            books = _Books(name, interface, balance, ends, recorded)
            if verdict := books.judged():
                verdicts.append(verdict)
    return tuple(verdicts)


@dataclass(slots=True)
class _Piece:
    """The terms of a balance from some instants to their next ones."""

    time_ns: NDArray[np.int64]
    """Shape (k,)."""
    hours: FloatArray
    """Until the next instant, shape (k, 1)."""
    powers: dict[str, FloatArray]
    """For each port (k, n)."""
    change: FloatArray
    """What is stored more, as a power (k, n)."""
    stored: FloatArray
    """Largest magnitude of the stores, (n,)."""


@dataclass(slots=True)
class _Tally:
    """What is known of each element (n,) after the pieces read so far."""

    instants: int = 0
    hours: float = 0.0
    largest: FloatArray = field(default_factory=lambda: np.zeros(1))
    """Largest term."""
    worst: FloatArray = field(default_factory=lambda: np.zeros(1))
    """Farthest open at an instant, or farthest that a loss was negative."""
    rounding: FloatArray = field(default_factory=lambda: np.zeros(1))
    """What rounding of the stores may leave at an instant."""
    moved: FloatArray = field(default_factory=lambda: np.zeros(1))
    """Energy of the largest term."""
    open: FloatArray = field(default_factory=lambda: np.zeros(1))
    """Integral of what is open."""
    stored: FloatArray = field(default_factory=lambda: np.zeros(1))


class _Books:
    """One balance of one federate, and where its terms were recorded."""

    def __init__(
        self, federate: str, interface: Interface, balance: Balance, ends: Mapping[Ref, Wire], recorded: Recorded
    ) -> None:
        self._federate, self._interface, self._balance, self._recorded = federate, interface, balance, recorded
        self._sources = {port: _source(federate, port, ends) for port in (*balance.powers, *balance.stored)}
        ports = {**interface.inputs, **interface.outputs}
        self._sources = {port: source for port, source in self._sources.items() if ports[port].size}
        self._labels = () if balance.whole else ports[next(iter(self._sources))].labels if self._sources else ()

    @property
    def _name(self) -> str:
        partner = f" with {self._balance.partner}" if self._balance.partner else ""
        return f"{self._balance.quantity} balance of {self._federate}{partner}"

    def judged(self) -> Verdict | None:
        """Return the verdict; None where no two instants were recorded that it needs."""
        tally = self._tally()
        if not tally.instants:
            return None
        b = self._balance
        resolution = np.array(b.resolution) if b.resolution else np.zeros(1)
        allowed = b.tolerance * tally.largest + resolution + tally.rounding
        rounding_kwh = ROUNDINGS * tally.instants * tally.stored
        allowed_over_run = b.tolerance * tally.moved + resolution * tally.hours + rounding_kwh
        at_instants = _over(tally.worst, allowed)
        over_run = _over(np.abs(tally.open), allowed_over_run)
        element = int(np.maximum(at_instants, over_run).argmax())
        share = float(max(at_instants[element], over_run[element]))
        measured = share * b.tolerance
        if share > 1:
            text, when_ns, element = self._parted(allowed, tally, element)
        else:
            text, when_ns = f"closes at {tally.instants} instants and over the run", None
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

    def _tally(self) -> _Tally:
        tally = _Tally()
        for piece in self._pieces():
            net = self._open(piece)
            terms = [np.abs(power) for power in (*piece.powers.values(), piece.change)]
            tally.instants += piece.time_ns.size
            tally.hours += float(piece.hours.sum())
            tally.largest = np.maximum(tally.largest, np.max([term.max(axis=0) for term in terms], axis=0))
            tally.moved = tally.moved + np.max([(term * piece.hours).sum(axis=0) for term in terms], axis=0)
            tally.worst = np.maximum(tally.worst, np.maximum(np.abs(net), self._created(piece)).max(axis=0))
            tally.open = tally.open + (net * piece.hours).sum(axis=0)
            tally.stored = np.maximum(tally.stored, piece.stored)
            tally.rounding = np.maximum(tally.rounding, ROUNDINGS * piece.stored / piece.hours.min())
        return tally

    def _open(self, piece: _Piece) -> FloatArray:
        """Return what enters and neither leaves nor is stored (k, n)."""
        b = self._balance
        net = -piece.change
        for port, power in piece.powers.items():
            net = net + power if port in b.enters else net - power
        return net

    def _created(self, piece: _Piece) -> FloatArray:
        """Return how far losses are negative (k, n)."""
        losses = [-power for port, power in piece.powers.items() if port in self._balance.lost]
        return np.max([np.zeros_like(piece.change), *losses], axis=0)  # type: ignore[no-any-return]

    def _parted(self, allowed: FloatArray, tally: _Tally, element: int) -> tuple[str, int | None, int]:
        """Return what is wrong where the balance parts first, in words, with instant and element."""
        for piece in self._pieces():
            net, created = self._open(piece), self._created(piece)
            apart = np.maximum(np.abs(net), created) > allowed
            if apart.any():
                row = int(apart.any(axis=1).argmax())
                at = int(apart[row].argmax())
                is_created = bool((created > allowed)[row, at])
                what = "a loss is negative" if is_created else _amount(float(net[row, at]), self._unit)
                return self._said(piece, row, at, what), int(piece.time_ns[row]), at
        amount = _amount(float(tally.open[element]), f"{self._unit}h")
        return f"over the run {amount}, though each instant closes", None, element

    def _said(self, piece: _Piece, row: int, at: int, what: str) -> str:
        terms = [f"{port} {power[row, at]:.9g}" for port, power in piece.powers.items()]
        terms += [f"stored more {piece.change[row, at]:.9g}"] if self._balance.stored else []
        return f"from {clock(int(piece.time_ns[row]))} on, {what} ({', '.join(terms)}; {self._unit})"

    @property
    def _unit(self) -> str:
        ports = {**self._interface.inputs, **self._interface.outputs}
        return ports[self._balance.powers[0]].unit

    def _pieces(self) -> Iterator[_Piece]:
        """Yield the terms of the balance, piece by piece."""
        spans = bool(self._balance.stored or self._balance.passed)
        before: tuple[NDArray[np.int64], dict[str, FloatArray]] | None = None
        for time_ns, rows in self._rows():
            if before:
                time_ns = np.concatenate([before[0], time_ns])
                rows = {port: np.concatenate([before[1][port], values]) for port, values in rows.items()}
            if spans:
                before = time_ns[-1:], {port: values[-1:].copy() for port, values in rows.items()}
            if time_ns.size > spans:
                yield self._piece(time_ns, rows, spans)

    def _rows(self) -> Iterator[tuple[NDArray[np.int64], dict[str, FloatArray]]]:
        """Yield the federate's instants (k,) and for each port (k, n); those before a port is known are left out."""
        own = [source.signal for source in self._sources.values() if source.signal.federate == self._federate]
        held = {p: Held(self._recorded.batches(str(s.signal)), s.before) for p, s in self._sources.items()}
        for time_ns, _ in self._recorded.batches(str(own[0])) if own else ():
            found = {port: series.at(time_ns) for port, series in held.items()}
            known = min(len(values) for values in found.values())
            if known:
                yield time_ns[-known:], {port: self._summed(values[-known:]) for port, values in found.items()}

    def _summed(self, values: FloatArray) -> FloatArray:
        return values.sum(axis=1, keepdims=True) if self._balance.whole else values

    def _piece(self, time_ns: NDArray[np.int64], rows: Mapping[str, FloatArray], spans: bool) -> _Piece:
        b = self._balance
        steps = np.diff(time_ns) if spans else np.full(time_ns.size, self._interface.step_ns)
        hours = (steps / HOUR_NS)[:, np.newaxis]
        now, then = slice(None, -1 if spans else None), slice(1, None)
        powers = {p: rows[p][then if p in b.passed else now] for p in b.powers if p in rows}
        stores = [rows[p] for p in b.stored if p in rows]
        change = sum((np.diff(store, axis=0) / hours for store in stores), np.zeros_like(next(iter(powers.values()))))
        stored = np.max([np.abs(store).max(axis=0) for store in stores], axis=0) if stores else np.zeros(1)
        return _Piece(time_ns[now], hours, powers, change, stored)


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
