"""What answers a request, whatever carries it there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from hil.emulator.access import Refusal
from hil.emulator.bank import RegisterBank
from hil.modbus.pdu import (
    ExceptionAnswer,
    ExceptionCode,
    Function,
    RegisterArray,
    exception_answer,
    parse_request,
    registers_answer,
    written_answer,
)

BROADCAST = 0
FUNCTIONS = (Function.READ_HOLDING, Function.WRITE_ONE, Function.WRITE_SEVERAL)
"""What SunSpec devices accept."""


class GoneDown(Exception):
    """A device has lost its power, and every connection to it with that."""


class Responder(Protocol):
    """Answers PDUs; knows no transport. It is asked in one thread, one request after the other."""

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        """Return the PDU that answers `pdu`, asked of `unit`; None: silence. Raises GoneDown."""
        ...


class Holding(Protocol):
    """Registers that can be read and written, all of a request or none."""

    def read(self, address: int, count: int) -> Sequence[int] | RegisterArray:
        """Return registers. Raises ExceptionAnswer where the device refuses."""
        ...

    def write(self, address: int, words: Sequence[int]) -> None:
        """Write registers. Raises ExceptionAnswer where the device refuses."""
        ...


class BankRegisters:
    """The registers of one device of a bank."""

    def __init__(self, bank: RegisterBank, device: int) -> None:
        self._bank, self._device = bank, device

    def restart(self) -> None:
        """Hold what the device began with."""
        self._bank.restart(self._device)

    def read(self, address: int, count: int) -> Sequence[int]:
        found = self._bank.read(self._device, address, count)
        if isinstance(found, Refusal):
            raise ExceptionAnswer(found.value)
        return found

    def write(self, address: int, words: Sequence[int]) -> None:
        if (refusal := self._bank.write(self._device, address, words)) is not None:
            raise ExceptionAnswer(refusal.value)


class RegisterResponder:
    """Answers reads and writes of registers, and with exceptions what is neither (Modbus V1.1b3, section 7).

    It takes what is asked of any unit: `Units` knows who is asked.
    """

    def __init__(
        self, registers: Holding, functions: Collection[int] = FUNCTIONS, inputs: Holding | None = None
    ) -> None:
        """functions: the codes that the device knows; others are refused with exception 1.

        inputs: its input registers, where these are others than those that it holds.
        """
        self._registers, self._functions = registers, frozenset(map(int, functions))
        self._inputs = registers if inputs is None else inputs

    def respond(self, unit: int, pdu: bytes) -> bytes:
        del unit
        function = pdu[0] if pdu else 0
        try:
            return self._answer(function, pdu)
        except ExceptionAnswer as refusal:
            return exception_answer(function, refusal.code)

    def _answer(self, function: int, pdu: bytes) -> bytes:
        if function not in self._functions:
            raise ExceptionAnswer(ExceptionCode.ILLEGAL_FUNCTION)
        request = parse_request(pdu)
        if request.is_write:
            self._registers.write(request.address, request.registers)
            return written_answer(request)
        read = self._inputs if function == Function.READ_INPUT else self._registers
        return registers_answer(function, read.read(request.address, request.count))


class BankResponder(RegisterResponder):
    """Answers for one device of a bank."""

    def __init__(self, bank: RegisterBank, device: int) -> None:
        super().__init__(BankRegisters(bank, device))


class Units:
    """The devices on one line, by unit number."""

    def __init__(
        self, devices: Mapping[int, Responder], absent: ExceptionCode | None = ExceptionCode.GATEWAY_NO_ANSWER
    ) -> None:
        """absent: what a request for a unit that is not there is answered with. None: silence, as on a serial bus."""
        self._devices, self._absent = dict(devices), absent

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        device = self._devices.get(unit)
        if device is not None:
            return device.respond(unit, pdu)
        if self._absent is not None:
            return exception_answer(pdu[0] if pdu else 0, self._absent)
        if unit == BROADCAST:
            for each in self._devices.values():
                each.respond(unit, pdu)
        return None
