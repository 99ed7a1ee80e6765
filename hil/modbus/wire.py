"""One open stream of bytes to a device, with one request on it at a time."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Callable
from time import monotonic

from hil.modbus.failures import reason
from hil.modbus.framing import MBAP, Frame, Framing, FramingError, Worded
from hil.modbus.pdu import ExceptionAnswer, PduError, answer_data
from hil.modbus.tap import Tap

CLOSING_S = 0.5
"""How long the other side may take to say goodbye."""
_CLOSED_HERE = "closed here"


class WrongAnswer(Exception):
    """What came cannot be the answer."""


class Lost(Exception):
    """The stream has ended; the message says why."""


Asked = tuple[Worded, float]
"""A request, and until when its answer is waited for, on the loop's clock."""
Then = Callable[[bytes, float], Asked | None]
"""Takes the registers that answer, and when they came; returns what is asked next, None: nothing."""
_NUMBER = struct.Struct(">H")


def _nothing_more(data: bytes, heard_s: float) -> Asked | None:
    del data, heard_s
    return None


class Called:
    """What a future of an end is to a wire, for one who is called at once when that has come."""

    __slots__ = ("_ended", "_failure", "_is_done")

    def __init__(self, ended: Callable[[BaseException | None], None]) -> None:
        """ended: is given what ended it, None where all is answered."""
        self._ended, self._is_done = ended, False
        self._failure: BaseException | None = None

    def done(self) -> bool:
        return self._is_done

    def cancelled(self) -> bool:
        return isinstance(self._failure, asyncio.CancelledError)

    def exception(self) -> BaseException | None:
        return self._failure

    def cancel(self) -> None:
        if not self._is_done:
            self.set_exception(asyncio.CancelledError())

    def set_result(self, result: None) -> None:
        self._is_done = True
        self._ended(result)

    def set_exception(self, failure: BaseException) -> None:
        self._is_done, self._failure = True, failure
        self._ended(failure)


class Wire(asyncio.Protocol):
    """Sends frames, each when the one before is answered; whatever else comes is discarded and counted.

    With MBAP an answer belongs to its request by the transaction's number. A serial line has none: there the unit must
    be the one that was asked. There, too, all of an answer but its registers is known before it comes: what is just
    that needs no further look.
    """

    def __init__(self, framing: Framing, tap: Tap | None = None, explain: Callable[[str], str] = str) -> None:
        """`explain` says more about why a stream was lost, before any answer has come on it."""
        self._framing, self._tap, self._explain = framing, tap, explain
        self._splitter, self._numbered = framing.splitter("client"), framing is MBAP
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._asked: Worded | None = None
        self.number = 0
        """Of the last request. It goes on from one stream to the next: a device may answer what it was asked on the
        last one."""
        self._head, self._length = b"", 0
        """How the answer begins and how long it is; 0: none is waited for, or that is not known."""
        self._then: Then = _nothing_more
        self._answer: Called | asyncio.Future[None] | None = None
        self._end_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = math.inf
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self.lost: str | None = None
        """Why nothing more can be asked on this stream; None while it can."""
        self.heard_s = self._loop.time()
        """When the last byte came, or the stream was opened; on the loop's clock."""
        self.discarded = 0
        self.unasked = False
        """Bytes have come that nobody was waiting for."""
        self._answered = False

    def ask(self, first: Asked, then: Then, end: Called | asyncio.Future[None]) -> None:
        """Send a request and, once it is answered, what `then` says; `end` is told when all is answered.

        Its exceptions: TimeoutError where an answer has not come in time, WrongAnswer, Lost, PduError, and
        ExceptionAnswer.
        """
        self._answer, self._then = end, then
        self._send(first)

    def _send(self, asked: Asked) -> None:
        worded, self._end_s = asked
        self._asked, self.number = worded, self.number + 1 & 0xFFFF
        if self._transport is None or self.lost is not None:
            self._fail(Lost(self.lost or "not open"))
            return
        if self._due_s > self._end_s:
            self._watch()
        number = _NUMBER.pack(self.number) if self._numbered else b""
        self._head, self._length = number + worded.head, worded.length
        data = number + worded.sent
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
        if len(data) == self._length and data.startswith(self._head) and self._is_next():
            self._heard(data, data[len(self._head) :])
            return
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

    def _is_next(self) -> bool:
        """Return whether what comes now begins a frame that is waited for."""
        return self._is_waiting() and not self._splitter.holds

    def _take(self, frame: Frame) -> None:
        """Take a frame that is not what was expected to the byte, or of which that cannot be said."""
        if not self._answers(frame):
            self._discard(self._framing.pack(frame) if self._tap is not None else b"")
            return
        try:
            registers = self._registers_of(frame)
        except (PduError, ExceptionAnswer, WrongAnswer) as wrong:
            self._answered = True
            if self._tap is not None:
                self._tap("received", self._framing.pack(frame))
            self._fail(wrong)
        else:
            self._heard(self._framing.pack(frame) if self._tap is not None else b"", registers)

    def _registers_of(self, frame: Frame) -> bytes:
        assert self._asked
        if frame.unit != self._asked.unit:
            raise WrongAnswer(f"unit {frame.unit} answered")
        return answer_data(self._asked.request, frame.pdu)

    def _heard(self, frame: bytes, registers: bytes) -> None:
        """Go on after an answer, which came as this frame."""
        self._answered, self._length = True, 0
        if self._tap is not None:
            self._tap("received", frame)
        following = self._then(registers, self.heard_s)
        if following is not None:
            self._send(following)
        elif self._answer is not None:
            self._answer.set_result(None)

    def _answers(self, frame: Frame) -> bool:
        """Return whether a frame is the answer that is waited for, whatever it says."""
        if self._asked is None or not self._is_waiting():
            return False
        if self._numbered:
            return frame.transaction == self.number
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
        if self._numbered:
            self.abort(why)

    def _discard(self, data: bytes) -> None:
        self.discarded += 1
        if not self._is_waiting():
            self.unasked = True
        if self._tap is not None:
            self._tap("discarded", data)

    def _fail(self, failure: Exception) -> None:
        self._length = 0
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(failure)

    def _watch(self) -> None:
        """See to it that the wait ends in time.

        Most answers come long before: one timer that is set again when it is due costs less than one for each request.
        """
        self._stop_watching()
        self._timer, self._due_s = self._loop.call_at(self._end_s, self._due), self._end_s

    def _due(self) -> None:
        self._timer, self._due_s = None, math.inf
        if not self._is_waiting():
            return
        if self._loop.time() < self._end_s:
            self._watch()
        else:
            self._fail(TimeoutError())

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._due_s = None, math.inf


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
