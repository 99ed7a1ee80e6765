"""What came of work that several devices were given at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from derloop.errors import DeviceError

T = TypeVar("T")
Failures = dict[str, DeviceError]
"""The errors of devices, by name, in the order of the devices."""


class Answers(NamedTuple, Generic[T]):
    """Results and errors, by the devices' names."""

    results: dict[str, T]
    failures: Failures


async def all_answers(work: Mapping[str, Callable[[], Coroutine[Any, Any, T]]]) -> Answers[T]:
    """Run all to their ends. An error that is not a device's is raised then."""
    tasks = [asyncio.create_task(each()) for each in work.values()]
    await _ended(tasks)
    answers: Answers[T] = Answers({}, {})
    for name, task, error in zip(work, tasks, [_error(task) for task in tasks], strict=True):
        if error is None:
            answers.results[name] = task.result()
        elif isinstance(error, DeviceError):
            answers.failures[name] = error
        else:
            raise error
    return answers


async def _ended(tasks: Sequence[asyncio.Task[T]]) -> None:
    """Wait until all have ended; cancelled, cancel them all.

    They are waited for in turn: while one is, most others end, and `gather` calls back for each of them.
    """
    try:
        for task in tasks:
            if not task.done():
                await asyncio.wait([task])
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        raise


def _error(task: asyncio.Task[T]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def raise_first(failures: Failures) -> None:
    """Raise the first error, if there is one, with a note on the others."""
    if not failures:
        return
    first, *others = failures.values()
    for other in others:
        first.add_note(f"also: {other}")
    raise first
