"""What a device holds, as far as is known: read, compared, written past a guard, and read back."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from derloop.errors import DeviceError, Rejected
from hil.inverter.guard import Change, Guard, Unguarded
from hil.modbus.link import Link
from hil.modbus.pdu import Request
from hil.modbus.pdu import read as read_request
from hil.modbus.pdu import write as write_request
from hil.sunspec.codec import Encoded, encode
from hil.sunspec.points import Point, RegisterArray, Value
from hil.sunspec.reads import READ_LIMIT, WRITE_LIMIT, ReadPlan, read_plan, runs
from hil.sunspec.register_map import RegisterMap

Stage = Mapping[str, Encoded]
"""Points to be written, by name."""
Answer = tuple[bytes, int]
"""Registers as they came, high bytes first, and when the first of them were answered: monotonic clock, ns."""


class Polling:
    """A poll that is made in the same go as a command, once what that wrote has been read back.

    Where it fails, the command is done all the same.
    """

    __slots__ = ("_outcome", "plan")

    def __init__(self, plan: ReadPlan) -> None:
        self.plan = plan
        self._outcome: Answer | DeviceError | None = None

    @property
    def is_made(self) -> bool:
        """False where the command had nothing to write: there was no go."""
        return self._outcome is not None

    def came(self, answers: Sequence[bytes], heard_s: Sequence[float]) -> None:
        """Take what answered the requests, and when each of them was answered, on the monotonic clock."""
        self._outcome = b"".join(answers), int(1e9 * heard_s[0]) if heard_s else 0

    def failed(self, failure: DeviceError) -> None:
        self._outcome = failure

    def answer(self) -> Answer:
        """Return what came of it, or raise what ended it."""
        assert self._outcome is not None
        if isinstance(self._outcome, DeviceError):
            raise self._outcome
        return self._outcome


class NotHeld(Rejected):
    """The device acknowledged what was written, and holds something else, or does not let it be read back."""


class Mirror:
    """The registers of one device as they were last read, for use inside an event loop.

    Only what changes need be written: setpoints wear flash. What has been written counts as unknown until it has been
    read back.
    """

    def __init__(self, link: Link, guard: Guard | None = None) -> None:
        self.link, self.guard = link, guard or Unguarded()
        self.map = RegisterMap(0, (), ())
        self._words = array("H")
        self.read_limit, self.write_limit = READ_LIMIT, WRITE_LIMIT
        self.enables: frozenset[str] = frozenset()
        """Points that are written last, besides those whose names end with `Ena`."""
        self.readings = 0
        """Changes whenever something has been read, or is to be."""
        self._unsure: set[str] = set()
        self._unknown: set[str] = set()
        """Points that cannot be read, and to which nothing was written yet, or nothing that was acknowledged."""

    @property
    def image(self) -> RegisterArray:
        """The registers of the whole map, as they were last read."""
        return np.array(self._words, dtype=np.uint16)

    @property
    def device(self) -> str:
        """What the device is called in messages."""
        return self.link.device

    def take(self, found: RegisterMap, image: RegisterArray) -> None:
        """Begin with what was discovered."""
        self.map, self._words = found, array("H", image.tolist())
        self.readings += 1
        self._unsure.clear()
        self._unknown = {name for name, point in found.points.items() if not point.manner.readable}

    # what is known

    def value(self, name: str) -> Value:
        return self.map.value(name, self._words)

    def values(self, names: Sequence[str]) -> dict[str, Value]:
        """Return what is held at points; None where it is not implemented, or cannot be known."""
        return {name: None if name in self._unknown else self.value(name) for name in names}

    def implemented(self, name: str) -> bool:
        return name in self.map and self.value(name) is not None

    def encode(self, values: Mapping[str, float | str]) -> dict[str, Encoded]:
        """Return registers for values of points. Raises SunSpecError for what does not fit."""
        return {name: encode(self.map[name], value) for name, value in values.items()}

    def held(self, names: Iterable[str]) -> dict[str, Encoded]:
        """Return what the device holds, as that which it is to go on to hold."""
        return {name: Encoded(self._registers(name), self.value(name), False) for name in names}

    def changed(self, wanted: Stage) -> dict[str, Encoded]:
        """Return what the device does not hold already, as far as is known."""
        doubtful, words, span = self._unsure | self._unknown, self._words, self.map.span
        return {n: each for n, each in wanted.items() if n in doubtful or tuple(words[span(n)]) != each.registers}

    def _registers(self, name: str) -> tuple[int, ...]:
        return tuple(self._words[self.map.span(name)])

    # reading

    async def read(self, names: Sequence[str]) -> None:
        """Read points, in the fewest requests."""
        await self._exchange([], names, 0.0)

    async def poll(self, plan: ReadPlan) -> Answer:
        """Return the registers of a plan's requests, one after the other.

        Nothing of what is returned is older than the time that comes with it. (A device may itself repeat what it
        measured earlier.)
        """
        polling, answers, heard_s = Polling(plan), list[bytes](), list[float]()
        await self.link.exchange(_asked(plan), answers, heard_s)
        polling.came(answers, heard_s)
        return polling.answer()

    # writing

    async def write(
        self, stages: Sequence[Stage], now_s: float, then: Sequence[str] = (), polling: Polling | None = None
    ) -> None:
        """Ask the guard about everything, then write one stage after the other; neighbours share a request.

        Within a stage what makes the device obey goes last. Each request is made when the one before is acknowledged;
        after them points are read, and what is measured is polled. Raises Interlocked before anything has been written.
        """
        writes = [changes for stage in stages if stage for changes in self._requests(stage)]
        if writes:
            self.guard.permit([change for changes in writes for change in changes], now_s)
        await self._exchange(writes, then, now_s, polling)

    async def _exchange(
        self, writes: Sequence[Sequence[Change]], names: Sequence[str], now_s: float, polling: Polling | None = None
    ) -> None:
        """Make writes, then read points in the fewest requests. What is not acknowledged counts as unknown."""
        plan, answers, heard_s = read_plan(self.map, tuple(names), self.read_limit), list[bytes](), list[float]()
        requests = [*map(_written, writes), *_asked(plan)]
        own = len(requests)
        self.readings += own
        for changes in writes:
            self._doubt(changes)
        try:
            await self.link.exchange([*requests, *_asked(polling.plan)] if polling else requests, answers, heard_s)
        except DeviceError as failure:
            if polling is None or len(answers) < own:
                raise _as_it_stands(failure, len(writes), len(answers)) from None
            polling.failed(failure)
        else:
            if polling is not None:
                polling.came(answers[own:], heard_s[own:])
        finally:
            for changes in writes[: len(answers)]:
                self._acknowledged(changes, now_s)
            for at, data in zip(plan.places, answers[len(writes) : own], strict=False):
                self._words[at : at + len(data) // 2] = _words(data)
        self._unsure.difference_update(names)

    def _requests(self, stage: Stage) -> list[list[Change]]:
        batches = _batches(self.map, tuple(stage), self.enables, self.write_limit)
        return [[self._change(point, stage[point.name]) for point in batch] for batch in batches]

    def _change(self, point: Point, encoded: Encoded) -> Change:
        registers, value, _ = encoded
        return Change(point, registers, value, self._registers(point.name))

    def _doubt(self, changes: Sequence[Change]) -> None:
        for point, *_ in changes:
            self._unsure.add(point.name)
            if not point.manner.readable:
                self._unknown.add(point.name)

    def _acknowledged(self, changes: Sequence[Change], now_s: float) -> None:
        self.guard.written(changes, now_s)
        for change in changes:
            if not change.point.manner.readable:
                self._believe(change)

    def _believe(self, change: Change) -> None:
        """Take what was acknowledged for what is held: the device does not let it be read."""
        at = self.map.position(change.point)
        self._words[at : at + change.point.length] = array("H", change.registers)
        self._unsure.discard(change.point.name)
        self._unknown.discard(change.point.name)

    async def put(self, values: Mapping[str, float | str], now_s: float) -> None:
        """Write what the device does not hold already, as it is read now, and verify it."""
        wanted = self.encode(values)
        await self.read(list(wanted))
        if changed := self.changed(wanted):
            await self.write([changed], now_s, list(wanted))
            self.refuse_other(wanted)

    async def verify(self, wanted: Stage) -> None:
        """Read back what was written; raise NotHeld unless the device holds it."""
        await self.read(list(wanted))
        self.refuse_other(wanted)

    def refuse_other(self, wanted: Stage) -> None:
        """Raise NotHeld if the device, as it was read last, holds something else."""
        for name in self.changed(wanted):
            holds, was = self.value(name), "was written" if self.map[name].writable else "must not change, was"
            raise NotHeld(self.device, f"{name} {was} {wanted[name].value!r} and reads {holds!r}")


def _as_it_stands(failure: DeviceError, writes: int, answers: int) -> DeviceError:
    """Return a failure as one of reading back, where it is a refusal of that."""
    is_unheld = isinstance(failure, Rejected) and 0 < writes <= answers
    return NotHeld(failure.device, failure.why) if is_unheld else failure


@lru_cache(maxsize=4096)
def _batches(
    device: RegisterMap, names: tuple[str, ...], enables: frozenset[str], limit: int
) -> tuple[Sequence[Point], ...]:
    """Return points by the requests that write them, what enables last; devices of a kind share them."""

    def enabling(batch: Sequence[Point]) -> bool:
        return any(point.name in enables or point.name.endswith("Ena") for point in batch)

    return tuple(sorted(runs((device[name] for name in names), limit), key=enabling))


def _written(changes: Sequence[Change]) -> Request:
    first = changes[0].point
    return write_request(
        first.address, [word for each in changes for word in each.registers], one=first.manner.writes_one
    )


@lru_cache(maxsize=4096)
def _asked(plan: ReadPlan) -> tuple[Request, ...]:
    return tuple(read_request(*request) for request in plan.requests)


def _words(data: bytes) -> array[int]:
    """Return registers that came high byte first."""
    words = array("H", data)
    if sys.byteorder == "little":
        words.byteswap()
    return words
