"""What may be written to a device: access, symbols, and what `ranges` says."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from hil.emulator.adoption import ADOPTIONS
from hil.emulator.ranges import RangesOfPoints
from hil.emulator.registers import Registers, Written
from hil.sunspec.points import Point, Value


class Refusal(Enum):
    """Why a request is refused; the values are Modbus exception codes."""

    FUNCTION = 1
    ADDRESS = 2
    """Outside of the map, read-only, not implemented, or part of a point."""
    VALUE = 3
    """Out of range, no such symbol, or 'not implemented'."""
    BUSY = 6
    """A curve is being adopted."""


_UNSUPPORTED_MODE = ("704.VarSetMod", 2.0)
"""Percent of available vars: what is available is not known to registers."""


class Access:
    """The rules that each point stands under."""

    def __init__(self, registers: Registers, f_nominal_hz: float) -> None:
        self._registers, self._ranges = registers, RangesOfPoints(registers, f_nominal_hz)

    def refusal(self, device: int, written: Sequence[Written]) -> Refusal | None:
        """Return why these points may not be written, if they may not."""
        if not all(self._is_writable(device, each.point) for each in written):
            return Refusal.ADDRESS
        if not all(self._is_allowed(device, each.point, each.value) for each in written):
            return Refusal.VALUE
        return None

    def _is_writable(self, device: int, point: Point) -> bool:
        if not point.writable or self._registers.holds(device, point.name) is None:
            return False
        model, _, path = point.name.partition(".")
        adoption = ADOPTIONS.get(model)
        if adoption is None or not path.startswith(adoption.group + "."):
            return True
        slot = path.split(".")[1]
        return self._registers.number(device, f"{model}.{adoption.group}.{slot}.ReadOnly") != 1

    def _is_allowed(self, device: int, point: Point, value: Value) -> bool:
        if not isinstance(value, int | float):
            return False
        if point.kind.family == "enum":
            return value in point.symbols.values() and (point.name, value) != _UNSUPPORTED_MODE
        low, high = self._range(device, point.name)
        return low <= value <= high

    def _range(self, device: int, name: str) -> tuple[float, float]:
        model, _, path = name.partition(".")
        adoption = ADOPTIONS.get(model)
        if adoption is not None and path == adoption.request:
            return 1.0, float(self._registers.maps[device].group_size(model, adoption.group))
        return self._ranges.of(device, name)
