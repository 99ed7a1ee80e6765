"""Devices that describe themselves: SunSpec maps, found from 'SunS' to the end marker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

from derloop.errors import Rejected
from hil.inverter.dialect import Dialect
from hil.inverter.sunspec_dialect import sunspec_dialect
from hil.modbus.link import Link
from hil.sunspec.discovery import walk
from hil.sunspec.errors import SunSpecMapError
from hil.sunspec.points import RegisterArray
from hil.sunspec.reads import READ_LIMIT, WRITE_LIMIT, Request
from hil.sunspec.register_map import RegisterMap


class Found(NamedTuple):
    """What a device turns out to be."""

    map: RegisterMap
    image: RegisterArray
    """Every register of the map, as it was found."""
    dialect: Dialect


class Language(Protocol):
    """How a device is asked what it is."""

    @property
    def read_limit(self) -> int:
        """Most registers that one read may ask for."""
        ...

    @property
    def write_limit(self) -> int:
        """Most registers that one write may carry."""
        ...

    async def find(self, link: Link) -> Found:
        """Find out what a device has. Raises Rejected if it is not what it should be."""
        ...


@dataclass(frozen=True, slots=True)
class SunSpec:
    """The language of devices that describe themselves."""

    read_limit: int = READ_LIMIT
    write_limit: int = WRITE_LIMIT

    async def find(self, link: Link) -> Found:
        """Walk from the device's first model to its end marker."""
        try:
            found, image = await self._walked(link)
        except SunSpecMapError as none:
            raise Rejected(link.device, f"{link.address}: {none}") from none
        return Found(found, image, sunspec_dialect(found, image))

    async def _walked(self, link: Link) -> tuple[RegisterMap, RegisterArray]:
        step = walk(self.read_limit)
        resume: Callable[[], Request] = partial(next, step)
        while True:
            try:
                request = resume()
            except StopIteration as end:
                found: tuple[RegisterMap, RegisterArray] = end.value
                return found
            try:
                resume = partial(step.send, await link.read(request.address, request.registers))
            except Rejected as refusal:
                resume = partial(step.throw, refusal)
