"""Copies of devices that let go by themselves: their register map says by which heartbeat, or which watchdog.

A heartbeat is watched from the first time that it changes; a watchdog counts from the last write to a point of its
functions. When either has not been heard for its time, the functions that depend on it are as
the map says that they are off, until they are commanded again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from derloop.errors import Problem, ScenarioError
from hil.inverter.dialect import Function
from hil.inverter.mapped import Mapped
from hil.modbus.pdu import ExceptionAnswer, RegisterArray
from hil.serving.awkward_registers import Clock
from hil.serving.device import Hardware
from hil.serving.responder import Holding
from hil.sunspec.codec import decode, encode


def watching(hardware: Hardware, language: Mapped, heartbeat_s: float) -> Hardware:
    """Return a device that lets go as its map says. Raises ScenarioError where it lacks registers of the map."""
    if lacking := [
        name for name in dict.fromkeys(_depended_on(language)) if not _can_read(hardware.registers, language, name)
    ]:
        what = f"the registers of {', '.join(lacking)} were not scanned"
        raise ScenarioError([Problem("/speaks", f"{language.name!r} does not fit {hardware.name}: {what}")], "clone")
    return replace(hardware, registers=Watched(hardware.registers, language, heartbeat_s), points=language.map.points)


def _depended_on(language: Mapped) -> Iterator[str]:
    for function in language.dialect.functions.values():
        yield from function.points
    beat = language.dialect.heartbeat
    if beat is not None:
        yield from (name for name in (beat.point, beat.time) if name is not None)


def _can_read(registers: Holding, language: Mapped, name: str) -> bool:
    point = language.map[name]
    try:
        registers.read(point.address, point.length)
    except ExceptionAnswer:
        return False
    return True


class Watched:
    """The registers of a device that notices, when it is asked something, that its controller has fallen silent."""

    def __init__(self, registers: Holding, language: Mapped, heartbeat_s: float, clock: Clock = time.monotonic) -> None:
        """heartbeat_s: how long it waits for a heartbeat, where no point says it. clock: the device's."""
        self._registers, self._map, self._dialect = registers, language.map, language.dialect
        self._heartbeat_s, self._clock = heartbeat_s, clock
        self._beat_s = math.inf
        self._commanded_s: dict[str, float] = {}
        """When anything was written to the functions of a watchdog, by the point that holds its time."""

    def read(self, address: int, count: int) -> Sequence[int] | RegisterArray:
        self._let_go()
        return self._registers.read(address, count)

    def write(self, address: int, words: Sequence[int]) -> None:
        self._let_go()
        before = self._beat()
        self._registers.write(address, words)
        now_s, end = self._clock(), address + len(words)
        if self._beat() != before:
            self._beat_s = now_s
        for function in self._dialect.functions.values():
            is_heard = any(address <= self._map[name].address < end for name in function.points)
            if is_heard and function.reversion is not None:
                self._commanded_s[function.reversion.time] = now_s

    def _beat(self) -> float | None:
        return None if self._dialect.heartbeat is None else self._number(self._dialect.heartbeat.point)

    def _let_go(self) -> None:
        heart_is_lost = self._heart_is_lost()
        over = [each for each in self._dialect.functions.values() if heart_is_lost or self._is_over(each)]
        for function in [each for each in over if self._is_on(each)]:
            self._put(function.off)

    def _heart_is_lost(self) -> bool:
        beat = self._dialect.heartbeat
        if beat is None:
            return False
        waits_s = self._heartbeat_s if beat.time is None else self._number(beat.time)
        return waits_s > 0 and self._clock() - self._beat_s >= waits_s

    def _is_over(self, function: Function) -> bool:
        """Return whether the watchdog of a function has run out; one of 0 s is none."""
        if function.reversion is None:
            return False
        timer = function.reversion.time
        waits_s, since_s = self._number(timer), self._commanded_s.get(timer, math.inf)
        return waits_s > 0 and self._clock() - since_s >= waits_s

    def _is_on(self, function: Function) -> bool:
        return bool(function.on) and all(self._number(name) == value for name, value in function.on.items())

    def _number(self, name: str) -> float:
        point = self._map[name]
        words = self._registers.read(point.address, point.length)
        value = decode(point, tuple(int(word) for word in words))
        return value if isinstance(value, int | float) else 0.0

    def _put(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._registers.write(self._map[name].address, encode(self._map[name], value).registers)
