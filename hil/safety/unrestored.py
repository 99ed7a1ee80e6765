"""What runs found of a device and did not restore: at its place, under its name, or by its serial number elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from derloop.errors import Interlocked
from hil.inverter.device import Identity
from hil.safety.folder import Run
from hil.safety.notice import Notice
from hil.safety.record import Record, RecordError, Records


class Left(NamedTuple):
    """What is known of a device's state before runs that are over, or go on."""

    records: list[Record]
    unreadable: list[RecordError]
    """Records at the device's place that cannot be read."""

    def refuse_unreadable(self, device: str) -> None:
        """Raise Interlocked if something is recorded that nobody can read."""
        for torn in self.unreadable:
            raise Interlocked(device, str(torn)) from torn


@dataclass(frozen=True, slots=True)
class Sought:
    """A device whose records are looked for."""

    name: str
    places: Collection[str]
    identity: Identity
    """What it says of itself; empty if it was not asked."""
    run: Run

    def among(self, records: Records) -> Left:
        """Return the records of this device."""
        found, unreadable = records.read()
        return Left([r for r in found if self.is_of(r)], [torn for torn in unreadable if torn.path.stem in self.places])

    def is_of(self, record: Record) -> bool:
        """Return whether a record is of this device: of its place or its name, or of itself at another address."""
        is_named = (record.bench, record.device) == (self.run.bench, self.name)
        return record.place in self.places or is_named or self._has_moved_from(record)

    def _has_moved_from(self, record: Record) -> bool:
        """Return whether the device was recorded at another address; there the bench has no other device now.

        Without a serial number two devices of a kind are not told apart.
        """
        is_known = bool(self.identity.serial) and self.identity.is_of(record.identity)
        return is_known and record.address not in self.run.addresses


def in_words(record: Record, bench: Path) -> str:
    """Return that a device was not restored, and how it can be."""
    return f"was not restored: {record}; {restoring(bench)}"


def of_another_in_words(notice: Notice, bench: Path) -> str:
    """Return that another user's run has left a device, and what is possible."""
    safe = f"derloop bench safe {shlex.quote(str(bench))}"
    whose = (
        f"`derloop bench safe` of user {notice.user} restores what was found, `{safe}` of yours makes the device safe"
    )
    return f"was not restored: {notice}; {whose}"


def restoring(bench: Path) -> str:
    """Return what brings the devices of a bench back to what they held, for messages."""
    return f"`derloop bench safe {shlex.quote(str(bench))}` restores what was found"
