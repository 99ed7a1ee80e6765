"""An instrument that speaks Modbus: a register map says what it has, and its points are named by what they are.

"v_ln_v_2" is the voltage of phase 2, "output" a switch for all phases, "p_w_1" what is measured on phase 1: quantities
as in command maps, with the phase behind where each has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from derloop.errors import Rejected, Unreachable
from hil.instruments.command_map import Measured, Quantity
from hil.instruments.file import InstrumentSettings, ModbusAt
from hil.inverter.mapped import Mapped
from hil.modbus.endpoint import Address, Timing, located
from hil.modbus.tap import Tap
from hil.sunspec.codec import decode, encode
from hil.sunspec.points import Point

if TYPE_CHECKING:
    from hil.modbus.blocking import ModbusConnection


def said_by(name: str, texts: Sequence[str], wanted: str) -> str:
    """Return what an instrument says of itself. Raises Rejected unless `wanted` is in it."""
    found = " ".join(texts)
    if wanted not in found:
        raise Rejected(name, f"is {found!r}, which does not contain {wanted!r}")
    return found


class ModbusInstrument:
    """One instrument, opened by `open` and closed by `close`; not for several threads at once."""

    def __init__(
        self, name: str, settings: InstrumentSettings, registers: Mapped, folder: Path, tap: Tap | None = None
    ) -> None:
        assert isinstance(settings.at, ModbusAt)
        self.name, self.identity, self._tap = name, "", tap
        self._registers, self._timing = registers, Timing(deadline_s=settings.deadline_s)
        self._wanted = settings.identity
        self._address = Address(located(settings.at.endpoint, folder), settings.at.unit)
        self._connection: ModbusConnection | None = None

    def open(self) -> None:
        """Connect and see who answers. Raises Unreachable, or Rejected for another instrument than the map is of."""
        from hil.modbus.blocking import ModbusConnection

        self._connection = ModbusConnection(self.name, self._address, self._timing, self._tap)
        try:
            self._refuse_another()
            self.identity = said_by(self.name, self._texts(), self._wanted) or self._registers.name
        except BaseException:
            self.close()
            raise

    meet = open

    def close(self) -> None:
        """Close the connection; once or more often. What the instrument does is not changed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def can_set(self, quantity: Quantity) -> bool:
        return self._has(quantity)

    def sets_apart(self, quantity: Quantity) -> bool:
        """Return whether each phase can be set to a value of its own."""
        return self._has(quantity) and quantity not in self._registers.map

    def can_read(self, measured: Measured) -> bool:
        return self._has(measured)

    def set(self, quantity: Quantity, value: float, phases: Sequence[int] = (1,)) -> None:
        """Set a quantity, on each of `phases` where they are set apart, and verify that it is set.

        Raises Rejected where the instrument refuses, or holds something else, or rounds what it is told.
        """
        for point in self._points(quantity, phases):
            encoded = encode(point, value)
            self._open().write(point.address, encoded.registers, point.manner.writes_one)
            self._refuse_other(point, value)

    def verify(self, quantity: Quantity, value: float, phases: Sequence[int] = (1,)) -> None:
        """Raise Rejected unless a quantity is still what it was set to, on each of `phases` where they are apart."""
        for point in self._points(quantity, phases):
            self._refuse_other(point, value)

    def _refuse_other(self, point: Point, value: float) -> None:
        held = self._value(point)
        if held != encode(point, value).value:
            raise Rejected(self.name, f"{point.name} was set to {value:g} and is {held!r}")

    def read(self, measured: Measured, phases: Sequence[int] = (1,)) -> list[float]:
        """Return what is measured on each of `phases`; once where the instrument tells it for all of them."""
        found = [(point, self._value(point)) for point in self._points(measured, phases)]
        for point, value in found:
            if not isinstance(value, int | float):
                raise Rejected(self.name, f"{point.name} reads {value!r}: nothing is measured")
        return [float(value) for _, value in found if isinstance(value, int | float)]

    def _has(self, quantity: str) -> bool:
        return quantity in self._registers.map or f"{quantity}_1" in self._registers.map

    def _points(self, quantity: str, phases: Sequence[int]) -> list[Point]:
        """Return the points of a quantity: one for each phase, or the one that stands for all."""
        device = self._registers.map
        if quantity in device:
            return [device[quantity]]
        lacking = [phase for phase in phases if f"{quantity}_{phase}" not in device]
        if lacking:
            raise Rejected(self.name, f"its register map {self._registers.name!r} has no {quantity}_{lacking[0]}")
        return [device[f"{quantity}_{phase}"] for phase in phases]

    def _value(self, point: Point) -> float | str | None:
        return decode(point, self._open().read(point.address, point.length, point.manner.function))

    def _open(self) -> ModbusConnection:
        if self._connection is None:
            raise Unreachable(self.name, f"{self._address}: the connection is closed")
        return self._connection

    def _texts(self) -> list[str]:
        """Return what it says of itself, and what its map knows of it."""
        dialect = self._registers.dialect
        said = [self._value(self._registers.map[name]) for name in dialect.identity.values()]
        return [*dialect.fixed_identity.values(), *(str(text) for text in said if text)]

    def _refuse_another(self) -> None:
        for name, expected in self._registers.expected.items():
            point = self._registers.map[name]
            read = self._open().read(point.address, point.length, point.manner.function)
            if tuple(map(int, read)) != expected:
                raise Rejected(self.name, f"is no {self._registers.name!r}: {name} reads {decode(point, read)!r}")
