"""The federates of a converged loop, stepped again for the same instant until its converged wires hold still."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Protocol

import numpy as np

from derloop.contract import Bundle, FloatArray, Jacobian, Values
from derloop.coupling import FAR, Convergence, Iteration, Secants
from derloop.engines.exchange import read_only
from derloop.errors import FederateError
from derloop.federation import LOOP_PORTS, Federation, Unit, loop_name
from derloop.memory import remembers
from derloop.wires import Wire

HELD_PASSES = 4
"""How many passes of a loop that does not converge its error shows."""


class Steps(Protocol):
    """A federate as a loop steps it."""

    def start(self) -> Values: ...
    def step(self, now_ns: int, inputs: Values) -> Values: ...
    def iterates(self, ports: Collection[str]) -> bool: ...
    def iterate(self, now_ns: int, inputs: Values) -> Values: ...
    def conclude(self, now_ns: int, inputs: Values) -> Values: ...
    def answers(self, inputs: Sequence[str], outputs: Sequence[str]) -> Jacobian | None: ...


@remembers("_guess", "_latest")
class Loop:
    """The runner of a unit that iterates.

    Converged wires leave the *answering* federates, such as a feeder; the others are *asked*: all that they need is a
    guess of what those wires carry. Where an answering federate is read within the instant too, all are answering.
    """

    def __init__(self, federation: Federation, unit: Unit, members: Mapping[str, Steps]) -> None:
        self._unit, self._members = unit, members
        self._convergence: Convergence = federation.convergence
        self._torn = [w for w in unit.inside if w.coupling == "converged"]
        self._direct = [w for w in unit.inside if w.coupling == "direct"]
        self._delayed = [w for w in unit.inside if w.coupling == "delayed"]
        self._asked, self._answering = self._parted()
        fed = [w for w in self._direct if w.source.federate in self._asked]
        self._into = [w for w in fed if w.target.federate in self._answering]
        self._iterated: tuple[str, ...] = ()
        self._steps = {name: member.step for name, member in members.items()}
        self._ports = [federation.port(w.source) for w in self._torn]
        self._sizes = {w: federation.port(w.source).size for w in unit.inside}
        self._slices = _slices([port.size for port in self._ports])
        self._guess = np.zeros(self._slices[-1].stop)
        self._through = [
            p for w, p in zip(self._torn, self._slices, strict=True) if w.target.federate in self._answering
        ]
        self._latest: dict[str, Values] = {}
        self._asked_on, self._given = b"", np.zeros(0)
        self._inside: dict[str, dict[str, FloatArray]] = {}
        self._shown: dict[str, Values] = {}
        """What is inside, as members see it: they cannot write into it."""
        self.name, self.found = loop_name(unit), Bundle(LOOP_PORTS)
        """Under which name it is recorded, and how many passes the last instant took, to which residual."""

    def _parted(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        answering = {w.source.federate for w in self._torn}
        if any(w.source.federate in answering for w in self._direct):
            answering = set(self._unit.members)
        asked = tuple(m for m in self._unit.members if m not in answering)
        return asked, tuple(m for m in self._unit.members if m in answering)

    def _read_of(self, name: str) -> set[str]:
        """Return which outputs of a member are read within an instant."""
        return {w.source.port for w in (*self._torn, *self._direct) if w.source.federate == name}

    def start(self) -> dict[str, Values]:
        self._latest = {name: member.start() for name, member in self._members.items()}
        self._guess[:] = self._found()
        self._iterated = tuple(name for name in self._answering if self._members[name].iterates(self._read_of(name)))
        self._steps |= {name: self._members[name].iterate for name in self._iterated}
        self._iteration = Iteration(self._convergence, Secants(self._convergence.depth, *self._known()))
        return self._latest

    def step(self, now_ns: int, inputs: Mapping[str, Values]) -> dict[str, Values]:
        self._begin(inputs)
        trail: list[FloatArray] = []
        for passes in range(1, self._convergence.max_passes + 1):
            given = self._ask(now_ns, self._guess)
            self._step(now_ns, self._answering)
            found = self._found()
            change = found - self._guess
            residual = float(np.abs(change).max())
            if residual <= self._convergence.tolerance:
                self.found["passes"][0], self.found["residual"][0] = passes, residual
                self._guess[:] = found
                self._conclude(now_ns)
                return self._latest
            trail = [*trail[1 - HELD_PASSES :], found]
            if not residual < FAR:
                break
            self._guess[:] = self._iteration.next(self._guess, given, found, lambda guess: self._ask(now_ns, guess))
        raise FederateError(self._unit.name, now_ns, self._hunting(passes, change, trail))

    def _begin(self, inputs: Mapping[str, Values]) -> None:
        self._guess[:] = self._iteration.begin(self._guess)
        self._asked_on = b""
        self._inside = {name: dict(inputs[name]) for name in self._members}
        self._shown = {name: MappingProxyType(inside) for name, inside in self._inside.items()}
        for wire in self._delayed:
            self._inside[wire.target.federate][wire.target.port] = read_only(self._value(wire).copy())

    def _ask(self, now_ns: int, guess: FloatArray) -> FloatArray:
        """Step the asked federates on a guess; return all that the answering ones are given.

        A guess that they were asked on last is not asked again: for one instant they would answer as before.
        """
        if (asked_on := guess.tobytes()) == self._asked_on:
            return self._given
        self._asked_on = asked_on
        for wire, part in zip(self._torn, self._slices, strict=True):
            self._inside[wire.target.federate][wire.target.port] = read_only(guess[part])
        self._step(now_ns, self._asked)
        self._given = np.concatenate([*(self._value(w) for w in self._into), *(guess[part] for part in self._through)])
        return self._given

    def _step(self, now_ns: int, names: Sequence[str]) -> None:
        for name in names:
            self._latest[name] = self._steps[name](now_ns, self._shown[name])
            for wire in self._direct:
                if wire.source.federate == name:
                    self._inside[wire.target.federate][wire.target.port] = self._value(wire)

    def _conclude(self, now_ns: int) -> None:
        for name in self._iterated:
            self._latest[name] = self._members[name].conclude(now_ns, self._shown[name])

    def _value(self, wire: Wire) -> FloatArray:
        return self._latest[wire.source.federate][wire.source.port]

    def _found(self) -> FloatArray:
        return np.concatenate([self._value(w) for w in self._torn])

    def _known(self) -> tuple[FloatArray, FloatArray]:
        """Return what the answering federates know beforehand of their answers, (n, k) and (k, m)."""
        into = _slices([self._sizes[w] for w in self._into])
        given = sum(self._sizes[w] for w in self._into) + sum(part.stop - part.start for part in self._through)
        lefts, rights = [np.zeros((self._guess.size, 0))], [np.zeros((0, given))]
        for name in self._answering:
            wires = [(w, part) for w, part in zip(self._into, into, strict=True) if w.target.federate == name]
            torn = [(w, part) for w, part in zip(self._torn, self._slices, strict=True) if w.source.federate == name]
            known = self._members[name].answers([w.target.port for w, _ in wires], [w.source.port for w, _ in torn])
            if known is None:
                continue
            left, right = np.zeros((self._guess.size, known.rank)), np.zeros((known.rank, given))
            for wire, part in torn:
                left[part] = known.left.get(wire.source.port, 0.0)
            for wire, part in wires:
                right[:, part] = known.right.get(wire.target.port, 0.0)
            lefts, rights = [*lefts, left], [*rights, right]
        return np.concatenate(lefts, axis=1), np.concatenate(rights)

    def _hunting(self, passes: int, change: FloatArray, trail: list[FloatArray]) -> str:
        worst = int(np.abs(change).argmax())
        at = next(i for i, part in enumerate(self._slices) if worst < part.stop)
        port, wire = self._ports[at], self._torn[at]
        label = port.labels[worst - self._slices[at].start]
        values = ", ".join(f"{found[worst]:.6g}" for found in trail)
        hunting = int((np.abs(change) > self._convergence.tolerance).sum())
        return (
            f"did not converge in {passes} passes: {wire.source} at {label!r} still moves by "
            f"{abs(change[worst]):.3g} {port.unit} (tolerance {self._convergence.tolerance:g}; last passes {values}); "
            f"{hunting} of {change.size} values hunt between {' and '.join(self._unit.members)}"
        )


def _slices(sizes: Sequence[int]) -> list[slice]:
    edges = np.cumsum([0, *sizes])
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]
