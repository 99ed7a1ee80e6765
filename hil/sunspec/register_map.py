"""The points of one device by name, at fixed addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from derloop.errors import did_you_mean
from hil.sunspec.codec import decode
from hil.sunspec.errors import SunSpecMapError
from hil.sunspec.layout import ModelBlock
from hil.sunspec.points import Point, RegisterArray, Value

BASE_ADDRESSES = (40000, 50000, 0)
"""Where a SunSpec map may begin, in the order in which they are tried."""
SUNS = (0x5375, 0x6E53)
END_MODEL = 0xFFFF
ADDRESSES = 0x10000


class RegisterMap:
    """The points of one device, by name, with their addresses and scale factors fixed."""

    def __init__(self, base: int, blocks: Sequence[ModelBlock], points: Iterable[Point]) -> None:
        self.base, self.blocks = base, tuple(blocks)
        self.points: Mapping[str, Point] = {point.name: point for point in points}

    @property
    def end(self) -> int:
        """The first address after the end marker."""
        return (self.blocks[-1].address + self.blocks[-1].length if self.blocks else self.base + 2) + 2

    def __contains__(self, name: str) -> bool:
        return name in self.points

    def __getitem__(self, name: str) -> Point:
        if name not in self.points:
            raise SunSpecMapError(f"the device has no point {name!r}{did_you_mean(name, tuple(self.points))}")
        return self.points[name]

    def block(self, model_id: int) -> ModelBlock:
        """Return the first block of a model."""
        for block in self.blocks:
            if block.model_id == model_id:
                return block
        present = ", ".join(str(block.model_id) for block in self.blocks)
        raise SunSpecMapError(f"the device has no SunSpec model {model_id}; it has {present or 'none'}")

    def value(self, name: str, image: RegisterArray) -> Value:
        """Return a point's value in an image of the whole map (registers from `base`)."""
        point = self[name]
        return decode(point, image[point.address - self.base : point.end - self.base])

    def group_size(self, key: str, group: str) -> int:
        """Return how often a repeated group occurs: `group_size("705", "Crv")` is the number of curves."""
        start, size = f"{key}.{group}.", 0
        while any(name.startswith(f"{start}{size}.") for name in self.points):
            size += 1
        return size
