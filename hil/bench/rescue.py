"""Devices left safe: as a run found them that was killed, else in their safe states."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from derloop.errors import DeviceError
from hil.bench.devices import reached, refuse_stranger
from hil.bench.file import Bench
from hil.bench.writing import keeper_of
from hil.inverter.device import Device
from hil.modbus.thread import LoopThread
from hil.safety.stop import is_there


@dataclass(frozen=True, slots=True)
class Left:
    """How one device has been left."""

    device: str
    is_safe: bool
    """Verified by reading back."""
    what: str


def leave_safe(bench: Bench, names: Collection[str]) -> list[Left]:
    """Restore devices from the records of runs that could not, or bring them to their safe states; all are tried."""
    thread = LoopThread(f"bench {bench.file.name}")
    try:
        return thread.run(_leave_safe(bench, names))
    finally:
        thread.close()


async def _leave_safe(bench: Bench, names: Collection[str]) -> list[Left]:
    stop = bench.file.emergency_stop.file
    is_stopped = stop is not None and is_there(bench.path.parent / stop)
    async with reached(bench, names) as devices:
        return await asyncio.gather(*(_left(bench, device, is_stopped) for device in devices.values()))


async def _left(bench: Bench, device: Device, is_stopped: bool) -> Left:
    try:
        await device.discover()
        refuse_stranger(bench.device(device.name), device)
        keeper = keeper_of(bench, device, [device.name])
        return Left(device.name, True, await keeper.leave_safe(is_stopped))
    except DeviceError as failure:
        return Left(device.name, False, failure.why)
