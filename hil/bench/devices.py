"""Devices of a bench, reached: one link each, and one connection to each endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from hil.bench.file import Bench, DeviceEntry, Identity
from hil.inverter.device import SunSpecDevice
from hil.modbus.link import Link

IDENTITY = {"manufacturer": "1.Mn", "model": "1.Md", "serial": "1.SN"}
"""Points of SunSpec's model 1."""


@asynccontextmanager
async def reached(bench: Bench, names: Collection[str]) -> AsyncIterator[dict[str, SunSpecDevice]]:
    """Give devices by name, and close what was opened for them. Nothing is sent before a device is asked something."""
    links = {name: link_to(bench, name) for name in names}
    try:
        yield {name: SunSpecDevice(link) for name, link in links.items()}
    finally:
        for link in links.values():
            await link.close()


def link_to(bench: Bench, name: str) -> Link:
    """Return a link to one device."""
    return Link(name, bench.address(name), bench.device(name).timing)


def identity_of(device: SunSpecDevice) -> Identity:
    """Return what a device that has been discovered says of itself."""
    said = {word: device.map.value(point, device.image) for word, point in IDENTITY.items() if point in device.map}
    return Identity(**{word: str(value) for word, value in said.items() if value is not None})


def strangers(entry: DeviceEntry, device: SunSpecDevice) -> list[str]:
    """Return in words how a device that has been discovered is another one than the bench file expects."""
    return entry.identity.differences(identity_of(device))
