"""What a host writes into its part of the run's folder, copied to the run while it grows.

Files only grow, as series and logs do; so a host that dies has left all but the last moment of them where the run was
started. At the end sizes and digests are compared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from derloop.hosts.channel import Malformed

PIECE_BYTES = 2**20
PATH = re.compile(r"(?!\.)[\w@+,=%. -]{1,200}(/(?!\.)[\w@+,=%. -]{1,200}){0,6}")
MAX_FILES = 100_000


def plain(path: object) -> str:
    """Return `path` where it cannot lead out of the folder that it starts in; raise Malformed otherwise."""
    if not isinstance(path, str) or not PATH.fullmatch(path) or ".." in path:
        raise Malformed(f"{str(path)[:80]!r} is no path below a run's folder")
    return path


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

    def take(self, path: object, at: int, data: bytes) -> None:
        """Write a piece where it belongs; raise Malformed where it cannot belong there."""
        path = plain(path)
        if at != self._sizes.get(path, 0):
            raise Malformed(f"a piece of {path} begins at {at}, expected {self._sizes.get(path, 0)}")
        with self._opened(path) as file:
            file.write(data)
        self._sizes[path] = at + len(data)

    def _opened(self, path: str) -> BinaryIO:
        target = self._folder / path
        if path in self._sizes:
            return target.open("ab")
        if len(self._sizes) >= MAX_FILES:
            raise Malformed(f"more than {MAX_FILES} files")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(self._folder):
            raise Malformed(f"{path} would be outside of the run's folder")
        try:
            return target.open("xb")
        except FileExistsError as error:
            raise Malformed(f"{path} is there already") from error

    def incomplete(self, digests: Mapping[str, str]) -> list[str]:
        """Return the files that are not here as they are on the host."""
        return [path for path, digest in digests.items() if not self._is(path, digest)]

    def _is(self, path: str, digest: str) -> bool:
        return path in self._sizes and _digest(self._folder / path) == digest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
