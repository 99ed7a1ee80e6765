"""The crews of this machine that have processes: for HELICS one federate, or each one in a run that keeps real time.

HELICS between processes of one machine was tried: a round of messages through its cores and its broker took 0.5 to 1 ms
while nobody computed, and two to three beside processes that did. Giving turns through a pipe takes a tenth of that.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from threading import Event, Thread

from derloop.contract import FloatArray
from derloop.engines import helics
from derloop.engines.agenda import Seat
from derloop.engines.hands import Turn
from derloop.engines.link import Link, Memory
from derloop.engines.stepping import Cancelled
from derloop.errors import EngineError
from derloop.pacing import Clock

LEAVE_S = 1.0
"""How long HELICS may take to be left."""


class Hub:
    """Some cells of a run: made before the processes of their crews, and in a thread while those are at work."""

    def __init__(
        self, cells: Collection[str], seats: Sequence[Seat], until_ns: int, clock: Clock | None = None
    ) -> None:
        """cells: those of this machine; seats: of the whole run; clock: that of a run that keeps real time."""
        self._seats, self._until_ns, self.clock = seats, until_ns, clock
        self.cancelled = Event()
        self.failure: BaseException | None = None
        self._links: dict[int, Link] = {}
        self._memories: list[int] = []
        self._thread: Thread | None = None
        try:
            self._hands = {cell: self._made([seat for seat in seats if seat.cell == cell]) for cell in cells}
        except OSError as error:
            self.close()
            crews = len({seat.crew for seat in seats if seat.cell in cells})
            raise EngineError(
                f"{crews} processes cannot be given turns: {error.strerror}; each takes some open files (ulimit -n), "
                "and workers let several federates share one"
            ) from error

    def _made(self, cell: Sequence[Seat]) -> CrewHands:
        memory, payloads = Memory(self._seats, {seat.name for seat in cell}).made()
        self._memories.append(memory)
        for seat in cell:
            if seat.crew not in self._links:
                self._links[seat.crew] = Link(seat.name, memory)
        return CrewHands(cell, self._links, payloads, self.cancelled, self.clock)

    def link(self, crew: int) -> Link:
        """Return what the process of a crew is given."""
        return self._links[crew]

    def start(self, transport: helics.Transport, in_threads: bool) -> None:
        """Give turns from now on, once all processes are ready.

        in_threads: HELICS waits for nobody here, for there are other machines.
        """
        self._let_go_of_memories()  # the processes have it
        if not self._hands:
            return  # every federate is on another machine
        threads = [name for name, hands in self._hands.items() if in_threads or hands.is_paced]
        self._thread = Thread(target=self._work, args=(transport, threads), name="derloop hub", daemon=True)
        self._thread.start()

    def _work(self, transport: helics.Transport, threads: Sequence[str]) -> None:
        try:
            for link in self._links.values():
                link.wait_ready()
            helics.join(self._hands, threads, self._seats, self._until_ns, transport)
            for link in self._links.values():
                link.end()
        except Cancelled:
            pass
        except BaseException as error:  # noqa: BLE001 - raised where the run is watched
            self.failure = error

    def check(self) -> None:
        """Raise EngineError where no more turns can be given. Why, its processes may know better."""
        if isinstance(self.failure, EngineError):
            raise self.failure
        if self.failure:
            raise EngineError(f"{type(self.failure).__name__}: {self.failure}") from self.failure

    def leave(self) -> None:
        """Give no more turns."""
        self.cancelled.set()
        if self._thread:
            self._thread.join(LEAVE_S)

    def close(self) -> None:
        """Let go of everything, once the processes have ended."""
        self.leave()
        self._let_go_of_memories()
        if helics.is_wedged() or (self._thread and self._thread.is_alive()):
            return  # HELICS holds it: what it reads and writes stays open
        for link in self._links.values():
            link.close()

    def _let_go_of_memories(self) -> None:
        while self._memories:
            os.close(self._memories.pop())


class CrewHands:
    """The processes of a cell's crews: those that have turns in a phase take them side by side."""

    def __init__(
        self,
        cell: Sequence[Seat],
        links: Mapping[int, Link],
        payloads: Mapping[str, FloatArray],
        cancelled: Event,
        clock: Clock | None,
    ) -> None:
        self.payloads, self.cancelled, self._clock = payloads, cancelled, clock
        self.is_paced = clock is not None
        self._link_of = {seat.name: links[seat.crew] for seat in cell}
        self._phase_ns = {seat.name: seat.phase_ns for seat in cell}

    def wait(self, now_ns: int) -> None:
        if self._clock:
            self._clock.wait(now_ns, self.cancelled)

    def take(self, turns: Sequence[Turn]) -> None:
        unit, now_ns = turns[0]
        granted_ns = now_ns + self._phase_ns[unit]
        links = dict.fromkeys(self._link_of[unit] for unit, _ in turns)
        for link in links:
            link.give(granted_ns)
        for link in links:
            link.wait_taken(granted_ns)
