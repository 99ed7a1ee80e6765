"""One unit behind a connection: exchanges that end by a deadline.

Timeouts of Modbus clients usually bound one `recv`, so that a peer that sends a byte now and then holds them
for ever. Here the deadline is for the whole exchange: waiting for the connection, opening it, every attempt, every
byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from time import monotonic
from typing import Any

from derloop.errors import DeviceError, Rejected, Unreachable
from hil.modbus.connection import Asking, Connection, Ended
from hil.modbus.endpoint import Address, Timing
from hil.modbus.failures import NoAnswer, Unacknowledged
from hil.modbus.pdu import ExceptionAnswer, ExceptionCode, Function, RegisterArray, Request, registers_in
from hil.modbus.pdu import read as read_request
from hil.modbus.pdu import write as write_request
from hil.modbus.tap import Tap
from hil.modbus.traffic import Traffic

_NOBODY_THERE = (ExceptionCode.GATEWAY_PATH_UNAVAILABLE, ExceptionCode.GATEWAY_NO_ANSWER)


class Link:
    """One Modbus unit, for use inside an event loop.

    `timing.deadline_s` bounds a whole exchange, `timing.attempts` how often it is tried within that; each attempt has
    an equal share of what is left. Registers hold absolute values, so that writing them again does nothing twice.

    Raises Unreachable with the reasons of the attempts; `Unacknowledged`, which is one, where a write may have been
    done all the same; Rejected if the device refuses.
    """

    def __init__(
        self,
        device: str,
        address: Address,
        timing: Timing | None = None,
        connection: Connection | None = None,
        tap: Tap | None = None,
    ) -> None:
        """`connection`: one that is shared, and closed by its owner. `tap`: of a connection of one's own."""
        self.device, self.address, self.timing, self.traffic = device, address, timing or Timing(), Traffic()
        self._is_own = connection is None
        self._connection = connection or Connection(address.endpoint, self.timing, tap)
        self._again: asyncio.Task[None] | None = None
        """What goes on with something that was begun."""
        self.unanswered = 0
        """How often the unit did not answer. On a serial line, and behind a gateway, no connection is lost by that."""

    @property
    def connected(self) -> bool:
        """False before the first exchange, and once the connection is known to be lost."""
        return self._connection.connected

    @property
    def opened(self) -> int:
        """How often the connection has been opened, for whichever unit behind it."""
        return self._connection.opened

    async def read(self, address: int, count: int, function: int = Function.READ_HOLDING) -> RegisterArray:
        """Return `count` registers from `address`: holding registers, or with function 4 input registers."""
        answers: list[bytes] = []
        await self.exchange([read_request(address, count, function)], answers)
        return registers_in(answers[0])

    async def write(self, address: int, registers: Sequence[int], one: bool = False) -> None:
        """Write holding registers from `address`; `one`: a single register with function 6 instead of 16."""
        await self.exchange([write_request(address, registers, one=one)], [])

    async def exchange(
        self, requests: Sequence[Request], answers: list[bytes], heard_s: list[float] | None = None
    ) -> None:
        """Make exchanges, each within its deadline once the one before is done.

        `answers` is given, for each that is done, what was read as it came, high bytes first, and nothing for writes;
        `heard_s` when that came, on the monotonic clock. They tell how far this came when it raises.
        """
        times_s = [] if heard_s is None else heard_s
        at_once = len(requests) == 1 or (self._is_own and self._connection.goes_on)
        for group in (requests,) if at_once else [(request,) for request in requests]:
            await self._make(Asking(self.address, group, self.timing, self.traffic, answers, times_s))

    def begin(
        self, requests: Sequence[Request], answers: list[bytes], heard_s: list[float], ended: Ended
    ) -> asyncio.Task[None] | None:
        """Do what `exchange` does, without a task where the connection can be used at once and all goes well.

        ended: is given what `exchange` would raise. Returns the task where there is one.
        """
        if self._is_own:
            asking = Asking(self.address, requests, self.timing, self.traffic, answers, heard_s)
            if self._connection.begin(asking, partial(self._begun, asking, monotonic(), ended)):
                return None
        self._again = asyncio.create_task(_told(self.exchange(requests, answers, heard_s), ended))
        return self._again

    def abandon(self) -> None:
        """Cancel what was begun, if it has not ended."""
        self._connection.abandon()
        if self._again is not None:
            self._again.cancel()

    def _begun(self, asking: Asking, began_s: float, ended: Ended, failure: BaseException | None) -> None:
        """End what was begun; after an attempt that failed go on in a task."""
        if isinstance(failure, NoAnswer):
            self._again = asyncio.create_task(_told(self._make(asking, failure), ended))
            return
        self._count(asking, began_s)
        ended(self._refused(asking, failure) if isinstance(failure, ExceptionAnswer) else failure)

    async def close(self) -> None:
        """Close the connection, unless it is shared; used again, it is opened again."""
        if self._is_own:
            await self._connection.close()

    async def _make(self, asking: Asking, failed: NoAnswer | None = None) -> None:
        """Make what is to be made. failed: of an attempt that has been made already."""
        began_s = monotonic()
        try:
            while failed or asking.request:
                if failed is not None:
                    await self._after(failed, asking)
                failed = await self._attempt(asking)
        except ExceptionAnswer as refusal:
            raise self._refused(asking, refusal) from None
        finally:
            self._count(asking, began_s)

    async def _attempt(self, asking: Asking) -> NoAnswer | None:
        try:
            await self._connection.ask(asking)
        except NoAnswer as failure:
            return failure
        return None

    def _count(self, asking: Asking, began_s: float) -> None:
        self.traffic.exchanges += asking.request is not None
        self.traffic.seconds += monotonic() - began_s

    async def _after(self, failure: NoAnswer, asking: Asking) -> None:
        """Wait after an attempt that failed. Raises Unreachable after the last one."""
        asking.failures.append(failure)
        asking.attempts -= 1
        if not asking.attempts or not await self._pause(failure, asking.end_s):
            raise self._given_up(asking) from None
        self.traffic.retries += 1

    async def _pause(self, failure: NoAnswer, end_s: float) -> bool:
        """Wait before the next attempt; False if there should be none."""
        pause_s = self.timing.busy_pause_s if failure.busy else 0.0
        if not failure.again or monotonic() + pause_s >= end_s:
            return False
        await asyncio.sleep(pause_s)
        return True

    def _given_up(self, asking: Asking) -> Unreachable:
        self.unanswered += 1
        request, failures = asking.request, asking.failures
        reasons = "; then ".join(dict.fromkeys(map(str, failures)))
        why = f"{self.address}: {request}: {reasons}"
        if request and request.is_write and any(failure.sent for failure in failures):
            return Unacknowledged(self.device, f"{why}; it may have been done")
        return Unreachable(self.device, why)

    def _refused(self, asking: Asking, refusal: ExceptionAnswer) -> DeviceError:
        is_nobody, why = refusal.code in _NOBODY_THERE, f"{self.address}: {asking.request}: {refusal}"
        self.unanswered += is_nobody
        if not is_nobody:
            return Rejected(self.device, why)
        # a gateway that got no answer had passed the request on
        is_sent = refusal.code == ExceptionCode.GATEWAY_NO_ANSWER or any(failure.sent for failure in asking.failures)
        if asking.request and asking.request.is_write and is_sent:
            return Unacknowledged(self.device, f"{why}; it may have been done")
        return Unreachable(self.device, why)


async def _told(work: Coroutine[Any, Any, None], ended: Ended) -> None:
    """Do work, and tell how it has ended."""
    failure: BaseException | None = None
    try:
        await work
    except BaseException as raised:  # noqa: BLE001 - whoever is told raises it
        failure = raised
    ended(failure)
