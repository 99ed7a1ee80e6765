"""Where the records, locks and counts of equipment are kept, and how they are written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

MACHINE = (Path("/run/lock"), Path("/var/tmp"))  # noqa: S108 - where users of one machine meet; see `lock`
"""Where locks of the whole machine are kept: in all that the user may write, as not all users may write both."""


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Folders that outlive every run. They are made when they are needed."""

    state: Path
    locks: tuple[Path, ...]
    """A device is locked in every one of them: the user's, and the machine's, where two users meet."""

    @classmethod
    def of_user(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return `$DERLOOP_STATE`, else `$XDG_STATE_HOME/derloop`, else `~/.local/state/derloop`."""
        given, xdg = environment.get("DERLOOP_STATE"), environment.get("XDG_STATE_HOME")
        home = Path(xdg) if xdg else Path.home() / ".local" / "state"
        state = Path(given).absolute() if given else home / "derloop"
        machine = [folder / "derloop" for folder in MACHINE if folder.is_dir() and os.access(folder, os.W_OK)]
        return cls(state, (state / "locks", *machine))

    @property
    def machine(self) -> tuple[Path, ...]:
        """Where users of the machine meet."""
        return self.locks[1:]

    @property
    def records(self) -> Path:
        return self.state / "records"

    @property
    def counts(self) -> Path:
        return self.state / "writes"

    @property
    def frames(self) -> Path:
        """Where the journals are of what is done outside of runs."""
        return self.state / "frames"


@dataclass(frozen=True, slots=True)
class Run:
    """Which run holds a device, for records and for the messages of those who find it held."""

    folder: Path
    bench: Path
    addresses: frozenset[str] = frozenset()
    """Where the devices of the bench are: what is recorded there is no other device's."""


def write_durably(path: Path, data: bytes) -> None:
    """Make `path` hold `data`, or leave it as it was: also when the machine loses power at any moment.

    Raises OSError (disk full ...); no part of `data` is then at `path`.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        _write(written, data)
        written.replace(path)
    except BaseException:
        with suppress(OSError):
            written.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_durably(path: Path) -> None:
    """Remove a file, so that it does not come back after a loss of power."""
    path.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
