"""Points of a bank's devices, written and read without a wire."""

from __future__ import annotations

from hil.emulator.access import Refusal
from hil.emulator.bank import RegisterBank
from hil.sunspec.codec import encode
from hil.sunspec.points import Value


def put(bank: RegisterBank, values: dict[str, float], device: int = 0) -> Refusal | None:
    """Write points one after the other, until one is refused."""
    for name, value in values.items():
        point = bank.maps[device][name]
        if (refusal := bank.write(device, point.address, encode(point, value).registers)) is not None:
            return refusal
    return None


def get(bank: RegisterBank, name: str, device: int = 0) -> Value:
    """Return what a device shows."""
    return bank.maps[device].value(name, bank.image(device))


def held(bank: RegisterBank, name: str, device: int = 0) -> float | None:
    """Return what a device holds, shown or not."""
    return bank.number(device, name)
