"""The supervisor: each unit in a process of its own, joined by HELICS over ZeroMQ on loopback.

HELICS does not notice a federate that is killed, stopped, hangs or never joins, and takes one that raised for one that
has left. So the broker lives in this process, every child is watched here, and the first that fails ends the run in its
name.
Only processes that were started here are ended, by their handles.
"""

from __future__ import annotations

import json
import queue
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from mmap import mmap
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Thread
from time import monotonic, monotonic_ns, sleep
from typing import IO, Any, cast

import psutil

from derloop.contract import interface_to_json
from derloop.engines import helics
from derloop.engines.hunting import Hunting
from derloop.engines.stepping import BEFORE
from derloop.engines.worker import BOARD_BYTES, POLL_S, STOP_S, Deadlines, Stall
from derloop.errors import EngineError, FederateError
from derloop.federation import Federation, Unit
from derloop.kind import Permissions, permissions_to_json
from derloop.scenario.models import Scenario

CORE_TYPE = "zmq"
END_S = 1.0
"""How long a child that only computes may take to write what it holds and leave."""
LAST_WORDS_S = 1.0
"""How long to read what a process that has ended has said."""
SILENCE_S = 0.3
"""How much longer than a deadline a child may be silent."""
CLOSE_S = 0.3
BEGIN_S = 0.02
"""How soon after a paced run's processes are told it begins: all must have heard by then."""
PORTS = range(10_000, 32_000)
HELICS_PORTS = range(23_000, 26_000)
BROKER_PORTS = 8
TRIES = 5
"""How many times ports are tried: another process may take one between our look and HELICS's."""


class Child:
    """One unit's process."""

    def __init__(self, unit: Unit, job: Mapping[str, Any], log: Path, stop_s: float = STOP_S) -> None:
        """stop_s: how long its federates may take to stop."""
        self.unit, self.stop_s = unit, stop_s
        self.stage = "starting"
        self.done, self.is_lost = False, False
        self.asks_when = False
        """It waits to be told when a paced run begins."""
        self.failed: Exception | None = None
        self.beat = monotonic()
        self.statistics: dict[str, Mapping[str, float]] = {}
        self.complaints: list[str] = []
        self.hunting: list[Hunting] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("wb") as errors, TemporaryFile() as board:
            board.write(BEFORE.to_bytes(BOARD_BYTES, sys.byteorder, signed=True))
            board.flush()
            self._board = memoryview(mmap(board.fileno(), BOARD_BYTES)).cast("q")
            self.process = subprocess.Popen(
                [sys.executable, "-m", "derloop.engines.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                pass_fds=[board.fileno()],
                process_group=0,  # a terminal's Ctrl-C and Ctrl-Z are for the supervisor
            )
            told = json.dumps({**job, "board": board.fileno()}) + "\n"
        self._has_its_job = Event()
        self._thread = Thread(target=self._talk, args=(told,), name=f"derloop {unit.name}", daemon=True)
        self._thread.start()

    def _talk(self, job: str) -> None:
        self._tell(job)  # longer than a pipe holds, it waits for the child, which may never read it
        self._has_its_job.set()
        for line in cast("IO[str]", self.process.stdout):
            self._lines.put(line)

    def _tell(self, line: str) -> None:
        assert self.process.stdin
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
        except (OSError, ValueError):
            return  # it has gone, and is about to be noticed

    @property
    def now_ns(self) -> int | None:
        """The instant that it is at, by its own word; None before its first step."""
        now_ns = self._board[0]
        return None if now_ns == BEFORE else now_ns

    def check(self, deadlines: Deadlines) -> None:
        """Take in what the child has said; raise FederateError where it failed."""
        code = self.process.poll()
        self._hear()
        if code is not None and not self._has_spoken_last:
            self._thread.join(LAST_WORDS_S)  # the pipe may still hold what was said last
            self._hear()
        if self.failed:
            raise self.failed
        if self.done:
            return
        if code is not None:
            raise self._error(f"its process (pid {self.process.pid}) {_ending(code)}{self._last_words()}")
        if self._is_stopped():
            raise self._error(f"its process (pid {self.process.pid}) was stopped (SIGSTOP)")
        if (silent_s := monotonic() - self.beat) > self._patience_s(deadlines):
            self.is_lost = True
            raise self._error(f"hangs: nothing was heard of it for {silent_s:.1f} s")

    @property
    def _has_spoken_last(self) -> bool:
        return self.done or self.failed is not None

    def _patience_s(self, deadlines: Deadlines) -> float:
        """Return how long it may be silent. It watches its federates itself, and is given time to say which it is."""
        limits = {"starting": deadlines.join_s, "started": deadlines.step_s, "stopping": self.stop_s}
        return limits[self.stage] + SILENCE_S

    def _hear(self) -> None:
        while not self._lines.empty():
            line = self._lines.get()
            if line.endswith("\n"):  # else it was killed in the middle
                self._take(json.loads(line))

    def _take(self, said: Mapping[str, Any]) -> None:
        self.beat = monotonic()
        if "beat" in said:
            self.stage = said["beat"]
        elif "done" in said:
            self.done, self.statistics = True, said["done"]
        elif "hunting" in said:
            self.hunting.append(Hunting(**{**said["hunting"], "affected": tuple(said["hunting"]["affected"])}))
        elif "asks" in said:
            self.asks_when = True
        elif "complaints" in said:
            self.complaints = said["complaints"]
        elif "failed" in said:
            failed = said["failed"]
            if failed["federate"] is None:
                self.failed = EngineError(f"{self.unit.name}: {failed['why']}")
            else:
                self.failed = FederateError(failed["federate"], failed["now_ns"], failed["why"], failed["inputs"])

    def _is_stopped(self) -> bool:
        try:
            return psutil.Process(self.process.pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        except psutil.Error:
            return False

    def _error(self, why: str) -> FederateError:
        return FederateError(self.unit.name, self.now_ns, why)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f": {lines[-1][:300]}" if lines else ""

    def begin(self, epoch_ns: int) -> None:
        """Tell the child when the instant 0 is due, in `time.monotonic_ns`, which is one for all of this machine."""
        self._tell(f"begin {epoch_ns}\n")

    def end(self) -> None:
        """Ask the child to leave; where it cannot hear, kill it."""
        if self.process.poll() is not None:
            return
        if self.is_lost or not self._has_its_job.is_set() or (self._is_stopped() and not self.unit.blocking):
            self.process.kill()
        else:
            self.process.send_signal(signal.SIGCONT)  # what holds equipment lets go of it first
            self._tell("end\n")

    def ended_by(self, deadline: float) -> bool:
        try:
            self.process.wait(max(0.0, deadline - monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self._thread.join(LAST_WORDS_S)
        self._hear()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                try:
                    pipe.close()
                except OSError:
                    continue  # what was left to say to it has nobody to hear it


class Apart:
    """A federation in processes, from the first to the last of them."""

    def __init__(self, scenario: Scenario, federation: Federation, folder: Path, permissions: Permissions) -> None:
        self._scenario, self._federation = scenario, federation
        self._folder, self._permissions = folder, permissions
        limits = scenario.file.deadlines
        self._deadlines = Deadlines(limits.join_s, limits.step_s)
        self.children: list[Child] = []
        self.complaints: list[str] = []
        self._has_begun = False

    def run(self, on_poll: Callable[[], None]) -> None:
        """Run to the end; raise FederateError with the name of the first federate that failed."""
        broker, port = _broker(len(self._federation.units))
        try:
            on_poll()  # from now on an interruption is heard in polls, and not amid the start of a process
            for unit in self._federation.units:
                log = self._folder / "logs" / f"{unit.members[0]}.log"
                stop_s = STOP_S + self._federation.stop_s([unit])
                self.children.append(Child(unit, self._job(unit, port), log, stop_s))
            self._watch(on_poll)
        finally:
            self._end()
            _close(broker)

    def _job(self, unit: Unit, port: int) -> dict[str, Any]:
        return {
            "path": str(self._scenario.path),
            "document": self._scenario.document,
            "permissions": permissions_to_json(self._permissions),
            "members": unit.members,
            "interfaces": {name: interface_to_json(i) for name, i in self._federation.interfaces.items()},
            "folder": str(self._folder),
            "core_type": CORE_TYPE,
            "core_options": f"--brokerport={port}",
            "until_ns": self._scenario.until_ns,
            "deadlines": {"join_s": self._deadlines.join_s, "step_s": self._deadlines.step_s},
        }

    def _watch(self, on_poll: Callable[[], None]) -> None:
        wait_s = self._federation.longest_wait_s + self._federation.stop_s(self._federation.units)
        began, stall = monotonic(), Stall(self._deadlines, wait_s)
        while not all(child.done for child in self.children):
            self._check_children()
            self._begin_when_asked()
            stages = [child.stage for child in self.children]
            if "starting" in stages and monotonic() - began > self._deadlines.join_s + SILENCE_S:
                late = self.children[stages.index("starting")].unit.name
                raise FederateError(late, None, f"has not joined within {self._deadlines.join_s:g} s")
            stall.check([child.now_ns for child in self.children], stages)
            on_poll()
            sleep(POLL_S)

    def _begin_when_asked(self) -> None:
        """Say when a paced run begins, as soon as one waits for its first instant: all of them have joined then."""
        if not self._has_begun and any(child.asks_when for child in self.children):
            self._has_begun = True
            epoch_ns = monotonic_ns() + round(BEGIN_S * 1e9)
            for child in self.children:
                child.begin(epoch_ns)

    def _check_children(self) -> None:
        """Raise for the child that failed; what HELICS says of it through the others comes second."""
        echo: EngineError | None = None
        for child in self.children:
            try:
                child.check(self._deadlines)
            except EngineError as error:
                echo = echo or error
        if echo:
            sleep(POLL_S)
            for child in self.children:
                child.check(self._deadlines)
            raise echo

    @property
    def now_ns(self) -> int | None:
        """The instant that every unit has reached; None before the first step."""
        reached = [child.now_ns for child in self.children if not child.done]
        return None if None in reached or not reached else min(now for now in reached if now is not None)

    @property
    def hunting(self) -> list[Hunting]:
        """Who hunts over a delayed wire, as far as is known by now."""
        return [hunting for child in self.children for hunting in child.hunting]

    def statistics(self) -> dict[str, Mapping[str, float]]:
        return {name: said for child in self.children for name, said in child.statistics.items()}

    def _end(self) -> None:
        for child in self.children:
            child.end()
        asked = monotonic()
        for child in self.children:
            if not child.ended_by(asked + (child.stop_s if child.unit.blocking else 0) + END_S):
                self.complaints.append(f"federate {child.unit.name!r} did not leave and was killed")
                child.kill()
            child.close()
            self.complaints += child.complaints


def _ending(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with status {code}" if code else "left before the end of the run"


def _free_ports(count: int) -> int:
    """Return the first of `count` neighbouring ports that are free on loopback.

    HELICS takes two for the broker, leaves three, and gives one to each core when it joins, seconds later. So they lie
    where the system takes none for outgoing connections meanwhile, and not where other people's HELICS looks first.
    """
    for _ in range(100):
        port = PORTS.start + secrets.randbelow(len(PORTS) - count)
        if not (port < HELICS_PORTS.stop and HELICS_PORTS.start < port + count) and _are_free(port, count):
            return port
    raise EngineError(f"no {count} neighbouring ports are free on 127.0.0.1")


def _are_free(first: int, count: int) -> bool:
    with ExitStack() as stack:
        for port in range(first, first + count):
            try:
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def _broker(units: int) -> tuple[helics.Broker, int]:
    for attempt in range(TRIES):
        port = _free_ports(BROKER_PORTS + units)
        try:
            return helics.Broker(units, CORE_TYPE, f"--port={port}"), port
        except EngineError:
            if attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _close(broker: helics.Broker) -> None:
    """Close the broker, but do not wait for ever: HELICS may wait for federates that are dead."""
    thread = Thread(target=broker.close, name="derloop broker", daemon=True)
    thread.start()
    thread.join(CLOSE_S)
