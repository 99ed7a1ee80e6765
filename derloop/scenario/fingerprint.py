"""What a run's results follow from, in a word: the scenario as it is run, the files that it names, and derloop.

Two runs with the same fingerprint are the same run. A file is taken to be named where a text of the scenario is the
path of one inside its folder; with a feeder file goes all that lies in its folder, which it may redirect to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from derloop.scenario.models import MOVED_BY, Scenario

LENGTH = 12
"""Hexadecimal digits: among a hundred thousand runs, two alike by chance have a probability of 2e-5."""
MOST_PATH = 400


class Fingerprints:
    """Fingerprints of scenarios, with each file read once."""

    def __init__(self) -> None:
        self._digests: dict[Path, str] = {}

    def of(self, document: Mapping[str, Any], folder: Path) -> str:
        """Return the fingerprint of a scenario, as it stands after all overrides, whose file lies in `folder`."""
        files = {str(path.relative_to(folder)): self._digest(path) for path in sorted(named(document, folder))}
        said = json.dumps([version("derloop"), document, files], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:LENGTH]

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self._digests[path]


def fingerprint(scenario: Scenario) -> str:
    """Return the fingerprint of a scenario, whichever engine moves it, wherever its federates are."""
    said = {key: value for key, value in scenario.document.items() if key not in MOVED_BY}
    return Fingerprints().of(said, scenario.folder)


def named(document: Any, folder: Path) -> set[Path]:
    """Return the files inside `folder` that a scenario names."""
    found: set[Path] = set()
    for text in _texts(document):
        if not 0 < len(text) <= MOST_PATH or "\0" in text:
            continue
        path = (folder / text).resolve()
        if path.is_relative_to(folder.resolve()) and path.is_file():
            found |= {p for p in path.parent.rglob("*") if p.is_file()} if path.suffix == ".dss" else {path}
    return {folder / path.relative_to(folder.resolve()) for path in found}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(part)
