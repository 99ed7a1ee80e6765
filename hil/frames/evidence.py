"""Frames, read from the journals of a session: while it goes on, after it has ended, and after it was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from heapq import merge
from pathlib import Path
from typing import BinaryIO, NoReturn

from pydantic import TypeAdapter

from derloop.errors import DerloopError
from hil.frames.journal import FOLDER, SUFFIX
from hil.frames.layout import BEFORE, BLOCK, DIRECTIONS, FORMAT, LONGEST_BLOCK, MARK, TOLD, Entry, Peer, is_whole, split

LONGEST_HEADER = 1 << 16
WINDOW = 1 << 20
"""Bytes that are looked through at once for the next block."""


class JournalFile:
    """One journal. `lost` says what its writer could not write and what is damaged, `unread` what is not whole.

    Both are known once the entries have been read. Behind what is damaged it is read on, from the next whole block;
    frames of peers that were introduced there are left out. Raises: DerloopError for a file that is no journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost: list[str] = []
        self.unread = 0
        """Bytes at the end that are no whole block: the writer was killed, or writes just now."""
        with path.open("rb") as file:
            _check_header(path, file)

    def entries(self) -> Iterator[Entry]:
        """Yield what was noted, in its order; holds one block at a time."""
        self.lost.clear()
        peers: dict[int, Peer] = {}
        strangers = 0
        with self.path.open("rb") as file:
            _check_header(self.path, file)
            for entries in self._blocks(file):
                for (wall_ns, monotonic_ns, instant_ns, number, what), data in split(entries):
                    if what == TOLD:
                        self._hear(data, peers)
                    elif what in DIRECTIONS:
                        instant = None if instant_ns == BEFORE else instant_ns
                        if peer := peers.get(number):
                            yield Entry(wall_ns, monotonic_ns, instant, peer, DIRECTIONS[what], data)
                        elif self.lost:
                            strangers += 1
                        else:
                            self._refuse(number)
        if strangers:
            self.lost.append(f"{strangers} frames are of peers that were introduced in what is lost")

    def _blocks(self, file: BinaryIO) -> Iterator[bytes]:
        size = self.path.stat().st_size
        while True:
            at = file.tell()
            self.unread = size - at
            entries = _whole(file)
            if entries is None:
                following = _next_whole(file, at + 1)
                if following is None:
                    return
                self.lost.append(f"{following - at} bytes from {at} on are damaged")
                file.seek(following)
            else:
                yield entries

    def _hear(self, data: bytes, peers: dict[int, Peer]) -> None:
        try:
            match json.loads(data):
                case {"number": int(number), "peer": peer}:
                    peers[number] = TypeAdapter(Peer).validate_python(peer)
                case {"lost_bytes": int(lost), "why": str(why)}:
                    self.lost.append(f"{lost} bytes of frames were lost: {why}")
        except ValueError as error:
            raise DerloopError(f"{self.path} says something that is not understood: {data[:100]!r}") from error

    def _refuse(self, number: int) -> NoReturn:
        raise DerloopError(f"{self.path} has a frame of peer {number}, which it has not introduced")


class Evidence:
    """All frames of a run, of all its federates, in one order.

    `path` is the folder of a run, or one journal. Raises: DerloopError where there is no journal that can be read.
    """

    def __init__(self, path: Path) -> None:
        self.files: list[JournalFile] = []
        self._unreadable: list[str] = []
        for each in _journals(path):
            try:
                self.files.append(JournalFile(each))
            except DerloopError as error:
                self._unreadable.append(str(error))
        if not self.files:
            raise DerloopError("\n".join(self._unreadable))

    def entries(self) -> Iterator[Entry]:
        """Yield what was noted in the order of the host's monotonic clock."""
        return merge(*(file.entries() for file in self.files), key=lambda entry: entry.monotonic_ns)

    def doubts(self) -> list[str]:
        """Return what is known to be missing, in words, once the entries have been read."""
        said = list(self._unreadable)
        for file in self.files:
            said += [f"{file.path.name}: {lost}" for lost in file.lost]
            if file.unread:
                said.append(f"{file.path.name}: {file.unread} bytes at its end are no whole block")
        return said


def _journals(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted((path / FOLDER).glob(f"*{SUFFIX}")) or sorted(path.glob(f"*{SUFFIX}"))
    if not found:
        raise DerloopError(f"{path} has no frames: a run leaves them in {FOLDER}/ when it speaks to equipment")
    return found


def _whole(file: BinaryIO) -> bytes | None:
    """Return the entries of the block that begins here, and leave `file` behind it; None where no whole one does."""
    head = file.read(BLOCK.size)
    if len(head) < BLOCK.size:
        return None
    mark, length, _ = BLOCK.unpack(head)
    entries = file.read(length) if mark == MARK and length <= LONGEST_BLOCK else b""
    return entries if is_whole(head, entries) else None


def _next_whole(file: BinaryIO, at: int) -> int | None:
    """Return where the first whole block begins, at `at` or later."""
    while True:
        file.seek(at)
        window = file.read(WINDOW)
        found = window.find(MARK)
        if found < 0 and len(window) < len(MARK):
            return None
        if found < 0:
            at += len(window) - len(MARK) + 1
            continue
        file.seek(at + found)
        if _whole(file) is not None:
            return at + found
        at += found + 1


def _check_header(path: Path, file: BinaryIO) -> None:
    """Leave `file` behind its header."""
    line = file.readline(LONGEST_HEADER)
    try:
        said = json.loads(line)
        found = said.get("format") if isinstance(said, dict) else None
    except ValueError:
        found = None
    if not line.endswith(b"\n") or found != FORMAT:
        raise DerloopError(f"{path} is no journal of frames that this derloop reads ({FORMAT}): {line[:40]!r}")
