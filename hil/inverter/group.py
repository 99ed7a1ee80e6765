"""Many devices at once, for synchronous callers."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from derloop.errors import Rejected, did_you_mean
from hil.inverter.answers import Answers, Failures, all_answers, raise_first
from hil.inverter.commands import Commands, Order
from hil.inverter.device import MOVED, Device
from hil.inverter.dialect import RATINGS
from hil.inverter.garbage import uncollected
from hil.inverter.going import all_exchanged
from hil.inverter.lease import NO_LEASE, reversion
from hil.inverter.measurements import Measurements, Nameplates
from hil.inverter.measuring import Measuring, Witnesses, kept_words, rows
from hil.inverter.mirror import Answer
from hil.modbus.endpoint import Address, Timing
from hil.modbus.link import Link
from hil.modbus.thread import LoopThread
from hil.modbus.traffic import Traffic
from hil.sunspec.points import BoolArray, Value

T = TypeVar("T")
NOTHING: Answer = (b"", 0)


@dataclass(frozen=True, slots=True)
class Polled:
    """What n devices have measured, as far as they answered."""

    measured: Measurements
    """NaN for a device that failed, or was not asked."""
    read_ns: NDArray[np.int64]
    """When the first of a device's registers were answered (n,), on the monotonic clock; 0 where none were."""
    failures: Failures


class DeviceGroup:
    """n devices, exchanged with at the same time, for synchronous callers: vectors in, vectors out.

    `start` connects and discovers; `close` ends all connections, and the thread. Given a `thread`, the group
    runs in that and leaves closing it to its owner: beside an emulator in the same process that saves a third
    of the time, which two threads spend on handing each other the interpreter.

    If devices fail, `command`, `poll` and `exchange` raise the error of the first once all have come to an end, with a
    note on the others; `command_each`, `poll_each` and `exchange_each` tell which failed, and what the rest did.
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
        """SunSpec devices at their addresses, under a lease by reversion if `lease_s` is not 0."""
        timing, lease = Timing(deadline_s=deadline_s, attempts=attempts), reversion(lease_s) if lease_s else NO_LEASE
        self._begin([Device(Link(name, address, timing), lease) for name, address in devices.items()], thread)

    @classmethod
    def of(cls, devices: Iterable[Device], thread: LoopThread | None = None) -> Self:
        """Return a group of devices, which may share connections, and differ in what they speak."""
        group = cls.__new__(cls)
        group._begin(devices, thread)
        return group

    def _begin(self, devices: Iterable[Device], thread: LoopThread | None) -> None:
        self.devices = tuple(devices)
        self.names = tuple(device.name for device in self.devices)
        """What the devices are called, in the order of every vector."""
        self._given_thread = thread
        self._thread: LoopThread | None = None
        self._measuring: Measuring | None = None

    @property
    def traffic(self) -> Traffic:
        """What all links together have carried."""
        each = [device.link.traffic for device in self.devices]
        totals = {f.name: sum(getattr(traffic, f.name) for traffic in each) for f in fields(Traffic)}
        return Traffic(**totals)

    def start(self) -> None:
        """Connect to every device and discover its points."""
        self._thread = self._given_thread or LoopThread("modbus devices")
        try:
            self._all(lambda device: device.discover())
        except BaseException:
            self.close()
            raise
        self._prepare()

    def _prepare(self) -> None:
        """Compile how measurements are decoded, once it is known what the devices are."""
        plans = [device.plan for device in self.devices]
        self._measuring = Measuring([device.dialect for device in self.devices], plans)
        self._witnesses = Witnesses([kept_words(d.map, d.image, d.dialect.witnesses, d.plan) for d in self.devices])
        self._width = max((plan.registers for plan in plans), default=0)

    def nameplates(self) -> Nameplates:
        """Return what the devices' nameplates said when they were discovered; settings before ratings."""
        table = [[device.ratings.get(rating, math.nan) for rating in RATINGS] for device in self.devices]
        return Nameplates(*np.array(table, dtype=np.float64).reshape(-1, len(RATINGS)).T)

    def identities(self) -> list[str]:
        """Return manufacturer, model, version and serial number of each device."""
        return [str(device.identity) for device in self.devices]

    # commanding and measuring

    def command(self, commands: Commands, now_s: float, among: BoolArray | None = None) -> None:
        """Give every device, or those `among` them (n,), its commands and verify that it holds them.

        `now_s` is the time in which the devices' reversion timers count: simulated in lock-step, else wall time.
        Returns when all have done what they were told; raises Rejected or Unreachable if one has not.
        """
        raise_first(self.command_each(commands, now_s, among))

    def command_each(self, commands: Commands, now_s: float, among: BoolArray | None = None) -> Failures:
        """Give every device its commands; return the errors of those that have not done what they were told."""
        orders = self._orders(commands)
        return self._together(lambda device: device.command(orders[device.name], now_s), among).failures

    def poll(self, among: BoolArray | None = None) -> Measurements:
        """Return what every device, or those `among` them (n,), measures now; NaN for the others."""
        return _unless_failed(self.poll_each(among))

    def poll_each(self, among: BoolArray | None = None) -> Polled:
        """Return what every device measures now, when it was read, and the errors of those that did not answer."""
        return self._decoded(self._together(lambda device: device.poll(), among))

    def exchange(self, commands: Commands, now_s: float) -> Measurements:
        """Command every device and poll it, each as soon as it has done what it was told."""
        return _unless_failed(self.exchange_each(commands, now_s))

    def exchange_each(self, commands: Commands, now_s: float) -> Polled:
        """Command and poll every device; nothing is measured of one that has not done what it was told."""
        devices = dict(zip(self.names, self.devices, strict=True))
        with uncollected():
            return self._decoded(self._running().run(all_exchanged(devices, self._orders(commands), now_s)))

    def _orders(self, commands: Commands) -> dict[str, Order]:
        return dict(zip(self.names, commands.orders(len(self.devices)), strict=True))

    def _decoded(self, answers: Answers[Answer]) -> Polled:
        if self._measuring is None:
            raise RuntimeError("the group is not started")
        each = [answers.results.get(name, NOTHING) for name in self.names]
        registers = rows([words for words, _ in each], self._width)
        failures = answers.failures | self._moved(self._witnesses.contradict(registers), answers)
        silent = np.array([name in failures or name not in answers.results for name in self.names])
        read_ns = np.where(silent, 0, np.array([at_ns for _, at_ns in each], dtype=np.int64))
        measured = self._measuring.decode(registers)
        return Polled(measured.without(silent) if silent.any() else measured, read_ns, failures)

    def _moved(self, wrong: BoolArray, answers: Answers[Answer]) -> Failures:
        names = [name for name, is_wrong in zip(self.names, wrong.tolist(), strict=True) if is_wrong]
        return {name: Rejected(name, MOVED) for name in names if name in answers.results}

    # points by name

    def read(self, *names: str) -> list[dict[str, Value]]:
        """Return what each device holds at these points, by name."""
        return self._all(lambda device: device.read(names))

    def write(self, device: str, values: Mapping[str, float | str]) -> None:
        """Write points of one device by name, and verify that it holds them."""
        self._with(device, lambda found: found.write(values))

    def adopt(self, device: str, model: str, values: Mapping[str, float | str]) -> None:
        """Make a curve the active one of one device; see `Device.adopt`."""
        self._with(device, lambda found: found.adopt(model, values))

    def close(self) -> None:
        """Close every connection and join the thread; once or more often."""
        if self._thread is not None and not self._thread.closed:
            self._all(lambda device: device.link.close())
            if self._given_thread is None:
                self._thread.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _with(self, name: str, work: Callable[[Device], Coroutine[Any, Any, None]]) -> None:
        if name not in self.names:
            raise ValueError(f"no device {name!r}{did_you_mean(name, self.names)}")
        self._running().run(work(self.devices[self.names.index(name)]))

    def _all(self, work: Callable[[Device], Coroutine[Any, Any, T]]) -> list[T]:
        """Return what came of the work of every device; raise if one failed."""
        answers = self._together(work)
        raise_first(answers.failures)
        return [answers.results[name] for name in self.names]

    def _together(self, work: Callable[[Device], Coroutine[Any, Any, T]], among: BoolArray | None = None) -> Answers[T]:
        devices = self.devices if among is None else [self.devices[i] for i in np.flatnonzero(among)]
        with uncollected():
            return self._running().run(all_answers({device.name: partial(work, device) for device in devices}))

    def _running(self) -> LoopThread:
        if self._thread is None:
            raise RuntimeError("the group is not started")
        return self._thread


def _unless_failed(polled: Polled) -> Measurements:
    raise_first(polled.failures)
    return polled.measured
