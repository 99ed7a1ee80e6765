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
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic

from hil.modbus.endpoint import Address, Endpoint, Serial, Timing
from hil.modbus.failures import NoAnswer, NotOpened
from hil.modbus.framing import MBAP
from hil.modbus.opening import open_wire
from hil.modbus.pdu import ExceptionAnswer, ExceptionCode, PduError, Request
from hil.modbus.tap import Tap
from hil.modbus.traffic import Traffic
from hil.modbus.turn import Turn
from hil.modbus.wire import Asked, Called, Lost, Wire, WrongAnswer

Ended = Callable[[BaseException | None], None]
"""Is called when something that was begun has ended, with what ended it; None: all of it is done."""
_TRY_AGAIN = (ExceptionCode.ACKNOWLEDGE, ExceptionCode.BUSY)


class Asking:
    """Requests to one unit, each to be made when the one before is answered."""

    __slots__ = (
        "_answers",
        "_framing",
        "_heard_s",
        "_rest",
        "_timing",
        "_unit",
        "attempts",
        "end_s",
        "failures",
        "given_s",
        "request",
        "traffic",
    )

    def __init__(
        self,
        address: Address,
        requests: Sequence[Request],
        timing: Timing,
        traffic: Traffic,
        answers: list[bytes],
        heard_s: list[float],
    ) -> None:
        """answers: is given what was read, as it came; of writes nothing. heard_s: is given when each answer came."""
        self._unit, self._framing, self._timing = address.unit, address.endpoint.framing, timing
        self.traffic, self._answers, self._heard_s = traffic, answers, heard_s
        self._rest, self.given_s = iter(requests), 0.0
        self._go_on(monotonic())

    def _go_on(self, now_s: float) -> bool:
        """Turn to the next request, if there is one; return whether there is."""
        self.request: Request | None = next(self._rest, None)
        """Which is to be made; None: no further one."""
        self.attempts = self._timing.attempts
        """How many are left to it."""
        self.end_s = now_s + self._timing.deadline_s
        """When its exchange ends."""
        self.failures: list[NoAnswer] = []
        """Of its attempts."""
        return self.request is not None

    def asked(self, now_s: float, share_s: float) -> Asked:
        """Return the request as it goes out, for an attempt that lasts so long."""
        assert self.request
        self.given_s = share_s
        return self._framing.worded(self._unit, self.request), now_s + share_s

    def answered(self, registers: bytes, heard_s: float) -> Asked | None:
        """Take what answers the request, and turn to the next one, whose first attempt begins now."""
        assert self.request
        self._answers.append(registers)
        self._heard_s.append(heard_s)
        self.traffic.carried(self.request)
        return self.asked(heard_s, self._timing.deadline_s / self.attempts) if self._go_on(heard_s) else None


class Connection:
    """One stream to an endpoint, for use inside an event loop; opened when first needed, and again when lost.

    Of `timing` it keeps what is the line's: the least interval between requests, and the silence after a missed answer.
    """

    def __init__(self, endpoint: Endpoint, timing: Timing | None = None, tap: Tap | None = None) -> None:
        self.endpoint, self._tap = endpoint, tap
        timing = timing or Timing()
        self._interval_s, self._settle_s = timing.interval_s, timing.quiet_s
        self._pauses = timing.interval_s > 0.0 or isinstance(endpoint, Serial)
        self.opened = 0
        """How often it has been opened: a device may have restarted in between."""
        self._numbered = endpoint.framing is MBAP
        self._turn = Turn()
        self._wire: Wire | None = None
        self._number = 0
        self._begun: Called | None = None
        self._free_s = -math.inf
        """When the next request may be sent, on the loop's clock."""
        self._missed_s: float | None = None
        """When an answer without a number was given up, so that it may still come; None if none may."""

    @property
    def goes_on(self) -> bool:
        """Whether a request may follow an answer at once: it has a number, and there need be no pause."""
        return self._numbered and not self._pauses

    @property
    def connected(self) -> bool:
        """False before the first exchange, and once the stream is known to be lost."""
        return self._wire is not None and self._wire.lost is None

    def slow_down(self, timing: Timing) -> None:
        """Keep the intervals of another device on this line, too, where they are longer."""
        self._interval_s = max(self._interval_s, timing.interval_s)
        self._pauses = self._pauses or timing.interval_s > 0.0
        self._settle_s = max(self._settle_s, timing.quiet_s)

    async def ask(self, asking: Asking) -> None:
        """Make an attempt at an exchange, with its share of the time, and then at those that follow it.

        What comes is added to the answers. Raises NoAnswer, or ExceptionAnswer where the device refuses.
        """
        if not self._turn.take_if_free():
            await self._wait_for_turn(asking.end_s)
        try:
            wire = self._wire
            if wire is None or not wire.clean or self._missed_s is not None:
                wire = await self._ready(asking)
            if self._pauses:
                await self._until_free(asking.end_s)
            end = asyncio.get_running_loop().create_future()
            wire.ask(self._first(asking), asking.answered, end)
            try:
                await end
            except (TimeoutError, Lost, WrongAnswer, PduError, ExceptionAnswer, asyncio.CancelledError) as failure:
                raise self._failed(wire, failure, asking.given_s) from None
        finally:
            if self._pauses:
                self._rest()
            self._leave(asking)

    def begin(self, asking: Asking, ended: Ended) -> bool:
        """Do what `ask` does without a task, if the connection can be used at once; return whether it can.

        ended: is given what `ask` would raise.
        """
        wire = self._wire
        if not self.goes_on or wire is None or not wire.clean or not self._turn.take_if_free():
            return False
        self._begun = Called(partial(self._ended, asking, wire, ended))
        wire.ask(self._first(asking), asking.answered, self._begun)
        return True

    def abandon(self) -> None:
        """End what was begun and has not ended, as cancelled."""
        if self._begun is not None:
            self._begun.cancel()

    def _ended(self, asking: Asking, wire: Wire, ended: Ended, failure: BaseException | None) -> None:
        self._leave(asking)
        ended(None if failure is None else self._failed(wire, failure, asking.given_s))

    def _first(self, asking: Asking) -> Asked:
        """Return the request that is to be made as it goes out, with its share of the time."""
        now_s = monotonic()
        self._free_s = now_s + self._interval_s
        return asking.asked(now_s, self._share_s(asking.end_s - now_s, asking.attempts))

    def _leave(self, asking: Asking) -> None:
        self._turn.leave()
        if self._wire is not None and self._wire.discarded:
            asking.traffic.discarded += self._wire.take_discarded()

    async def close(self) -> None:
        """Close the stream; used again, it is opened again."""
        wire, self._wire = self._wire, None
        if wire is not None:
            self._number = wire.number
            await wire.close()

    async def _wait_for_turn(self, end_s: float) -> None:
        try:
            await self._turn.take(end_s)
        except TimeoutError:
            raise NoAnswer("the connection was not free in time", again=False) from None

    def _failed(self, wire: Wire, failure: BaseException, given_s: float) -> BaseException:
        """Return what is to be raised; see to it that what still comes is not taken for an answer."""
        if isinstance(failure, ExceptionAnswer):
            return _refused(failure)
        if not self._numbered:
            self._missed_s = monotonic()
        if isinstance(failure, WrongAnswer | PduError):  # the stream is in step all the same
            return NoAnswer(str(failure), sent=True)
        if not isinstance(self.endpoint, Serial):
            wire.abort("an answer was missed")
        if isinstance(failure, TimeoutError):
            return NoAnswer(f"no answer within {_seconds(given_s)}{self._too_short(given_s)}", sent=True)
        if isinstance(failure, Lost):
            return NoAnswer(str(failure), sent=True, again=not wire.closed_here)
        return failure

    async def _ready(self, asking: Asking) -> Wire:
        """Return a stream on which nothing of an earlier request can come any more."""
        wire = self._wire
        if wire is not None:
            if self._numbered and wire.held:
                wire.abort("part of a frame came that nobody had asked for")
            asking.traffic.discarded += wire.take_discarded()
        if wire is None or wire.lost is not None:
            wire = await self._open(asking.end_s, asking.attempts)
            asking.traffic.connects += 1
        if not self._numbered and (self._missed_s is not None or not wire.clean):
            await self._settle(wire, asking.end_s)
        wire.drop_held()
        return wire

    async def _open(self, end_s: float, attempts: int) -> Wire:
        await self.close()
        now_s = monotonic()
        share_s = self._share_s(end_s - now_s, attempts)
        try:
            async with asyncio.timeout_at(now_s + share_s):
                self._wire = await open_wire(self.endpoint, self._tap)
        except TimeoutError:
            raise NoAnswer(f"no connection within {_seconds(share_s)}") from None
        except NotOpened as failure:
            raise NoAnswer(str(failure), again=failure.again, busy=True) from failure
        self._wire.number = self._number
        self.opened += 1
        return self._wire

    async def _until_free(self, end_s: float) -> None:
        """Wait until the last request is as long ago as it must be."""
        pause_s = self._free_s - monotonic()
        if pause_s > 0:
            await _wait(pause_s, end_s, "the least interval between two requests is not over")

    async def _settle(self, wire: Wire, end_s: float) -> None:
        """Wait until the line has been silent for long enough."""
        quiet_s = self._settle_s
        since_s = -math.inf if self._missed_s is None else self._missed_s
        while (rest_s := max(since_s, wire.heard_s) + quiet_s - monotonic()) > 0:
            await _wait(rest_s, end_s, f"the line was not silent for {_seconds(quiet_s)} after a missed answer")
            for _ in range(2):  # what came while this loop was busy is read first
                await asyncio.sleep(0)
        self._missed_s = None

    def _share_s(self, left_s: float, attempts: int) -> float:
        """Return what one of the attempts gets of the time that is left; between two, a line must settle."""
        if self._numbered:
            return left_s / attempts
        return max((left_s - (attempts - 1) * self._settle_s) / attempts, left_s / (2 * attempts - 1))

    def _rest(self) -> None:
        """Let a serial line be silent before the next request."""
        if isinstance(self.endpoint, Serial):
            self._free_s = max(self._free_s, monotonic() + self.endpoint.silence_s)

    def _too_short(self, given_s: float) -> str:
        """Say so where a serial line cannot carry the longest answer in the time."""
        if not isinstance(self.endpoint, Serial):
            return ""
        longest_s = self.endpoint.byte_s * 256
        return (
            "" if given_s > longest_s else f" (a long answer takes {_seconds(longest_s)} at {self.endpoint.baud} baud)"
        )


async def _wait(pause_s: float, end_s: float, why: str) -> None:
    """Wait, unless that would last beyond the deadline."""
    if monotonic() + pause_s >= end_s:
        raise NoAnswer(why, again=False)
    await asyncio.sleep(pause_s)


def _seconds(duration_s: float) -> str:
    return f"{duration_s:.0f} s" if duration_s >= 99.5 else f"{duration_s:.2g} s"


def _refused(refusal: ExceptionAnswer) -> Exception:
    """Return what a refusal is: one that may be none the next time is no answer."""
    if refusal.code not in _TRY_AGAIN:
        return refusal
    return NoAnswer(str(refusal), sent=refusal.code == ExceptionCode.ACKNOWLEDGE, busy=True)


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
