"""Which files a scenario names: profiles, feeders with all that they redirect to, tariffs with their prices, runs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from os.path import normpath
from pathlib import Path

from derloop.errors import DerloopError
from derloop.scenario.models import ScenarioFile

DSS_WORD = re.compile(r"""[^\s="'()\[\]{},|]+""")
DSS_QUOTED = re.compile(r""""([^"\n]+)"|'([^'\n]+)'""")
DSS_BRACKETED = re.compile(r"\(([^()\n]+)\)|\[([^\[\]\n]+)\]|\{([^{}\n]+)\}")
DSS_RUN = re.compile(r"^\s*(?:red\w*|c\w*)\b(.*)", re.IGNORECASE | re.MULTILINE)
"""What follows `redirect` or `compile`, which may be abbreviated so far that other commands are like them."""
SCHEMA = ".schema.json"
"""The end of the name of a file for editors, whose texts are examples."""
BESIDE = ScenarioFile.model_fields.keys() - {"federates", "checks"}
"""What a scenario says beside its federates and checks, its own name among it: none of it names a file."""
MAX_FILES = 10_000
MAX_PATH = 4096
LEFT = ({"run.json", "events.jsonl"}, {"sweep.json", ".lock"})
"""By which files the folder of a run is known, and that of a sweep."""


def named(folder: Path, words: Iterable[str]) -> set[Path]:
    """Return every file inside a resolved `folder` that `words`, of a scenario, name.

    A text may name a file, a folder with all that is in it, or hold such a name after a colon (`replay:frames`).
    """
    found: set[Path] = set()
    for text in words:
        for part in (text, text.partition(":")[2]):
            path = inside(part, folder, folder)
            if path is not None and path.is_dir():
                found.update(each for each in path.rglob("*") if _is_content(each, path))
            elif path is not None:
                _follow(path, folder, found, is_feeder(path))
    if len(found) > MAX_FILES:
        raise DerloopError(f"the scenario in {folder} names {len(found)} files, more than {MAX_FILES}")
    return found


def _is_content(path: Path, folder: Path) -> bool:
    """Return whether it is a file of a folder, and neither a link nor hidden, as what file managers leave."""
    is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.is_file() and not path.is_symlink() and not is_hidden


def _follow(path: Path, folder: Path, found: set[Path], is_run: bool) -> None:
    """Add a file and what it names in turn: a feeder, which OpenDSS runs (`is_run`), or a document."""
    if path in found or not path.is_file():
        return
    found.add(path)
    for other, is_run_too in _of_feeder(path, folder) if is_run else _of_document(path, folder):
        _follow(other, folder, found, is_run_too)


def _of_feeder(path: Path, folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield what a feeder names, and whether that is run: what it redirects to is, whatever its name."""
    text = path.read_text(errors="replace")
    run = _dss_words("\n".join(DSS_RUN.findall(text)))
    for word, base in product(_dss_words(text), {path.parent, path.resolve().parent}):
        if (other := inside(word.replace("\\", "/"), base, folder)) is not None:
            yield other, word in run or is_feeder(other)


def _of_document(path: Path, folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield what a JSON file names, from the scenario's folder as tariffs do, or from its own as emulator files do."""
    if path.suffix.lower() != ".json" or path.name.endswith(SCHEMA):
        return
    try:
        named_there = {*texts(json.loads(path.read_bytes()))}
    except (ValueError, RecursionError):
        return  # whoever needs it says what is wrong with it
    for text, base in product(named_there, (folder, path.parent)):
        if (other := inside(text, base, folder)) is not None:
            yield other, is_feeder(other)


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


def is_feeder(path: Path) -> bool:
    """Return whether it is a file of OpenDSS, which may redirect to others."""
    return path.suffix.lower() == ".dss"


def beside_feeder(path: Path) -> Iterator[Path]:
    """Yield the files that lie in a feeder's folder and may be of it, itself among them.

    Not of it are JSON, as scenarios and sweeps are, what is hidden, and the folders of runs and sweeps.
    """
    for place, inner, names in os.walk(path.parent):
        if any(left.issubset(names) for left in LEFT) and Path(place) != path.parent:
            inner.clear()
            continue
        inner[:] = [name for name in inner if not name.startswith(".")]
        found = (Path(place, name) for name in names if not name.startswith("."))
        yield from (each for each in found if each.suffix.lower() != ".json" and each.is_file())


def words(scenario: Mapping[str, object]) -> Iterator[str]:
    """Yield every text of a scenario that may name a file: settings of federates and of checks."""
    yield from texts({key: value for key, value in scenario.items() if key not in BESIDE})


def texts(value: object) -> Iterator[str]:
    """Yield every text of a document that is a value, as it may name a file.

    None is named by what is of a `kind`, and by `via` what stands after its colon alone.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "via" and isinstance(inner, str):
                yield inner.partition(":")[2]
            elif key != "kind":
                yield from texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts(inner)
