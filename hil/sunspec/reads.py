"""The fewest requests that read or write some points of one device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from hil.sunspec.points import Point
from hil.sunspec.register_map import RegisterMap

READ_LIMIT = 125
"""Registers that one Modbus read can carry."""
WRITE_LIMIT = 123
"""Registers that one Modbus write can carry."""


class Request(NamedTuple):
    """A run of registers to be read."""

    address: int
    registers: int


class ReadPlan:
    """The fewest reads that fetch some points of one device.

    A read spans neighbouring points and the registers between them, never more than `limit` registers, and
    never part of a point. Points that the device does not have are left out (they decode to NaN).
    """

    def __init__(self, device: RegisterMap, names: Sequence[str], limit: int = READ_LIMIT) -> None:
        self.points: tuple[Point | None, ...] = tuple(device.points.get(name) for name in names)
        self.requests: tuple[Request, ...] = tuple(_cover([p for p in self.points if p is not None], limit))
        self.registers = sum(request.registers for request in self.requests)

    def positions(self) -> tuple[int | None, ...]:
        """Return where each point begins in the registers of all requests, one after the other."""
        return tuple(None if point is None else self._position(point.address) for point in self.points)

    def _position(self, address: int) -> int:
        before = 0
        for request in self.requests:
            if request.address <= address < request.address + request.registers:
                return before + address - request.address
            before += request.registers
        raise AssertionError(address)


def _cover(points: Sequence[Point], limit: int) -> Iterator[Request]:
    start: int | None = None
    end = 0
    for point in sorted(points, key=lambda p: p.address):
        if start is not None and point.end - start > limit:
            yield Request(start, end - start)
            start = None
        start = point.address if start is None else start
        end = max(end, point.end)
    if start is not None:
        yield Request(start, end - start)


def runs(points: Iterable[Point], limit: int = WRITE_LIMIT) -> list[list[Point]]:
    """Group points that follow each other without a gap, for one write of at most `limit` registers each."""
    grouped: list[list[Point]] = []
    for point in sorted(points, key=lambda p: p.address):
        run = grouped[-1] if grouped else []
        if run and run[-1].end == point.address and point.end - run[0].address <= limit:
            run.append(point)
        else:
            grouped.append([point])
    return grouped
