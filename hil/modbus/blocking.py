"""A link for callers that are not asynchronous."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from hil.modbus.endpoint import Address, Timing
from hil.modbus.link import Link
from hil.modbus.pdu import Function, RegisterArray
from hil.modbus.tap import Tap
from hil.modbus.thread import LoopThread
from hil.modbus.traffic import Traffic


class ModbusConnection:
    """One Modbus unit for synchronous callers; close it, or use it in a `with`.

    The deadline and the errors are those of `Link`. Nothing is connected before the first exchange.
    """

    def __init__(self, device: str, address: Address, timing: Timing | None = None, tap: Tap | None = None) -> None:
        self._link = Link(device, address, timing, tap=tap)
        self._thread = LoopThread(f"modbus {device}")

    @property
    def traffic(self) -> Traffic:
        """What the connection has carried."""
        return self._link.traffic

    def read(self, address: int, count: int, function: int = Function.READ_HOLDING) -> RegisterArray:
        """Return `count` registers from `address`."""
        return self._thread.run(self._link.read(address, count, function))

    def write(self, address: int, registers: Sequence[int], one: bool = False) -> None:
        """Write holding registers from `address`."""
        self._thread.run(self._link.write(address, registers, one))

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
