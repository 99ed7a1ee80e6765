"""The same points of many devices, decoded and encoded at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from hil.sunspec.errors import SunSpecValueError
from hil.sunspec.points import NO_PATTERN, FloatArray, Point, RegisterArray
from hil.sunspec.reads import ReadPlan
from hil.sunspec.register_map import RegisterMap

_T = TypeVar("_T")
_Rows: TypeAlias = Sequence[Sequence[_T]]
_WORD_WEIGHTS = np.array([1 << 48, 1 << 32, 1 << 16, 1], dtype=np.uint64)


class PointTable:
    """The same p numeric points of n devices, decoded and encoded at once.

    The devices may differ in addresses and scale factors. `points` and `positions` are n rows of p entries:
    the point (None where a device has none) and where it begins in the device's row of registers.
    """

    def __init__(self, points: _Rows[Point | None], positions: _Rows[int | None]) -> None:
        shape = (len(points), len(points[0]))
        pairs = zip(_chain(points), _chain(positions), strict=True)
        cells = np.array([*_cells(pairs)], dtype=np.int64).reshape(*shape, _CELL)
        self._index, self._words = cells[..., :4], np.maximum(cells[..., :4], 0).reshape(shape[0], -1)
        self._multiplier, self._divisor = 10.0 ** cells[..., 4], 10.0 ** cells[..., 5]
        self._shift, self._unsigned_shift = cells[..., 6], cells[..., 6].astype(np.uint64)
        self._missing, self._signed, self._bitfield = (cells[..., at] > 0 for at in (7, 8, 9))
        self._single, self._double = (cells[..., 13] == words for words in (2, 4))
        self._float = self._single | self._double
        self._has_floats = bool(self._float.any())
        self._low, self._high = cells[..., 10], cells[..., 11].view(np.uint64)
        self._absent = cells[..., 12].view(np.uint64)
        self._endless, self._swapped = cells[..., 14] > 0, cells[..., 15] > 0
        self._has_swapped = bool(self._swapped.any())
        stretches = np.array([_stretch(point) for point in _chain(points)]).reshape(*shape, 2)
        self._factor, self._offset = stretches[..., 0], stretches[..., 1]
        self._names = [[p.name if p else "" for p in row] for row in points]

    @classmethod
    def of_image(cls, maps: Sequence[RegisterMap], names: Sequence[str]) -> PointTable:
        """Return the table for images of whole maps (rows of registers from each map's base)."""
        points = [[device.points.get(name) for name in names] for device in maps]
        positions = [
            [None if p is None else device.position(p) for p in row] for device, row in zip(maps, points, strict=True)
        ]
        return cls(points, positions)

    @classmethod
    def of_plans(cls, plans: Sequence[ReadPlan]) -> PointTable:
        """Return the table for what plans read (rows of registers of all requests, one after the other)."""
        return cls([plan.points for plan in plans], [plan.positions() for plan in plans])

    def decode(self, registers: RegisterArray) -> FloatArray:
        """Return physical values (n, p) from registers (n, r); NaN where not implemented or not there."""
        words = np.take_along_axis(registers, self._words, axis=1).reshape(self._index.shape)
        pattern = np.where(self._index < 0, 0, self._bytes_in_order(words)).astype(np.uint64) @ _WORD_WEIGHTS
        top = pattern << self._unsigned_shift
        hidden = self._bitfield & (pattern > self._high)
        raw = np.where(self._signed, (top.view(np.int64) >> self._shift).astype(np.float64), pattern)
        absent = (pattern == self._absent) & ~self._endless | self._missing | hidden
        values: FloatArray = np.where(absent, np.nan, raw * self._multiplier / self._divisor)
        if self._has_floats:
            values[self._single] = _finite(pattern[self._single].astype(np.uint32).view(np.float32))
            values[self._double] = _finite(pattern[self._double].view(np.float64))
        return self._stretched(values)

    def _stretched(self, values: FloatArray) -> FloatArray:
        """Return what numbers (n, p) mean with their points' factors and offsets; NaN for what is beyond any number."""
        with np.errstate(over="ignore"):
            stretched: FloatArray = values * self._factor + self._offset
        return _finite(stretched) if self._has_floats else stretched

    def within_reach(self, values: FloatArray) -> FloatArray:
        """Return physical values (n, p) that are the most, or the least, that registers hold, where they are beyond."""
        relaxed = (values - self._offset) / self._factor
        low, high = (limit * self._multiplier / self._divisor for limit in (self._low, self._high))
        held: FloatArray = np.clip(relaxed, low, high) * self._factor + self._offset
        return np.where(self._float, values, held)

    def encode(self, values: FloatArray, registers: RegisterArray) -> None:
        """Write physical values (n, p) into registers (n, r), rounded to the scale factors' steps.

        NaN writes 'not implemented'; points that a device does not have are skipped. Raises
        SunSpecValueError, and writes nothing, if a value is out of range.
        """
        absent = np.isnan(values)
        relaxed = (values - self._offset) / self._factor
        raw = np.rint(np.where(absent, 0.0, relaxed) * self._divisor / self._multiplier)
        self._refuse_out_of_range(values, raw)
        raw = np.where(self._missing, 0.0, raw)
        unsigned = np.abs(raw).astype(np.uint64)
        pattern = np.where(absent, self._absent, np.where(raw < 0, ~unsigned + np.uint64(1), unsigned))
        if self._has_floats:
            self._put_floats(relaxed, pattern)
        words = self._bytes_in_order((pattern[..., None] // _WORD_WEIGHTS).astype(np.uint16))
        there = (self._index >= 0) & ~self._missing[..., None]
        registers[np.nonzero(there)[0], self._index[there]] = words[there]

    def _put_floats(self, values: FloatArray, pattern: NDArray[np.uint64]) -> None:
        for of_type, unsigned, kind in ((self._single, np.uint32, np.float32), (self._double, np.uint64, np.float64)):
            there = of_type & ~np.isnan(values)
            pattern[there] = values[there].astype(kind).view(unsigned)

    def _bytes_in_order(self, words: RegisterArray) -> RegisterArray:
        return np.where(self._swapped[..., None], words.byteswap(), words) if self._has_swapped else words

    def _refuse_out_of_range(self, values: FloatArray, raw: FloatArray) -> None:
        wrong = ~self._missing & ~((raw >= self._low) & (raw <= self._high))
        if self._has_floats:
            largest = np.where(self._single, np.finfo(np.float32).max, np.finfo(np.float64).max)
            wrong = np.where(self._float, np.abs(np.nan_to_num(values, posinf=np.inf)) > largest, wrong)
        wrong = wrong | np.isnan(values) & self._endless
        if wrong.any():
            device, column = np.argwhere(wrong)[0]
            name, value = self._names[device][column], float(values[device, column])
            raise SunSpecValueError(name, f"{value!r} is out of range for device {device}")


def _finite(numbers: NDArray[np.floating[Any]]) -> FloatArray:
    """Return numbers with NaN for what is none."""
    found: FloatArray = np.where(np.isfinite(numbers), numbers, np.nan).astype(np.float64)
    return found


_CELL = 16


def _cells(pairs: Iterable[tuple[Point | None, int | None]]) -> Iterator[tuple[int, ...]]:
    """Yield what the table needs of points; the devices of a fleet share most, each of which is looked at once."""
    known: dict[tuple[int, int | None], tuple[int, ...]] = {}
    for point, position in pairs:
        key = (id(point), position)
        if key not in known:
            known[key] = _cell(point, position)
        yield known[key]


def _cell(point: Point | None, position: int | None) -> tuple[int, ...]:
    """Return what the table needs of a point: four word positions, exponents, shift, flags, limits, and more."""
    if point is None or position is None:
        return (-1, -1, -1, -1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)
    kind, exponent, manner = point.kind, point.exponent or 0, point.manner
    if kind.family not in ("integer", "enum", "bitfield", "float"):
        raise SunSpecValueError(point.name, f"type {point.type} cannot be polled as a number")
    order = range(point.length - 1, -1, -1) if manner.low_word_first else range(point.length)
    words = [-1] * (4 - point.length) + [position + at for at in order]
    scale = (max(exponent, 0), max(-exponent, 0), 64 - 16 * point.length)
    flags = (point.exponent is None, kind.signed, kind.family == "bitfield")
    limits = (kind.low, _as_int64(kind.high), _as_int64(max(point.absent, 0)))
    floating = point.length if kind.family == "float" else 0
    return (*words, *scale, *map(int, flags), *limits, floating, point.absent == NO_PATTERN, manner.low_byte_first)


def _stretch(point: Point | None) -> tuple[float, float]:
    return (1.0, 0.0) if point is None else (float(point.manner.factor), float(point.manner.offset))


def _as_int64(pattern: int) -> int:
    return pattern - (1 << 64) if pattern >> 63 else pattern


def _chain(rows: _Rows[_T]) -> Iterator[_T]:
    return (item for row in rows for item in row)
