"""Coroutines in the loop that devices are spoken to in."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hil.modbus.streams import StreamLoop

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do what `asyncio.run` does, in a loop that watches connections together, as `LoopThread` has it."""
    with asyncio.Runner(loop_factory=StreamLoop) as runner:
        return runner.run(work)
