"""What many devices measure, whatever each of them speaks: registers to quantities, as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hil.inverter.dialect import QUANTITIES, Dialect, Source
from hil.inverter.measurements import Measurements
from hil.sunspec.points import BoolArray, FloatArray, Point, RegisterArray
from hil.sunspec.reads import ReadPlan
from hil.sunspec.register_map import MOST_EXPONENT, RegisterMap
from hil.sunspec.table import PointTable

NOWHERE = Source()


def poll_plan(device: RegisterMap, dialect: Dialect, limit: int) -> ReadPlan:
    """Return the fewest reads that fetch all that is measured, and the scale factors that may change while it is.

    Witnesses are read along where they cost no request more.
    """
    points = [point for source in dialect.measured.values() for point in source.points]
    names = [*points, *(scale for scale in map(device.moving_scale, points) if scale is not None)]
    plan = ReadPlan(device, names, limit)
    for witness in dialect.witnesses:
        longer = ReadPlan(device, [*names, witness], limit)
        if len(longer.requests) == len(plan.requests):
            names.append(witness)
            plan = longer
    return plan


class Measuring:
    """Decodes what n devices answered to their plans."""

    def __init__(self, dialects: Sequence[Dialect], plans: Sequence[ReadPlan]) -> None:
        sources = [[dialect.measured.get(quantity, NOWHERE) for quantity in QUANTITIES] for dialect in dialects]
        self._width = max((len(source.points) for row in sources for source in row), default=1) or 1
        pairs = list(zip(sources, plans, strict=True))
        names = [[name for source in row for name in _padded(source.points, self._width)] for row in sources]
        found = [[plan.find(name) for name in row] for row, plan in zip(names, plans, strict=True)]
        scales = [[plan.map.moving_scale(name) or "" for name in row] for plan, row in zip(plans, names, strict=True)]
        scaled = zip(found, scales, strict=True)
        points = [[_to_be_scaled(p, scale) for (p, _), scale in zip(*row, strict=True)] for row in scaled]
        self._table = PointTable(points, [[at for _, at in row] for row in found])
        self._scales = _Scales(scales, found, plans) if any(map(any, scales)) else None
        self._factor = np.array([[source.factor for source in row] for row, _ in pairs])
        self._offset = np.array([[source.offset for source in row] for row, _ in pairs])
        self._magnitude = np.array([[source.magnitude for source in row] for row, _ in pairs])
        self._codes = _Codes(sources)

    def decode(self, registers: RegisterArray) -> Measurements:
        """Return measurements from registers (n, r); NaN where a device does not implement or does not say."""
        values = self._table.decode(registers)
        if self._scales is not None:
            values = self._scales.corrected(values, registers)
        if self._width > 1:
            values = _mean(values.reshape(len(values), len(QUANTITIES), self._width))
        stretched = values * self._factor + self._offset
        stretched = np.where(self._magnitude, np.abs(stretched), stretched)
        return Measurements.from_table(self._codes.translated(values, stretched))


class _Scales:
    """Scale factors that a device may change between two polls: those of the same answer count."""

    def __init__(
        self,
        names: Sequence[Sequence[str]],
        points: Sequence[Sequence[tuple[Point, int] | tuple[None, None]]],
        plans: Sequence[ReadPlan],
    ) -> None:
        found = [[plan.find(name) for name in row] for row, plan in zip(names, plans, strict=True)]
        self._table = PointTable([[p for p, _ in row] for row in found], [[at for _, at in row] for row in found])
        self._moving = np.array([[point is not None for point, _ in row] for row in found])
        self._compiled = np.array([[(p.exponent or 0) if p else 0 for p, _ in row] for row in points])

    def corrected(self, values: FloatArray, registers: RegisterArray) -> FloatArray:
        """Return values (n, p), decoded with the scale factors that were discovered, with those that are there now."""
        scales = self._table.decode(registers)
        scales[np.abs(scales) > MOST_EXPONENT] = np.nan
        change = np.where(self._moving, scales - self._compiled, 0.0)
        return values if not change.any() else values * 10.0**change


def _to_be_scaled(point: Point | None, scale: str) -> Point | None:
    """Return a point whose scale factor was not there when it was discovered, in steps of 1: it may come to be."""
    return replace(point, exponent=0) if point is not None and point.exponent is None and scale else point


def _padded(names: tuple[str, ...], width: int) -> tuple[str, ...]:
    return (*names, *[""] * (width - len(names)))


def _mean(values: FloatArray) -> FloatArray:
    """Return the means (n, q) of what there is of values (n, q, w); NaN where there is nothing."""
    there = ~np.isnan(values)
    count = there.sum(axis=2)
    total = np.where(there, values, 0.0).sum(axis=2)
    mean: FloatArray = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


class _Codes:
    """Translates numbers that are names: states, mostly. Devices of a kind share a table."""

    def __init__(self, sources: Sequence[Sequence[Source]]) -> None:
        places: dict[tuple[tuple[int, float], ...], list[tuple[int, int]]] = {}
        for row, each in enumerate(sources):
            for column, source in enumerate(each):
                if source.codes:
                    places.setdefault(tuple(sorted(source.codes.items())), []).append((row, column))
        self._tables = [(np.array(codes, dtype=np.float64).T, tuple(np.array(at).T)) for codes, at in places.items()]

    def translated(self, values: FloatArray, others: FloatArray) -> FloatArray:
        """Return `others` with what the numbers of `values` mean where they are codes; NaN for unknown ones."""
        for (codes, meanings), at in self._tables:
            nearest = np.minimum(np.searchsorted(codes, values[at]), len(codes) - 1)
            others[at] = np.where(codes[nearest] == values[at], meanings[nearest], np.nan)
        return others


class Witnesses:
    """Tells devices whose registers are no longer what they were: moved, or another device's."""

    def __init__(self, kept: Sequence[Sequence[tuple[int, int]]]) -> None:
        """`kept`: for each device where in its row of registers which words must stand."""
        most = max(map(len, kept), default=0)
        padded = np.array([[*row, *[(0, _ANYTHING)] * (most - len(row))] for row in kept], dtype=np.int64)
        self._at, self._expected = np.moveaxis(padded.reshape(len(kept), most, 2), 2, 0)

    def contradict(self, registers: RegisterArray) -> BoolArray:
        """Return which devices (n,) answered something else than ever before, from registers (n, r)."""
        found = np.take_along_axis(registers, self._at, axis=1)
        wrong: BoolArray = ((found != self._expected) & (self._expected != _ANYTHING)).any(axis=1)
        return wrong


_ANYTHING = -1


def kept_words(
    device: RegisterMap, image: RegisterArray, names: Sequence[str], plan: ReadPlan
) -> list[tuple[int, int]]:
    """Return where in a plan's registers which words stand as long as a device is what it was."""
    cells: list[tuple[int, int]] = []
    for name in names:
        _, at = plan.find(name)
        if at is not None:
            cells.extend((at + offset, word) for offset, word in enumerate(device.registers(name, image)))
    return cells


def rows(answers: Sequence[bytes], width: int) -> RegisterArray:
    """Stack what devices answered, high bytes first; short rows are filled with zeros that no point refers to."""
    length = 2 * max(width, 1)
    filled = b"".join([each.ljust(length, b"\0") for each in answers])
    return np.frombuffer(filled, ">u2").astype(np.uint16).reshape(len(answers), -1)
