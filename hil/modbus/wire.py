"""One open stream of bytes to a device, with one request on it at a time."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from time import monotonic

from hil.modbus.failures import reason
from hil.modbus.framing import MBAP, Frame, Framing, FramingError
from hil.modbus.pdu import ExceptionAnswer, PduError
from hil.modbus.tap import Tap

CLOSING_S = 0.5
"""How long the other side may take to say goodbye."""
_CLOSED_HERE = "closed here"


class WrongAnswer(Exception):
    """What came cannot be the answer."""


class Lost(Exception):
    """The stream has ended; the message says why."""


Asked = tuple[Frame, float]
"""A frame, and until when its answer is waited for, on the loop's clock."""
Then = Callable[[Frame, float], Asked | None]
"""Takes an answer, and when it came; returns what is asked next, None: nothing. Raises PduError or ExceptionAnswer."""


def _nothing_more(answer: Frame, heard_s: float) -> Asked | None:
    del answer, heard_s
    return None


class Wire(asyncio.Protocol):
    """Sends frames, each when the one before is answered; whatever else comes is discarded and counted.

    With MBAP an answer belongs to its request by the transaction's number. A serial line has none: there the unit must
    be the one that was asked.
    """

    def __init__(self, framing: Framing, tap: Tap | None = None, explain: Callable[[str], str] = str) -> None:
        """`explain` says more about why a stream was lost, before any answer has come on it."""
        self._framing, self._tap, self._explain = framing, tap, explain
        self._splitter = framing.splitter("client")
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._asked = Frame(0, b"")
        self._then: Then = _nothing_more
        self._answer: asyncio.Future[None] | None = None
        self._end_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self.lost: str | None = None
        """Why nothing more can be asked on this stream; None while it can."""
        self.heard_s = self._loop.time()
        """When the last byte came, or the stream was opened; on the loop's clock."""
        self.discarded = 0
        self.unasked = False
        """Bytes have come that nobody was waiting for."""
        self._answered = False

    def ask(self, first: Asked, then: Then) -> asyncio.Future[None]:
        """Send a frame and, once it is answered, what `then` says; return the future of the end.

        Its exceptions: TimeoutError where an answer has not come in time, WrongAnswer, Lost, and what `then` raises.
        """
        self._answer, self._then = self._loop.create_future(), then
        self._send(first)
        return self._answer

    def _send(self, asked: Asked) -> None:
        self._asked, self._end_s = asked
        if self._transport is None or self.lost is not None:
            self._fail(Lost(self.lost or "not open"))
            return
        if self._timer is None or self._timer.when() > self._end_s:
            self._watch()
        data = self._framing.pack(self._asked)
        self._transport.write(data)
        if self._tap is not None:
            self._tap("sent", data)

    @property
    def held(self) -> bytes:
        """What has come of a frame that is not whole."""
        return self._splitter.held

    def drop_held(self) -> None:
        """Discard what has come of a frame that is not whole, and forget that anything came unasked."""
        if held := self._splitter.held:
            self._discard(held)
            self._splitter.reset()
        self.unasked = False

    async def close(self) -> None:
        """Close the stream and wait until it is closed; what waits for an answer is told so."""
        self.lost = self.lost or _CLOSED_HERE
        self._fail(Lost(self.lost))
        self.drop_held()
        if self._transport is not None:
            _drop_unsent_at_end(self._transport, not self._is_answered())
            self._transport.close()
            await asyncio.wait([self._closed], timeout=CLOSING_S)
            self._transport.abort()
            await self._closed

    def abort(self, why: str) -> None:
        """Close the stream at once, without waiting."""
        self.lost = self.lost or why
        self.drop_held()
        if self._transport is not None:
            self._transport.abort()

    @property
    def clean(self) -> bool:
        """Open, and nothing has come on it that nobody was waiting for."""
        return self.lost is None and not self.unasked

    @property
    def closed_here(self) -> bool:
        return self.lost == _CLOSED_HERE

    def take_discarded(self) -> int:
        """Return how many frames and runs of bytes were discarded since this was last asked."""
        count, self.discarded = self.discarded, 0
        return count

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        _drop_unsent_at_end(transport, True)

    def connection_lost(self, exc: Exception | None) -> None:
        why = reason(exc) if isinstance(exc, OSError) else "the device closed the connection"
        self.lost = self.lost or (why if self._answered else self._explain(why))
        self._fail(Lost(self.lost))
        self._stop_watching()
        self.drop_held()
        if not self._closed.done():
            self._closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.heard_s = monotonic()
        held = self._splitter.held if self._tap is not None else b""
        try:
            frames = self._splitter.feed(data)
        except FramingError as wrong:
            self._discard(held + data)
            self._not_understood(str(wrong))
            return
        for frame in frames:
            self._take(frame)
        if not frames and not self._is_waiting():
            self.unasked = True

    def _take(self, frame: Frame) -> None:
        answer = self._answer
        if answer is None or answer.done() or not self._answers(frame):
            self._discard(self._framing.pack(frame) if self._tap is not None else b"")
            return
        self._answered = True
        if self._tap is not None:
            self._tap("received", self._framing.pack(frame))
        if frame.unit == self._asked.unit:
            self._go_on(answer, frame)
        else:
            self._fail(WrongAnswer(f"unit {frame.unit} answered"))

    def _go_on(self, answer: asyncio.Future[None], frame: Frame) -> None:
        try:
            following = self._then(frame, self.heard_s)
        except (PduError, ExceptionAnswer) as wrong:
            answer.set_exception(wrong)
            return
        if following is None:
            answer.set_result(None)
        else:
            self._send(following)

    def _answers(self, frame: Frame) -> bool:
        if self._framing is MBAP:
            return frame.transaction == self._asked.transaction
        return frame.unit == self._asked.unit

    def _is_answered(self) -> bool:
        """Return whether the device has got all that was sent to it."""
        answer = self._answer
        return answer is None or (answer.done() and not answer.cancelled() and answer.exception() is None)

    def _is_waiting(self) -> bool:
        return self._answer is not None and not self._answer.done()

    def _not_understood(self, why: str) -> None:
        """Give up a stream whose frames have no known beginning any more; a serial line finds it after a silence."""
        self._fail(WrongAnswer(why))
        self.unasked = True
        if self._framing is MBAP:
            self.abort(why)

    def _discard(self, data: bytes) -> None:
        self.discarded += 1
        if not self._is_waiting():
            self.unasked = True
        if self._tap is not None:
            self._tap("discarded", data)

    def _fail(self, failure: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(failure)

    def _watch(self) -> None:
        """See to it that the wait ends in time.

        Most answers come long before: one timer that is set again when it is due costs less than one for each request.
        """
        self._stop_watching()
        self._timer = self._loop.call_at(self._end_s, self._due)

    def _due(self) -> None:
        self._timer = None
        if not self._is_waiting():
            return
        if self._loop.time() < self._end_s:
            self._watch()
        else:
            self._fail(TimeoutError())

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _drop_unsent_at_end(transport: asyncio.Transport, drop: bool) -> None:
    """Have the kernel forget what has not arrived when a connection ends, also when the process is killed.

    Else it goes on sending for minutes: a write to a device whose cable was pulled would be done when that is plugged
    in again, whoever commands the device by then.
    """
    connected = transport.get_extra_info("socket")
    if connected is None or connected.fileno() < 0:
        return
    if connected.family in (socket.AF_INET, socket.AF_INET6):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", int(drop), 0))
