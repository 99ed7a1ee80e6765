"""Looking for devices: who answers at the endpoints and units that are named, one after the other, without writing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from time import perf_counter
from typing import Literal

from derloop.errors import DeviceError, Rejected, Unreachable
from hil.inverter.device import Device, Identity
from hil.modbus.endpoint import Address, Endpoint, Timing
from hil.modbus.link import Link
from hil.modbus.pdu import ExceptionCode, Function
from hil.modbus.thread import LoopThread
from hil.sunspec.points import RegisterArray
from hil.sunspec.reads import READ_LIMIT

Answers = Literal["sunspec", "modbus", "nothing"]
Span = tuple[int, int]
"""First register and how many."""
HOLDING, INPUT = int(Function.READ_HOLDING), int(Function.READ_INPUT)
SOME = 8
"""Input registers at which it is tried whether there are any, each of those asked for and of those found."""
TRIALS = 10
"""Readings of which a latency is told."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a unit answers."""

    latencies_s: tuple[float, ...]
    """Of readings of two registers."""
    functions: tuple[int, ...]
    """Functions that read, and were answered: 3 holding registers, 4 input registers."""
    connections: int
    """How many it takes at a time; 2 stands for two or more."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one unit is."""

    address: Address
    answers: Answers
    why: str = ""
    """Why no more is known of it, where that is so."""
    is_open: bool = True
    """A connection to its endpoint could be opened."""
    device: Device | None = None
    """With the map and the registers of a SunSpec device."""
    spans: tuple[tuple[int, RegisterArray], ...] = ()
    """Holding registers that were read, each run with its first address."""
    inputs: tuple[tuple[int, RegisterArray], ...] = ()
    """Input registers that were read, which have addresses of their own; not of a SunSpec device."""
    refused: tuple[Span, ...] = ()
    behaviour: Behaviour | None = None

    @property
    def identity(self) -> Identity:
        return self.device.identity if self.device else Identity()


def scan(
    places: Sequence[Endpoint],
    units: Sequence[int],
    timing: Timing,
    show: Callable[[Found], None],
    spans: Sequence[Span] | None = None,
) -> list[Found]:
    """Return who answers, and show each unit as soon as it has been asked.

    spans: registers to be read of devices that are not SunSpec, for a scan file; with None none are, and nothing is
    tried of how a device answers. An endpoint where nobody listens is asked once.
    """
    thread = LoopThread("scan")
    found: list[Found] = []
    try:
        for endpoint in places:
            for unit in units:
                each = thread.run(_ask(Address(endpoint, unit), timing, spans))
                show(each)
                found.append(each)
                if not each.is_open:
                    break
    finally:
        thread.close()
    return [each for each in found if each.answers != "nothing"]


def spans_of(runs: Sequence[Sequence[int]]) -> list[Span]:
    """Return runs of registers, each as its first one and how many; what overlaps is read once."""
    registers = sorted({register for run in runs for register in run})
    groups = groupby(enumerate(registers), lambda pair: pair[1] - pair[0])
    return [(run[0][1], len(run)) for run in (list(group) for _, group in groups)]


async def _ask(address: Address, timing: Timing, spans: Sequence[Span] | None) -> Found:
    link = Link("scan", address, timing)
    try:
        found = await _identified(link)
        if spans is None or not found.is_open:
            return found
        return await _examined(link, found, spans)
    except Unreachable as silent:  # it answered at first
        return replace(found, why=_reason(link, silent))
    finally:
        await link.close()


async def _identified(link: Link) -> Found:
    device = Device(link)
    try:
        await device.discover()
    except Rejected as refusal:
        return Found(link.address, "modbus", _reason(link, refusal))
    except Unreachable as silent:
        return Found(link.address, "nothing", _reason(link, silent), is_open=link.opened > 0)
    return Found(link.address, "sunspec", device=device)


def _reason(link: Link, error: DeviceError) -> str:
    return error.why.removeprefix(f"{link.address}: ")


async def _examined(link: Link, found: Found, spans: Sequence[Span]) -> Found:
    """Read the registers that are asked for, and try how the unit answers."""
    if found.device:
        base = found.device.map.base
        behaviour = await _behaviour(link, base, await _functions(link, base))
        return replace(found, spans=((base, found.device.image),), behaviour=behaviour)
    refused: list[Span] = []
    read = [part for span in spans for part in await _parts(link, *span, HOLDING, refused)]
    inputs = await _inputs(link, spans, [start for start, _ in read])
    found = replace(found, spans=tuple(read), inputs=tuple(inputs), refused=tuple(refused))
    if not read and not inputs:
        return replace(found, why=f"{found.why}; no register was read")
    functions = [*([HOLDING] if read else []), *([INPUT] if inputs else [])]
    behaviour = await _behaviour(link, (read or inputs)[0][0], functions)
    return replace(found, answers="modbus", behaviour=behaviour)


async def _inputs(link: Link, spans: Sequence[Span], holding: Sequence[int]) -> list[tuple[int, RegisterArray]]:
    """Return the runs of input registers.

    Some devices that have none refuse the function, others each address: to ask such a one for all of them takes two
    requests for each. One that has `holding` registers is only asked for all if it knows one of some.
    """
    if holding and not await _knows_one(link, [*_some(holding), *_some([at for span in spans for at in _range(span)])]):
        return []
    return [part for span in spans for part in await _parts(link, *span, INPUT, [])]


async def _knows_one(link: Link, places: Sequence[int]) -> bool:
    """Return whether a device has an input register at one of these places, or a number of two."""
    for place in places:
        for count in (2, 1):
            try:
                await link.read(place, count, INPUT)
            except Unreachable:
                return False
            except Rejected as refusal:
                if _is_of_the_function(refusal):
                    return False
            else:
                return True
    return False


def _some(places: Sequence[int]) -> list[int]:
    """Return some of these, spread evenly."""
    return [places[len(places) * i // SOME] for i in range(SOME)] if len(places) > SOME else [*places]


def _range(span: Span) -> range:
    return range(span[0], span[0] + span[1])


async def _parts(
    link: Link, start: int, count: int, function: int, refused: list[Span]
) -> list[tuple[int, RegisterArray]]:
    """Read a run of registers; what is refused is halved until it is known which of them there are not.

    Devices that lack the function refuse that, and some that have no input registers are silent at it.
    """
    if count > READ_LIMIT:
        return [
            part
            for at in range(start, start + count, READ_LIMIT)
            for part in await _parts(link, at, min(READ_LIMIT, start + count - at), function, refused)
        ]
    try:
        return [(start, await link.read(start, count, function))]
    except Unreachable:
        if function == HOLDING:
            raise
        return []
    except Rejected as refusal:
        if count == 1 or _is_of_the_function(refusal):
            refused.append((start, count))
            return []
    half = count // 2
    first = await _parts(link, start, half, function, refused)
    return [*first, *await _parts(link, start + half, count - half, function, refused)]


def _is_of_the_function(refusal: Rejected) -> bool:
    """Return whether a device refuses whatever it is asked with this function."""
    return ExceptionCode.ILLEGAL_FUNCTION.text in refusal.why


async def _behaviour(link: Link, register: int, functions: Sequence[int]) -> Behaviour:
    """functions: that read, and are answered; `register` is one of the first."""
    latencies_s = []
    for _ in range(TRIALS):
        await asyncio.sleep(link.timing.interval_s)
        began = perf_counter()
        await link.read(register, 1, functions[0])
        latencies_s.append(perf_counter() - began)
    return Behaviour(tuple(latencies_s), tuple(functions), await _connections(link, register, functions[0]))


async def _functions(link: Link, register: int) -> list[int]:
    try:
        await link.read(register, 1, INPUT)
    except (Rejected, Unreachable):
        return [HOLDING]
    return [HOLDING, INPUT]


async def _connections(link: Link, register: int, function: int) -> int:
    """Open a second connection beside the first: it may be refused, or take the first one's place."""
    opened, other = link.opened, Link("scan", link.address, link.timing)
    try:
        await other.read(register, 1, function)
        await link.read(register, 1, function)
    except Unreachable:
        return 1
    finally:
        await other.close()
    return 2 if link.opened == opened else 1
