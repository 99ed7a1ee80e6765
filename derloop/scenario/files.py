"""Which files a scenario names: profiles, feeders with all that they redirect to, tariffs with their prices, runs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from itertools import product
from os.path import normpath
from pathlib import Path
from typing import TypeAlias

from derloop.errors import DerloopError
from derloop.kind import Names
from derloop.scenario.naming import Name, guessed, marked
from derloop.validation import read_model

DSS_WORD = re.compile(r"""[^\s="'()\[\]{},|]+""")
DSS_QUOTED = re.compile(r""""([^"\n]+)"|'([^'\n]+)'""")
DSS_BRACKETED = re.compile(r"\(([^()\n]+)\)|\[([^\[\]\n]+)\]|\{([^{}\n]+)\}")
DSS_RUN = re.compile(r"^\s*(?:red\w*|c\w*)\b(.*)", re.IGNORECASE | re.MULTILINE)
"""What follows `redirect` or `compile`, which may be abbreviated so far that other commands are like them."""
PLAIN, FEEDER = Names(), Names(is_run=True)
Found: TypeAlias = tuple[Path, Names | None]
"""A file, and as what it is named; None: that is told by its own name."""
MAX_FILES = 10_000
MAX_PATH = 4096
LEFT = ({"run.json", "events.jsonl"}, {"sweep.json", ".lock"}, {"golden.json"})
"""By which files the folder of a run is known, that of a sweep, and that of golden results."""


def named(folder: Path, names: Iterable[Name], trust_feeder: bool = False) -> set[Found]:
    """Return every file inside a resolved `folder` that `names`, of a scenario, lead to.

    A folder is all that is in it. A feeder that is trusted may lie, and lead, outside of the folder.
    """
    found: set[Found] = set()
    feeders = Path(folder.anchor) if trust_feeder else folder
    for what, text in names:
        is_feeder = what is not None and what.is_run
        path = inside(text, folder, feeders if is_feeder else folder)
        if path is not None and path.is_dir() and not is_feeder:
            found.update((each, PLAIN) for each in path.rglob("*") if _is_content(each, path))
        elif path is not None:
            _follow((path, what), folder, feeders, found)
    if len(found) > MAX_FILES:
        raise DerloopError(f"the scenario in {folder} names {len(found)} files, more than {MAX_FILES}")
    return found


def _is_content(path: Path, folder: Path) -> bool:
    """Return whether it is a file of a folder, and neither a link nor hidden, as what file managers leave."""
    is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.is_file() and not path.is_symlink() and not is_hidden


def _follow(file: Found, folder: Path, feeders: Path, found: set[Found]) -> None:
    """Add a file and what it names in turn: a feeder, which OpenDSS runs, or a document.

    feeders: the folder in which what feeders name may lie.
    """
    path, what = file
    if file in found or not path.is_file():
        return
    found.add(file)
    for other in _of_feeder(path, feeders) if is_run(path, what) else _of_document(path, what, folder):
        _follow(other, folder, feeders, found)


def _of_feeder(path: Path, folder: Path) -> Iterator[Found]:
    """Yield what a feeder names, and whether that is run: what it redirects to is, whatever its name."""
    try:
        text = path.read_text(errors="replace")
    except PermissionError:
        return  # OpenDSS cannot read it either
    run = _dss_words("\n".join(DSS_RUN.findall(text)))
    for word, base in product(_dss_words(text), {path.parent, path.resolve().parent}):
        if (other := inside(word.replace("\\", "/"), base, folder)) is not None:
            yield other, FEEDER if word in run or is_run(other, None) else PLAIN


def _of_document(path: Path, what: Names | None, folder: Path) -> Iterator[Found]:
    """Yield what a file names that is read as a model, or may name where nothing says as what it is read.

    From the scenario's folder, as tariffs do; where nothing says so, from the file's own too, as emulator files do.
    """
    bases = {folder} if what else {folder, path.parent}
    for (inner, text), base in product(_named_in(path, what), bases):
        if (other := inside(text, base, folder)) is not None:
            yield other, inner


def _named_in(path: Path, what: Names | None) -> set[Name]:
    """Return what stands in a file that names others; whoever needs the file says what is wrong with it."""
    try:
        if what and what.holds:
            return {*marked(read_model(what.holds, path))}
        if what is None and path.suffix.lower() == ".json":
            return {*guessed(json.loads(path.read_bytes()))}
    except (DerloopError, PermissionError, ValueError, RecursionError):
        pass
    return set()


def _dss_words(text: str) -> set[str]:
    """Return the words of a file of OpenDSS, and what stands in quotes of any kind there, which may have blanks."""
    quoted = ["".join(parts) for pattern in (DSS_QUOTED, DSS_BRACKETED) for parts in pattern.findall(text)]
    return {*DSS_WORD.findall(text), *quoted}


def inside(text: str, base: Path, folder: Path) -> Path | None:
    """Return what a text names, seen from `base`, where that is there and inside `folder`; both are resolved.

    It is returned as it is written, also where that is a link: by this name it is looked for.
    """
    if not text or len(text) > MAX_PATH or "\0" in text:
        return None
    try:
        path, written = (base / text).resolve(), Path(normpath(base / text))
        if not path.is_relative_to(folder) or path == folder or not path.exists():
            return None
        return written if written.is_relative_to(folder) and written.resolve() == path else path
    except (OSError, RuntimeError):
        return None


def is_run(path: Path, what: Names | None) -> bool:
    """Return whether it is run by OpenDSS, which may redirect to others."""
    return path.suffix.lower() == ".dss" if what is None else what.is_run


def beside_feeder(path: Path) -> Iterator[Path]:
    """Yield the files that lie in a feeder's folder and may be of it, itself among them.

    Not of it are JSON, as scenarios and sweeps are, what is hidden, and the folders of runs, sweeps and golden results.
    """
    for place, inner, names in os.walk(path.parent):
        if any(left.issubset(names) for left in LEFT) and Path(place) != path.parent:
            inner.clear()
            continue
        inner[:] = [name for name in inner if not name.startswith(".")]
        found = (Path(place, name) for name in names if not name.startswith("."))
        yield from (each for each in found if each.suffix.lower() != ".json" and each.is_file())
