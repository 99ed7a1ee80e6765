"""The registers that n devices hold, by point."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from hil.sunspec.codec import decode, encode
from hil.sunspec.image import Description, Memory, build_image
from hil.sunspec.points import Point, RegisterArray, Value
from hil.sunspec.register_map import RegisterMap


class Written(NamedTuple):
    """A point that a request writes."""

    point: Point
    value: Value
    was: Value
    is_new: bool
    """Whether its registers held anything else."""

    @property
    def is_nothing(self) -> bool:
        """Whether it is no point of the device, and stays none: a pad, or 'not implemented' as it was."""
        return self.value is None and self.was is None and (self.point.kind.family == "pad" or not self.is_new)


class _Cell(NamedTuple):
    """A point, and which registers of its device's image it has."""

    point: Point
    start: int
    end: int


class Registers:
    """The images of n devices; rows of shorter maps are filled with zeros that no point refers to.

    A device may hold models that it does not show. They lie behind the end marker, where no request reaches them.
    """

    def __init__(self, descriptions: Sequence[Description], hidden: Sequence[Description] = ()) -> None:
        """hidden: for each device, models that it holds and does not show."""
        memory: Memory = {}
        shown = [build_image(description, memory=memory) for description in descriptions]
        behind = [*hidden, *({} for _ in shown[len(hidden) :])]
        built = [_with_hidden(*each, models, memory) for each, models in zip(shown, behind, strict=True)]
        self.shown: tuple[RegisterMap, ...] = tuple(device for device, _ in shown)
        """What can be read and written."""
        self.maps = tuple(device for device, _ in built)
        """All that is held."""
        self.images = np.zeros((len(built), max(len(image) for _, image in built)), dtype=np.uint16)
        for row, (_, image) in zip(self.images, built, strict=True):
            row[: len(image)] = image
        self.version = 0
        """Changes whenever a point is put, but not with what is measured."""
        self._starts = [{point.address: point for point in device.points.values()} for device in self.shown]
        self._shown_from = [(device.base, device.end) for device in self.shown]
        self._cells: dict[tuple[int, str], _Cell | None] = {}
        """Where points are that have been asked for; None where a device has none of that name."""
        self._written_points = lru_cache(maxsize=8192)(self._points_between)

    def holds(self, device: int, name: str) -> Value:
        """Return what a device holds; None if not implemented, or not there."""
        cell = self._cell(device, name)
        return None if cell is None else self._value(device, cell)

    def number(self, device: int, name: str) -> float | None:
        """Return a number that a device holds; None if not implemented, or not there."""
        value = self.holds(device, name)
        return None if isinstance(value, str) else value

    def holds_point(self, device: int, name: str) -> bool:
        """Return whether a device has and implements a point."""
        return self.holds(device, name) is not None

    def _cell(self, device: int, name: str) -> _Cell | None:
        """Return, and keep, where a point is: it is asked for again and again."""
        key = device, name
        if key not in self._cells:
            point = self.maps[device].points.get(name)
            self._cells[key] = None if point is None else self._cell_of(device, point)
        return self._cells[key]

    def _cell_of(self, device: int, point: Point) -> _Cell:
        at = point.address - self.maps[device].base
        return _Cell(point, at, at + point.length)

    def _value(self, device: int, cell: _Cell) -> Value:
        return decode(cell.point, self.images[device, cell.start : cell.end].tolist())

    def put(self, device: int, name: str, value: float) -> None:
        self.put_words(device, self.maps[device][name].address, encode(self.maps[device][name], value).registers)

    def put_words(self, device: int, address: int, words: Sequence[int]) -> None:
        start = address - self.maps[device].base
        self.images[device, start : start + len(words)] = words
        self.version += 1

    def words(self, device: int, address: int, count: int) -> list[int] | None:
        """Return registers; None outside of what is shown."""
        base, end = self._shown_from[device]
        if address < base or address + count > end:
            return None
        start = address - base
        found: list[int] = self.images[device, start : start + count].tolist()
        return found

    def image(self, device: int) -> RegisterArray:
        """Return a copy of all registers of a device, shown or not."""
        found: RegisterArray = self.images[device].copy()
        return found

    def shown_image(self, device: int) -> RegisterArray:
        """Return a copy of the registers that a device shows."""
        found: RegisterArray = self.images[device, : self.shown[device].end - self.shown[device].base].copy()
        return found

    def written(self, device: int, address: int, words: Sequence[int]) -> list[Written] | None:
        """Return the points that `words` write; None unless they are whole points."""
        cells = self._written_points(device, address, address + len(words))
        return None if cells is None else [self._written(device, address, words, cell) for cell in cells]

    def _written(self, device: int, address: int, words: Sequence[int], cell: _Cell) -> Written:
        point = cell.point
        own, held = words[point.address - address : point.end - address], self.images[device, cell.start : cell.end]
        return Written(point, decode(point, own), self._value(device, cell), list(own) != held.tolist())

    def _points_between(self, device: int, address: int, end: int) -> tuple[_Cell, ...] | None:
        """Return the points that fill these addresses; None unless they are whole."""
        found: list[_Cell] = []
        while address < end:
            point = self._starts[device].get(address)
            if point is None or point.end > end:
                return None
            found.append(self._cell_of(device, point))
            address = point.end
        return tuple(found)

    def restore(self, device: int, image: RegisterArray) -> None:
        """Hold again what `image` has."""
        self.images[device, : len(image)] = image
        self.version += 1

    def copy_group(self, device: int, source: str, target: str) -> None:
        """Copy the points under one path to those under another, all but 'read-only'."""
        self.version += 1
        base, row, points = self.maps[device].base, self.images[device], self.maps[device].points
        for name, point in points.items():
            if name.startswith(source) and not name.endswith(".ReadOnly"):
                to = points[target + name.removeprefix(source)]
                row[to.address - base : to.end - base] = row[point.address - base : point.end - base]


def _with_hidden(
    device: RegisterMap, image: RegisterArray, hidden: Description, memory: Memory
) -> tuple[RegisterMap, RegisterArray]:
    """Return a map and an image with models added behind the end marker."""
    if not hidden:
        return device, image
    behind, more = build_image(hidden, device.end, memory)
    points = (*device.points.values(), *behind.points.values())
    return RegisterMap(device.base, (*device.blocks, *behind.blocks), points), np.concatenate([image, more])
