"""The supervisor: each crew in a process of its own, given its turns by the hub of its machine.

HELICS does not notice a federate that is killed, stopped, hangs or never joins, and takes one that raised for one that
has left. So broker and hub live in this process, every child is watched here, and the first that fails ends the run in
its name.
Only processes that were started here are ended, by their handles.
"""

from __future__ import annotations

import ctypes
import gc
import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic, monotonic_ns, sleep
from typing import Any

from derloop.contract import interface_to_json
from derloop.crews import Crew
from derloop.engines import helics
from derloop.engines.agenda import Seat, cell_name, seats_of, seats_to_json
from derloop.engines.broker import close
from derloop.engines.hub import Hub
from derloop.engines.hunting import Hunting
from derloop.engines.places import Here, Places
from derloop.engines.process import Reach
from derloop.engines.saving import Saving
from derloop.engines.worker import POLL_S, REST_S, STOP_S, Deadlines, Stall
from derloop.errors import DerloopError, EngineError, FederateError, some_of
from derloop.federation import Federation
from derloop.kind import Permissions, permissions_to_json
from derloop.pacing import Clock
from derloop.results.checkpoints import Checkpoint, unpacked
from derloop.scenario.models import Scenario

END_S = 1.0
"""How long a child that only computes may take to write what it holds and leave."""
ECHO_S = 0.5
"""How much later than of a failure it may be heard whose it was: the word of another machine takes its time."""
SILENCE_S = 0.3
"""How much longer than a deadline a child may be silent."""


def _give_memory_back() -> None:
    """Have the system take what is free: glibc keeps what feeders took, for others of which there will be none."""
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


class Child:
    """One crew's process, wherever it is."""

    def __init__(self, crew: Crew, reach: Reach, stop_s: float = STOP_S) -> None:
        """stop_s: how long its federates may take to stop."""
        self.crew, self.reach, self.stop_s = crew, reach, stop_s
        self.stage = "starting"
        self.done, self.is_lost = False, False
        self._is_built = False
        """It has said something, as it does once its federates are built."""
        self.asks_when = False
        """It waits to be told when a paced run begins."""
        self.failed: Exception | None = None
        self.beat = monotonic()
        self.statistics: dict[str, Mapping[str, float]] = {}
        self.complaints: list[str] = []
        self.hunting: list[Hunting] = []
        self.parts: list[Checkpoint] = []
        """State of its units that nobody has taken yet."""
        self._pieces = ""

    @property
    def now_ns(self) -> int | None:
        """The instant that it is at, by its own word; None before its first step."""
        return self.reach.now_ns

    def check(self, deadlines: Deadlines) -> None:
        """Take in what the child has said; raise FederateError where it failed."""
        ending = self.reach.gone()
        self.hear()
        if self.failed:
            raise self.failed
        if self.done:
            return
        if ending is not None:
            raise self.error(f"{self.reach.whose} {ending}{self.reach.last_words()}")
        if self.reach.is_stopped():
            raise self.error(f"{self.reach.whose} was stopped (SIGSTOP)")
        if (silent_s := monotonic() - self.beat) > self._patience_s(deadlines):
            self.is_lost = True
            limit = (
                "" if self._is_built else f" and it was not built; deadlines.join_s leaves it {deadlines.join_s:g} s"
            )
            raise self.error(f"hangs{self.reach.where}: nothing was heard of it for {silent_s:.1f} s{limit}")

    def _patience_s(self, deadlines: Deadlines) -> float:
        """Return how long it may be silent. It watches its federates itself, and is given time to say which it is."""
        limits = {"starting": deadlines.join_s, "started": deadlines.step_s, "stopping": self.stop_s}
        return limits[self.stage] + SILENCE_S

    def hear(self) -> None:
        for line in self.reach.heard():
            if line.endswith("\n"):  # else it was killed in the middle
                self._take(json.loads(line))

    def _take(self, said: Mapping[str, Any]) -> None:
        self.beat, self._is_built = monotonic(), True
        if "beat" in said:
            self.stage = said["beat"]
        elif "done" in said:
            self.done = said["done"]
        elif "statistics" in said:
            self.statistics = said["statistics"]
        elif "hunting" in said:
            self.hunting.append(Hunting(**{**said["hunting"], "affected": tuple(said["hunting"]["affected"])}))
        elif "part" in said:
            self._pieces += said["part"]
            if said["is_last"]:
                self.parts.append(unpacked(b64decode(self._pieces)))
                self._pieces = ""
        elif "asks" in said:
            self.asks_when = True
        elif "complaints" in said:
            self.complaints = said["complaints"]
        elif "failed" in said:
            self.failed = self._failure(**said["failed"])

    def _failure(
        self, federate: str | None, now_ns: int | None, why: str, inputs: Mapping[str, Any], is_echo: bool
    ) -> DerloopError:
        """Return the error that the child has told of, with the host that it is on.

        is_echo: the engine failed it, and so probably another one did.
        """
        where = self.reach.where
        if federate is None:
            told = f"{some_of(self.crew.members)}{where}: {why}"
            return EngineError(told) if is_echo else DerloopError(told)
        return FederateError(federate, now_ns, f"{where.strip()}: {why}" if where else why, inputs)

    def error(self, why: str) -> FederateError:
        """Return the error of its unit; among several, of the federate that was last at work, once they are built."""
        if len(self.crew.units) == 1:
            return FederateError(self.crew.name, self.now_ns, why)
        members = self.crew.members
        name = members[self.reach.at_work]
        doing = "it was the last at work there" if self._is_built else "it was to be built there"
        others = some_of([member for member in members if member != name])
        return FederateError(name, self.now_ns, f"{why}; {doing}, beside {others}")

    def was_killed(self) -> str:
        """Return in words that its federates did not leave."""
        is_one = len(self.crew.units) == 1
        who = f"federate {self.crew.name!r}" if is_one else f"federates {some_of(self.crew.members)}"
        return f"{who}{self.reach.where} did not leave and {'was' if is_one else 'were'} killed"

    def close(self) -> None:
        self.reach.close()
        self.hear()


class Apart:
    """A federation in processes, from the first to the last of them."""

    def __init__(
        self,
        scenario: Scenario,
        federation: Federation,
        folder: Path,
        permissions: Permissions,
        saving: Saving,
        places: Places | None = None,
    ) -> None:
        self._scenario, self._federation = scenario, federation
        self._saving, self._places = saving, places or Here()
        self._folder, self._permissions = folder, permissions
        limits = scenario.file.deadlines
        self._deadlines = Deadlines(limits.join_s + federation.start_s, limits.step_s)
        self._until_ns = scenario.until_ns - saving.from_ns
        self.children: list[Child] = []
        self.complaints: list[str] = []
        self._has_begun = False

    def run(self, on_poll: Callable[[], None]) -> None:
        """Run to the end; raise FederateError with the name of the first federate that failed."""
        federation, places = self._federation, self._places
        cells = places.cells(federation, self._scenario.file.workers)
        seats, here = seats_of(federation, cells), [cell_name(crews) for crews in places.here(cells)]
        clock = Clock(federation.pacing.speed, is_told=True) if federation.pacing else None
        with ExitStack() as stack:
            hub = Hub(here, seats, self._until_ns, clock)
            stack.callback(hub.close)
            stack.push(self._take_back)
            with self._wishes_first(on_poll):
                places.meet(on_poll)
            broker, transport = places.broker(len(cells))
            stack.callback(close, broker)
            stack.callback(hub.leave)
            stack.callback(self._end)
            federation.leave_to_others()
            _give_memory_back()
            on_poll()  # from now on an interruption is heard in polls, and not amid the start of a process
            for number, crew in enumerate(crew for crews in cells for crew in crews):
                log = self._folder / "logs" / f"{crew.members[0]}.log"
                try:
                    reach = places.reach(crew, self._job(crew, number, seats), log, hub)
                except OSError as error:
                    who = some_of(crew.members)
                    raise EngineError(f"the process of {who} could not be started: {error}") from error
                self.children.append(Child(crew, reach, self._stop_s(crew)))
            hub.start(transport, places.are_many)
            self._watch(hub, on_poll)
        places.check_results()

    def _take_back(self, error: type[BaseException] | None, *_: object) -> None:
        """Close the places; `error`: what has ended the run, None where it came to its end."""
        self.complaints.extend(self._places.close(is_whole=error is None))

    def _stop_s(self, crew: Crew) -> float:
        """Return how long the federates of a crew may take to stop."""
        own_s = self._federation.stop_s(crew.units)
        return STOP_S + own_s + (REST_S + own_s if len(crew.members) > 1 else 0.0)  # one may hang, and others follow

    def _job(self, crew: Crew, number: int, seats: Sequence[Seat]) -> dict[str, Any]:
        return {
            "crew": number,
            "path": str(self._scenario.path),
            "document": self._scenario.document,
            "permissions": permissions_to_json(self._permissions),
            "members": crew.members,
            "seats": seats_to_json(seats),
            "interfaces": {name: interface_to_json(i) for name, i in self._federation.interfaces.items()},
            "folder": str(self._folder),
            "until_ns": self._until_ns,
            "stop_s": self._stop_s(crew),
            "saving": self._saving.to_json(crew),
            "deadlines": {"join_s": self._deadlines.join_s, "step_s": self._deadlines.step_s},
        }

    def _watch(self, hub: Hub, on_poll: Callable[[], None]) -> None:
        wait_s = self._federation.longest_wait_s + sum(child.stop_s - STOP_S for child in self.children)
        began, stall = monotonic(), Stall(self._deadlines, wait_s)
        while not all(child.done for child in self.children):
            with self._wishes_first(on_poll):
                self._check_children(hub)
            self._keep_parts()
            self._begin_when_asked(hub)
            stages = [child.stage for child in self.children]
            if "starting" in stages and monotonic() - began > self._deadlines.join_s + SILENCE_S:
                late = self.children[stages.index("starting")]
                why = f"has not joined{late.reach.where} within {self._deadlines.join_s:g} s"
                raise late.error(why)
            stall.check([child.now_ns for child in self.children], stages)
            on_poll()
            sleep(POLL_S)

    @contextmanager
    def _wishes_first(self, on_poll: Callable[[], None]) -> Iterator[None]:
        """Before a failure, let a wish to end be heard: who ends all machines, as schedulers do, may come here last."""
        try:
            yield
        except DerloopError:
            self._ask_to_leave()  # equipment is let go of meanwhile
            until = monotonic() + self._places.wish_within_s
            while monotonic() < until:
                on_poll()
                sleep(POLL_S)
            raise

    def _begin_when_asked(self, hub: Hub) -> None:
        """Say when a paced run begins, as soon as one waits for its first instant: all of them have joined then."""
        if not self._has_begun and any(child.asks_when for child in self.children):
            self._has_begun = True
            epoch_ns = monotonic_ns() + round(self._places.told_within_s * 1e9)
            for child in self.children:
                child.reach.begin(epoch_ns)
            if hub.clock:
                hub.clock.begin(epoch_ns)

    def _keep_parts(self) -> None:
        for child in self.children:
            while child.parts:
                self._saving.keep(child.parts.pop(0))

    def _check_children(self, hub: Hub) -> None:
        """Raise for the child that failed; what hubs, or the others, notice of it comes second."""
        self._places.check()
        if (echo := self._echo(hub)) is None:
            return
        until = monotonic() + ECHO_S
        while monotonic() < until:
            sleep(POLL_S)
            self._places.check()
            self._echo(hub)
        raise echo

    def _echo(self, hub: Hub) -> EngineError | None:
        """Return what is known of a failure, but not of whom; raise the error of the one that has failed."""
        echo: EngineError | None = None
        checks: list[Callable[[], None]] = [partial(child.check, self._deadlines) for child in self.children]
        for check in (hub.check, self._places.check_hubs, *checks):
            try:
                check()
            except EngineError as error:
                echo = echo or error
        return echo

    @property
    def now_ns(self) -> int | None:
        """The instant that every unit has reached; None before the first step."""
        reached = [child.now_ns for child in self.children if not child.done]
        return None if None in reached or not reached else min(now for now in reached if now is not None)

    @property
    def is_stuck(self) -> bool:
        """HELICS keeps this process from its end, or may: what comes over a network can have stopped its threads."""
        return helics.is_wedged() or self._places.are_many

    @property
    def hunting(self) -> list[Hunting]:
        """Who hunts over a delayed wire, as far as is known by now."""
        return [hunting for child in self.children for hunting in child.hunting]

    def statistics(self) -> dict[str, Mapping[str, float]]:
        return {name: said for child in self.children for name, said in child.statistics.items()}

    def _ask_to_leave(self) -> None:
        for child in self.children:
            child.reach.end(child.is_lost)

    def _end(self) -> None:
        self._ask_to_leave()
        asked = monotonic()
        for child in self.children:
            if not child.reach.ended_by(asked + (child.stop_s if child.crew.blocking else 0) + END_S):
                self.complaints.append(child.was_killed())
                child.reach.kill()
            child.close()
            self.complaints += child.complaints
