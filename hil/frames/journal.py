"""The journal of frames, as it is written while a session goes on: one for many devices.

What a tap notes is in memory for half a second at most, then in the file, where it outlives the process. A thread
writes, so that an exchange never waits for a disk; only when the thread is `BACKLOG_BYTES` behind, whoever notes waits
for it: memory is bounded, and nothing is left out.

    journal = Journal(folder / "frames" / "inverters.frames")
    tap = journal.tap(Peer.at("inv-1", endpoint, unit=1))   # of a connection; of a bus: all its peers
    journal.instant_ns = now_ns      # at the begin of each step
    journal.close()                  # after the links
"""

from __future__ import annotations

import fcntl
import os
from io import FileIO
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic_ns, time_ns
from types import TracebackType
from typing import Self

from derloop.errors import DerloopError
from hil.frames.layout import BEFORE, CODES, ENTRY, Peer, block, header, introduction, told
from hil.modbus.framing import MBAP
from hil.modbus.tap import Direction, Tap

FOLDER, SUFFIX = "frames", ".frames"
HELD_S = 0.5
"""How long an entry may wait in memory."""
FULL_BYTES = 1 << 18
"""A block holds about so much."""
BACKLOG_BYTES = 1 << 22


def journal_path(run: Path, federate: str) -> Path:
    """Return where the frames of `federate` stand in the folder of a run."""
    return run / FOLDER / f"{federate}{SUFFIX}"


class Journal:
    """Appends frames to the file `path`, which must not exist; its folder is made.

    `instant_ns` is the scenario's instant, which stands beside the wall's time in every entry; None before the first.
    Taps may be called from several threads. Raises: DerloopError when the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.instant_ns: int | None = None
        self._buffer, self._lock = bytearray(), Lock()
        self._writing, self._wanted, self._closing = Lock(), Event(), False
        self._peers: dict[Peer, int] = {}
        self._lost_bytes, self._why, self._untold = 0, "", 0
        self._file = _opened(path)
        self._thread = Thread(target=self._write_when_due, name=f"frames {path.stem}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def failure(self) -> str:
        """What was lost, and why; empty while everything could be written."""
        return f"{self.path}: {self._lost_bytes} bytes of frames were lost: {self._why}" if self._lost_bytes else ""

    def tap(self, *peers: Peer) -> Tap:
        """Return what notes the frames of a connection, as those of the peer behind it that has the frame's unit.

        What is no frame, or of another unit, is noted as of the first. After `close` nothing is noted.
        """
        numbers = {peer.unit: self._number(peer) for peer in peers}
        first, note, at = numbers[peers[0].unit], self._note, 6 if peers[0].framing is MBAP else 0

        def of_one(direction: Direction, data: bytes) -> None:
            note(first, direction, data)

        def of_several(direction: Direction, data: bytes) -> None:
            note(numbers.get(data[at], first) if len(data) > at else first, direction, data)

        return of_one if len(numbers) == 1 else of_several

    def flush(self) -> None:
        """Write what is held. What cannot be written is lost, counted, and told in the next block that can."""
        with self._writing:
            with self._lock:
                entries, self._buffer = self._buffer, bytearray()
            if entries and not self._file.closed:
                self._append(entries)

    def close(self) -> None:
        """Write what is left and close; closing again does nothing.

        Raises: DerloopError where frames were lost.
        """
        if self._file.closed:
            return
        self._closing = True
        self._wanted.set()
        self._thread.join()
        self.flush()
        self._file.close()
        if self.failure:
            raise DerloopError(self.failure)

    def _note(self, number: int, direction: Direction, data: bytes) -> None:
        instant_ns = self.instant_ns
        at_ns, code = BEFORE if instant_ns is None else instant_ns, CODES[direction]
        with self._lock:
            buffer = self._buffer
            buffer += ENTRY.pack(time_ns(), monotonic_ns(), at_ns, number, code, len(data))
            buffer += data
            held = len(buffer)
        if held > FULL_BYTES:
            self._hurry(held)

    def _number(self, peer: Peer) -> int:
        with self._lock:
            if peer not in self._peers:
                self._peers[peer] = len(self._peers)
                self._buffer += introduction(self._peers[peer], peer, time_ns(), monotonic_ns())
            return self._peers[peer]

    def _hurry(self, held: int) -> None:
        """Have a full block written; by whoever notes, where the thread does not keep up."""
        if held > BACKLOG_BYTES:
            self.flush()
        else:
            self._wanted.set()

    def _write_when_due(self) -> None:
        while not self._closing:
            self._wanted.wait(HELD_S)
            self._wanted.clear()
            self.flush()

    def _append(self, entries: bytearray) -> None:
        """Append one block, whole or not at all."""
        if self._untold:
            entries = self._what_was_lost() + entries
        end = self._file.tell()
        try:
            _write_all(self._file, block(entries))
            self._untold = 0
        except OSError as error:
            self._file.seek(end)
            self._file.truncate()
            self._lost_bytes += len(entries)
            self._untold += len(entries)
            self._why = error.strerror or str(error)

    def _what_was_lost(self) -> bytearray:
        """Return the entry that says it, and every peer anew: introductions may have been among it."""
        now = time_ns(), monotonic_ns()
        said = told({"lost_bytes": self._untold, "why": self._why}, *now)
        with self._lock:
            return bytearray().join([said, *(introduction(n, peer, *now) for peer, n in self._peers.items())])


def _opened(path: Path) -> FileIO:
    """Make the file with its header, and lock it for as long as it is written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_all(file, header(time_ns(), monotonic_ns()))
    except FileExistsError as error:
        if not path.parent.is_dir():
            raise DerloopError(f"cannot keep frames in {path}: {path.parent} is no folder") from error
        raise DerloopError(f"{path} is there already; a journal of frames is never written over") from error
    except OSError as error:
        raise DerloopError(f"cannot keep frames in {path}: {error.strerror}") from error
    os.set_inheritable(file.fileno(), False)
    return file


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
