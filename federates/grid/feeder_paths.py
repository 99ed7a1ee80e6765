"""Where a path in a feeder leads, and whether that is still inside the feeder's folder.

OpenDSS expands a path as text first (``a/../b`` is ``b``), the operating system follows links, and on Unix
the engine takes a backslash for a slash in some places and not in others. A path is good only if every
reading of it stays inside.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.()#&',+\- /\\]+")
MAX_SCRIPT_BYTES: Final = 32 * 2**20
MAX_DATA_BYTES: Final = 512 * 2**20


class PathRefusedError(Exception):
    """Says why a path is not followed; caught by the scan, which knows file and line."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder that a feeder may read; ``root`` is its real name."""

    root: Path

    def find(self, written: str, directory: str, *, script: bool = False) -> str:
        """Return the path of the file that ``written`` names from ``directory``, or raise PathRefusedError.

        The path is returned as OpenDSS spells it, links and all, because what that file reads is relative to
        this spelling's folder. ``script``: OpenDSS adds ``.dss`` where there is no such file.
        """
        if not _PLAIN.fullmatch(written):
            raise PathRefusedError(f"path '{shown(written)}' has a character that is not allowed in a path")
        path = self._inside(written, directory)
        for candidate in (path, path + ".dss") if script else (path,):
            if Path(candidate).is_file():
                self._require_inside(candidate, written)
                _require_size(candidate, MAX_SCRIPT_BYTES if script else MAX_DATA_BYTES)
                return candidate
        raise PathRefusedError(f"file '{written}' does not exist, or is no regular file")

    def relative(self, path: str) -> str:
        """Return how the file is named to people: relative to the root, as far as it is inside."""
        return os.path.relpath(path, self.root).replace(os.sep, "/")

    def _inside(self, written: str, directory: str) -> str:
        """Return the path with its ``..`` taken as text, having made sure of every other way to read it."""
        slashed = str(Path(directory, written.replace("\\", "/")))
        lexical = os.path.normpath(slashed)
        for reading in (slashed, lexical):
            self._require_inside(reading, written)
        if os.path.realpath(slashed) != os.path.realpath(lexical):
            raise PathRefusedError(f"path '{written}' goes up through a link, and may be read in two ways")
        if "\\" in written and os.path.lexists(Path(directory, written)):
            raise PathRefusedError(f"path '{written}' is also the name of a file with a backslash in it")
        return lexical

    def _require_inside(self, path: str, written: str) -> None:
        if not Path(os.path.realpath(path)).is_relative_to(self.root):
            raise PathRefusedError(f"path '{written}' leads outside the feeder's folder")


def shown(text: str) -> str:
    """Return foreign text fit for a message: short, and without control characters."""
    return ascii(text[:60])[1:-1] + ("..." if len(text) > 60 else "")


def _require_size(path: str, limit: int) -> None:
    size = Path(path).stat().st_size
    if size > limit:
        raise PathRefusedError(f"file of {size} bytes is larger than the {limit} bytes that are accepted")
