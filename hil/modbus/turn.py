"""Whose turn it is: one at a time, in the order of asking, each until its deadline."""

from __future__ import annotations

import asyncio
from collections import deque


class Turn:
    """What an `asyncio.Lock` is, with a deadline for each who waits, and next to no cost where nobody does."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take_if_free(self) -> bool:
        """Take the turn without waiting; False if it is somebody's."""
        if self._taken:
            return False
        self._taken = True
        return True

    async def take(self, end_s: float) -> None:
        """Wait for one's turn; raises TimeoutError if it has not come at `end_s` on the loop's clock."""
        if self.take_if_free():
            return
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[None] = loop.create_future()
        self._waiting.append(mine)
        timer = loop.call_at(end_s, _give_up, mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():  # given the turn, and cancelled before taking it
                self.leave()
            raise
        finally:
            timer.cancel()

    def leave(self) -> None:
        """Give the turn to the first who still waits."""
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
        self._taken = False


def _give_up(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError())
