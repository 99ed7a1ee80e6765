"""What a run's results follow from, in a word: the scenario as it is run, the files that it names, and derloop.

Two runs with the same fingerprint are the same run. Of derloop, and of packages that offer what the scenario has, it is
the version. With a feeder file goes all that lies in its folder, however it may redirect to it, but for what is none of
a feeder: runs, sweeps and golden results, JSON, and what is hidden. Of a trusted feeder that lies outside of the
scenario's folder, it is what it redirects to. The JSON Schema that a scenario names is left out: editors read it, and
no run does.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from derloop.plugins import CHECKS, KINDS, REALISATIONS, packages
from derloop.scenario.files import beside_feeder, is_run, named
from derloop.scenario.models import MOVED_BY, Scenario
from derloop.scenario.naming import Name, names

LENGTH = 12
"""Hexadecimal digits: among a hundred thousand runs, two alike by chance have a probability of 2e-5."""


class Fingerprints:
    """Fingerprints of scenarios, with each file read once."""

    def __init__(self, trust_feeder: bool = False) -> None:
        """trust_feeder: what feeders are made of may lie outside of the scenario's folder."""
        self._trust_feeder = trust_feeder
        self._digests: dict[Path, str] = {}
        self._found: dict[tuple[Path, frozenset[Name]], set[Path]] = {}

    def of(self, document: Mapping[str, Any], folder: Path) -> str:
        """Return the fingerprint of a scenario, as it stands after all overrides, whose file lies in `folder`."""
        folder, document = folder.resolve(), _without_schema(document)
        files = {os.path.relpath(path, folder): self._digest(path) for path in sorted(self._files(folder, document))}
        said = json.dumps([offering(document), document, files], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:LENGTH]

    def files(self, document: Mapping[str, Any], folder: Path) -> list[Path]:
        """Return the files that a scenario names, and those that lie beside its feeders, in order."""
        return sorted(self._files(folder.resolve(), _without_schema(document)))

    def _files(self, folder: Path, document: Mapping[str, Any]) -> set[Path]:
        said = frozenset(names(document))
        if (folder, said) not in self._found:
            found = named(folder, said, self._trust_feeder)
            feeders = (path.resolve() for path, what in found if is_run(path, what))
            beside = (beside_feeder(path) for path in feeders if path.is_relative_to(folder))
            self._found[folder, said] = {path for path, _ in found}.union(*beside)
        return self._found[folder, said]

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = _digest(path)
        return self._digests[path]


def fingerprint(scenario: Scenario, trust_feeder: bool) -> str:
    """Return the fingerprint of a scenario, whichever engine moves it, wherever its federates are.

    trust_feeder: as it was run.
    """
    said = {key: value for key, value in scenario.document.items() if key not in MOVED_BY}
    return Fingerprints(trust_feeder).of(said, scenario.folder)


def offering(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions of derloop and of the packages that offer what a scenario has, by their names."""
    entries = document.get("federates", {}).values()
    wanted = {
        KINDS: {str(entry.get("kind")) for entry in entries},
        REALISATIONS: {str(entry.get("via")).partition(":")[0] for entry in entries},
        CHECKS: {*_check_kinds(document.get("checks", ()))},
    }
    offers = {name: there for group, names in wanted.items() for name, there in packages(group, names).items()}
    return {"derloop": version("derloop"), **offers}


def _check_kinds(checks: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for check in checks:
        yield str(check.get("kind"))
        parts = check.get("of")
        yield from _check_kinds(each for each in parts if isinstance(each, dict)) if isinstance(parts, list) else ()


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file; empty where it is not for us, or gone: no run of ours has anything of it."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (PermissionError, FileNotFoundError):
        return ""


def _without_schema(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "$schema"}
