"""What is to leave over one connection, in order, each piece when it is due."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

MOST_WAITING = 64
"""Pieces that wait; with more, no further request is taken."""


class Delivery(NamedTuple):
    """Bytes of an answer, and how long after what leaves before them (or after the request, if that is later)."""

    data: bytes
    after_s: float = 0.0


class Outbox:
    """Hands every delivery to `send` when it is due, and none before the one that came before it."""

    def __init__(self, send: Callable[[bytes], None], byte_s: float = 0.0) -> None:
        """byte_s: how long the line needs for a byte; a piece arrives with its last."""
        self._send, self._byte_s = send, byte_s
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._free_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= MOST_WAITING

    def put(self, delivery: Delivery, now_s: float) -> None:
        """Send what is due now at once, and the rest from the event loop."""
        data, after_s = delivery
        due_s = max(self._free_s, now_s) + after_s + self._byte_s * len(data)
        if due_s <= now_s and not self._waiting:
            self._send(data)
            return
        self._free_s = due_s
        self._waiting.append((due_s, data))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due_s, self._fire)

    def close(self) -> None:
        """Send nothing more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][0] <= loop.time():
            self._send(self._waiting.popleft()[1])
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0][0], self._fire)
