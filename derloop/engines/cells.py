"""A crew as a federate of HELICS: what it registers, and what it does at each grant.

Data are moved by bound C calls into numpy buffers. An instant is divided into phases, see `derloop.engines.helics`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from heapq import heapify, heappop, heapreplace
from typing import Any, Protocol

import helics
from helics.capi import ffi, lib

from derloop.crews import Crew, phases_of
from derloop.engines.stepping import Stepper
from derloop.errors import DerloopError, EngineError

PHASE_NS = 1000
"""HELICS counts in double seconds: a microsecond is exact for a century, a nanosecond for 52 days."""


class Order:
    """In which phase of an instant HELICS grants what: alike in every process of a run."""

    def __init__(self, crews: Sequence[Crew]) -> None:
        """crews: all of the run."""
        phases = phases_of(crews)
        self.phase_ns = {unit: (phase + 1) * PHASE_NS for unit, phase in phases.items()}
        self.last_ns = (max(phases.values()) + 2) * PHASE_NS
        """A phase of each instant in which nothing is done."""
        self.federate_of = {unit.name: federate_name(crew) for crew in crews for unit in crew.units}
        """The HELICS federate that each unit belongs to."""
        self._crews = crews

    def check_room(self) -> None:
        """Raise EngineError for a step into which the phases of an instant do not fit."""
        for unit in (unit for crew in self._crews for unit in crew.units):
            if unit.step_ns <= self.last_ns:
                count, needed_s = self.last_ns // PHASE_NS - 1, self.last_ns / 1e9
                raise EngineError(
                    f"a step of {unit.step_ns / 1e9:g} s of {unit.name!r} is too short for HELICS: "
                    f"{count} units, one after the other, take {needed_s:g} s of phases"
                )


def federate_name(crew: Crew) -> str:
    return crew.units[0].name


class Run(Protocol):
    """What the cells of one process have in common."""

    order: Order
    aborted: threading.Event
    """Set when every crew shall leave at its next grant."""

    @property
    def until_ns(self) -> int: ...

    @property
    def core_type(self) -> str: ...

    def abort(self, failure: BaseException | None) -> None:
        """Let every crew leave, for this reason."""
        ...

    def left(self) -> None:
        """Take note that a crew has left."""
        ...


class Cell:
    """One crew as a HELICS federate."""

    def __init__(self, crew: Crew, steppers: list[Stepper], run: Run, core: str) -> None:
        self._crew, self._steppers, self._run = crew, steppers, run
        self._due: list[tuple[int, int, Stepper]] = []
        """A heap of when each unit is granted its next step, ns; its rank; its stepper."""
        self._has_begun = self.has_left = False
        self._error = ffi.new("HelicsError *", lib.helicsErrorInitialize())
        self._info = lib.helicsCreateFederateInfo()
        lib.helicsFederateInfoSetCoreName(self._info, core.encode(), self._error)
        lib.helicsFederateInfoSetCoreTypeFromString(self._info, run.core_type.encode(), self._error)
        lib.helicsFederateInfoSetFlagOption(self._info, helics.HELICS_FLAG_UNINTERRUPTIBLE, 1, self._error)
        self._federate = self._create(federate_name(crew).encode())
        self._check()
        self._end_s = run.until_ns / 1e9
        self._set_time(helics.HELICS_PROPERTY_TIME_STOPTIME, self._end_s)
        self._set_time(helics.HELICS_PROPERTY_TIME_OUTPUT_DELAY, PHASE_NS / 2e9)
        self._register()

    def _set_time(self, what: int, seconds: float) -> None:
        lib.helicsFederateSetTimeProperty(self._federate, what, seconds, self._error)

    def _create(self, name: bytes) -> Any:
        raise NotImplementedError

    def enter(self) -> None:
        raise NotImplementedError

    def _register(self) -> None:
        self._count = ffi.new("int *")
        own = {stepper.unit.name: stepper for stepper in self._steppers}
        self._publications = {
            name: self._publication(stepper) for name, stepper in own.items() if {*stepper.readers} - own.keys()
        }
        payloads = {name: stepper.outbox.payload for name, stepper in own.items()}
        self._inputs = []
        for stepper in self._steppers:
            for source, feed in stepper.inbox.feeds.items():
                if source not in payloads:
                    payloads[source] = feed.payload
                    handle = lib.helicsFederateRegisterSubscription(self._federate, source.encode(), b"", self._error)
                    self._inputs.append((source, handle, ffi.from_buffer("double[]", feed.payload), feed.payload.size))
            stepper.inbox.attach({source: payloads[source] for source in stepper.inbox.feeds})
        self._check()

    def _publication(self, stepper: Stepper) -> tuple[Any, Any]:
        """Return the publication of what a unit gives to other crews, and the buffer of that."""
        name, vector = stepper.unit.name.encode(), helics.HELICS_DATA_TYPE_VECTOR
        publication = lib.helicsFederateRegisterGlobalPublication(self._federate, name, vector, b"", self._error)
        return publication, ffi.from_buffer("double[]", stepper.outbox.payload)

    def _heed_readers(self) -> None:
        """Go ahead no further than who reads this, or values pile up: of weather, days of them.

        HELICS looks for a federate once, and forgets what it does not find: all must be known by now.
        """
        readers = {self._run.order.federate_of[name] for stepper in self._steppers for name in stepper.readers}
        for reader in sorted(readers - {federate_name(self._crew)}):
            lib.helicsFederateAddDependency(self._federate, reader.encode(), self._error)
        self._check()

    def _check(self) -> None:
        if self._error.error_code:
            text = ffi.string(self._error.message).decode(errors="replace")
            raise EngineError(f"HELICS failed at unit {self._crew.name!r}: {text}")

    def _granted(self, at_s: float) -> float:
        """Do what is due at the grant `at_s`; return the time to ask for next."""
        try:
            if self._run.aborted.is_set():
                return self._end_s + 1
            if self._has_begun:
                self._check_grant(at_s)
                self._read()
                self._take_turns(self._due[0][0])
            else:
                self._begin()
            return self._due[0][0] / 1e9 if self._due else self._end_s + 1
        except BaseException as error:  # noqa: BLE001 - HELICS would swallow it; it is raised where the run waits
            self._run.abort(error)
            return self._end_s + 1

    def _begin(self) -> None:
        self._has_begun = True
        for stepper in self._steppers:
            self._publish(stepper)
            self._due.append((self._phase_ns(stepper), stepper.unit.rank, stepper))
        heapify(self._due)

    def _phase_ns(self, stepper: Stepper) -> int:
        return self._run.order.phase_ns[stepper.unit.name]

    def _take_turns(self, granted_ns: int) -> None:
        while self._due and self._due[0][0] == granted_ns:
            _, rank, stepper = self._due[0]
            now_ns = granted_ns - self._phase_ns(stepper)
            stepper.step(now_ns)
            self._publish(stepper)
            if now_ns + stepper.unit.step_ns < self._run.until_ns:
                heapreplace(self._due, (granted_ns + stepper.unit.step_ns, rank, stepper))
            else:
                heappop(self._due)

    def _check_grant(self, at_s: float) -> None:
        asked_s = self._due[0][0] / 1e9
        if abs(at_s - asked_s) > PHASE_NS / 2e9:
            raise EngineError(
                f"HELICS granted {at_s!r} s to unit {self._crew.name!r}, which had asked for {asked_s!r} s"
            )

    def _read(self) -> None:
        for source, handle, buffer, size in self._inputs:
            if lib.helicsInputIsUpdated(handle):
                length = lib.helicsInputGetVectorSize(handle)
                if length != size:
                    raise EngineError(
                        f"HELICS brought {length} values of {source!r} to {self._crew.name!r}, expected {size}"
                    )
                lib.helicsInputGetVector(handle, buffer, size, self._count, self._error)
                self._check()

    def _publish(self, stepper: Stepper) -> None:
        if found := self._publications.get(stepper.unit.name):
            publication, buffer = found
            lib.helicsPublicationPublishVector(publication, buffer, len(buffer), self._error)
            self._check()

    def _leave(self) -> None:
        self.has_left = True
        self._run.left()

    def free(self) -> None:
        lib.helicsFederateInfoFree(self._info)
        lib.helicsFederateFree(self._federate)


class CallbackCell(Cell):
    """A crew that computes: HELICS calls it in the core's own thread."""

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


class ThreadCell(Cell):
    """A crew that waits on sockets or hardware: it has a thread, and may block there without harm to others."""

    def _create(self, name: bytes) -> Any:
        return lib.helicsCreateValueFederate(name, self._info, self._error)

    def enter(self) -> None:
        name = f"derloop {self._crew.name}"
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
        """Wait for the crew's next instant on the wall with the others, beat by beat, after each with no request open.

        HELICS's federates that have asked for time repeat it to each other for as long as one that was granted its time
        is not done: a wait of all crews but one would cost a core and more. So all ask for a last phase of each
        instant, in which nothing is done, and wait there.
        """
        first, last_ns = self._steppers[0], self._run.order.last_ns
        if not first.is_paced or at_ns == 0 or first.beat_ns <= last_ns:
            return
        beat_ns, (next_ns, _, _) = first.beat_ns, self._due[0]
        for instant_ns in range(at_ns // beat_ns * beat_ns, next_ns // beat_ns * beat_ns, beat_ns):
            if self._run.aborted.is_set():
                return
            self._request((instant_ns + last_ns) / 1e9)
            first.wait(instant_ns + beat_ns)

    def free(self) -> None:
        self._thread.join()
        super().free()
