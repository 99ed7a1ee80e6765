"""The devices of a bank on the wire: a Modbus TCP server for each."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from hil.emulator.bank import RegisterBank
from hil.emulator.settings import Settings
from hil.inverter.measurements import Measurements
from hil.modbus.endpoint import Address, Tcp
from hil.modbus.thread import LoopThread
from hil.serving.responder import BankResponder, Units
from hil.serving.server import Line, Server


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
        self.bank, self._unit = bank, unit
        here = Tcp(host=host, port=0)
        self._server = Server(
            [Line(here, Units({unit: BankResponder(bank, device)})) for device in range(len(bank))], thread
        )

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where each device listens, once started."""
        return tuple(Address(endpoint, self._unit) for endpoint in self._server.endpoints)

    def start(self) -> None:
        """Listen; nothing is left open if that fails."""
        self._server.start()

    def stop(self) -> None:
        """Close every connection and port and join the thread; once or more often."""
        self._server.stop()

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
