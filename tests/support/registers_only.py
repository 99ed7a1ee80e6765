"""A device that is not SunSpec, served on a free port: registers in, registers out, and a watchdog."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hil.modbus.endpoint import Address, Tcp
from hil.modbus.pdu import (
    ExceptionAnswer,
    ExceptionCode,
    exception_answer,
    parse_request,
    registers_answer,
    written_answer,
)
from hil.serving.server import Line, Server


@dataclass
class RegistersOnly:
    """Answers the functions it knows; registers that are not set cannot be read, nor written."""

    functions: tuple[int, ...]
    holding: dict[int, int] = field(default_factory=dict)
    inputs: dict[int, int] = field(default_factory=dict)
    write_only: frozenset[int] = frozenset()
    requests: list[tuple[int, int, int]] = field(default_factory=list)
    """Function, address and count of each request."""
    on_write: Callable[[int], None] = lambda address: None

    def put(
        self, space: dict[int, int], address: int, form: str, value: float | bytes, *, low_first: bool = False
    ) -> None:
        """Put a number in registers, `form` being that of `struct`."""
        data = struct.pack(form, value)
        words = struct.unpack(f">{len(data) // 2}H", data)
        space |= dict(enumerate(reversed(words) if low_first else words, start=address))

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        try:
            return self._answer(pdu)
        except ExceptionAnswer as refusal:
            return exception_answer(pdu[0], refusal.code)

    def _answer(self, pdu: bytes) -> bytes:
        request = parse_request(pdu)
        self.requests.append((int(request.function), request.address, request.count))
        if request.function not in self.functions:
            raise ExceptionAnswer(ExceptionCode.ILLEGAL_FUNCTION)
        space = self.inputs if request.function == 4 else self.holding
        addresses = range(request.address, request.address + request.count)
        if not set(addresses) <= space.keys():
            raise ExceptionAnswer(ExceptionCode.ILLEGAL_ADDRESS)
        if request.is_write:
            space |= dict(zip(addresses, request.registers, strict=True))
            self.on_write(request.address)
            return written_answer(request)
        if not self.write_only.isdisjoint(addresses):
            raise ExceptionAnswer(ExceptionCode.ILLEGAL_ADDRESS)
        return registers_answer(request.function, [space[address] for address in addresses])


@contextmanager
def served(device: RegistersOnly) -> Iterator[Address]:
    """Serve a device as unit 1 of a TCP port that is free."""
    with Server([Line(Tcp(port=0), device)]) as server:
        yield Address(server.endpoints[0], 1)


def string_inverter() -> RegistersOnly:
    """Return registers as `hil/maps/example_string_inverter.json` has them: 5 kW, feeding 3210.5 W."""
    device = RegistersOnly(functions=(3, 4, 6))
    device.holding |= {0: 4711, 200: 0, 201: 0, 202: 1000, 203: 0}
    for address, text in ((0, b"XS-5000"), (8, b"SN0042")):
        padded = text.ljust(16, b"\0")
        device.inputs |= dict(enumerate(struct.unpack(">8H", padded), start=address))
    put = device.put
    put(device.inputs, 16, ">I", 5000, low_first=True)
    put(device.inputs, 18, ">I", 5500, low_first=True)
    put(device.inputs, 100, ">H", 2)
    put(device.inputs, 101, ">I", 0b010, low_first=True)
    put(device.inputs, 103, ">i", 32105, low_first=True)
    put(device.inputs, 105, ">i", -1234, low_first=True)
    device.inputs |= {107: 2301, 108: 2313, 109: 0xFFFF, 110: 5002, 112: 652}
    return device


def battery_inverter() -> RegistersOnly:
    """Return registers as `hil/maps/example_battery_inverter.json` has them: 10 kWh, charging with 1500 W."""
    device = RegistersOnly(functions=(3, 16))
    device.holding |= dict.fromkeys(range(108), 0)
    device.holding |= {0: 3, 1: 2, 2: 0, 101: 60}
    numbers = (1500.0, -200.0, 401.5, 49.98, 55.5, 10.0, 4000.0, 5000.0)
    for address, number in zip(range(4, 20, 2), numbers, strict=True):
        device.put(device.holding, address, ">f", number)
    return device
