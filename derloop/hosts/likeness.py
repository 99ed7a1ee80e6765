"""What must be alike on every host of a run, or its results would depend on who computed what.

Compared are the versions of Python, of the packages that results depend on, and of those that offer what the scenario
has of plug-ins, derloop's own code, the kind of machine, and the SHA-256 of the scenario's file and of every file that
it names, feeders with all that they redirect to, and tariffs with their prices.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from derloop.installed import versions
from derloop.plugins import KINDS, REALISATIONS, packages
from derloop.scenario.files import inside, named
from derloop.scenario.fingerprint import LENGTH
from derloop.scenario.models import Scenario
from derloop.scenario.naming import names

CODE = ("derloop", "federates", "hil")
"""The packages that are derloop."""
Offers = Mapping[str, Sequence[str]]
"""What a scenario has of each group of entry points, by name."""
Hashes = Mapping[str, str]
"""SHA-256 of each file, by its path from the scenario's folder."""


def offers_of(scenario: Scenario) -> Offers:
    """Return which kinds of federate a scenario has, and which realisations."""
    entries = scenario.federates.values()
    vias = {entry.via.partition(":")[0] for entry in entries}
    return {KINDS: sorted({entry.kind.name for entry in entries}), REALISATIONS: sorted(vias)}


def installed(offers: Offers) -> dict[str, str]:
    """Return the versions of what results depend on here, also of the packages that offer these."""
    plugins = {name: version for group, names in offers.items() for name, version in packages(group, names).items()}
    return {**versions(), **plugins}


def facts(offers: Offers) -> dict[str, str]:
    """Return what is told of this machine: what is installed, and what computes."""
    computes = {"derloop's code": _code(), "machine": platform.machine(), "system": platform.system()}
    return {**installed(offers), **computes}


def _code() -> str:
    """Return what derloop's own code is in a word: between two releases many have one version, one for each commit."""
    found = hashlib.sha256()
    for package in CODE:
        for folder in map(Path, _folders(package)):
            for path in sorted(path for ending in ("py", "json") for path in folder.rglob(f"*.{ending}")):
                if _is_code(path):
                    found.update(f"{package}/{path.relative_to(folder)}".encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:LENGTH]


def _is_code(path: Path) -> bool:
    """Return whether a file may be imported: what an editor leaves beside one while it is open has a dot before it."""
    return path.is_file() and not path.name.startswith(".")


def _folders(package: str) -> Iterator[str]:
    """Yield where a package lies; none where it is not installed. It is not imported."""
    spec = find_spec(package)
    yield from (spec.submodule_search_locations or ()) if spec else ()


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


def named_files(scenario: Path, document: Any, trust_feeder: bool = False) -> list[str]:
    """Return the scenario's file and every file inside its folder that `document` names, from that folder.

    trust_feeder: what feeders are made of may lie outside of it.
    """
    folder = scenario.resolve().parent
    found = {path for path, _ in named(folder, names(document), trust_feeder)}
    return sorted(os.path.relpath(path, folder) for path in {scenario.resolve(), *found})


def hashes(folder: Path, paths: list[str]) -> dict[str, str | None]:
    """Return the SHA-256 of each path below `folder`; None where there is no file inside it."""
    return {path: _hash(folder, path) for path in paths}


def _hash(folder: Path, path: str) -> str | None:
    file = inside(path, folder, folder.resolve())
    if file is None or not file.is_file():
        return None
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
