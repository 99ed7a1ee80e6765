"""The fewest requests that read or write some points of one device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from hil.sunspec.points import Point
from hil.sunspec.register_map import RegisterMap

READ_LIMIT = 125
"""Registers that one Modbus read can carry."""
WRITE_LIMIT = 123
"""Registers that one Modbus write can carry."""


class Request(NamedTuple):
    """A run of registers to be read, as `Link.read` takes it."""

    address: int
    registers: int
    function: int = 3


class ReadPlan:
    """The fewest reads that fetch some points of one device.

    A read spans neighbouring points and the registers between them, never more than `limit` registers, never
    part of a point, and never registers that are not the map's or may not be read. Points that the device does not
    have, or does not let be read, are left out (they decode to NaN). Taking as much as fits from the first register
    that is still wanted gives the fewest reads that there can be.
    """

    def __init__(self, device: RegisterMap, names: Sequence[str], limit: int = READ_LIMIT) -> None:
        self.map = device
        found = (device.points.get(name) for name in names)
        self.points: tuple[Point | None, ...] = tuple(p if p is not None and p.manner.readable else None for p in found)
        self.requests: tuple[Request, ...] = tuple(_cover(device, [p for p in self.points if p is not None], limit))
        self.places = tuple(device.index(request.function, request.address) for request in self.requests)
        """Where the registers of each request begin in the device's image."""
        self.registers = sum(request.registers for request in self.requests)

    def find(self, name: str) -> tuple[Point, int] | tuple[None, None]:
        """Return a point and where it begins in the registers of all requests; None if the plan does not read it."""
        point = next((p for p in self.points if p is not None and p.name == name), None)
        return (None, None) if point is None else (point, self._position(point))

    def positions(self) -> tuple[int | None, ...]:
        """Return where each point begins in the registers of all requests, one after the other."""
        return tuple(None if point is None else self._position(point) for point in self.points)

    def _position(self, point: Point) -> int:
        before = 0
        for at, registers, function in self.requests:
            if function == point.manner.function and at <= point.address < at + registers:
                return before + point.address - at
            before += registers
        raise AssertionError(point)


def _cover(device: RegisterMap, points: Sequence[Point], limit: int) -> Iterator[Request]:
    """Yield reads, each from the first point that is not covered as far as its run and the limit allow."""
    by_run = sorted((device.run_of(p.manner.function, p.address), p.address, p.end) for p in points)
    for run, spans in groupby(by_run, key=lambda span: span[0]):
        for start, end in _joined([(address, end) for _, address, end in spans], limit):
            yield Request(start, end - start, device.runs[run].function)


def _joined(spans: Sequence[tuple[int, int]], limit: int) -> Iterator[tuple[int, int]]:
    """Yield from sorted spans of registers the fewest of at most `limit` that hold each of them whole."""
    start, end = spans[0]
    for address, after in spans:
        if after - start > limit:
            yield start, end
            start, end = address, after
        end = max(end, after)
    yield start, end


def runs(points: Iterable[Point], limit: int = WRITE_LIMIT) -> list[list[Point]]:
    """Group points that follow each other without a gap, for one write of at most `limit` registers each.

    Points that are written with function 6 stay alone.
    """
    grouped: list[list[Point]] = []
    for point in sorted(points, key=lambda p: p.address):
        run = grouped[-1] if grouped else []
        follows = run and run[-1].end == point.address and point.end - run[0].address <= limit
        if follows and not (point.manner.writes_one or run[-1].manner.writes_one):
            run.append(point)
        else:
            grouped.append([point])
    return grouped
