"""Points of one device, read by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from derloop.errors import DerloopError, Rejected, did_you_mean
from hil.bench.devices import reached, strangers
from hil.bench.file import Bench
from hil.inverter.device import SunSpecDevice
from hil.inverter.measurements import MEASURED, NAMEPLATE
from hil.modbus.thread import LoopThread
from hil.sunspec.points import Point, Value

SHOWN = (*MEASURED, *NAMEPLATE)
"""What is read where nobody names points."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a device holds at a point."""

    point: Point
    value: Value


def read_points(bench: Bench, name: str, wanted: Sequence[str]) -> list[Held]:
    """Return what a device holds at the points that names or patterns ("704.*") mean, in the order of the registers.

    Raises DerloopError for a name that no point has, and where the device is another one than expected.
    """
    thread = LoopThread(f"bench {name}")
    try:
        return thread.run(_read(bench, name, wanted))
    finally:
        thread.close()


async def _read(bench: Bench, name: str, wanted: Sequence[str]) -> list[Held]:
    async with reached(bench, [name]) as devices:
        device = devices[name]
        await device.discover()
        if differs := strangers(bench.device(name), device):
            raise Rejected(name, f"is another device than the bench file expects: {'; '.join(differs)}")
        names = meant(device, wanted) if wanted else [point for point in SHOWN if point in device.map]
        values = await device.read(names)
    return [Held(device.map[point], value) for point, value in values.items()]


def meant(device: SunSpecDevice, wanted: Sequence[str]) -> list[str]:
    """Return the points that names and patterns mean; raise DerloopError where they mean none."""
    found: dict[str, None] = {}
    for pattern in wanted:
        names = [name for name in device.map.points if fnmatchcase(name, pattern)]
        if not names:
            hint = did_you_mean(pattern, tuple(device.map.points))
            raise DerloopError(f"device {device.name!r} has no point {pattern!r}{hint}")
        found |= dict.fromkeys(name for name in names if device.map[name].kind.family != "pad")
    return sorted(found, key=lambda name: device.map[name].address)
