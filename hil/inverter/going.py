"""Many devices commanded and polled at the same time, without a task for each where all goes well."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

from derloop.errors import DeviceError
from hil.inverter.answers import Answers
from hil.inverter.commands import Order
from hil.inverter.device import Device
from hil.inverter.mirror import Answer


async def all_exchanged(devices: Mapping[str, Device], orders: Mapping[str, Order], now_s: float) -> Answers[Answer]:
    """Do `Device.exchange` with all devices, to their ends. An error that is not a device's is raised then."""
    going = _Going(devices)
    for name, device in devices.items():
        going.begin(name, device, orders[name], now_s)
    return await going.answers()


class _Going:
    """Devices that have been begun with, and how they have ended."""

    def __init__(self, devices: Mapping[str, Device]) -> None:
        self._devices, self._left = devices, len(devices)
        self._all = asyncio.get_running_loop().create_future()
        self._tasks: dict[str, asyncio.Task[Answer]] = {}
        self._outcomes: dict[str, Answer | BaseException] = {}
        if not devices:
            self._all.set_result(None)

    def begin(self, name: str, device: Device, order: Order, now_s: float) -> None:
        ended = partial(self._ended, name)
        try:
            is_begun = device.begin(order, now_s, ended)
        except DeviceError as refusal:
            ended(refusal)
            return
        if not is_begun:
            task = self._tasks[name] = asyncio.create_task(device.exchange(order, now_s))
            task.add_done_callback(lambda task: ended(_outcome(task)))

    async def answers(self) -> Answers[Answer]:
        """Wait until all have ended; cancelled, cancel them all."""
        try:
            await self._all
        except asyncio.CancelledError:
            await self._abandon()
            raise
        answers: Answers[Answer] = Answers({}, {})
        for name in self._devices:
            outcome = self._outcomes[name]
            if isinstance(outcome, DeviceError):
                answers.failures[name] = outcome
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                answers.results[name] = outcome
        return answers

    def _ended(self, name: str, outcome: Answer | BaseException) -> None:
        self._outcomes[name] = outcome
        self._left -= 1
        if not self._left and not self._all.done():
            self._all.set_result(None)

    async def _abandon(self) -> None:
        for name in self._devices.keys() - self._outcomes.keys():
            self._devices[name].abandon()
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())


def _outcome(task: asyncio.Task[Answer]) -> Answer | BaseException:
    if task.cancelled():
        return asyncio.CancelledError()
    return task.exception() or task.result()
