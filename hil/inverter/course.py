"""What goes over the wire when points of a device are written and others read back.

It is the same again and again, with other numbers in the registers, and the same for devices of a kind.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from hil.inverter.guard import Change
from hil.modbus.pdu import Request
from hil.modbus.pdu import read as read_request
from hil.modbus.pdu import write as write_request
from hil.sunspec.codec import Encoded
from hil.sunspec.points import Point
from hil.sunspec.reads import ReadPlan, runs
from hil.sunspec.register_map import RegisterMap

Stage = Mapping[str, Encoded]
"""Points to be written, by name."""


class Batch:
    """Points that one request writes, in the order of their addresses."""

    def __init__(self, device: RegisterMap, stage: int, points: Sequence[Point]) -> None:
        """stage: which of the stages of a write has them."""
        self.stage, self.names = stage, tuple(point.name for point in points)
        self.unreadable = tuple(point.name for point in points if not point.manner.readable)
        self._cells = [(point, device.span(point.name)) for point in points]
        self._address, self._one = points[0].address, points[0].manner.writes_one

    def changes(self, stages: Sequence[Stage], words: array[int]) -> list[Change]:
        """Return what is to be written. words: what the device holds in its whole map."""
        stage = stages[self.stage]
        return [
            Change(point, stage[point.name].registers, stage[point.name].value, tuple(words[span]))
            for point, span in self._cells
        ]

    def request(self, changes: Iterable[Change]) -> Request:
        return write_request(self._address, [word for each in changes for word in each.registers], one=self._one)


class Course(NamedTuple):
    """Writes, each made when the one before is acknowledged, and the fewest reads of what is read after them."""

    batches: tuple[Batch, ...]
    then: frozenset[str]
    """What is read."""
    reads: tuple[Request, ...]
    places: tuple[int, ...]
    """Where the registers of each read begin in the device's image."""


@lru_cache(maxsize=4096)
def course(
    device: RegisterMap,
    stages: tuple[tuple[str, ...], ...],
    then: tuple[str, ...],
    enables: frozenset[str],
    limits: tuple[int, int],
) -> Course:
    """Return how the points of stages are written, one stage after the other, neighbours in one request.

    Within a stage what makes the device obey (`enables`, and names that end with `Ena`) goes last. limits: registers of
    a read and of a write.
    """
    plan = ReadPlan(device, then, limits[0])
    staged = [(at, runs((device[name] for name in names), limits[1])) for at, names in enumerate(stages)]
    batches = [Batch(device, at, points) for at, stage in staged for points in stage]
    batches.sort(key=lambda batch: (batch.stage, _enables(batch, enables)))
    return Course(tuple(batches), frozenset(then), asked(plan), plan.places)


def _enables(batch: Batch, enables: frozenset[str]) -> bool:
    return any(name in enables or name.endswith("Ena") for name in batch.names)


@lru_cache(maxsize=4096)
def asked(plan: ReadPlan) -> tuple[Request, ...]:
    """Return a plan's reads as they are asked."""
    return tuple(read_request(*request) for request in plan.requests)
