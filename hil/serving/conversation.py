"""One connection to what is served: requests in, answers out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, MutableSet
from typing import Protocol, cast

from hil.modbus.framing import MBAP, Frame, Framing, FramingError
from hil.serving.outbox import Delivery, Outbox
from hil.serving.responder import Responder

SILENCE_S = 1.0
"""Of a request that has begun, over RTU: what comes later begins another one."""


class Manner(Protocol):
    """How what comes over one connection is answered."""

    def deliveries(self, request: Frame) -> Iterable[Delivery]: ...


class Plain:
    """Answers at once, and in one piece."""

    def __init__(self, responder: Responder, framing: Framing) -> None:
        self._responder, self._framing = responder, framing

    def deliveries(self, request: Frame) -> Iterable[Delivery]:
        answer = self._responder.respond(request.unit, request.pdu)
        if answer is None:
            return ()
        return (Delivery(self._framing.pack(Frame(request.unit, answer, request.transaction))),)


class Conversation(asyncio.Protocol):
    """One connection. Answers leave in the order of the requests.

    What is no frame ends a connection of Modbus TCP; RTU goes on with the next request. A client that does not read
    its answers is not read from.
    """

    def __init__(self, manner: Manner, framing: Framing, opened: MutableSet[Conversation]) -> None:
        """opened: holds every conversation while it lasts."""
        self._manner, self._ends_at_garbage, self._opened = manner, framing is MBAP, opened
        self._splitter = framing.splitter("server")
        self._outbox = Outbox(self._send)
        self._transport: asyncio.Transport | None = None
        self._heard_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._opened.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._opened.discard(self)
        self._transport = None
        self._outbox.close()

    def end(self) -> None:
        """Close the connection at once, with what has not been sent."""
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        now_s = asyncio.get_running_loop().time()
        if not self._ends_at_garbage and now_s - self._heard_s > SILENCE_S:
            self._splitter.reset()
        self._heard_s = now_s
        try:
            frames = self._splitter.feed(data)
        except FramingError:
            if self._ends_at_garbage:
                self.end()
            return
        for frame in frames:
            self._answer(frame, now_s)

    def _answer(self, frame: Frame, now_s: float) -> None:
        """Answer a request; one that comes before many others have been answered is lost, as devices lose them."""
        if not self._outbox.is_full:
            for delivery in self._manner.deliveries(frame):
                self._outbox.put(delivery, now_s)

    def _send(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
