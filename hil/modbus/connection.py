"""The connection to an endpoint, shared by every unit behind it: one request at a time, and nothing taken for an answer
that may not be one.

After an answer that did not come, a late one must not pass for the next:

- over TCP the stream is closed, and opened again for the next request;
- on a serial line, and behind a serial device server, answers carry no number. There the line must have been silent
  for a while before it is used again, and what comes until then is discarded.
"""

from __future__ import annotations

import asyncio
import math
from typing import NamedTuple

from hil.modbus.endpoint import Endpoint, Serial, Timing
from hil.modbus.failures import NoAnswer, NotOpened
from hil.modbus.framing import MBAP, Frame
from hil.modbus.opening import open_wire
from hil.modbus.pdu import ExceptionAnswer, ExceptionCode, PduError, RegisterArray, Request, parse_answer, request_bytes
from hil.modbus.tap import Tap
from hil.modbus.traffic import Traffic
from hil.modbus.turn import Turn
from hil.modbus.wire import Lost, Wire, WrongAnswer

_TRY_AGAIN = (ExceptionCode.ACKNOWLEDGE, ExceptionCode.BUSY)


class Limits(NamedTuple):
    """What is left for an exchange: until when, on the loop's clock, and how many attempts."""

    end_s: float
    attempts: int
    busy_pause_s: float = 0.0


class Connection:
    """One stream to an endpoint, for use inside an event loop; opened when first needed, and again when lost.

    Of `timing` it keeps what is the line's: the least interval between requests, and the silence after a missed answer.
    """

    def __init__(self, endpoint: Endpoint, timing: Timing | None = None, tap: Tap | None = None) -> None:
        self.endpoint, self._tap = endpoint, tap
        timing = timing or Timing()
        self._interval_s, self._settle_s = timing.interval_s, timing.settle_s
        self.opened = 0
        """How often it has been opened: a device may have restarted in between."""
        self._numbered = endpoint.framing is MBAP
        self._turn = Turn()
        self._wire: Wire | None = None
        self._transaction = 0
        self._free_s = -math.inf
        """When the next request may be sent, on the loop's clock."""
        self._missed_s: float | None = None
        """When an answer without a number was given up, so that it may still come; None if none may."""
        self._given_s = 0.0
        """How long the last exchange was given."""

    @property
    def connected(self) -> bool:
        """False before the first exchange, and once the stream is known to be lost."""
        return self._wire is not None and self._wire.lost is None

    def slow_down(self, timing: Timing) -> None:
        """Keep the intervals of another device on this line, too, where they are longer."""
        self._interval_s = max(self._interval_s, timing.interval_s)
        self._settle_s = max(self._settle_s, timing.settle_s)

    async def ask(self, unit: int, request: Request, limits: Limits, traffic: Traffic) -> RegisterArray:
        """Make one attempt at an exchange, with its share of the time that is left.

        Returns what is read or written. Raises NoAnswer, or ExceptionAnswer where the device refuses.
        """
        try:
            await self._turn.take(limits.end_s)
        except TimeoutError:
            raise NoAnswer("the connection was not free in time", again=False) from None
        try:
            return await self._attempt(unit, request, limits, traffic)
        finally:
            self._turn.leave()

    async def close(self) -> None:
        """Close the stream; used again, it is opened again."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()

    async def _attempt(self, unit: int, request: Request, limits: Limits, traffic: Traffic) -> RegisterArray:
        loop = asyncio.get_running_loop()
        wire = self._wire
        if wire is None or not wire.clean or self._missed_s is not None:
            wire = await self._ready(limits, traffic)
        if self._free_s > loop.time():
            await _wait(self._free_s - loop.time(), limits.end_s, "the least interval between two requests is not over")
        began_s = loop.time()
        self._given_s = self._share_s(limits.end_s - began_s, limits.attempts)
        self._transaction = self._transaction + 1 & 0xFFFF
        frame = Frame(unit, request_bytes(request), self._transaction)
        try:
            answer = await self._answer(wire, frame, began_s + self._given_s)
            return self._registers(request, answer, limits)
        finally:
            self._free_s = self._next_s(began_s)
            traffic.discarded += wire.take_discarded()

    async def _answer(self, wire: Wire, frame: Frame, end_s: float) -> bytes:
        """Return the PDU that answers; what failed decides what becomes of the stream."""
        try:
            return (await wire.ask(frame, end_s)).pdu
        except TimeoutError:
            self._miss(wire, "an answer was overdue")
            raise NoAnswer(f"no answer within {_seconds(self._given_s)}{self._too_short()}", sent=True) from None
        except Lost as lost:
            self._miss(wire, str(lost))
            raise NoAnswer(str(lost), sent=True, again=not wire.closed_here) from None
        except WrongAnswer as wrong:
            self._miss(None, str(wrong))
            raise NoAnswer(str(wrong), sent=True) from None
        except asyncio.CancelledError:
            self._miss(wire, "cancelled")
            raise

    def _miss(self, wire: Wire | None, why: str) -> None:
        """See to it that what comes late is not taken for an answer; `wire`: close it, unless it is a serial line."""
        if not self._numbered:
            self._missed_s = asyncio.get_running_loop().time()
        if wire is not None and not isinstance(self.endpoint, Serial):
            wire.abort(why)

    def _registers(self, request: Request, pdu: bytes, limits: Limits) -> RegisterArray:
        try:
            return parse_answer(request, pdu)
        except PduError as wrong:
            self._miss(None, str(wrong))
            raise NoAnswer(str(wrong), sent=True) from None
        except ExceptionAnswer as refusal:
            if refusal.code not in _TRY_AGAIN:
                raise
            begun = refusal.code == ExceptionCode.ACKNOWLEDGE
            raise NoAnswer(str(refusal), sent=begun, pause_s=limits.busy_pause_s) from None

    async def _ready(self, limits: Limits, traffic: Traffic) -> Wire:
        """Return a stream on which nothing of an earlier request can come any more."""
        wire = self._wire
        if wire is not None and self._numbered and wire.held:
            wire.abort("part of a frame came that nobody had asked for")
        if wire is None or wire.lost is not None:
            wire = await self._open(limits)
            traffic.connects += 1
        if not self._numbered and (self._missed_s is not None or not wire.clean):
            await self._settle(wire, limits)
        wire.drop_held()
        traffic.discarded += wire.take_discarded()
        return wire

    async def _open(self, limits: Limits) -> Wire:
        await self.close()
        now_s = asyncio.get_running_loop().time()
        share_s = self._share_s(limits.end_s - now_s, limits.attempts)
        try:
            async with asyncio.timeout_at(now_s + share_s):
                self._wire = await open_wire(self.endpoint, self._tap)
        except TimeoutError:
            raise NoAnswer(f"no connection within {_seconds(share_s)}") from None
        except NotOpened as failure:
            raise NoAnswer(str(failure), again=failure.again, pause_s=limits.busy_pause_s) from failure
        self.opened += 1
        return self._wire

    async def _settle(self, wire: Wire, limits: Limits) -> None:
        """Wait until the line has been silent for long enough."""
        loop = asyncio.get_running_loop()
        quiet_s = self._settle_s or self._given_s
        since_s = -math.inf if self._missed_s is None else self._missed_s
        while (rest_s := max(since_s, wire.heard_s) + quiet_s - loop.time()) > 0:
            await _wait(rest_s, limits.end_s, f"the line was not silent for {_seconds(quiet_s)} after a missed answer")
        self._missed_s = None

    def _share_s(self, left_s: float, attempts: int) -> float:
        """Return what one of the attempts gets of the time that is left; between two, a line must settle."""
        if self._numbered:
            return left_s / attempts
        return max(
            (left_s - (attempts - 1) * self._settle_s) / attempts if self._settle_s else 0.0,
            left_s / (2 * attempts - 1),
        )

    def _next_s(self, began_s: float) -> float:
        """Return when the next request may be sent."""
        next_s = began_s + self._interval_s
        if isinstance(self.endpoint, Serial):
            return max(next_s, asyncio.get_running_loop().time() + self.endpoint.silence_s)
        return next_s

    def _too_short(self) -> str:
        """Say so where a serial line cannot carry the longest answer in the time."""
        if not isinstance(self.endpoint, Serial):
            return ""
        longest_s = self.endpoint.byte_s * 256
        return (
            ""
            if self._given_s > longest_s
            else f" (a long answer takes {_seconds(longest_s)} at {self.endpoint.baud} baud)"
        )


async def _wait(pause_s: float, end_s: float, why: str) -> None:
    """Wait, unless that would last beyond the deadline."""
    if asyncio.get_running_loop().time() + pause_s >= end_s:
        raise NoAnswer(why, again=False)
    await asyncio.sleep(pause_s)


def _seconds(duration_s: float) -> str:
    return f"{duration_s:.0f} s" if duration_s >= 99.5 else f"{duration_s:.2g} s"


class Connections:
    """Connections by endpoint: whoever asks for the same endpoint shares one."""

    def __init__(self) -> None:
        self._by_endpoint: dict[Endpoint, Connection] = {}

    def to(self, endpoint: Endpoint, timing: Timing | None = None, tap: Tap | None = None) -> Connection:
        """Return the connection to an endpoint; the longest of all intervals asked for holds, and the first tap."""
        if endpoint not in self._by_endpoint:
            self._by_endpoint[endpoint] = Connection(endpoint, timing, tap)
        self._by_endpoint[endpoint].slow_down(timing or Timing())
        return self._by_endpoint[endpoint]

    async def close(self) -> None:
        """Close every connection; used again, each is opened again."""
        for connection in self._by_endpoint.values():
            await connection.close()
