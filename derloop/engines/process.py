"""A crew's process on this machine, and how a process is reached wherever it is."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
from collections.abc import Mapping
from mmap import mmap
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Thread
from time import monotonic
from typing import IO, Any, Protocol, cast

import psutil

from derloop.engines.link import Link
from derloop.engines.stepping import BEFORE
from derloop.engines.worker import BOARD_BYTES

LAST_WORDS_S = 1.0
"""How long to read what a process that has ended has said."""


class Reach(Protocol):
    """A process that runs a unit, here or on another host, as its supervisor reaches it."""

    @property
    def now_ns(self) -> int | None:
        """The instant that it is at, by its own word; None before its first step."""
        ...

    @property
    def at_work(self) -> int:
        """The number of the federate that is or was last at work there, among those of its crew."""
        ...

    def begin(self, epoch_ns: int) -> None:
        """Tell when the instant 0 of a paced run is due, by `time.monotonic_ns` of this machine."""
        ...

    def heard(self) -> list[str]:
        """Return the lines that it has said since this was called last."""
        ...

    @property
    def whose(self) -> str:
        """Which process it is, for messages: "its process (pid 4711)"."""
        ...

    @property
    def where(self) -> str:
        """On which host it is, for messages: " on host 'lab'"; empty for this one."""
        ...

    def gone(self) -> str | None:
        """Return how the process has ended, with all that it said heard; None while it lives."""
        ...

    def is_stopped(self) -> bool:
        """Return whether a signal has stopped it, so that nothing can be heard."""
        ...

    def last_words(self) -> str:
        """Return the last line of its log, for the end of a message."""
        ...

    def end(self, is_lost: bool) -> None:
        """Ask the process to leave; where it cannot hear (`is_lost`: it hangs), kill it."""
        ...

    def ended_by(self, deadline: float) -> bool:
        """Return whether it has ended by `deadline` of `time.monotonic`, waiting until then."""
        ...

    def kill(self) -> None: ...

    def close(self) -> None: ...


def is_of_part(line: str) -> bool:
    """Return whether a line that a process says is a piece of a unit's state (`Supervisor.say_part`)."""
    return line.startswith('{"part"')


class Process:
    """A process on this machine: pipes for what is said, a page of memory for the instant, a file for its log."""

    where = ""

    def __init__(self, name: str, job: Mapping[str, Any], log: Path, is_holding: bool, link: Link) -> None:
        """is_holding: it may hold equipment, and is woken rather than killed where it is stopped.

        link: by which it is given its turns.
        """
        self._is_holding, self._log = is_holding, log
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors, TemporaryFile() as board:
            board.write(BEFORE.to_bytes(8, sys.byteorder, signed=True).ljust(BOARD_BYTES, b"\0"))
            board.flush()
            self._board = memoryview(mmap(board.fileno(), BOARD_BYTES)).cast("q")
            self._process = subprocess.Popen(
                [sys.executable, "-m", "derloop.engines.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                pass_fds=[board.fileno(), *link.passed.values()],
                process_group=0,  # a terminal's Ctrl-C and Ctrl-Z are for the supervisor
            )
            told = json.dumps({**job, "board": board.fileno(), "link": link.passed}) + "\n"
        link.pass_on()
        self._has_its_job = Event()
        self._thread = Thread(target=self._talk, args=(told,), name=f"derloop {name}", daemon=True)
        self._thread.start()

    def _talk(self, job: str) -> None:
        self._tell(job)  # longer than a pipe holds, it waits for the child, which may never read it
        self._has_its_job.set()
        for line in cast("IO[str]", self._process.stdout):
            self._lines.put(line)

    def _tell(self, line: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except (OSError, ValueError):
            return  # it has gone, and is about to be noticed

    def begin(self, epoch_ns: int) -> None:
        self._tell(f"begin {epoch_ns}\n")

    @property
    def now_ns(self) -> int | None:
        now_ns = self._board[0]
        return None if now_ns == BEFORE else now_ns

    @property
    def at_work(self) -> int:
        return self._board[1]

    def heard(self) -> list[str]:
        lines = []
        while not self._lines.empty():
            lines.append(self._lines.get())
        return lines

    @property
    def whose(self) -> str:
        return f"its process (pid {self._process.pid})"

    def gone(self) -> str | None:
        code = self._process.poll()
        if code is None:
            return None
        self._thread.join(LAST_WORDS_S)  # the pipe may still hold what was said last
        return _ending(code)

    def is_stopped(self) -> bool:
        try:
            return psutil.Process(self._process.pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        except psutil.Error:
            return False

    def last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f": {lines[-1][:300]}" if lines else ""

    def end(self, is_lost: bool) -> None:
        if self._process.poll() is not None:
            return
        if is_lost or not self._has_its_job.is_set() or (self.is_stopped() and not self._is_holding):
            self._process.kill()
        else:
            self._process.send_signal(signal.SIGCONT)  # what holds equipment lets go of it first
            self._tell("end\n")

    def ended_by(self, deadline: float) -> bool:
        try:
            self._process.wait(max(0.0, deadline - monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self._thread.join(LAST_WORDS_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                try:
                    pipe.close()
                except OSError:
                    continue  # what was left to say to it has nobody to hear it


def _ending(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with status {code}" if code else "left before the end of the run"
