"""What a host writes into its part of the run's folder, copied to the run while it grows.

Files only grow, as series and logs do; so a host that dies has left all but the last moment of them where the run was
started. At the end sizes and digests are compared.

Where a run is taken up again, its folder has the beginning of each stream, and the host records the rest as a stream of
its own. That begins with the schema, as every Arrow stream, which the run's has already: the rest is appended without.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path

from derloop.hosts.channel import Malformed

PIECE_BYTES = 2**20
MOST_PARTS, MOST_CHARS = 32, 255
MAX_FILES = 100_000
PREFIX_BYTES = 8


def plain(path: object) -> str:
    """Return `path` where it cannot lead out of the folder that it starts in; raise Malformed otherwise.

    Its parts are printable, and none is hidden: one that begins with a dot.
    """
    parts = path.split("/") if isinstance(path, str) else []
    if not 0 < len(parts) <= MOST_PARTS or not all(map(_is_plain, parts)):
        raise Malformed(f"{str(path)[:80]!r} is no path of printable names, none hidden, below a run's folder")
    return str(path)


def _is_plain(part: str) -> bool:
    return 0 < len(part) <= MOST_CHARS and part[0] != "." and part.isprintable() and "\\" not in part


class Source:
    """The files of a folder, as they grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sent: dict[str, int] = {}

    def pieces(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield what has come since: path from the folder, where in the file it stands, the bytes."""
        for path in self._paths():
            with (self._folder / path).open("rb") as file:
                file.seek(self._sent.get(path, 0))
                while (piece := file.read(PIECE_BYTES)) or path not in self._sent:  # an empty file is one, too
                    at = self._sent.get(path, 0)
                    self._sent[path] = at + len(piece)
                    yield path, at, piece

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of every file."""
        return {path: _digest(self._folder / path) for path in self._paths()}

    def _paths(self) -> list[str]:
        found = sorted(p for p in self._folder.rglob("*") if p.is_file() and not p.is_symlink())
        return [str(path.relative_to(self._folder)) for path in found]


class Copies:
    """The files of one host in the run's folder. Refuses what would leave the folder, or touch a file of others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._sizes: dict[str, int] = {}
        self._begun: dict[str, _Begun] = {}
        self._kept: set[str] = set()
        """Of an earlier attempt at the run, and the same now."""

    def go_on(self, path: str) -> None:
        """Append what comes of a stream to what is there of it, if anything is."""
        if (self._folder / path).exists():
            self._begun[path] = _Begun((self._folder / path).stat().st_size)

    def take(self, path: object, at: int, data: bytes) -> None:
        """Write a piece where it belongs; raise Malformed where it cannot belong there."""
        path = plain(path)
        if at != self._sizes.get(path, 0):
            raise Malformed(f"a piece of {path} begins at {at}, expected {self._sizes.get(path, 0)}")
        if at == 0 and self._is_there(path, data):
            self._kept.add(path)
        else:
            self._append(path, self._begun[path].rest(data) if path in self._begun else data)
        self._sizes[path] = at + len(data)

    def _is_there(self, path: str, data: bytes) -> bool:
        target = self._folder / path
        is_other = path not in self._sizes and path not in self._begun and target.is_file()
        return is_other and target.stat().st_size == len(data) and target.read_bytes() == data

    def _append(self, path: str, data: bytes) -> None:
        """Write a piece whole or not at all: a disk that is full has then room for how the run has ended."""
        with self._opened(path) as file:
            before, rest = file.tell(), memoryview(data)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                with suppress(OSError):  # a disk that has gone cuts nothing off either
                    file.truncate(before)
                raise

    def _opened(self, path: str) -> FileIO:
        target = self._folder / path
        if path in self._kept:
            raise Malformed(f"{path} is there already")
        if path in self._sizes or path in self._begun:
            return target.open("ab", buffering=0)
        if len(self._sizes) >= MAX_FILES:
            raise Malformed(f"more than {MAX_FILES} files")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(self._folder):
            raise Malformed(f"{path} would be outside of the run's folder")
        try:
            return target.open("xb", buffering=0)
        except FileExistsError as error:
            raise Malformed(f"{path} is there already") from error

    def incomplete(self, digests: Mapping[str, str]) -> list[str]:
        """Return the files that are not here as they are on the host."""
        return [path for path, digest in digests.items() if not self._is(path, digest)]

    def _is(self, path: str, digest: str) -> bool:
        begun = self._begun.get(path)
        head, size = (begun.head, begun.size) if begun else (b"", 0)
        return path in self._sizes and _digest(self._folder / path, head, size) == digest


class _Begun:
    """A stream of which the run's folder has the beginning."""

    def __init__(self, size: int) -> None:
        """size: of the beginning, bytes."""
        self.size, self.head = size, b""
        self._is_past = False

    def rest(self, data: bytes) -> bytes:
        """Return what of the host's next bytes is to be appended: all that stands behind its schema.

        That is the first message: 4 bytes of ones, 4 with the length of what follows.
        """
        if self._is_past:
            return data
        self.head += data
        length = PREFIX_BYTES + int.from_bytes(self.head[4:PREFIX_BYTES], "little")
        self._is_past = len(self.head) >= max(length, PREFIX_BYTES + 1)
        if not self._is_past:
            return b""
        self.head, rest = self.head[:length], self.head[length:]
        return rest


def _digest(path: Path, head: bytes = b"", skipped: int = 0) -> str:
    """Return the SHA-256 of `head` and of a file behind its first bytes."""
    digest = hashlib.sha256(head)
    with path.open("rb") as file:
        file.seek(skipped)
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
