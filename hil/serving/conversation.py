"""One connection over TCP, also under TLS."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import cast

from hil.modbus.framing import MBAP, Framing, FramingError
from hil.serving.exchanges import SILENCE_S, Exchanges, Manner
from hil.serving.responder import GoneDown


class Conversations:
    """Those that are open on one line, in the order in which they began."""

    def __init__(self, manner: Callable[[asyncio.Transport], Manner], framing: Framing) -> None:
        """manner: of a connection that begins."""
        self.manner, self.framing = manner, framing
        self.open: dict[Conversation, None] = {}

    def begin(self) -> Conversation:
        return Conversation(self)

    def hang_up(self) -> None:
        """End all of them."""
        for conversation in tuple(self.open):
            conversation.end()

    def end_first(self) -> None:
        """End the one that has been open for longest."""
        next(iter(self.open)).end()


class Conversation(asyncio.Protocol):
    """One connection.

    What is no frame ends a connection of Modbus TCP, whose header tells where a request ends however long its bytes
    take; RTU goes on with the next request. A client that does not read
    its answers is not read from. A device that goes down takes all its connections with it.
    """

    def __init__(self, others: Conversations) -> None:
        self._others, self._ends_at_garbage = others, others.framing is MBAP
        self._transport: asyncio.Transport | None = None
        self._exchanges: Exchanges | None = None
        self._time = asyncio.get_running_loop().time

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        manner, silence_s = self._others.manner(self._transport), math.inf if self._ends_at_garbage else SILENCE_S
        self._exchanges = Exchanges(manner, self._others.framing, self._send, silence_s=silence_s)
        self._others.open[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._others.open.pop(self, None)
        if self._exchanges is not None:
            self._exchanges.close()
        self._transport = self._exchanges = None

    def end(self) -> None:
        """Close the connection at once, with what has not been sent."""
        self._others.open.pop(self, None)
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._exchanges is None:
            return
        try:
            self._exchanges.take(data, self._time())
        except FramingError:
            if self._ends_at_garbage:
                self.end()
        except GoneDown:
            self._others.hang_up()

    def _send(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
