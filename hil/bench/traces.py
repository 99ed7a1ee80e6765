"""What runs have left of a device on this machine: records of a state that nobody has restored."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from derloop.errors import DeviceError, visible
from hil.bench.file import Bench
from hil.inverter.device import Identity
from hil.safety.folder import Run, StateFolder
from hil.safety.notice import Notices
from hil.safety.place import places
from hil.safety.record import Record, Records
from hil.safety.unrestored import Sought, in_words, of_another_in_words


class Traces(NamedTuple):
    """What records say of one device."""

    problems: tuple[str, ...]
    """What keeps runs from taking it, each with what is to be done."""
    held_by: str
    """Which run commands it now; empty if none does."""


async def traces_of(bench: Bench, name: str, identity: Identity) -> Traces:
    """Return what is recorded of a device that says `identity` of itself; an empty one if it does not answer."""
    where, folder = await _places(bench, name), StateFolder.of_user()
    found = Sought(name, where, identity, Run(Path.cwd(), bench.path, bench.addresses))
    records, unreadable = found.among(Records(folder.records))
    left = [in_words(record, bench.path) for record in records if not record.goes_on]
    running = [f"run {record.run} (process {record.pid})" for record in records if record.goes_on]
    if notice := Notices(folder, where).of_another(identity):
        if notice.goes_on:
            running.append(f"run {visible(notice.run)} of user {notice.user} (process {notice.pid})")
        else:
            left.append(of_another_in_words(notice, bench.path))
    return Traces((*left, *map(str, unreadable)), ", ".join(running))


def forsaken(bench: Bench, known: Collection[Identity] = ()) -> list[Record]:
    """Return the records of devices that runs on this bench have left, and that its file has no more: edited meanwhile,
    it knows neither their name nor their address. known: devices of the file, of which none is one of these.
    """
    found, _ = Records(StateFolder.of_user().records).read()
    gone = [r for r in found if r.bench == bench.path and r.device not in bench.names and not r.goes_on]
    elsewhere = [record for record in gone if record.address not in bench.addresses]
    return [r for r in elsewhere if not any(each.serial and each.is_of(r.identity) for each in known)]


def forsaken_in_words(record: Record) -> str:
    """Return that a device was left which the bench file has no more, and what is to be done."""
    return f"was not restored: {record}; the bench file has it no more: with it again, `derloop bench safe` restores it"


async def _places(bench: Bench, name: str) -> tuple[str, ...]:
    """Return the names under which a device is recorded; none where its host is not known."""
    with suppress(DeviceError):
        return await asyncio.to_thread(places, name, bench.address(name))
    return ()
