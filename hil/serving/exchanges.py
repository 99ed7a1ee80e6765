"""Requests in, answers out: what every connection has in common, whatever carries it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from hil.modbus.framing import Frame, Framing
from hil.serving.outbox import Delivery, Outbox
from hil.serving.responder import Responder

SILENCE_S = 1.0
"""Of a request that has begun: what comes later begins another one."""


class Manner(Protocol):
    """How what comes over one connection is answered."""

    def deliveries(self, request: Frame) -> Iterable[Delivery]: ...


MannerOf = Callable[[Responder, Framing], Manner]
"""Returns the manner of one connection."""


class Plain:
    """Answers at once, and in one piece."""

    def __init__(self, responder: Responder, framing: Framing) -> None:
        self._responder, self._framing = responder, framing

    def deliveries(self, request: Frame) -> Iterable[Delivery]:
        answer = self._responder.respond(request.unit, request.pdu)
        if answer is None:
            return ()
        return (Delivery(self._framing.pack(Frame(request.unit, answer, request.transaction))),)


class Exchanges:
    """What is asked and answered over one connection. Answers leave in the order of the requests."""

    def __init__(
        self,
        manner: Manner,
        framing: Framing,
        send: Callable[[bytes], None],
        *,
        byte_s: float = 0.0,
        silence_s: float = SILENCE_S,
    ) -> None:
        """byte_s: how long the line needs for a byte. silence_s: how long a request may pause between its bytes."""
        self._manner, self._byte_s, self._silence_s = manner, byte_s, silence_s
        self._splitter = framing.splitter("server")
        self._outbox = Outbox(send, byte_s)
        self._heard_s = 0.0

    def take(self, data: bytes, now_s: float) -> None:
        """Answer the requests that `data` completes. Raises FramingError at what is none, GoneDown from a device."""
        if now_s - self._heard_s > self._silence_s:
            self._splitter.reset()
        self._heard_s = now_s
        for frame in self._splitter.feed(data):
            self._answer(frame, now_s + self._byte_s * len(data))

    def close(self) -> None:
        """Send nothing more."""
        self._outbox.close()

    def _answer(self, frame: Frame, now_s: float) -> None:
        """Answer a request; one that comes before many others have been answered is lost, as devices lose them."""
        if not self._outbox.is_full:
            for delivery in self._manner.deliveries(frame):
                self._outbox.put(delivery, now_s)
