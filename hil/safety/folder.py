"""Where the records, locks and counts of equipment are kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Folders that outlive every run. They are made when they are needed."""

    state: Path
    locks: tuple[Path, ...]
    """Every one of them holds a lock: of the user's, and of the machine's, where two users meet."""

    @classmethod
    def of_user(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return `$DERLOOP_STATE`, else `$XDG_STATE_HOME/derloop`, else `~/.local/state/derloop`."""
        given, xdg = environment.get("DERLOOP_STATE"), environment.get("XDG_STATE_HOME")
        home = Path(xdg) if xdg else Path.home() / ".local" / "state"
        state = Path(given).absolute() if given else home / "derloop"
        return cls(state, (state / "locks", _machine() / "derloop"))

    @property
    def records(self) -> Path:
        return self.state / "records"

    @property
    def counts(self) -> Path:
        return self.state / "writes"


@dataclass(frozen=True, slots=True)
class Run:
    """Which run holds a device, for records and for the messages of those who find it held."""

    folder: Path
    bench: Path


def _machine() -> Path:
    lock = Path("/run/lock")
    return lock if lock.is_dir() and os.access(lock, os.W_OK) else Path(tempfile.gettempdir())
