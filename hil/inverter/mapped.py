"""Devices that do not describe themselves: a register map says what they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from derloop.errors import Rejected, ScenarioError
from derloop.validation import read_model
from hil.inverter.dialect import Dialect
from hil.inverter.language import Found, Language, SunSpec
from hil.inverter.map_file import RegisterFile
from hil.inverter.map_meanings import dialect
from hil.inverter.map_points import register_map
from hil.modbus.link import Link
from hil.sunspec.codec import encode
from hil.sunspec.points import RegisterArray
from hil.sunspec.reads import ReadPlan
from hil.sunspec.register_map import RegisterMap


@dataclass(frozen=True, slots=True)
class Mapped:
    """The language of devices of one kind, as a register map says it."""

    name: str
    map: RegisterMap
    dialect: Dialect
    expected: Mapping[str, tuple[int, ...]]
    """Registers that a device of this kind holds."""
    read_limit: int
    write_limit: int

    async def find(self, link: Link) -> Found:
        """Read every point. Raises Rejected if the device holds something else than such a device does."""
        image: RegisterArray = np.zeros(self.map.size, dtype=np.uint16)
        await self._read(link, list(self.expected), image)
        self._refuse_another(link.device, image)
        await self._read(link, list(self.map.points), image)
        return Found(self.map, image, self.dialect)

    async def _read(self, link: Link, names: list[str], image: RegisterArray) -> None:
        for request in ReadPlan(self.map, names, self.read_limit).requests:
            at = self.map.index(request.function, request.address)
            image[at : at + request.registers] = await link.read(*request)

    def _refuse_another(self, device: str, image: RegisterArray) -> None:
        for name, expected in self.expected.items():
            if self.map.registers(name, image) != expected:
                reads = self.map.value(name, image)
                raise Rejected(device, f"is no {self.name!r}: {name} at {self.map[name].address} reads {reads!r}")


def language(speaks: str, folder: Path) -> Language:
    """Return what a bench file means by `speaks`: "sunspec", or the file of a register map, from `folder` on.

    Raises ScenarioError with all that is wrong with that file.
    """
    return SunSpec() if speaks == "sunspec" else read_register_map(folder / speaks)


def read_register_map(path: Path) -> Mapped:
    """Return the language that a file describes; raise ScenarioError, which names the file, with all that is wrong."""
    return mapped(read_model(RegisterFile, path), str(path))


def mapped(file: RegisterFile, source: str) -> Mapped:
    """Return the language that a register map describes. Raises ScenarioError with everything that is wrong."""
    device, problems = register_map(file)
    meanings, more = dialect(file, device)
    if problems or more:
        raise ScenarioError([*problems, *more], source)
    expected = {name: encode(device[name], value).registers for name, value in file.identity.expect.items()}
    return Mapped(file.name, device, meanings, expected, file.reads.at_most, file.writes.at_most)


def shipped_maps() -> dict[str, Path]:
    """Return the register maps that come with derloop, by name: examples, of no real device."""
    folder = Path(str(files("hil") / "maps"))
    return {path.stem: path for path in sorted(folder.glob("*.json"))}
