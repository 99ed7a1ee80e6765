"""What a device held before its first write, on disk until it is restored."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from derloop.errors import DerloopError
from derloop.kind import Settings
from hil.inverter.device import Identity
from hil.safety.folder import remove_durably, write_durably

SAME_S = 5.0
"""Since clocks are set, a process may seem to have begun a little earlier or later."""


class RecordError(DerloopError):
    """A record that cannot be read: torn, changed, or of another version. It is left where it is."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(
            f"the record {path} cannot be read: {why}; it says how the device was, so look before removing it"
        )


class Record(Settings):
    """The state of one device before a run commanded it, and which run that was."""

    derloop_record: Literal[1] = 1
    device: str
    place: str
    address: str
    identity: Identity
    bench: Path
    run: Path
    pid: int
    began: float
    """When the process began, seconds since the epoch: a pid may be given again."""
    taken: datetime
    points: Mapping[str, float | str]
    """What each point held that the run may write; what is safe instead, where that could not be read."""
    unknown: tuple[str, ...] = ()
    """Points that could not be read, and whose functions are off when these are restored."""
    lease: str
    """What ends the run's commands should it die."""
    stopped: str = Field(default="", description="Why the device was put into its safe state; empty: it was not.")

    @property
    def goes_on(self) -> bool:
        """Whether the run is not over: its process lives."""
        return is_alive(self.pid, self.began)

    def __str__(self) -> str:
        return f"device {self.device!r} ({self.address}), taken {self.taken:%Y-%m-%d %H:%M:%S} by run {self.run}"


def process_began(pid: int | None = None) -> float:
    """Return when a process began (ours, if none is named), in seconds since the epoch."""
    import psutil

    return float(psutil.Process(pid or os.getpid()).create_time())


def is_alive(pid: int, began: float) -> bool:
    """Return whether a process that began then lives. One that was killed does not, also before anybody reaps it."""
    import psutil

    with suppress(psutil.Error, OverflowError):
        is_it = abs(process_began(pid) - began) < SAME_S
        return is_it and psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


def encoded(record: Record) -> bytes:
    """Return a record as it is written: with a checksum, so that nothing torn or changed passes for a state."""
    body = record.model_dump_json()
    return json.dumps({"sha256": _checksum(body), "record": body}).encode()


def decoded(data: bytes, source: Path) -> Record:
    """Return the record in a file's bytes; raise RecordError if they are not what was written."""
    try:
        envelope = json.loads(data)
        body, checksum = envelope["record"], envelope["sha256"]
        if checksum != _checksum(body):
            raise RecordError(source, "its checksum does not fit: it is torn or was changed")
        return Record.model_validate_json(body)
    except (ValueError, TypeError, KeyError, AttributeError) as failure:
        what = "it is not of this version" if isinstance(failure, ValidationError) else "it is torn, or no record"
        raise RecordError(source, what) from failure


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


class Records:
    """The records of a folder: one file for each device that is commanded, or was left without being restored."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, record: Record) -> None:
        """Write a record durably; raise OSError where that fails."""
        write_durably(self.path(record.place), encoded(record))

    def remove(self, record: Record) -> None:
        """Close a record: its device is restored."""
        remove_durably(self.path(record.place))

    def path(self, place: str) -> Path:
        """Return where the record of the device at a place is, or would be."""
        return self._folder / f"{place}.json"

    def read(self) -> tuple[list[Record], list[RecordError]]:
        """Return every record, and what is wrong with each that cannot be read."""
        found: list[Record] = []
        bad: list[RecordError] = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                found.append(decoded(path.read_bytes(), path))
            except RecordError as error:
                bad.append(error)
            except FileNotFoundError:
                continue  # another run has closed it since the folder was listed
            except OSError as failure:
                bad.append(RecordError(path, str(failure.strerror)))
        return found, bad
