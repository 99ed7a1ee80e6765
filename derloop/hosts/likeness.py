"""What must be alike on every host of a run, or its results would depend on who computed what.

Compared are the versions of Python and of the packages that results depend on, the kind of machine, and the SHA-256 of
the scenario's file and of every file that it names, feeders with all that they redirect to.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from derloop.errors import DerloopError
from derloop.installed import versions

DSS_WORD = re.compile(r"""[^\s="'()\[\]{},|]+""")
MAX_FILES = 10_000
Hashes = Mapping[str, str]
"""SHA-256 of each file, by its path from the scenario's folder."""


def facts() -> dict[str, str]:
    """Return what is told of this machine: versions, and what computes."""
    return {**versions(), "machine": platform.machine(), "system": platform.system()}


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """Return every difference between two machines' facts, named: "numpy is 2.0 there, 2.1 here"."""
    return [
        f"{name} is {there.get(name, 'unknown')} there, {here.get(name, 'unknown')} here"
        for name in dict.fromkeys([*here, *there])
        if here.get(name) != there.get(name)
    ]


def file_differences(here: Hashes, there: Mapping[str, str | None]) -> list[str]:
    """Return every file that is missing or another one there."""
    return [
        f"{path} is missing there" if there.get(path) is None else f"{path} is another file there"
        for path, digest in here.items()
        if there.get(path) != digest
    ]


def named_files(scenario: Path, document: Any) -> list[str]:
    """Return the scenario's file and every file inside its folder that `document` names, from that folder.

    A text may name a file, a folder with all that is in it, or hold such a name after a colon (`replay:frames`).
    """
    folder = scenario.resolve().parent
    found = {scenario.resolve()}
    for text in _texts(document):
        for part in (text, text.partition(":")[2]):
            path = _inside(part, folder, folder)
            if path is not None and path.is_dir():
                found.update(each for each in path.rglob("*") if each.is_file() and not each.is_symlink())
            elif path is not None:
                _follow(path, folder, found)
    if len(found) > MAX_FILES:
        raise DerloopError(f"{scenario} names {len(found)} files, more than {MAX_FILES}")
    return sorted(str(path.relative_to(folder)) for path in found)


def _follow(path: Path, folder: Path, found: set[Path]) -> None:
    """Add a file, and what it redirects to if it is a feeder."""
    if path in found or not path.is_file():
        return
    found.add(path)
    if path.suffix.lower() == ".dss":
        for word in set(DSS_WORD.findall(path.read_text(errors="replace"))):
            if (redirected := _inside(word.replace("\\", "/"), path.parent, folder)) is not None:
                _follow(redirected, folder, found)


def _inside(text: str, base: Path, folder: Path) -> Path | None:
    if not text or len(text) > 255 or "\0" in text:
        return None
    try:
        path = (base / text).resolve()
        return path if path.is_relative_to(folder) and path != folder and path.exists() else None
    except (OSError, RuntimeError):
        return None


def hashes(folder: Path, paths: list[str]) -> dict[str, str | None]:
    """Return the SHA-256 of each path below `folder`; None where there is no file inside it."""
    return {path: _hash(folder, path) for path in paths}


def _hash(folder: Path, path: str) -> str | None:
    file = _inside(path, folder, folder.resolve())
    if file is None or not file.is_file():
        return None
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _texts(inner)
