"""Devices left safe: as a run found them that was killed, else in their safe states, and without power.

What power hardware gives a device is switched off once the device has been left, AC before DC.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from derloop.errors import DerloopError, DeviceError, Interlocked, Unreachable
from hil.bench.devices import reached, refuse_stranger
from hil.bench.file import Bench
from hil.bench.instruments import instruments_of
from hil.bench.logbook import Logbook
from hil.bench.sources import held_by
from hil.bench.traces import forsaken, forsaken_in_words
from hil.bench.writing import keeper_of
from hil.inverter.device import Device, Identity
from hil.modbus.thread import LoopThread
from hil.safety.folder import Run, StateFolder
from hil.safety.lock import DeviceLock, HeldElsewhere
from hil.safety.place import places
from hil.safety.record import Records
from hil.safety.stop import is_there
from hil.safety.unrestored import Sought

if TYPE_CHECKING:
    from hil.instruments.instrument import AcSource, DcSource


@dataclass(frozen=True, slots=True)
class Left:
    """How one device, or a source that gives it power, has been left."""

    device: str
    is_safe: bool
    """Verified by reading back."""
    what: str
    is_held: bool = False
    """Somebody else has it, and it was not touched."""


def leave_safe(bench: Bench, names: Collection[str], logbook: Logbook) -> list[Left]:
    """Restore devices from the records of runs that could not, or bring them to their safe states; all are tried.

    What a run has left and the bench file has no more is told, where all are named. logbook: has every frame of it, and
    of switching the sources off.
    """
    thread = LoopThread(f"bench {bench.file.name}")
    try:
        left = thread.run(_leave_safe(bench, names, logbook))
    finally:
        thread.close()
    gone = forsaken(bench) if {*names} >= {*bench.names} else []
    beyond = [Left(record.device, False, forsaken_in_words(record)) for record in gone]
    return [*left, *_without_power(bench, left, logbook), *beyond]


async def _leave_safe(bench: Bench, names: Collection[str], logbook: Logbook) -> list[Left]:
    async with reached(bench, names, logbook.of_devices) as devices:
        return await asyncio.gather(*(_left(bench, device) for device in devices.values()))


async def _left(bench: Bench, device: Device) -> Left:
    stop = bench.file.emergency_stop.file
    try:
        await device.discover()
        refuse_stranger(bench.device(device.name), device)
        keeper = keeper_of(bench, device, [device.name])
        is_stopped = stop is not None and is_there(bench.path.parent / stop)
        return Left(device.name, True, await keeper.leave_safe(is_stopped))
    except DeviceError as failure:
        is_held = isinstance(failure, HeldElsewhere) or await asyncio.to_thread(_is_held, bench, device.name)
        return Left(device.name, False, failure.why, is_held)
    except DerloopError as lacking:  # the other devices are made safe all the same
        return Left(device.name, False, str(lacking))


def _is_held(bench: Bench, name: str) -> bool:
    """Return whether a run has a device, which need not answer us then: many take one connection only."""
    run, folder = Run(Path.cwd(), bench.path, bench.addresses), StateFolder.of_user()
    try:
        here = places(name, bench.address(name))
    except Unreachable:
        here = ()
    records = Sought(name, here, Identity(), run).among(Records(folder.records)).records
    for place in {*here, *(record.place for record in records)}:
        try:
            with DeviceLock(name, (place,), folder.locks) as lock:
                lock.acquire(run)
        except Interlocked as refusal:
            if isinstance(refusal, HeldElsewhere):
                return True
    return False


def _without_power(bench: Bench, left: Sequence[Left], logbook: Logbook) -> Iterator[Left]:
    """Switch off the sources of these devices; yield how each has been left."""
    powers = {name: power for name in bench.chosen(["*"]) if (power := bench.device(name).power)}
    goes_on = powers.keys() - {each.device for each in left if not each.is_held}
    others = {instrument: name for name in goes_on for instrument in powers[name].instruments}
    wired = [powers[each.device] for each in left if each.device in powers]
    found = instruments_of(bench.file.instruments, wired, bench.path.parent, tap_of=logbook.of_instrument)
    sources: list[AcSource | DcSource] = [*found.ac.values(), *found.dc.values()]
    for source in sources:
        if source.name in others:
            yield Left(source.name, False, f"left as it is: it feeds {others[source.name]!r}, which was not left")
        else:
            yield _switched_off(bench, source)


def _switched_off(bench: Bench, source: AcSource | DcSource) -> Left:
    try:
        if who := held_by(bench, source.name, Run(Path.cwd(), bench.path, bench.addresses)):
            return Left(source.name, False, f"left as it is: {who}", is_held=True)
        source.open()
        source.leave()
    except DeviceError as failure:
        return Left(source.name, False, failure.why)
    except DerloopError as lacking:  # what was done to devices is told all the same
        return Left(source.name, False, str(lacking))
    return Left(source.name, True, "switched off")
