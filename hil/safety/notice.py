"""What the users of one machine tell each other of a device: whose run commands it, until it is as it was found.

A record is its user's alone. Where a run was killed, another user's would take its commands for how the device was.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from derloop.errors import visible
from derloop.kind import Settings
from hil.inverter.device import Identity
from hil.safety.folder import Run, StateFolder
from hil.safety.lock import shared_file
from hil.safety.record import is_alive, process_began

MOST = 500
"""Characters of a run's folder that are said."""


class Notice(Settings):
    """Whose run has taken a device. Any user may have written it: it is said, and nothing else is done with it."""

    uid: int
    run: str = Field(max_length=MOST)
    pid: int
    began: float
    """When the process began, seconds since the epoch."""
    taken: datetime
    identity: Identity
    """What the device said of itself."""

    @property
    def goes_on(self) -> bool:
        """Whether the run is not over."""
        return is_alive(self.pid, self.began)

    @property
    def user(self) -> str:
        """Return the user's name, or number where it has none any more."""
        with suppress(KeyError, OverflowError):
            return pwd.getpwuid(self.uid).pw_name
        return str(self.uid)

    def __str__(self) -> str:
        return f"run {visible(self.run)} of user {self.user}, taken {self.taken:%Y-%m-%d %H:%M:%S}"


class Notices:
    """Those of a device, where users of the machine meet. Post and withdraw them while the device is locked."""

    def __init__(self, folder: StateFolder, places: Collection[str]) -> None:
        self._paths = [where / f"{place}.taken" for where in folder.machine for place in places]

    def post(self, run: Run, identity: Identity) -> None:
        """Say that a run of ours has taken the device. On a full disk nobody learns it: our own record is there."""
        began, taken = process_began(), datetime.now(UTC)
        folder = str(run.folder.absolute())[:MOST]
        notice = Notice(uid=os.getuid(), run=folder, pid=os.getpid(), began=began, taken=taken, identity=identity)
        self._write(notice.model_dump_json().encode())

    def withdraw(self) -> None:
        """Say nothing any more. The files stay, as other users' cannot be removed."""
        self._write(b"")

    def of_another(self, identity: Identity) -> Notice | None:
        """Return what another user says of a device that says this of itself; empty: of whatever is there."""
        said = [each for each in self._read() if each.uid != os.getuid()]
        return next((each for each in said if identity == Identity() or each.identity.is_of(identity)), None)

    def _read(self) -> Iterator[Notice]:
        for path in self._paths:
            with suppress(OSError, ValidationError):  # none was ever posted, it was withdrawn, or nobody can tell
                yield Notice.model_validate_json(_said(path))

    def _write(self, data: bytes) -> None:
        for path in self._paths:
            if data or path.exists():
                with suppress(OSError):
                    _fill(path, data)


def _said(path: Path) -> bytes:
    """Return what a file holds, whatever another user has put in its place: nobody waits for it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 8192)
    finally:
        os.close(descriptor)


def _fill(path: Path, data: bytes) -> None:
    descriptor = shared_file(path)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
