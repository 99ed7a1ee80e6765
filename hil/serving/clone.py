"""Copies of devices, from what `derloop bench scan --registers` has written of them.

A copy holds the registers that were read. What its SunSpec map calls writable can be written and is then held; of a
device without a map, every register that was read. Nothing else of the device's behaviour is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from derloop.errors import Problem, Rejected, ScenarioError
from hil.modbus.pdu import ExceptionAnswer, ExceptionCode, Function
from hil.serving.device import Hardware, Inputs
from hil.serving.quirks import MOST_MS, Connections, Latency, Quirks, Slow
from hil.serving.scan_file import Behaviour, MeasuredLatency, Run, ScanFile
from hil.sunspec.discovery import discover
from hil.sunspec.errors import SunSpecMapError
from hil.sunspec.points import Point, RegisterArray
from hil.sunspec.register_map import RegisterMap

P95 = 1.6449
"""The standard normal distribution stays below it in 95 of 100 cases."""
LEAST_MS = 1e-3
"""Scan files tell no shorter latency apart from none."""


class Copied:
    """The registers of a copy."""

    def __init__(self, runs: Sequence[Run], writable: Sequence[Point] | None) -> None:
        """writable: points that may be written, whole; None: every register."""
        self._first = dict(chain.from_iterable(enumerate(run.registers, run.address) for run in runs))
        self._held = dict(self._first)
        self._writable = None if writable is None else {point.address: point.length for point in writable}

    def restart(self) -> None:
        """Hold again what was read from the device."""
        self._held = dict(self._first)

    def read(self, address: int, count: int) -> Sequence[int]:
        try:
            return [self._held[at] for at in range(address, address + count)]
        except KeyError:
            raise ExceptionAnswer(ExceptionCode.ILLEGAL_ADDRESS) from None

    def write(self, address: int, words: Sequence[int]) -> None:
        if not self._may_be_written(address, address + len(words)):
            raise ExceptionAnswer(ExceptionCode.ILLEGAL_ADDRESS)
        self._held |= dict(enumerate(words, address))

    def _may_be_written(self, at: int, end: int) -> bool:
        if self._writable is None:
            return all(address in self._held for address in range(at, end))
        while at < end:
            at += self._writable.get(at, end - at + 1)
        return at == end


def clone(name: str, scan: ScanFile) -> Hardware:
    """Return a copy of a device. Raises ScenarioError where its registers are not the SunSpec map that they claim."""
    map_ = _map_of(scan)
    points = {} if map_ is None else map_.points
    writable = None if map_ is None else [point for point in points.values() if point.writable]
    copied = Copied(scan.registers, writable)
    functions = _functions(scan.behaviour)
    read = scan.input_registers
    inputs = Inputs(Copied(read, ()), _blocks(read)) if read else None
    return Hardware(name, copied, _blocks(scan.registers), points, copied.restart, functions, inputs)


def _blocks(runs: Sequence[Run]) -> list[tuple[int, int]]:
    return [(run.address, len(run.registers)) for run in runs]


def _functions(behaviour: Behaviour | None) -> tuple[int, ...]:
    """Return what it answers; functions that nobody tried are granted, or nothing could be commanded."""
    if behaviour is None or not behaviour.functions:
        return tuple(Function)
    return (*behaviour.functions, *behaviour.untried)


def _map_of(scan: ScanFile) -> RegisterMap | None:
    if scan.sunspec is None:
        return None
    held = Copied(scan.registers, ())

    def read(address: int, count: int) -> RegisterArray:
        try:
            return np.array(held.read(address, count), dtype=np.uint16)
        except ExceptionAnswer as refusal:
            raise Rejected(scan.device, str(refusal)) from refusal

    try:
        return discover(read)[0]
    except (SunSpecMapError, Rejected) as error:
        raise ScenarioError([Problem("/registers", f"no SunSpec map: {error}")], scan.device) from error


def measured_quirks(behaviour: Behaviour | None) -> Mapping[str, object]:
    """Return the quirks that make a copy as slow and as limited as the device was, by name."""
    if behaviour is None:
        return {}
    found: dict[str, object] = {}
    if behaviour.latency_ms and behaviour.latency_ms.median > 0:
        found["latency"] = latency(behaviour.latency_ms)
    if behaviour.interval_s > 0:
        found["slow"] = Slow(interval_s=behaviour.interval_s, only_writes=False)
    if behaviour.connections == 1:
        found["connections"] = Connections()
    return found


def latency(measured: MeasuredLatency) -> Latency:
    """Return the lognormal distribution with this median and 95th percentile.

    It is narrower where its standard deviation would be more than a latency can have, as after one reading that took
    a thousand times as long as the others.
    """
    widest = math.sqrt(math.log(MOST_MS / max(measured.median, LEAST_MS)))
    sigma = min(math.log(max(measured.p95 / measured.median, 1.0)) / P95, widest)
    mean = measured.median * math.exp(sigma**2 / 2)
    spread = mean * math.sqrt(math.expm1(sigma**2))
    return Latency(distribution="lognormal", mean_ms=mean, spread_ms=spread)


def with_measured(quirks: Quirks, behaviour: Behaviour | None) -> Quirks:
    """Return quirks as somebody has set them, and where nothing is set, those that were measured."""
    measured = {k: v for k, v in measured_quirks(behaviour).items() if k not in quirks.model_fields_set}
    return quirks.model_copy(update=measured)
