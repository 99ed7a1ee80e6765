"""What n devices answered last, and when; who may be silent for a while, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from time import monotonic_ns
from typing import Any

import numpy as np

from derloop.contract import FloatArray
from derloop.errors import Rejected, Unreachable
from hil.bench.file import Hold, Silence
from hil.bench.together import raise_first
from hil.inverter.device import MOVED, Device
from hil.inverter.measurements import Measurements
from hil.inverter.measuring import Measuring, Witnesses, kept_words, rows
from hil.inverter.mirror import Answer

Ask = Callable[[int], Coroutine[Any, Any, Answer]]
"""Commands and polls the device of an index."""
SHARE = 0.5
"""Of a step is how long one waits for a device whose measurements may be held."""


class Polls:
    """The last answers of n devices that have been discovered, for use inside an event loop."""

    def __init__(self, devices: Sequence[Device], silences: Sequence[Silence]) -> None:
        """silences: what is done about a device that does not answer."""
        self._names, self._silences = [device.name for device in devices], silences
        plans = [device.plan for device in devices]
        self._width = max(plan.registers for plan in plans)
        self._witnesses = Witnesses([kept_words(d.map, d.image, d.dialect.witnesses, d.plan) for d in devices])
        self._measuring = Measuring([device.dialect for device in devices], plans)
        self._rows = [b""] * len(plans)
        self.polled_ns = np.zeros(len(plans), dtype=np.int64)
        """When each device was polled last, on the monotonic clock; 0: never."""
        self._tasks: dict[int, asyncio.Task[Answer]] = {}
        self._why: dict[int, str] = {}

    async def ask(self, ask: Ask, step_s: float) -> None:
        """Ask every device.

        One whose measurements may be held is waited for during a part of the step. It goes on with what it has not
        done by then, and is asked again once it has done it, or failed. Raises what fails, and Unreachable for a
        device that has been silent for longer than it may.
        """
        for index in range(len(self._names)):
            if index not in self._tasks:
                self._tasks[index] = asyncio.create_task(ask(index))
        held = [task for index, task in self._tasks.items() if self._may_hold(index)]
        others = [task for index, task in self._tasks.items() if not self._may_hold(index)]
        await asyncio.gather(_finished(held, SHARE * step_s), _finished(others, None))
        done = {index: task for index, task in self._tasks.items() if task.done()}
        self._tasks = {index: task for index, task in self._tasks.items() if index not in done}
        self._take(done)
        self._refuse_stale()

    def measured(self) -> Measurements:
        """Return what each device measured when it was last polled."""
        return self._measuring.decode(rows(self._rows, self._width))

    def ages_s(self) -> FloatArray:
        """Return how old the measurements are (n,)."""
        ages_s: FloatArray = (monotonic_ns() - self.polled_ns) / 1e9
        return ages_s

    async def close(self) -> None:
        """End what still goes on."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    def _may_hold(self, index: int) -> bool:
        """Return whether a device may be silent for a while: there is something to hold."""
        return isinstance(self._silences[index], Hold) and bool(self.polled_ns[index])

    def _take(self, done: Mapping[int, asyncio.Task[Answer]]) -> None:
        failures = {index: error for index, task in done.items() if (error := task.exception()) is not None}
        for index, task in done.items():
            if index not in failures:
                self._rows[index], self.polled_ns[index] = task.result()
        for index, error in failures.items():
            self._why[index] = str(error)
        raise_first(e for i, e in failures.items() if not (isinstance(e, Unreachable) and self._may_hold(i)))
        wrong = self._witnesses.contradict(rows(self._rows, self._width))
        raise_first(Rejected(self._names[i], MOVED) for i in done if i not in failures and wrong[i])

    def _refuse_stale(self) -> None:
        for index, (silence, age_s) in enumerate(zip(self._silences, self.ages_s(), strict=True)):
            if isinstance(silence, Hold) and age_s > silence.max_age_s:
                why = self._why.get(index, "its last exchange goes on")
                what = f"has not answered for {age_s:.1f} s, longer than max_age_s {silence.max_age_s:g} s; {why}"
                raise Unreachable(self._names[index], what)


async def _finished(tasks: Sequence[asyncio.Task[Any]], timeout_s: float | None) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=timeout_s)
