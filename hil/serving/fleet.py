"""A bank on the wire, as an emulator file says it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from derloop.errors import Problem, ScenarioError
from hil.emulator.bank import RegisterBank
from hil.modbus.endpoint import Address, Endpoint
from hil.modbus.framing import MBAP
from hil.modbus.thread import LoopThread
from hil.serving.awkward_registers import Clock
from hil.serving.device import Device, awkward, of_bank, plain
from hil.serving.file import FleetEntry
from hil.serving.quirks import Quirks
from hil.serving.server import Line, Server, line

NO_QUIRKS = Quirks()
MOST_UNIT, MOST_UNIT_OF_A_LINE, MOST_PORT = 255, 247, 65_535
"""A serial line has units 1 to 247: 0 is all of them, the rest is reserved (MODBUS over Serial Line V1.02, 2.2)."""


class BankServer:
    """Serves every device of a bank: on a port of its own, or all on one line as units of it.

    It runs in one thread; given a `thread`, it runs in that and leaves closing it to its owner.
    """

    def __init__(
        self,
        bank: RegisterBank,
        labels: Sequence[str] | None = None,
        entry: FleetEntry | None = None,
        *,
        thread: LoopThread | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """Raises ScenarioError where quirks name points that a device does not have, or units or ports do not suffice.

        clock: see `awkward`.
        """
        self.bank, self._entry = bank, entry or FleetEntry()
        _refuse_more_than_fit(self._entry, len(bank))
        self.labels = tuple(labels or (f"device_{index + 1}" for index in range(len(bank))))
        devices = [self._device(index, clock) for index in range(len(bank))]
        self._server = Server(self._lines(devices), thread)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where each device is reached, once started."""
        endpoints, count = self._server.endpoints, len(self.bank)
        return tuple(map(Address, endpoints * count if self._entry.bus else endpoints, self._entry.units(count)))

    def start(self) -> None:
        """Listen; nothing is left open if that fails."""
        self._server.start()

    def stop(self) -> None:
        """Close every connection and port and join the thread; once or more often."""
        self._server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _device(self, index: int, clock: Clock) -> Device:
        hardware = of_bank(self.bank, index, self.labels[index])
        quirks = self._entry.quirks_for(hardware.name)
        return plain(hardware) if quirks == NO_QUIRKS else awkward(hardware, quirks, clock)

    def _lines(self, devices: Sequence[Device]) -> list[Line]:
        entry = self._entry
        units = entry.units(len(devices))
        if entry.bus:
            return [self._line(entry.listen, dict(zip(units, devices, strict=True)))]
        each = enumerate(zip(units, devices, strict=True))
        return [self._line(_counted(entry.listen, i), {unit: device}) for i, (unit, device) in each]

    def _line(self, endpoint: Endpoint, devices: Mapping[int, Device]) -> Line:
        return line(endpoint, devices, self._entry.roles, takes_time=self._entry.takes_time)


def _refuse_more_than_fit(entry: FleetEntry, count: int) -> None:
    """Raise ScenarioError where units of a line, or ports, counted from the first, go beyond those that there are."""
    if entry.bus:
        least, most = (0, MOST_UNIT) if entry.listen.framing is MBAP else (1, MOST_UNIT_OF_A_LINE)
        if entry.unit < least or entry.unit + count - 1 > most:
            what = f"units {entry.unit} to {entry.unit + count - 1} are needed, and there are {least} to {most}"
            raise ScenarioError([Problem("/unit", what)], "fleet")
    elif (port := getattr(entry.listen, "port", 0)) and port + count - 1 > MOST_PORT:
        what = f"ports {port} to {port + count - 1} are needed, and there are none above {MOST_PORT}"
        raise ScenarioError([Problem("/listen/port", what)], "fleet")


def _counted(endpoint: Endpoint, index: int) -> Endpoint:
    """Return the endpoint of a device of several: its port counts on from the first, unless any is taken (0)."""
    port = getattr(endpoint, "port", 0)
    return endpoint.model_copy(update={"port": port + index}) if port else endpoint
