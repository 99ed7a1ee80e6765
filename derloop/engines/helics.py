"""HELICS moves the federation.

A federate of HELICS is a *cell*: all crews of this process, or those of this machine that have processes. It is a
*callback* federate, so that a grant costs no thread switch. One that waits for the clock on the wall or for other
machines has a thread and a core of its own, for the thread of a core that is at work in a callback tells nobody that
others may begin.

HELICS sees an instant as phases: what comes in phase p is granted `now + (p + 1) * PHASE_NS`, so whatever is read of
this instant has been published by then, and the order of an instant is the same on every transport. Units of one phase
in different cells read nothing of each other, and are granted together: what a cell gives out is seen half a phase
later, so that HELICS lets another begin while that one is at work. HELICS's own same-time iteration is not used.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from uuid import uuid4

import helics

from derloop.crews import computing_together, one_each
from derloop.engines.agenda import Crews, Seat, cell_name, seats_of
from derloop.engines.cells import CallbackCell, Cell, ThreadCell
from derloop.engines.hands import Hands, hands_of
from derloop.engines.stepping import Cancelled, Stepper
from derloop.errors import EngineError

SETTLE_S = 0.4
"""How long the cells may take to leave after one of them has failed."""
POLL_S = 0.05
HANDLES = 16
"""File handles that must be left: a broker opens three, and more with sockets; without them HELICS ends the process."""
_QUIET = "--loglevel=no_print"
_TIMERS = {"inproc": "--disable_timer"}
"""In one process nobody is lost, but HELICS takes a callback that does not return for 24 s for that."""
_wedged: list[object] = []
"""What HELICS may still call after a run that could not be ended in order."""


def is_wedged() -> bool:
    """Return whether a run of this process could not be ended in order, so that HELICS may still call its hands."""
    return bool(_wedged)


@dataclass(frozen=True, slots=True)
class Transport:
    """How a process reaches its federation."""

    core_type: str = "inproc"
    core_options: str = ""


def _check_handles() -> None:
    """Raise EngineError where HELICS could not open what it needs, of which it tells nobody."""
    with ExitStack() as stack:
        try:
            for _ in range(HANDLES):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise EngineError(f"HELICS needs {HANDLES} file handles: {error.strerror} (ulimit -n)") from error


class Broker:
    """A broker of our own, for `count` federates."""

    def __init__(self, count: int, core_type: str = "inproc", options: str = "") -> None:
        self.name = f"derloop-{uuid4().hex}"
        _check_handles()
        try:
            self._broker = helics.helicsCreateBroker(
                core_type, self.name, f"-f {count} {_QUIET} {_TIMERS.get(core_type, '')} {options}"
            )
        except helics.HelicsException as error:
            raise EngineError(f"HELICS could not start its broker: {error}") from error
        if not helics.helicsBrokerIsConnected(self._broker):
            raise EngineError("HELICS could not start its broker")

    def close(self) -> None:
        """Disconnect; where federates are still at work, it is left to the end of the process."""
        if _wedged:
            _wedged.append(self)
            return
        with suppress(helics.HelicsException):  # it has ended with its federation: no reason to hide why that ended
            helics.helicsBrokerDisconnect(self._broker)
        helics.helicsBrokerFree(self._broker)


class Federates:
    """The cells of this process as HELICS federates: entered, granted, and left together."""

    def __init__(
        self, hands: Mapping[str, Hands], threads: Collection[str], seats: Sequence[Seat], until_ns: int, way: Transport
    ) -> None:
        """hands: those of each cell of this process.

        threads: the cells that have a thread of their own.
        seats: of the whole run.
        """
        self.aborted = threading.Event()
        self.failure: BaseException | None = None
        self._left = threading.Semaphore(0)
        self._cells: list[Cell] = []
        self._cores: list[helics.HelicsCore] = []
        self._hands, self._threads, self._seats = hands, threads, seats
        self._until_ns, self._transport = until_ns, way
        self.cancelled = next(iter(hands.values())).cancelled
        self._lock = threading.Lock()

    def enter(self) -> None:
        """Register and enter; from here on HELICS calls the cells. Returns once entering is under way."""
        calls = len(self._hands) - len(self._threads)
        shared = self._core(calls) if calls else ""
        for name, hands in self._hands.items():
            if name in self._threads:
                self._cells.append(ThreadCell(name, hands, self, self._core(1)))
            else:
                self._cells.append(CallbackCell(name, hands, self, shared))
        for cell in self._cells:
            cell.enter()

    def _core(self, federates: int) -> str:
        """Start a core for so many federates; return its name."""
        name, way = f"derloop-core-{uuid4().hex}", self._transport
        options = f"-f {federates} {_QUIET} {_TIMERS.get(way.core_type, '')} {way.core_options}"
        _check_handles()
        try:
            self._cores.append(helics.helicsCreateCore(way.core_type, name, options))
        except helics.HelicsException as error:
            raise EngineError(f"HELICS could not start a core: {error}") from error
        return name

    @property
    def seats(self) -> Sequence[Seat]:
        return self._seats

    @property
    def until_ns(self) -> int:
        return self._until_ns

    @property
    def core_type(self) -> str:
        return self._transport.core_type

    def wait(self) -> None:
        """Return when every cell has left; raise what a unit raised."""
        remaining = len(self._cells)
        while remaining and not self.aborted.is_set():
            if self._left.acquire(timeout=POLL_S):
                remaining -= 1
            elif self.cancelled.is_set():
                self.abort(Cancelled())
        while remaining and self._left.acquire(timeout=SETTLE_S):
            remaining -= 1
        if self.failure:
            raise self.failure

    def abort(self, failure: BaseException | None) -> None:
        """Let every cell leave at its next grant. The first failure is the one that is kept."""
        with self._lock:
            self.failure = self.failure or failure
        self.aborted.set()
        self.cancelled.set()  # whoever waits for the clock on the wall

    def left(self) -> None:
        self._left.release()

    def close(self) -> None:
        """Free what HELICS holds; what is still at work is kept, so that a late call finds its function."""
        self._let_go_of_those_that_wait()
        if not self._have_left():
            _wedged.append(self._cells)
            return
        for cell in self._cells:
            cell.free()
        for core in self._cores:
            helics.helicsCoreFree(core)

    def _let_go_of_those_that_wait(self) -> None:
        """Take the cores off where nobody is at work: a grant that waits for dead machines never comes."""
        if self._have_left() or any(cell.is_at_work for cell in self._cells):
            return
        for core in self._cores:
            with suppress(helics.HelicsException):  # it has ended with its federation
                helics.helicsCoreDisconnect(core)
        while not self._have_left() and self._left.acquire(timeout=SETTLE_S):
            pass

    def _have_left(self) -> bool:
        return all(cell.has_left for cell in self._cells)


def run(steppers: list[Stepper], until_ns: int, cells: Sequence[Crews] | None = None, in_threads: bool = False) -> None:
    """Step the units until `until_ns` in this process, on a broker of their own that has no socket.

    cells: who steps which, and which crews are one federate of HELICS. Without it all are one, whose units take turns,
    but those that wait on sockets or hardware do so side by side; in real time each unit is one.
    in_threads: each in a thread of its own, as all are in real time.
    """
    is_paced = steppers[0].is_paced
    units = [stepper.unit for stepper in steppers]
    cells = cells or ([[crew] for crew in one_each(units)] if is_paced else [computing_together(units)])
    for stepper in steppers:
        stepper.start()
    stepper_of = {stepper.unit.name: stepper for stepper in steppers}
    hands = {
        cell_name(crews): hands_of([[stepper_of[u.name] for u in crew.units] for crew in crews]) for crews in cells
    }
    broker = Broker(len(cells))
    try:
        seats = seats_of(steppers[0].federation, cells)
        transport = Transport(core_options=f"--broker={broker.name}")
        join(hands, hands if in_threads or is_paced else (), seats, until_ns, transport)
    finally:
        for each in hands.values():
            each.close()
        broker.close()


def run_in_threads(steppers: list[Stepper], until_ns: int, crews: Crews | None = None) -> None:
    """As `run`, with a thread for each crew: those of one phase are stepped side by side."""
    crews = crews or one_each([stepper.unit for stepper in steppers])
    run(steppers, until_ns, [[crew] for crew in crews] if steppers[0].is_paced else [crews])


def join(
    hands: Mapping[str, Hands], threads: Collection[str], seats: Sequence[Seat], until_ns: int, transport: Transport
) -> None:
    """Take the turns of started units as federates of a broker that may be elsewhere. Raises what a unit raised.

    hands: those of each cell of this process; threads: the cells that have a thread of their own; seats: of all units
    of the run.
    """
    federates = Federates(hands, threads, seats, until_ns, transport)
    try:
        federates.enter()
        federates.wait()
    except BaseException as error:
        federates.abort(error)
        raise
    finally:
        federates.close()
