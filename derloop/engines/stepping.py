"""Stepping one unit, the same under every engine: checked, converged, watched, and its values passed on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableSequence, Sequence
from threading import Event
from time import monotonic

import numpy as np

from derloop.contract import Answering, Federate, FloatArray, Interface, Iterating, Jacobian, Values
from derloop.engines.exchange import Inbox, Outbox
from derloop.engines.hunting import Hunting, watches
from derloop.engines.loop import Loop
from derloop.engines.outputs import Outputs
from derloop.engines.turns import Timed, Turns
from derloop.errors import NOT_STOPPED, DerloopError, EngineError, FederateError, cause
from derloop.federation import Federation, Unit
from derloop.pacing import Clock

Observe = Callable[[str, int, Values], None]
"""Called with federate, instant and outputs, once for each federate and instant."""

BEFORE = -1
"""The instant on a board before the first step."""


class Cancelled(Exception):
    """The run ends before its end: raised by the next unit that is stepped."""


class Progress:
    """Who is at work on what since when, for whoever watches. Written without a lock, by one thread."""

    __slots__ = ("board", "federate", "now_ns", "numbers", "since")

    def __init__(self) -> None:
        self.board: MutableSequence[int] | memoryview = [BEFORE, 0]
        """The instant again, and the number of who is or was at work, for other processes: also after a kill."""
        self.numbers: Mapping[str, int] = {}
        self.federate: str | None = None
        self.now_ns: int | None = None
        self.since = monotonic()

    def enter(self, federate: str, now_ns: int | None) -> None:
        self.now_ns, self.since = now_ns, monotonic()
        self.federate = federate
        self.board[0] = BEFORE if now_ns is None else now_ns
        self.board[1] = self.numbers.get(federate, 0)

    def leave(self) -> None:
        self.federate = None


class Member:
    """A federate whose failures carry its name and whose outputs are what it has declared."""

    def __init__(self, name: str, federate: Federate, interface: Interface, progress: Progress) -> None:
        self.name, self._federate, self._progress = name, federate, progress
        self._interface, self._outputs = interface, Outputs(interface)
        self._iterating = federate if isinstance(federate, Iterating) else None

    def start(self) -> Values:
        self._progress.enter(self.name, None)
        try:
            outputs = self._federate.start()
        except BaseException as error:  # SystemExit too: it would end the run as if all were well
            raise FederateError(self.name, None, cause(error)) from error
        finally:
            self._progress.leave()
        if wrong := self._outputs.take(outputs):
            raise FederateError(self.name, None, wrong)
        return self._outputs

    def step(self, now_ns: int, inputs: Values) -> Values:
        return self._stepped(self._federate.step, now_ns, inputs)

    def iterates(self, ports: Collection[str]) -> bool:
        """Return whether it can be iterated where only these of its outputs are read."""
        if self._iterating is None:
            return False
        try:
            return set(ports) <= {*self._iterating.iterated()}
        except BaseException as error:
            raise FederateError(self.name, None, f"does not know what it iterates: {cause(error)}") from error

    def iterate(self, now_ns: int, inputs: Values) -> Values:
        assert self._iterating
        return self._stepped(self._iterating.iterate, now_ns, inputs)

    def conclude(self, now_ns: int, inputs: Values) -> Values:
        """Return all outputs at the instant of the last pass, which was on these inputs."""
        iterating = self._iterating
        assert iterating
        return self._stepped(lambda *_: iterating.conclude(), now_ns, inputs)

    def _stepped(self, step: Callable[[int, Values], Values], now_ns: int, inputs: Values) -> Values:
        self._progress.enter(self.name, now_ns)
        try:
            outputs = step(now_ns, inputs)
        except BaseException as error:
            raise FederateError(self.name, now_ns, cause(error), _kept(inputs)) from error
        finally:
            self._progress.federate = None
        if wrong := self._outputs.take(outputs):
            raise FederateError(self.name, now_ns, wrong, _kept(inputs))
        return self._outputs

    def stop(self) -> None:
        """Stop; raise FederateError, at the last instant, where that fails."""
        now_ns = self._progress.now_ns
        self._progress.enter(self.name, now_ns)
        try:
            self._federate.stop()
        except BaseException as error:
            raise FederateError(self.name, now_ns, f"{NOT_STOPPED}: {cause(error)}") from error
        finally:
            self._progress.leave()

    def statistics(self) -> dict[str, float]:
        """Return what the federate says of its run; raise FederateError where it cannot."""
        now_ns = self._progress.now_ns
        self._progress.enter(self.name, now_ns)
        try:
            said: Mapping[str, float] = getattr(self._federate, "statistics", dict)()
            return {_name(key): float(value) for key, value in said.items()}
        except BaseException as error:
            raise FederateError(self.name, now_ns, f"has no statistics: {cause(error)}") from error
        finally:
            self._progress.leave()

    def answers(self, inputs: Sequence[str], outputs: Sequence[str]) -> Jacobian | None:
        """Return what the federate knows of its answers, None where it knows nothing."""
        if not isinstance(self._federate, Answering):
            return None
        self._progress.enter(self.name, None)
        try:
            known: Jacobian | None = self._federate.answers(inputs, outputs)
            if known is not None:
                self._check_fits(known, inputs, outputs)
            return known
        except BaseException as error:
            raise FederateError(self.name, None, f"does not know its answers: {cause(error)}") from error
        finally:
            self._progress.leave()

    def _check_fits(self, known: object, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        if not isinstance(known, Jacobian):
            raise DerloopError(f"they are {type(known).__name__}, no Jacobian")
        if known.rank < 0:
            raise DerloopError(f"they have the rank {known.rank}")
        for port in outputs:
            if port in known.left:
                _check_part(port, known.left[port], (self._interface.outputs[port].size, known.rank))
        for port in inputs:
            if port in known.right:
                _check_part(port, known.right[port], (known.rank, self._interface.inputs[port].size))


def _check_part(port: str, part: FloatArray, shape: tuple[int, int]) -> None:
    if np.shape(part) != shape:
        raise DerloopError(f"those of {port!r} have shape {np.shape(part)}, expected {shape}")
    if not np.isfinite(part).all():
        raise DerloopError(f"those of {port!r} are not finite")


def _name(key: object) -> str:
    if not isinstance(key, str):
        raise DerloopError(f"{key!r} is no name")
    return key


def _kept(inputs: Values) -> dict[str, list[float]]:
    return {port: [float(x) for x in value[:50]] for port, value in inputs.items()}


class Single:
    """The runner of a unit with one federate."""

    def __init__(self, member: Member | Timed) -> None:
        self._member, self._name = member, member.name
        self._told: dict[str, Values] = {}

    def start(self) -> dict[str, Values]:
        self._told[self._name] = self._member.start()
        return self._told

    def step(self, now_ns: int, inputs: Mapping[str, Values]) -> dict[str, Values]:
        self._told[self._name] = self._member.step(now_ns, inputs[self._name])
        return self._told


def readers_of(federation: Federation, unit: Unit) -> tuple[str, ...]:
    """Return the names of the units that read what `unit` gives out."""
    readers = [federation.unit_of[wire.target.federate] for wire in federation.leaving(unit)]
    ranks = {reader.name: reader.rank for reader in readers}
    return tuple(sorted(ranks, key=lambda name: ranks[name]))


class Stepper:
    """One unit under an engine, which moves `outbox.payload` to the inboxes of the units that read it.

    clock: says when each instant is due, in a run that is paced; a step then waits for it.
    """

    def __init__(
        self, federation: Federation, unit: Unit, observe: Observe, cancelled: Event, clock: Clock | None = None
    ) -> None:
        self.federation, self.unit, self._observe, self.cancelled = federation, unit, observe, cancelled
        self.progress = Progress()
        self.has_started = self.is_busy = False
        self.inbox, self.outbox = Inbox(federation, unit), Outbox(federation, unit)
        self._members = {
            name: Member(name, federation.federates[name], federation.interfaces[name], self.progress)
            for name in unit.members
        }
        timed = {name: Timed(name, member) for name, member in self._members.items()}
        self._turns = Turns(federation, unit, timed, clock, observe) if clock else None
        stepped: Mapping[str, Member | Timed] = timed if clock else self._members
        self._runner: Single | Loop = (
            Loop(federation, unit, stepped) if unit.is_loop else Single(stepped[unit.members[0]])
        )
        self._watches = watches(federation, unit)
        self._step_ns, self._loop = unit.step_ns, self._runner if isinstance(self._runner, Loop) else None
        self._to_stop: list[Member] = []

    def attach(self, payloads: Mapping[str, FloatArray]) -> None:
        """Write and read payloads in these arrays from now on, which have the names of the units that give them out."""
        self.outbox.attach(payloads[self.unit.name])
        self.inbox.attach({source: payloads[source] for source in self.inbox.feeds})

    def start(self) -> None:
        """Start the federates; what they give out before the first step is in the outbox."""
        self._begin()
        try:
            self._to_stop = list(self._members.values())
            self.outbox.post(-1, self._runner.start())
            self.has_started = True
        finally:
            self.is_busy = False

    def wait(self, now_ns: int) -> None:
        """Return when `now_ns` is due on the wall, in a paced run; at once when the run is cancelled."""
        if self._turns:
            self._turns.wait(now_ns, self.cancelled)

    def step(self, now_ns: int) -> None:
        """Step the unit on what the inbox holds; its outputs are then in the outbox and observed."""
        turns = self._turns
        if turns:
            turns.wait(now_ns, self.cancelled)
        self._begin()
        try:
            inputs = self.inbox.read(now_ns)
            if turns:
                outputs = turns.take(now_ns, lambda: self._runner.step(now_ns, inputs))
            else:
                outputs = self._runner.step(now_ns, inputs)
            self.outbox.post(now_ns // self._step_ns, outputs)
            for name, values in outputs.items():
                self._observe(name, now_ns, values)
            if self._loop:
                self._observe(self._loop.name, now_ns, self._loop.found)
            for watch in self._watches:
                watch.see(now_ns, inputs, outputs)
            if turns:
                turns.end(now_ns)
        finally:
            self.is_busy = False

    @property
    def is_paced(self) -> bool:
        """A step waits for the clock on the wall, for as long as the time between two instants."""
        return self._turns is not None

    def _begin(self) -> None:
        """Be busy from now on, unless the run was cancelled: who cancels it looks at `is_busy` afterwards."""
        self.is_busy = True
        if self.cancelled.is_set():
            self.is_busy = False
            raise Cancelled

    @property
    def hunting(self) -> list[Hunting]:
        """Who hunts with the federates of this unit, as far as is known by now."""
        return [watch.found for watch in self._watches if watch.found]

    @property
    def is_to_stop(self) -> bool:
        """Whether there are federates that were started and that nobody has begun to stop."""
        return bool(self._to_stop)

    def stop(self) -> list[FederateError]:
        """Stop every federate that was started, once; return what went wrong in doing so."""
        wrong = []
        while self._to_stop:
            try:
                self._to_stop.pop().stop()
            except FederateError as error:  # the others must still be stopped
                wrong.append(error)
        return wrong

    def statistics(self) -> dict[str, dict[str, float]]:
        """Return what the federates say of their run, once it is over; raise FederateError where one cannot."""
        found = {name: member.statistics() for name, member in self._members.items()}
        return {name: said for name, said in found.items() if said}

    def check_reached(self, until_ns: int) -> None:
        """Raise EngineError unless the last step before `until_ns` was taken: that an engine returned is no proof."""
        last, reached = (until_ns - 1) // self.unit.step_ns, self.outbox.payload[0]
        if reached != last:
            raise EngineError(f"the run ended with {self.unit.name!r} at step {reached:g}, before its last, {last}")
