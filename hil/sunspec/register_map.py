"""The points of one device by name, at fixed addresses."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Literal, NamedTuple

from derloop.errors import did_you_mean
from hil.sunspec.codec import decode
from hil.sunspec.errors import SunSpecMapError
from hil.sunspec.layout import ModelBlock
from hil.sunspec.points import Point, RegisterArray, Value

BASE_ADDRESSES = (40000, 50000, 0)
"""Where a SunSpec map may begin, in the order in which they are tried."""
SUNS = (0x5375, 0x6E53)
END_MODEL = 0xFFFF
STATIC = range(701, 716)
"""Models that declare their scale factors to be static; those of batteries (802 on) declare nothing."""
MOST_EXPONENT = 10
"""Of a scale factor; what is greater is none."""
ADDRESSES = 0x10000


class Run(NamedTuple):
    """Registers that follow each other, and may be read together in any part."""

    function: Literal[3, 4]
    """That reads them: holding registers, or input registers, which have addresses of their own."""
    start: int
    end: int
    """The first address after them."""


class RegisterMap:
    """The points of one device, by name, with their addresses and scale factors fixed.

    Its *image* holds the registers of all its runs, one run after the other: for a SunSpec device those from `base` to
    the end marker.
    """

    def __init__(
        self, base: int, blocks: Sequence[ModelBlock], points: Iterable[Point], runs: Sequence[Run] = ()
    ) -> None:
        """`runs`, in the order of functions and addresses, is given for devices that are not SunSpec."""
        self.base, self.blocks = base, tuple(blocks)
        self.points: Mapping[str, Point] = {point.name: point for point in points}
        self.runs = tuple(runs) or (Run(3, base, self.end),)
        self._starts = [(run.function, run.start) for run in self.runs]
        lengths = [run.end - run.start for run in self.runs]
        self._before = [0, *accumulate(lengths)]
        self._spans: dict[str, slice] = {}

    @property
    def end(self) -> int:
        """The first address after the end marker."""
        return (self.blocks[-1].address + self.blocks[-1].length if self.blocks else self.base + 2) + 2

    def __contains__(self, name: str) -> bool:
        return name in self.points

    def __getitem__(self, name: str) -> Point:
        try:
            return self.points[name]
        except KeyError:
            hint = did_you_mean(name, tuple(self.points))
            raise SunSpecMapError(f"the device has no point {name!r}{hint}") from None

    def block(self, model_id: int) -> ModelBlock:
        """Return the first block of a model."""
        for block in self.blocks:
            if block.model_id == model_id:
                return block
        present = ", ".join(str(block.model_id) for block in self.blocks)
        raise SunSpecMapError(f"the device has no SunSpec model {model_id}; it has {present or 'none'}")

    def moving_scale(self, name: str) -> str | None:
        """Return the scale factor of a point if the device may change it while it runs, as some do with their powers.

        SunSpec's models 701 to 715 declare theirs to be static; all others declare nothing.
        """
        point, key = self.points.get(name), name.partition(".")[0]
        scale = f"{key}.{point.scale}" if point is not None and point.scale is not None else ""
        may_move = any(block.key == key and block.model_id not in STATIC for block in self.blocks)
        return scale if may_move and scale in self.points else None

    @property
    def size(self) -> int:
        """How many registers the image has."""
        return self._before[-1]

    def run_of(self, function: int, address: int) -> int:
        """Return which of the runs holds a register. Raises SunSpecMapError if none does."""
        at = bisect_right(self._starts, (function, address)) - 1
        if at < 0 or self.runs[at].function != function or address >= self.runs[at].end:
            raise SunSpecMapError(f"the device's map has no register {address} (function {function})")
        return at

    def index(self, function: int, address: int) -> int:
        """Return where a register is in the image."""
        run = self.run_of(function, address)
        return self._before[run] + address - self.runs[run].start

    def position(self, point: Point) -> int:
        """Return where a point begins in the image."""
        return self.index(point.manner.function, point.address)

    def registers(self, name: str, image: RegisterArray | array[int]) -> tuple[int, ...]:
        """Return a point's registers in an image of the whole map."""
        return tuple(image[self.span(name)].tolist())

    def span(self, name: str) -> slice:
        """Return, and keep, where a point is in the image: it is asked for again and again."""
        if (found := self._spans.get(name)) is not None:
            return found
        point = self[name]
        at = self.position(point)
        return self._spans.setdefault(name, slice(at, at + point.length))

    def value(self, name: str, image: RegisterArray | array[int]) -> Value:
        """Return a point's value in an image of the whole map."""
        return decode(self[name], self.registers(name, image))

    def current(self, name: str, image: RegisterArray | array[int]) -> Value:
        """Return a point's value in an image, with the scale factor that the device has there if that may change."""
        scale, point = self.moving_scale(name), self[name]
        if scale is not None:
            point = scaled(point, self.value(scale, image))
        return decode(point, self.registers(name, image))

    def group_size(self, key: str, group: str) -> int:
        """Return how often a repeated group occurs: `group_size("705", "Crv")` is the number of curves."""
        start, size = f"{key}.{group}.", 0
        while any(name.startswith(f"{start}{size}.") for name in self.points):
            size += 1
        return size


def scaled(point: Point, scale: Value) -> Point:
    """Return a point with the scale factor that its device has now."""
    if scale == point.exponent:
        return point
    is_scale = isinstance(scale, int | float) and abs(scale) <= MOST_EXPONENT
    return replace(point, exponent=int(scale or 0) if is_scale else None)
