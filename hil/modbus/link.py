"""Modbus TCP, client side: exchanges that end by a deadline.

Timeouts of Modbus clients usually bound one `recv`, so that a peer that sends a byte now and then holds them
for ever. Here the deadline is for the whole exchange: connecting, every attempt, every byte.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from derloop.errors import DeviceError, Rejected, Unreachable
from hil.modbus.endpoint import Address, Tcp, Timing
from hil.modbus.thread import LoopThread

RegisterArray = NDArray[np.uint16]

_TRY_AGAIN = (ExcCodes.ACKNOWLEDGE, ExcCodes.DEVICE_BUSY)
_NOBODY_THERE = (ExcCodes.GATEWAY_PATH_UNAVIABLE, ExcCodes.GATEWAY_NO_RESPONSE)


def quiet_pymodbus() -> None:
    """Keep pymodbus' log from standard error unless the application configures logging.

    What it logs there (refused connections, stray answers) is raised or counted here.
    """
    logger = logging.getLogger("pymodbus")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


@dataclass(slots=True)
class Traffic:
    """What one connection has carried; `seconds` is wall time spent waiting for it."""

    exchanges: int = 0
    retries: int = 0
    connects: int = 0
    registers_read: int = 0
    registers_written: int = 0
    seconds: float = 0.0


class _NoAnswer(Exception):
    """One attempt failed; another may help, after a pause."""

    def __init__(self, why: str, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s
        super().__init__(why)


class Link:
    """One Modbus TCP unit, for use inside an event loop; exchanges are one at a time.

    `timing.deadline_s` bounds a whole exchange, `timing.attempts` how often it is tried within that; each attempt has
    an equal share of what is left. A connection on which an answer is overdue is closed, so that no late byte of
    it can pass for the answer to a later request. Raises Unreachable with the reasons of the attempts,
    Rejected if the device refuses.
    """

    def __init__(self, device: str, address: Address, timing: Timing | None = None) -> None:
        quiet_pymodbus()
        self.device, self.address, self.traffic = device, address, Traffic()
        self.timing = timing or Timing()
        self._client: AsyncModbusTcpClient | None = None
        self._waiting = False
        self._reason = ""

    @property
    def connected(self) -> bool:
        """False before the first exchange, and once the connection is known to be lost."""
        return self._client is not None and self._client.connected

    async def read(self, address: int, count: int) -> RegisterArray:
        """Return `count` holding registers from `address` (function 3)."""
        answer = await self._exchange(
            f"read {address}+{count}",
            lambda client: client.read_holding_registers(address, count=count, device_id=self.address.unit),
        )
        if len(answer.registers) != count:
            raise Rejected(self.device, f"{self.address}: read {address}+{count}: {len(answer.registers)} came")
        self.traffic.registers_read += count
        return np.array(answer.registers, dtype=np.uint16)

    async def write(self, address: int, registers: Sequence[int]) -> None:
        """Write holding registers from `address` (function 16)."""
        values = [int(register) for register in registers]
        await self._exchange(
            f"write {address}+{len(values)}",
            lambda client: client.write_registers(address, values, device_id=self.address.unit),
        )
        self.traffic.registers_written += len(values)

    async def close(self) -> None:
        """Close the socket; the link may be used again and then connects anew."""
        if self._client is not None:
            self._client.close()
            self._client = None
            await asyncio.sleep(0)

    async def _exchange(self, what: str, send: Callable[[AsyncModbusTcpClient], Any]) -> ModbusPDU:
        began = time.perf_counter()
        reasons: list[str] = []
        try:
            for attempt in range(self.timing.attempts):
                left = self.timing.deadline_s - (time.perf_counter() - began)
                try:
                    return await self._attempt(what, send, max(left, 0.0) / (self.timing.attempts - attempt))
                except _NoAnswer as failure:
                    reasons.append(str(failure))
                    await asyncio.sleep(min(failure.pause_s, max(left, 0.0)))
                self.traffic.retries += attempt + 1 < self.timing.attempts
        finally:
            self.traffic.exchanges += 1
            self.traffic.seconds += time.perf_counter() - began
        raise Unreachable(self.device, f"{self.address}: {what}: {'; then '.join(dict.fromkeys(reasons))}")

    async def _attempt(self, what: str, send: Callable[[AsyncModbusTcpClient], Any], share_s: float) -> ModbusPDU:
        try:
            async with asyncio.timeout(share_s):
                client = await self._connected()
                self._waiting = True
                answer: ModbusPDU = await send(client)
        except TimeoutError:
            raise await self._given_up(f"no answer within {share_s:.3g} s") from None
        except (ModbusException, OSError) as failure:
            raise await self._given_up(self._reason or str(failure)) from failure
        finally:
            self._waiting = False
        return self._accepted(what, answer)

    async def _given_up(self, reason: str) -> _NoAnswer:
        """Close a connection that failed, with whatever may still come through it."""
        await self.close()
        return _NoAnswer(reason)

    def _accepted(self, what: str, answer: ModbusPDU) -> ModbusPDU:
        if not answer.isError():
            return answer
        code = answer.exception_code
        if code in _TRY_AGAIN:
            raise _NoAnswer(_exception_name(code), pause_s=self.timing.busy_pause_s)
        kind: type[DeviceError] = Unreachable if code in _NOBODY_THERE else Rejected
        raise kind(self.device, f"{self.address}: {what}: {_exception_name(code)}")

    async def _connected(self) -> AsyncModbusTcpClient:
        if self._client is not None and self.connected and not self._client.ctx.recv_buffer:
            return self._client
        await self.close()
        self._client = self._new_client()
        if not await self._client.connect():
            raise ConnectionError(self._reason or "no connection")
        self.traffic.connects += 1
        return self._client

    def _new_client(self) -> AsyncModbusTcpClient:
        """Return a client that leaves retries, reconnecting and waiting to this link, and reasons with it."""
        endpoint = self.address.endpoint
        if not isinstance(endpoint, Tcp):
            raise Unreachable(self.device, f"{self.address}: only Modbus TCP is spoken so far")
        client = AsyncModbusTcpClient(
            endpoint.host,
            port=endpoint.port,
            retries=0,
            reconnect_delay=0,
            timeout=10 * self.timing.deadline_s,
            trace_connect=self._connection_changed,
        )
        client.ctx.call_create = self._keeping_reason(client.ctx.call_create)
        return client

    def _keeping_reason(self, create: Callable[[], Coroutine[Any, Any, Any]]) -> Callable[[], Any]:
        """Keep why a connection failed: pymodbus only logs that."""

        async def create_connection() -> Any:
            self._reason = ""
            try:
                return await create()
            except OSError as failure:
                self._reason = _reason(failure)
                raise

        return create_connection

    def _connection_changed(self, connected: bool) -> None:
        """End a wait for an answer when the peer closes: pymodbus would wait until its timeout."""
        if connected or not self._waiting or self._client is None:
            return
        answer = self._client.ctx.response_future
        if not answer.done():
            answer.set_exception(ConnectionError("the device closed the connection"))


def _reason(failure: OSError) -> str:
    """Return the plain reason; asyncio puts the address in its place, which is said elsewhere."""
    return os.strerror(failure.errno) if failure.errno and failure.errno > 0 else str(failure)


def _exception_name(code: int) -> str:
    known = {int(each): each.name.replace("_", " ").lower() for each in ExcCodes}
    return f"exception {code} ({known.get(code, 'unknown')})"


class ModbusConnection:
    """One Modbus TCP unit for synchronous callers; close it, or use it in a `with`.

    The deadline and the errors are those of `Link`. Nothing is connected before the first exchange.
    """

    def __init__(self, device: str, address: Address, timing: Timing | None = None) -> None:
        self._link = Link(device, address, timing)
        self._thread = LoopThread(f"modbus {device}")

    @property
    def traffic(self) -> Traffic:
        """What the connection has carried."""
        return self._link.traffic

    def read(self, address: int, count: int) -> RegisterArray:
        """Return `count` holding registers from `address`."""
        return self._thread.run(self._link.read(address, count))

    def write(self, address: int, registers: Sequence[int]) -> None:
        """Write holding registers from `address`."""
        self._thread.run(self._link.write(address, registers))

    def close(self) -> None:
        """Close the socket and join the thread; once or more often."""
        if not self._thread.closed:
            self._thread.run(self._link.close())
        self._thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
