"""What devices measure, read again and again."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from time import monotonic, monotonic_ns

from derloop.errors import DeviceError, Rejected
from hil.bench.devices import reached, refuse_stranger
from hil.bench.file import Bench
from hil.inverter.device import MOVED, Device
from hil.inverter.dialect import QUANTITIES, Quantity
from hil.inverter.measuring import Measuring, Witnesses, kept_words, rows
from hil.modbus.thread import LoopThread


@dataclass(slots=True)
class Seen:
    """What one device measured when it last answered."""

    device: str
    values: Mapping[Quantity, float] = field(default_factory=dict)
    """Without what the device does not measure."""
    read_ns: int | None = None
    """When, on the monotonic clock; None: it has never answered."""
    problem: str = ""
    """Why it does not answer now."""

    @property
    def age_s(self) -> float:
        """How old the values are; infinite without any."""
        return math.inf if self.read_ns is None else (monotonic_ns() - self.read_ns) / 1e9


Show = Callable[[list[Seen]], None]


def watch(bench: Bench, names: Collection[str], every_s: float, show: Show, rounds: int | None = None) -> None:
    """Read what devices measure every so often and show it, until interrupted, or for so many rounds.

    A device that does not answer is tried again in each round; what it measured last stays, and grows old.
    """
    thread = LoopThread(f"bench {bench.file.name}")
    try:
        thread.run(_watch(bench, names, every_s, show, rounds))
    finally:
        thread.close()


async def _watch(bench: Bench, names: Collection[str], every_s: float, show: Show, rounds: int | None) -> None:
    async with reached(bench, names) as devices:
        watched = [_Watched(bench, device) for device in devices.values()]
        done, due_s = 0, monotonic()
        while rounds is None or done < rounds:
            await asyncio.gather(*(each.look() for each in watched))
            show([each.seen for each in watched])
            done, due_s = done + 1, max(due_s + every_s, monotonic())
            if done != rounds:
                await asyncio.sleep(due_s - monotonic())


class _Watched:
    """One device, discovered when it first answers, and again after it was away: it may be another one then."""

    def __init__(self, bench: Bench, device: Device) -> None:
        self._entry, self._device = bench.device(device.name), device
        self._measuring: Measuring | None = None
        self.seen = Seen(device.name)

    async def look(self) -> None:
        try:
            await self._look()
            self.seen.problem = ""
        except DeviceError as failure:
            self.seen.problem = failure.why
            self._measuring = None

    async def _look(self) -> None:
        device = self._device
        if self._measuring is None or not device.link.connected:
            await device.discover()
            refuse_stranger(self._entry, device)
            self._measuring = Measuring([device.dialect], [device.plan])
            kept = kept_words(device.map, device.image, device.dialect.witnesses, device.plan)
            self._witnesses = Witnesses([kept])
        answer, read_ns = await device.poll()
        registers = rows([answer], device.plan.registers)
        if self._witnesses.contradict(registers)[0]:
            raise Rejected(device.name, MOVED)
        self.seen.read_ns = read_ns
        measured = self._measuring.decode(registers)
        found = {quantity: float(getattr(measured, quantity)[0]) for quantity in QUANTITIES}
        self.seen.values = {quantity: value for quantity, value in found.items() if not math.isnan(value)}
