"""The devices of a bank on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from hil.emulator.access import Refusal
from hil.emulator.bank import RegisterBank
from hil.emulator.settings import Settings
from hil.inverter.measurements import Measurements
from hil.modbus.endpoint import Address, Tcp
from hil.modbus.link import quiet_pymodbus
from hil.modbus.thread import LoopThread


class EmulatorServer:
    """Serves every device of a bank on a free TCP port of its own, on the loopback interface.

    It runs in one thread; given a `thread`, it runs in that and leaves closing it to its owner.
    In lock-step a simulated step is: a client writes commands; `settings`; the model steps;
    `set_measurements`; the client polls; `advance`.
    """

    def __init__(
        self,
        bank: RegisterBank,
        *,
        host: str = "127.0.0.1",
        unit: int = 1,
        thread: LoopThread | None = None,
    ) -> None:
        quiet_pymodbus()
        self.bank, self._given_thread = bank, thread
        self._host, self._unit = host, unit
        self._servers: list[ModbusTcpServer] = []
        self._addresses: tuple[Address, ...] = ()
        self._thread: LoopThread | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where each device listens, once started."""
        return self._addresses

    def start(self) -> None:
        """Listen; nothing is left open if that fails."""
        self._thread = self._given_thread or LoopThread("emulator")
        try:
            self._addresses = self._thread.run(self._listen())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close every connection and port and join the thread; once or more often."""
        if self._thread is not None and not self._thread.closed:
            self._thread.run(self._shut_down())
            if self._given_thread is None:
                self._thread.close()

    def set_measurements(self, measured: Measurements) -> None:
        """See `RegisterBank.set_measurements`."""
        self.bank.set_measurements(measured)

    def settings(self) -> Settings:
        """See `RegisterBank.settings`."""
        return self.bank.settings()

    def advance(self, dt_s: float) -> None:
        """See `RegisterBank.advance`."""
        self.bank.advance(dt_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _listen(self) -> tuple[Address, ...]:
        return tuple([await self._listen_for(device) for device in range(len(self.bank))])

    async def _listen_for(self, device: int) -> Address:
        registers = SimData(
            self.bank.maps[device].base,
            values=[int(word) for word in self.bank.image(device)],
            datatype=DataType.REGISTERS,
        )
        served = SimDevice(self._unit, [registers], action=_action(self.bank, device))
        server = ModbusTcpServer(served, address=(self._host, 0))
        self._servers.append(server)
        await server.serve_forever(background=True)
        listener: Any = server.transport
        port = listener.sockets[0].getsockname()[1]
        return Address(Tcp(host=self._host, port=port), self._unit)

    async def _shut_down(self) -> None:
        """Accept no more, let connections finish that are just being accepted, then close all.

        Closed in the midst of accepting one, asyncio's server (Python 3.11) would lose that socket.
        """
        served, self._servers = self._servers, []
        loop = asyncio.get_running_loop()
        for listener in (server.transport for server in served):
            for listening in getattr(listener, "sockets", ()):
                loop.remove_reader(listening.fileno())
        await _some_turns()
        for server in served:
            await server.shutdown()  # type: ignore[no-untyped-call]
        await _some_turns()


async def _some_turns() -> None:
    """Let the loop do what is scheduled, and what that schedules."""
    for _ in range(5):
        await asyncio.sleep(0)


_Action = Callable[
    [int, int, int, int, list[int], list[int] | list[bool] | None], Coroutine[None, None, ExcCodes | None]
]


def _action(bank: RegisterBank, device: int) -> _Action:
    """Return what pymodbus calls for each request of a device; the bank decides and holds the registers."""

    async def action(
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        new: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        if function not in (3, 6, 16):
            return ExcCodes.ILLEGAL_FUNCTION
        if new is not None:
            refusal = bank.write(device, address, [int(word) for word in new])
            return None if refusal is None else ExcCodes(refusal.value)
        answer = bank.read(device, address, count)
        if isinstance(answer, Refusal):
            return ExcCodes(answer.value)
        registers[address - start : address - start + count] = answer
        return None

    return action
