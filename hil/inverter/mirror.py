"""What a device holds, as far as is known: read, compared, written past a guard, and read back."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from derloop.errors import DeviceError, Rejected
from hil.inverter.course import Batch, Course, Stage, asked
from hil.inverter.course import course as course_of
from hil.inverter.guard import Change, Guard, Unguarded
from hil.modbus.connection import Ended
from hil.modbus.failures import Unacknowledged
from hil.modbus.link import Link
from hil.sunspec.codec import Encoded, encode
from hil.sunspec.points import RegisterArray, Value
from hil.sunspec.reads import READ_LIMIT, WRITE_LIMIT, ReadPlan
from hil.sunspec.register_map import RegisterMap

Answer = tuple[bytes, int]
"""Registers as they came, high bytes first, and when the first of them were answered: monotonic clock, ns."""


class Polling:
    """A poll, made in the same go as a command once what that wrote has been read back.

    Where it fails, the command is done all the same.
    """

    __slots__ = ("_outcome", "requests")

    def __init__(self, plan: ReadPlan) -> None:
        self.requests = asked(plan)
        self._outcome: Answer | DeviceError | None = None

    @property
    def is_made(self) -> bool:
        """False where the command had nothing to write: there was no go."""
        return self._outcome is not None

    def ended(self, outcome: Answer | DeviceError) -> None:
        self._outcome = outcome

    def answer(self) -> Answer:
        """Return what came of it, or raise what ended it."""
        assert self._outcome is not None
        if isinstance(self._outcome, DeviceError):
            raise self._outcome
        return self._outcome


class Go:
    """Writes, what is read after them, and a poll, each made when the one before is answered."""

    __slots__ = ("answers", "course", "heard_s", "now_s", "polling", "requests", "writes")

    def __init__(
        self, course: Course, writes: Sequence[Sequence[Change]], now_s: float, polling: Polling | None
    ) -> None:
        """now_s: the time in which the device's leases count."""
        self.course, self.writes, self.now_s, self.polling = course, writes, now_s, polling
        polls = () if polling is None else polling.requests
        self.requests = [*map(Batch.request, course.batches, writes), *course.reads, *polls]
        self.answers: list[bytes] = []
        self.heard_s: list[float] = []


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

    def current(self, names: Sequence[str]) -> dict[str, Value]:
        """Return what `values` does, with scale factors as they were read last, where a device may change them."""
        return {name: None if name in self._unknown else self.map.current(name, self._words) for name in names}

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
        return {n: each for n, each in wanted.items() if tuple(words[span(n)]) != each.registers or n in doubtful}

    def _registers(self, name: str) -> tuple[int, ...]:
        return tuple(self._words[self.map.span(name)])

    # reading

    async def read(self, names: Sequence[str]) -> None:
        """Read points, in the fewest requests."""
        await self._make(self.go((), 0.0, names))

    async def poll(self, plan: ReadPlan) -> Answer:
        """Return the registers of a plan's requests, one after the other.

        Nothing of what is returned is older than the time that comes with it. (A device may itself repeat what it
        measured earlier.)
        """
        polling = Polling(plan)
        await self._make(self.go((), 0.0, polling=polling))
        return polling.answer()

    # writing

    async def write(
        self, stages: Sequence[Stage], now_s: float, then: Iterable[str] = (), polling: Polling | None = None
    ) -> None:
        """Ask the guard about everything, then write one stage after the other; neighbours share a request.

        Within a stage what makes the device obey goes last. Each request is made when the one before is acknowledged;
        after them points are read, and what is measured is polled. Raises Interlocked before anything has been written.
        """
        await self._make(self.go(stages, now_s, then, polling))

    def go(self, stages: Sequence[Stage], now_s: float, then: Iterable[str] = (), polling: Polling | None = None) -> Go:
        """Ask the guard about everything, and return what is to go over the wire: see `write`.

        From here on what is written counts as unknown, until `came` is told how it went.
        """
        course = self._course(stages, then)
        writes = [batch.changes(stages, self._words) for batch in course.batches]
        if writes:
            self.guard.permit([change for changes in writes for change in changes], now_s)
        self.readings += len(writes) + len(course.reads)
        for batch in course.batches:
            self._doubt(batch)
        return Go(course, writes, now_s, polling)

    def begin(self, go: Go, ended: Ended) -> None:
        """Make a go without a task where that can be; `ended` is called with what ended it, and is to tell `came`."""
        self.link.begin(go.requests, go.answers, go.heard_s, ended)

    def came(self, go: Go, failure: BaseException | None) -> None:
        """Take note of what came of a go. Raises what ended it, unless that was the poll: the command is done then."""
        self._take_note(go, failure)
        polling, own = go.polling, len(go.writes) + len(go.course.reads)
        if failure is not None and not isinstance(failure, DeviceError):
            raise failure
        if failure is not None and (polling is None or len(go.answers) < own):
            raise _as_it_stands(failure, len(go.writes), len(go.answers)) from None
        if polling is not None:
            polling.ended(failure or _polled(go.answers[own:], go.heard_s[own:]))
        self._unsure -= go.course.then

    def _course(self, stages: Sequence[Stage], then: Iterable[str]) -> Course:
        limits = self.read_limit, self.write_limit
        return course_of(self.map, tuple([tuple(stage) for stage in stages]), tuple(then), self.enables, limits)

    async def _make(self, go: Go) -> None:
        failure: DeviceError | None = None
        try:
            await self.link.exchange(go.requests, go.answers, go.heard_s)
        except DeviceError as raised:
            failure = raised
        except BaseException as ended:
            self._take_note(go, ended)
            raise
        self.came(go, failure)

    def _take_note(self, go: Go, failure: BaseException | None) -> None:
        """Take what has been acknowledged, what nobody knows of, and what has been read."""
        for batch, changes, _ in zip(go.course.batches, go.writes, go.answers, strict=False):
            self.guard.written(changes, go.now_s)
            if batch.unreadable:
                self._believe(changes)
        is_doubt = isinstance(failure, Unacknowledged) or not isinstance(failure, DeviceError | None)
        if is_doubt and len(go.answers) < len(go.writes):
            self.guard.doubted(go.writes[len(go.answers)], go.now_s)
        for at, data in zip(go.course.places, go.answers[len(go.writes) :], strict=False):
            self._words[at : at + len(data) // 2] = _words(data)

    def _doubt(self, batch: Batch) -> None:
        self._unsure.update(batch.names)
        self._unknown.update(batch.unreadable)

    def _believe(self, changes: Sequence[Change]) -> None:
        """Take what was acknowledged for what is held, where the device does not let it be read."""
        for point, registers, *_ in changes:
            if not point.manner.readable:
                self._words[self.map.span(point.name)] = array("H", registers)
                self._unsure.discard(point.name)
                self._unknown.discard(point.name)

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


def _polled(answers: Sequence[bytes], heard_s: Sequence[float]) -> Answer:
    return b"".join(answers), int(1e9 * heard_s[0]) if heard_s else 0


def _words(data: bytes) -> array[int]:
    """Return registers that came high byte first."""
    words = array("H", data)
    if sys.byteorder == "little":
        words.byteswap()
    return words
