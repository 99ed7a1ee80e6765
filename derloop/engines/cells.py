"""A cell: some crews as one federate of HELICS, what it registers, and what it does at each grant.

Data are moved by bound C calls into numpy buffers. An instant is divided into phases, see `derloop.engines.helics`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from math import gcd
from typing import Any, Protocol

import helics
from helics.capi import ffi, lib

from derloop.engines.agenda import PHASE_NS, Agenda, Seat, rest_ns
from derloop.engines.hands import Hands
from derloop.errors import DerloopError, EngineError


class Run(Protocol):
    """What the cells of one process have in common."""

    aborted: threading.Event
    """Set when every cell shall leave at its next grant."""

    @property
    def seats(self) -> Sequence[Seat]:
        """Those of the whole run."""
        ...

    @property
    def until_ns(self) -> int: ...

    @property
    def core_type(self) -> str: ...

    def abort(self, failure: BaseException | None) -> None:
        """Let every cell leave, for this reason."""
        ...

    def left(self) -> None:
        """Take note that a cell has left."""
        ...


class Cell:
    """Some units as a HELICS federate."""

    def __init__(self, name: str, hands: Hands, run: Run, core: str) -> None:
        """hands: those that take the turns of its units."""
        self._name, self._hands, self._run = name, hands, run
        self._seats = [seat for seat in run.seats if seat.cell == name]
        self._agenda, self._rest_ns = Agenda(self._seats, run.until_ns), rest_ns(run.seats)
        self._beat_ns = gcd(*(seat.step_ns for seat in run.seats))
        """From one instant of the federation to the next at which any unit may be stepped."""
        self._has_begun = self.has_left = False
        self.is_at_work = False
        """It takes turns, and cannot be let go of before it is done."""
        self._asked_ns: int | None = None
        """The time that it has asked for."""
        self._error = ffi.new("HelicsError *", lib.helicsErrorInitialize())
        self._info = lib.helicsCreateFederateInfo()
        lib.helicsFederateInfoSetCoreName(self._info, core.encode(), self._error)
        lib.helicsFederateInfoSetCoreTypeFromString(self._info, run.core_type.encode(), self._error)
        lib.helicsFederateInfoSetFlagOption(self._info, helics.HELICS_FLAG_UNINTERRUPTIBLE, 1, self._error)
        self._federate = self._create(name.encode())
        self._check()
        self._end_s = (run.until_ns + self._rest_ns) / 1e9  # the phases of the last instant may be beyond the run's end
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
        own = {seat.name for seat in self._seats}
        self._publications = {seat.name: self._publication(seat.name) for seat in self._seats if {*seat.readers} - own}
        self._inputs = [
            self._subscription(seat) for seat in self._run.seats if seat.name not in own and own & {*seat.readers}
        ]
        self._check()

    def _publication(self, unit: str) -> tuple[Any, Any]:
        """Return the publication of what a unit gives to other cells, and the buffer of that."""
        name, vector = unit.encode(), helics.HELICS_DATA_TYPE_VECTOR
        publication = lib.helicsFederateRegisterGlobalPublication(self._federate, name, vector, b"", self._error)
        return publication, ffi.from_buffer("double[]", self._hands.payloads[unit])

    def _subscription(self, seat: Seat) -> tuple[str, Any, Any, int]:
        handle = lib.helicsFederateRegisterSubscription(self._federate, seat.name.encode(), b"", self._error)
        return seat.name, handle, ffi.from_buffer("double[]", self._hands.payloads[seat.name]), seat.size

    def _heed_readers(self) -> None:
        """Go ahead no further than who reads this, or values pile up: of weather, days of them.

        HELICS looks for a federate once, and forgets what it does not find: all must be known by now.
        """
        cell_of = {seat.name: seat.cell for seat in self._run.seats}
        readers = {cell_of[reader] for seat in self._seats for reader in seat.readers}
        for reader in sorted(readers - {self._name}):
            lib.helicsFederateAddDependency(self._federate, reader.encode(), self._error)
        self._check()

    def _check(self) -> None:
        if self._error.error_code:
            text = ffi.string(self._error.message).decode(errors="replace")
            raise EngineError(f"HELICS failed at unit {self._name!r}: {text}")

    def _granted(self, at_s: float, _: object = None) -> float:
        """Do what is due at the grant `at_s`; return the time to ask for next."""
        self.is_at_work = True  # first: who ends the run says so, and then looks at this
        try:
            if self._run.aborted.is_set():
                return self._end_s + 1
            if self._has_begun:
                self._take_turns(at_s)
            else:
                self._has_begun = True
                for seat in self._seats:
                    self._publish(seat.name)
            self._asked_ns = next_ns = self._agenda.next_ns
            return self._end_s + 1 if next_ns is None else next_ns / 1e9
        except BaseException as error:  # noqa: BLE001 - HELICS would swallow it; it is raised where the run waits
            self._run.abort(error)
            return self._end_s + 1
        finally:
            self.is_at_work = False

    def _take_turns(self, at_s: float) -> None:
        asked_ns = self._asked_ns
        assert asked_ns is not None
        if abs(at_s - asked_ns / 1e9) > PHASE_NS / 2e9:
            raise EngineError(
                f"HELICS granted {at_s!r} s to unit {self._name!r}, which had asked for {asked_ns / 1e9!r} s"
            )
        if self._inputs:
            self._read()
        turns = self._agenda.take(asked_ns)
        self._hands.take(turns)
        if self._publications:
            for name, _ in turns:
                self._publish(name)

    def _read(self) -> None:
        for source, handle, buffer, size in self._inputs:
            if lib.helicsInputIsUpdated(handle):
                length = lib.helicsInputGetVectorSize(handle)
                if length != size:
                    raise EngineError(
                        f"HELICS brought {length} values of {source!r} to {self._name!r}, expected {size}"
                    )
                lib.helicsInputGetVector(handle, buffer, size, self._count, self._error)
                self._check()

    def _publish(self, unit: str) -> None:
        if found := self._publications.get(unit):
            publication, buffer = found
            lib.helicsPublicationPublishVector(publication, buffer, len(buffer), self._error)
            self._check()

    def _leave(self) -> None:
        self.has_left = True
        if self._agenda.next_ns is not None and not self._run.aborted.is_set():
            self._run.abort(EngineError(f"HELICS let go of unit {self._name!r} before its last step"))
        self._run.left()

    def free(self) -> None:
        lib.helicsFederateInfoFree(self._info)
        lib.helicsFederateFree(self._federate)


class CallbackCell(Cell):
    """A cell that HELICS calls in the core's own thread."""

    def _create(self, name: bytes) -> Any:
        return lib.helicsCreateCallbackFederate(name, self._info, self._error)

    def enter(self) -> None:
        granted = "HelicsTime(HelicsTime, void *)"
        self._on_grant = ffi.callback(granted, self._granted, error=self._end_s + 1)
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
    """A cell with a thread of its own, where it may wait, for the clock or other machines, without harm to others."""

    def _create(self, name: bytes) -> Any:
        return lib.helicsCreateValueFederate(name, self._info, self._error)

    def enter(self) -> None:
        name = f"derloop {self._name}"
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
        """Wait for the next instant on the wall with the others, beat by beat, after each with no request open.

        HELICS's federates that have asked for time repeat it to each other for as long as one that was granted its time
        is not done: a wait of all cells but one would cost a core and more. So all ask for a last phase of each
        instant, in which nothing is done, and wait there.
        """
        beat_ns, next_ns = self._beat_ns, self._agenda.next_ns
        if not self._hands.is_paced or at_ns == 0 or beat_ns <= self._rest_ns or next_ns is None:
            return
        for instant_ns in range(at_ns // beat_ns * beat_ns, next_ns // beat_ns * beat_ns, beat_ns):
            if self._run.aborted.is_set():
                return
            self._request((instant_ns + self._rest_ns) / 1e9)
            self._hands.wait(instant_ns + beat_ns)

    def free(self) -> None:
        self._thread.join()
        super().free()
