"""Checkpoints of a run, one file each: `checkpoints/<instant in ns>.npz` in its folder.

A file is a zip of numpy arrays, without objects: `about`, which is JSON as bytes, and what it refers to by number. The
same bytes, with the state of some units alone, go between the processes of a run.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from derloop.errors import DerloopError
from derloop.memory import Encoded
from derloop.results.whole import whole

FORMAT = "derloop-checkpoint-2"
SHARES = ("federates", "units", "latest", "earlier")


@dataclass(slots=True)
class Checkpoint:
    """The state of a run, or of some of its units, before its steps at `at_ns`.

    It stays encoded until a federate takes it, whose process knows the classes of it.
    """

    at_ns: int
    federates: dict[str, Encoded] = field(default_factory=dict)
    units: dict[str, Encoded] = field(default_factory=dict)
    """Of what steps and watches them, by the unit's name."""
    latest: dict[str, Encoded] = field(default_factory=dict)
    """What was given out last, by "federate.port", where another unit reads it."""
    earlier: dict[str, Encoded] = field(default_factory=dict)
    """What was given out before that, where it is still read."""
    scenario: str = ""
    """The fingerprint of the scenario."""

    def add(self, part: Checkpoint) -> None:
        """Take in the state of other units at the same instant."""
        for share in SHARES:
            getattr(self, share).update(getattr(part, share))

    def of(self, units: Collection[str], members: Collection[str]) -> Checkpoint:
        """Return the part of it that these units, with these federates, take up."""
        return Checkpoint(
            self.at_ns,
            {name: state for name, state in self.federates.items() if name in members},
            {name: state for name, state in self.units.items() if name in units},
            {ref: value for ref, value in self.latest.items() if ref.partition(".")[0] in members},
            {ref: value for ref, value in self.earlier.items() if ref.partition(".")[0] in members},
            self.scenario,
        )


def write(checkpoint: Checkpoint, run: Path) -> Path:
    """Write a checkpoint into the folder of its run, whole or not at all. Raises DerloopError."""
    path = run / "checkpoints" / f"{checkpoint.at_ns:020d}.npz"
    with whole(path) as draft:
        path.parent.mkdir(exist_ok=True)
        with draft.open("wb") as file:
            _save(checkpoint, file)
    return path


def instants(run: Path) -> list[int]:
    """Return the instants, ns, of which a run has checkpoints, rising."""
    stems = (path.stem for path in (run / "checkpoints").glob("*.npz"))
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())


def keep_last(run: Path, count: int) -> None:
    """Remove all checkpoints of a run but the last `count`. Raises DerloopError."""
    for at_ns in instants(run)[:-count]:
        path = run / "checkpoints" / f"{at_ns:020d}.npz"
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise DerloopError(f"cannot remove {path}: {error.strerror}") from error


def read(run: Path, at_ns: int) -> Checkpoint:
    """Return the checkpoint of a run at an instant. Raises DerloopError where it is none."""
    path = run / "checkpoints" / f"{at_ns:020d}.npz"
    try:
        with path.open("rb") as file:
            return _load(file, str(path))
    except OSError as error:
        raise DerloopError(f"{path} is no checkpoint that can be read: {error}") from error


def packed(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint, or a part of one, as the bytes of its file."""
    _save(checkpoint, file := BytesIO())
    return file.getvalue()


def unpacked(data: bytes) -> Checkpoint:
    """The inverse of `packed`. Raises DerloopError."""
    return _load(BytesIO(data), "what a process has sent")


def _save(checkpoint: Checkpoint, file: IO[bytes]) -> None:
    arrays: list[np.ndarray[Any, Any]] = []
    state = {
        share: {name: _numbered(states[name], arrays) for name in sorted(states)}  # in whichever order they came
        for share in SHARES
        for states in (getattr(checkpoint, share),)
    }
    about = {"format": FORMAT, "at_ns": checkpoint.at_ns, "scenario": checkpoint.scenario, "state": state}
    numbered: dict[str, Any] = {str(number): array for number, array in enumerate(arrays)}
    np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **numbered)


def _numbered(encoded: Encoded, arrays: list[np.ndarray[Any, Any]]) -> list[Any]:
    """Add a state's arrays to those of all; return it with the number of its first, and how many it has."""
    said, own = encoded
    arrays += own
    return [said, len(arrays) - len(own), len(own)]


def _load(opened: IO[bytes], where: str) -> Checkpoint:
    try:
        with np.load(opened, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            arrays = [file[str(number)] for number in range(len(file.files) - 1)]
        if about["format"] != FORMAT:
            raise DerloopError(f"{where} is in the format {about['format']!r}; this derloop reads {FORMAT!r}")
        state = {
            share: {name: (said, arrays[first : first + count]) for name, (said, first, count) in states.items()}
            for share, states in about["state"].items()
        }
        return Checkpoint(at_ns=about["at_ns"], scenario=about["scenario"], **{share: state[share] for share in SHARES})
    except OSError as error:
        raise DerloopError(f"{where} is no checkpoint that can be read: {error.strerror or error}") from error
    except (EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        # without the library's own words: of bytes that it does not know it says how they could be loaded unsafely
        raise DerloopError(f"{where} is no checkpoint that can be read: it is not as it was written") from error
