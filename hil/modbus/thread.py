"""An event loop in a thread of its own, for callers that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from hil.modbus.streams import StreamLoop

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own, for callers that are not asynchronous.

    It ends with `close`, which cancels what still runs in it and joins the thread. Raises OSError where the system has
    no file handles left for it.
    """

    def __init__(self, name: str) -> None:
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and return what it returns, or raise what it raises.

        An interruption of the waiting caller (Ctrl-C) cancels the coroutine.
        """
        if self._loop is None:
            work.close()
            raise RuntimeError(f"{self._thread.name} is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @property
    def closed(self) -> bool:
        """True once `close` has been called."""
        return self._loop is None

    def close(self) -> None:
        """End the loop and join its thread; once or more often."""
        if self._loop is not None and self._closing is not None:
            self._loop.call_soon_threadsafe(self._closing.set)
            self._loop = None
        self._thread.join()

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=StreamLoop) as runner:
                runner.run(self._until_closed())
        except OSError as failure:
            self._failure = failure
        finally:
            self._ready.set()

    async def _until_closed(self) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._closing.wait()
