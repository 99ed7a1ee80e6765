"""Points of one device, read by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from derloop.errors import DerloopError, did_you_mean
from hil.bench.devices import reached, refuse_stranger
from hil.bench.file import Bench
from hil.bench.findings import nameplate_points
from hil.inverter.device import Device
from hil.modbus.thread import LoopThread
from hil.sunspec.points import Point, Value


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
        refuse_stranger(bench.device(name), device)
        values = await device.read(meant(device, wanted) if wanted else telling(device))
    return [Held(device.map[point], value) for point, value in values.items()]


def telling(device: Device) -> list[str]:
    """Return the points of what a device measures, and of its nameplate."""
    measured = [name for source in device.dialect.measured.values() for name in source.points if name in device.map]
    return list(dict.fromkeys([*measured, *nameplate_points(device)]))


def meant(device: Device, wanted: Sequence[str]) -> list[str]:
    """Return the points that names and patterns mean; raise DerloopError where they mean none."""
    found: dict[str, None] = {}
    for pattern in wanted:
        names = [name for name in device.map.points if fnmatchcase(name, pattern)]
        if not names:
            hint = did_you_mean(pattern, tuple(device.map.points))
            raise DerloopError(f"device {device.name!r} has no point {pattern!r}{hint}")
        found |= dict.fromkeys(name for name in names if device.map[name].kind.family != "pad")
    return sorted(found, key=lambda name: device.map[name].address)
