"""Serves any number of lines, a device or a bus of them on each, in one thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from hil.modbus.endpoint import Endpoint, RtuOverTcp, Tcp
from hil.modbus.thread import LoopThread
from hil.serving.conversation import Conversation, Plain
from hil.serving.listener import Listener
from hil.serving.responder import Responder


@dataclass(frozen=True)
class Line:
    """Where something answers, and what."""

    endpoint: Endpoint
    """Port 0: one that is free."""
    responder: Responder


class Server:
    """Serves lines between `start` and `stop`.

    It runs in one thread; given a `thread`, it runs in that and leaves closing it to its owner.
    """

    def __init__(self, lines: Sequence[Line], thread: LoopThread | None = None) -> None:
        self._lines, self._given_thread = tuple(lines), thread
        self._thread: LoopThread | None = None
        self._listeners: list[Listener] = []
        self._endpoints: tuple[Endpoint, ...] = ()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where each line is to be reached, once started: with the ports that were free."""
        return self._endpoints

    def start(self) -> tuple[Endpoint, ...]:
        """Serve; return `endpoints`. Nothing is left open if that fails, with CannotListen."""
        self._thread = self._given_thread or LoopThread("server")
        try:
            self._thread.run(self._listen())
        except BaseException:
            self.stop()
            raise
        return self._endpoints

    def stop(self) -> None:
        """Close every connection and port and join the thread; once or more often."""
        if self._thread is not None and not self._thread.closed:
            self._thread.run(self._close())
            if self._given_thread is None:
                self._thread.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _listen(self) -> None:
        self._endpoints = tuple(self._open(line) for line in self._lines)

    def _open(self, line: Line) -> Endpoint:
        endpoint = line.endpoint
        assert isinstance(endpoint, Tcp | RtuOverTcp)

        def converse(opened: set[Conversation]) -> Conversation:
            return Conversation(Plain(line.responder, endpoint.framing), endpoint.framing, opened)

        listener = Listener(endpoint.host, endpoint.port, converse)
        self._listeners.append(listener)
        return endpoint.model_copy(update={"port": listener.port})

    async def _close(self) -> None:
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            await listener.close()
