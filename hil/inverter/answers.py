"""What came of work that several devices were given at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
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
    results = await asyncio.gather(*(each() for each in work.values()), return_exceptions=True)
    answers: Answers[T] = Answers({}, {})
    for name, result in zip(work, results, strict=True):
        if isinstance(result, DeviceError):
            answers.failures[name] = result
        elif isinstance(result, BaseException):
            raise result
        else:
            answers.results[name] = result
    return answers


def raise_first(failures: Failures) -> None:
    """Raise the first error, if there is one, with a note on the others."""
    if not failures:
        return
    first, *others = failures.values()
    for other in others:
        first.add_note(f"also: {other}")
    raise first
