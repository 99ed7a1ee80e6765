"""Checkpoints of a run, one file each: `checkpoints/<instant in ns>.npz` in its folder.

A file is a zip of numpy arrays, without objects: `about`, which is JSON as bytes, and what it refers to by number.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from derloop import memory
from derloop.contract import FloatArray
from derloop.errors import DerloopError

FORMAT = "derloop-checkpoint-1"
PARTS = ("federates", "units", "latest", "earlier")


@dataclass(slots=True)
class Checkpoint:
    """The state of a run before its steps at `at_ns`."""

    at_ns: int
    federates: dict[str, memory.Memory] = field(default_factory=dict)
    units: dict[str, memory.Memory] = field(default_factory=dict)
    """Of what steps and watches them, by the unit's name."""
    latest: dict[str, FloatArray] = field(default_factory=dict)
    """What was given out last, by "federate.port", where another unit reads it."""
    earlier: dict[str, FloatArray] = field(default_factory=dict)
    """What was given out before that, where it is still read."""
    scenario: str = ""
    """The fingerprint of the scenario."""


def write(checkpoint: Checkpoint, run: Path) -> Path:
    """Write a checkpoint into the folder of its run, whole or not at all. Raises DerloopError."""
    state, arrays = memory.encoded({part: getattr(checkpoint, part) for part in PARTS})
    about = {"format": FORMAT, "at_ns": checkpoint.at_ns, "scenario": checkpoint.scenario, "state": state}
    path = run / "checkpoints" / f"{checkpoint.at_ns:020d}.npz"
    part = path.with_suffix(".part")
    numbered: dict[str, Any] = {str(number): array for number, array in enumerate(arrays)}
    try:
        path.parent.mkdir(exist_ok=True)
        with part.open("wb") as file:
            np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **numbered)
        part.replace(path)
    except OSError as error:
        raise DerloopError(f"cannot write {path}: {error.strerror}") from error
    return path


def instants(run: Path) -> list[int]:
    """Return the instants, ns, of which a run has checkpoints, rising."""
    return sorted(int(path.stem) for path in (run / "checkpoints").glob("*.npz") if path.stem.isdigit())


def read(run: Path, at_ns: int) -> Checkpoint:
    """Return the checkpoint of a run at an instant. Raises DerloopError where it is none."""
    path = run / "checkpoints" / f"{at_ns:020d}.npz"
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            arrays = [file[str(number)] for number in range(len(file.files) - 1)]
        if about["format"] != FORMAT:
            raise DerloopError(f"{path} is in the format {about['format']!r}; this derloop reads {FORMAT!r}")
        state = memory.decoded(about["state"], arrays)
        return Checkpoint(at_ns=about["at_ns"], scenario=about["scenario"], **{part: state[part] for part in PARTS})
    except (OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile, memory.Forgetful) as error:
        raise DerloopError(f"{path} is no checkpoint that can be read: {error}") from error
