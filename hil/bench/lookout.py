"""Looking for a reason to stop between steps: a minute is too long to wait for the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

EVERY_S = 1.0
"""How often one looks; steps that are no longer than that need nobody between them."""


class Lookout:
    """Looks again and again while it stands watch, for use inside an event loop."""

    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        """look: makes everything safe, and raises, if it finds a reason to."""
        self._look = look
        self._relieved = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    def stand_watch(self, step_s: float) -> None:
        """Begin to look, where the next step is farther away than a look."""
        if step_s > EVERY_S:
            self._relieved.clear()
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    @property
    def found(self) -> tuple[asyncio.Task[None], ...]:
        """What is done once something has been found; empty while nobody stands watch."""
        return () if self._watching is None else (self._watching,)

    async def stand_down(self) -> None:
        """Look no more, and raise what was found. A look that has begun is finished: it may be making things safe."""
        watching, self._watching = self._watching, None
        if watching is not None:
            self._relieved.set()
            await watching

    async def end(self) -> None:
        """Look no more; what was found has been raised, or its effect is there."""
        if self._watching is not None:
            self._relieved.set()
            await asyncio.wait([self._watching])
            self._watching.exception()

    async def _watch(self) -> None:
        while not await self._is_relieved():
            await self._look()

    async def _is_relieved(self) -> bool:
        try:
            await asyncio.wait_for(self._relieved.wait(), EVERY_S)
        except TimeoutError:
            return False
        return True
