"""HELICS moves the federation: the only module that imports helics.

Units that only compute are *callback* federates on one core, so a grant costs no thread switch; a unit that waits on
sockets, or for the clock on the wall, has a thread and a core of its own: HELICS takes a callback that does not return
for 24 s for lost. With placement `threads` every unit has. Data are moved by bound C calls into numpy buffers.

HELICS sees an instant as phases: a unit of level l is granted `now + (l + 1) * PHASE_NS`, so whatever it reads of this
instant has been published by then, and the order of an instant is the same on every transport. Units of one level read
nothing of each other, and are granted together. HELICS's own same-time iteration is not used.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import helics
from helics.capi import ffi, lib

from derloop.engines.stepping import Cancelled, Stepper
from derloop.errors import DerloopError, EngineError

PHASE_NS = 1000
"""HELICS counts in double seconds: a microsecond is exact for a century, a nanosecond for 52 days."""
SETTLE_S = 0.4
"""How long the units may take to leave after one of them has failed."""
POLL_S = 0.05
_QUIET = "--loglevel=no_print"
_wedged: list[object] = []
"""What HELICS may still call after a run that could not be ended in order."""


@dataclass(frozen=True, slots=True)
class Transport:
    """How a process reaches its federation."""

    core_type: str = "inproc"
    core_options: str = ""


class Broker:
    """A broker of our own, for `count` federates."""

    def __init__(self, count: int, core_type: str = "inproc", options: str = "") -> None:
        self.name = f"derloop-{uuid4().hex}"
        try:
            self._broker = helics.helicsCreateBroker(core_type, self.name, f"-f {count} {_QUIET} {options}")
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
    """The units of this process as HELICS federates: entered, granted, and left together."""

    def __init__(self, steppers: list[Stepper], until_ns: int, transport: Transport, in_threads: bool = False) -> None:
        """in_threads: each unit in a thread of its own, not only those that wait."""
        self._in_threads = in_threads
        self.aborted = threading.Event()
        self.failure: BaseException | None = None
        self._left = threading.Semaphore(0)
        self._cells: list[_Cell] = []
        self._steppers = steppers
        self._until_ns, self._transport = until_ns, transport
        self._lock = threading.Lock()
        for stepper in steppers:
            if stepper.unit.step_ns <= (stepper.last_level + 2) * PHASE_NS:
                levels, needed_s = stepper.last_level + 1, (stepper.last_level + 2) * PHASE_NS / 1e9
                raise EngineError(
                    f"a step of {stepper.unit.step_ns / 1e9:g} s of {stepper.unit.name!r} is too short for HELICS: "
                    f"{levels} units, one after the other, take {needed_s:g} s of phases"
                )

    def enter(self) -> None:
        """Register and enter; from here on HELICS calls the units. Returns once entering is under way."""
        computing = [s for s in self._steppers if not self._has_thread(s)]
        shared = _core(self._transport, len(computing)) if computing else ""
        for stepper in self._steppers:
            if self._has_thread(stepper):
                core = _core(self._transport, 1)
                self._cells.append(_ThreadCell(stepper, self, core))
            else:
                self._cells.append(_CallbackCell(stepper, self, shared))
        for cell in self._cells:
            cell.enter()

    def _has_thread(self, stepper: Stepper) -> bool:
        return self._in_threads or stepper.unit.blocking or stepper.is_paced

    @property
    def until_ns(self) -> int:
        return self._until_ns

    @property
    def core_type(self) -> str:
        return self._transport.core_type

    def wait(self) -> None:
        """Return when every unit has left; raise what a unit raised."""
        remaining = len(self._cells)
        while remaining and not self.aborted.is_set():
            if self._left.acquire(timeout=POLL_S):
                remaining -= 1
            elif self._steppers[0].cancelled.is_set():
                self.abort(Cancelled())
        while remaining and self._left.acquire(timeout=SETTLE_S):
            remaining -= 1
        if self.failure:
            raise self.failure

    def abort(self, failure: BaseException | None) -> None:
        """Let every unit leave at its next grant. The first failure is the one that is kept."""
        with self._lock:
            self.failure = self.failure or failure
        self.aborted.set()
        self._steppers[0].cancelled.set()  # whoever waits for the clock on the wall

    def left(self) -> None:
        self._left.release()

    def close(self) -> None:
        """Free what HELICS holds; what is still at work is kept, so that a late call finds its function."""
        if any(not cell.has_left for cell in self._cells):
            _wedged.append(self._cells)
            return
        for cell in self._cells:
            cell.free()


class _Cell:
    """One unit as a HELICS federate."""

    def __init__(self, stepper: Stepper, run: Federates, core: str) -> None:
        self._stepper, self._run = stepper, run
        self._phase_ns = (stepper.unit.level + 1) * PHASE_NS
        self._last_phase_ns = (stepper.last_level + 2) * PHASE_NS
        self._now_ns = -1
        self.has_left = False
        self._error = ffi.new("HelicsError *", lib.helicsErrorInitialize())
        self._info = lib.helicsCreateFederateInfo()
        lib.helicsFederateInfoSetCoreName(self._info, core.encode(), self._error)
        lib.helicsFederateInfoSetCoreTypeFromString(self._info, run.core_type.encode(), self._error)
        lib.helicsFederateInfoSetFlagOption(self._info, helics.HELICS_FLAG_UNINTERRUPTIBLE, 1, self._error)
        self._federate = self._create(stepper.unit.name.encode())
        self._check()
        self._end_s = run.until_ns / 1e9
        lib.helicsFederateSetTimeProperty(
            self._federate, helics.HELICS_PROPERTY_TIME_STOPTIME, self._end_s, self._error
        )
        self._register()

    def _create(self, name: bytes) -> Any:
        raise NotImplementedError

    def enter(self) -> None:
        raise NotImplementedError

    def _register(self) -> None:
        vector = helics.HELICS_DATA_TYPE_VECTOR
        outbox = self._stepper.outbox
        self._out = ffi.from_buffer("double[]", outbox.payload)
        self._publication = ffi.NULL
        if outbox.is_read:
            name = self._stepper.unit.name.encode()
            self._publication = lib.helicsFederateRegisterGlobalPublication(
                self._federate, name, vector, b"", self._error
            )
        self._count = ffi.new("int *")
        self._inputs = []
        for source, feed in self._stepper.inbox.feeds.items():
            handle = lib.helicsFederateRegisterSubscription(self._federate, source.encode(), b"", self._error)
            self._inputs.append((source, handle, ffi.from_buffer("double[]", feed.payload), feed.payload.size))
        self._check()

    def _heed_readers(self) -> None:
        """Go ahead no further than who reads this, or values pile up: of weather, days of them.

        HELICS looks for a federate once, and forgets what it does not find: all must be known by now.
        """
        for reader in self._stepper.readers:
            lib.helicsFederateAddDependency(self._federate, reader.encode(), self._error)
        self._check()

    def _check(self) -> None:
        if self._error.error_code:
            text = ffi.string(self._error.message).decode(errors="replace")
            raise EngineError(f"HELICS failed at unit {self._stepper.unit.name!r}: {text}")

    def _granted(self, at_s: float) -> float:
        """Do what is due at the grant `at_s`; return the time to ask for next."""
        try:
            if self._run.aborted.is_set():
                return self._end_s + 1
            if self._now_ns < 0:
                self._publish()
                return self._next(0)
            self._check_grant(at_s)
            self._read()
            self._stepper.step(self._now_ns)
            self._publish()
            return self._next(self._now_ns + self._stepper.unit.step_ns)
        except BaseException as error:  # noqa: BLE001 - HELICS would swallow it; it is raised where the run waits
            self._run.abort(error)
            return self._end_s + 1

    def _next(self, now_ns: int) -> float:
        self._now_ns = now_ns
        if now_ns >= self._run.until_ns:
            return self._end_s + 1
        return (now_ns + self._phase_ns) / 1e9

    def _check_grant(self, at_s: float) -> None:
        asked_s = (self._now_ns + self._phase_ns) / 1e9
        if abs(at_s - asked_s) > PHASE_NS / 2e9:
            raise EngineError(
                f"HELICS granted {at_s!r} s to unit {self._stepper.unit.name!r}, which had asked for {asked_s!r} s"
            )

    def _read(self) -> None:
        for source, handle, buffer, size in self._inputs:
            if lib.helicsInputIsUpdated(handle):
                length = lib.helicsInputGetVectorSize(handle)
                if length != size:
                    raise EngineError(
                        f"HELICS brought {length} values of {source!r} to {self._stepper.unit.name!r}, expected {size}"
                    )
                lib.helicsInputGetVector(handle, buffer, size, self._count, self._error)
                self._check()

    def _publish(self) -> None:
        if self._publication:
            lib.helicsPublicationPublishVector(self._publication, self._out, len(self._out), self._error)
            self._check()

    def _leave(self) -> None:
        self.has_left = True
        self._run.left()

    def free(self) -> None:
        lib.helicsFederateInfoFree(self._info)
        lib.helicsFederateFree(self._federate)


class _CallbackCell(_Cell):
    """A unit that computes: HELICS calls it in the core's own thread."""

    def _create(self, name: bytes) -> Any:
        return lib.helicsCreateCallbackFederate(name, self._info, self._error)

    def enter(self) -> None:
        self._on_grant = ffi.callback("HelicsTime(HelicsTime, void *)", lambda at_s, _: self._granted(at_s))
        self._on_initializing = ffi.callback("void(HelicsBool, void *)", lambda *_: self._initialized())
        self._on_end = ffi.callback("void(void *)", lambda _: self._leave())
        lib.helicsCallbackFederateNextTimeCallback(self._federate, self._on_grant, ffi.NULL, self._error)
        lib.helicsFederateInitializingEntryCallback(self._federate, self._on_initializing, ffi.NULL, self._error)
        lib.helicsFederateCosimulationTerminationCallback(self._federate, self._on_end, ffi.NULL, self._error)
        lib.helicsFederateEnterInitializingMode(self._federate, self._error)
        self._check()

    def _initialized(self) -> None:
        try:
            self._heed_readers()
        except EngineError as error:  # HELICS would swallow it
            self._run.abort(error)


class _ThreadCell(_Cell):
    """A unit that waits on sockets or hardware: it has a thread, and may block there without harm to others."""

    def _create(self, name: bytes) -> Any:
        return lib.helicsCreateValueFederate(name, self._info, self._error)

    def enter(self) -> None:
        name = f"derloop {self._stepper.unit.name}"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            lib.helicsFederateEnterInitializingMode(self._federate, self._error)
            self._check()
            self._heed_readers()
            lib.helicsFederateEnterExecutingMode(self._federate, self._error)
            self._check()
            at_s = 0.0
            while (ask_s := self._granted(at_s)) < self._end_s:
                self._rest(round(at_s * 1e9))
                at_s = self._request(ask_s)
        except DerloopError as error:
            self._run.abort(error)
        finally:
            lib.helicsFederateDisconnect(self._federate, self._error)
            self._leave()

    def _request(self, ask_s: float) -> float:
        at_s: float = lib.helicsFederateRequestTime(self._federate, ask_s, self._error)
        if not self._run.aborted.is_set():
            self._check()
        return at_s

    def _rest(self, at_ns: int) -> None:
        """Wait for the unit's next instant on the wall with the others, beat by beat, after each with no request open.

        HELICS's federates that have asked for time repeat it to each other for as long as one that was granted its time
        is not done: a wait of all units but one would cost a core and more. So all ask for a last phase of each
        instant, in which nothing is done, and wait there.
        """
        beat_ns = self._stepper.beat_ns
        if not self._stepper.is_paced or at_ns == 0 or beat_ns <= self._last_phase_ns:
            return
        for instant_ns in range(at_ns // beat_ns * beat_ns, self._now_ns, beat_ns):
            if self._run.aborted.is_set():
                return
            self._request((instant_ns + self._last_phase_ns) / 1e9)
            self._stepper.wait(instant_ns + beat_ns)

    def free(self) -> None:
        self._thread.join()
        super().free()


def _core(transport: Transport, federates: int) -> str:
    name = f"derloop-core-{uuid4().hex}"
    options = f"-f {federates} {_QUIET} {transport.core_options}"
    try:
        helics.helicsCreateCore(transport.core_type, name, options)
    except helics.HelicsException as error:
        raise EngineError(f"HELICS could not start a core: {error}") from error
    return name


def run(steppers: list[Stepper], until_ns: int, in_threads: bool = False) -> None:
    """Step the units until `until_ns` in this process, on a broker of their own that has no socket."""
    for stepper in steppers:
        stepper.start()
    broker = Broker(len(steppers))
    try:
        join(steppers, until_ns, Transport(core_options=f"--broker={broker.name}"), in_threads)
    finally:
        broker.close()


def run_in_threads(steppers: list[Stepper], until_ns: int) -> None:
    """As `run`, with a thread for each unit: those of one level are stepped side by side."""
    run(steppers, until_ns, in_threads=True)


def join(steppers: list[Stepper], until_ns: int, transport: Transport, in_threads: bool = False) -> None:
    """Step started units as federates of a broker that may be elsewhere. Raises what a unit raised."""
    federates = Federates(steppers, until_ns, transport, in_threads)
    try:
        federates.enter()
        federates.wait()
    except BaseException as error:
        federates.abort(error)
        raise
    finally:
        federates.close()
