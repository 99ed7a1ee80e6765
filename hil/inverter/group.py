"""Many devices at once, for synchronous callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import fields
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from derloop.errors import did_you_mean
from hil.inverter.commands import Commands
from hil.inverter.device import SunSpecDevice
from hil.inverter.measurements import MEASURED, NAMEPLATE, Measurements, Nameplates
from hil.modbus.endpoint import Address, Timing
from hil.modbus.link import Link
from hil.modbus.thread import LoopThread
from hil.modbus.traffic import Traffic
from hil.sunspec.points import RegisterArray, Value
from hil.sunspec.reads import ReadPlan
from hil.sunspec.table import PointTable

T = TypeVar("T")


class DeviceGroup:
    """n devices, exchanged with at the same time, for synchronous callers: vectors in, vectors out.

    `start` connects and discovers; `close` ends all connections, and the thread. Given a `thread`, the group
    runs in that and leaves closing it to its owner: beside an emulator in the same process that saves a third
    of the time, which two threads spend on handing each other the interpreter.
    If devices fail, the error of the first is raised once all have come to an end, with a note on the others.
    """

    def __init__(
        self,
        devices: Mapping[str, Address],
        *,
        lease_s: int = 0,
        deadline_s: float = 2.0,
        attempts: int = 2,
        thread: LoopThread | None = None,
    ) -> None:
        self._given_thread = thread
        timing = Timing(deadline_s=deadline_s, attempts=attempts)
        links = [Link(name, address, timing) for name, address in devices.items()]
        self.devices = tuple(SunSpecDevice(link, lease_s) for link in links)
        self._plans: list[ReadPlan] = []
        self._table: PointTable | None = None
        self._thread: LoopThread | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What the devices are called, in the order of every vector."""
        return tuple(device.name for device in self.devices)

    @property
    def traffic(self) -> Traffic:
        """What all connections together have carried."""
        each = [device.link.traffic for device in self.devices]
        totals = {f.name: sum(getattr(traffic, f.name) for traffic in each) for f in fields(Traffic)}
        return Traffic(**totals)

    def start(self) -> None:
        """Connect to every device and discover its points."""
        self._thread = self._given_thread or LoopThread("modbus devices")
        try:
            self._together(lambda device: device.discover())
        except BaseException:
            self.close()
            raise
        self._plans = [ReadPlan(device.map, MEASURED) for device in self.devices]
        self._table = PointTable.of_plans(self._plans)

    def nameplates(self) -> Nameplates:
        """Return the settings of model 702 and 713, as discovered."""
        maps = [device.map for device in self.devices]
        images = _rows([device.image for device in self.devices])
        return Nameplates(*PointTable.of_image(maps, NAMEPLATE).decode(images).T)

    def identities(self) -> list[str]:
        """Return manufacturer, model, version and serial number of each device (model 1)."""
        parts = ("1.Mn", "1.Md", "1.Vr", "1.SN")
        texts = [[d.map.value(name, d.image) for name in parts if name in d.map] for d in self.devices]
        return [" ".join(str(text) for text in each if text) for each in texts]

    def command(self, commands: Commands, now_s: float) -> None:
        """Give every device its commands and verify that it holds them.

        `now_s` is the time in which the devices' reversion timers count: simulated in lock-step, else wall time.
        Returns when all have done what they were told; raises Rejected or Unreachable if one has not.
        """
        self._refuse_wrong_length(commands)
        orders = {device.name: commands.order(index) for index, device in enumerate(self.devices)}
        self._together(lambda device: device.command(orders[device.name], now_s))

    def _refuse_wrong_length(self, commands: Commands) -> None:
        for field in fields(commands):
            given = getattr(commands, field.name)
            if given is not None and len(given) != len(self.devices):
                raise ValueError(f"commands: {field.name!r} has {len(given)} values for {len(self.devices)} devices")

    def read(self, *names: str) -> list[dict[str, Value]]:
        """Return what each device holds at these points, by name."""
        return self._together(lambda device: device.read(names))

    def write(self, device: str, values: Mapping[str, float | str]) -> None:
        """Write points of one device by name, and verify that it holds them."""
        self._with(device, lambda found: found.write(values))

    def adopt(self, device: str, model: str, values: Mapping[str, float | str]) -> None:
        """Make a curve the active one of one device; see `SunSpecDevice.adopt`."""
        self._with(device, lambda found: found.adopt(model, values))

    def poll(self) -> Measurements:
        """Return what every device measures now."""
        if self._table is None:
            raise RuntimeError("the group is not started")
        plans = {device.name: plan for device, plan in zip(self.devices, self._plans, strict=True)}
        rows = self._together(lambda device: device.poll(plans[device.name]))
        return Measurements.from_table(self._table.decode(_rows(rows)))

    def exchange(self, commands: Commands, now_s: float) -> Measurements:
        """Command every device, then poll it."""
        self.command(commands, now_s)
        return self.poll()

    def close(self) -> None:
        """Close every connection and join the thread; once or more often."""
        if self._thread is not None and not self._thread.closed:
            self._together(lambda device: device.link.close())
            if self._given_thread is None:
                self._thread.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _with(self, name: str, work: Callable[[SunSpecDevice], Coroutine[Any, Any, None]]) -> None:
        if name not in self.names:
            raise ValueError(f"no device {name!r}{did_you_mean(name, self.names)}")
        if self._thread is None:
            raise RuntimeError("the group is not started")
        self._thread.run(work(self.devices[self.names.index(name)]))

    def _together(self, work: Callable[[SunSpecDevice], Coroutine[Any, Any, T]]) -> list[T]:
        if self._thread is None:
            raise RuntimeError("the group is not started")
        return self._thread.run(_gather([partial(work, device) for device in self.devices]))


async def _gather(work: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """Run all to their ends; return their results or raise the first error, with a note on the others."""
    results = await asyncio.gather(*(each() for each in work), return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    if not errors:
        return [result for result in results if not isinstance(result, BaseException)]
    for other in errors[1:]:
        errors[0].add_note(f"also: {other}")
    raise errors[0]


def _rows(rows: Sequence[RegisterArray]) -> RegisterArray:
    """Stack rows of registers, short ones filled with zeros that no point refers to."""
    stacked = np.zeros((len(rows), max(len(row) for row in rows) or 1), dtype=np.uint16)
    for index, row in enumerate(rows):
        stacked[index, : len(row)] = row
    return stacked
