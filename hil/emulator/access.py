"""What may be written to a device: access, symbols, and what `ranges` says."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final

from hil.emulator.adoption import ADOPTIONS
from hil.emulator.controller import allows_operation
from hil.emulator.links import contradicts
from hil.emulator.ranges import LEAST_PF, SETPOINTS, RangesOfPoints
from hil.emulator.registers import Registers, Written
from hil.sunspec.points import Point, Value


class Refusal(Enum):
    """Why a request is refused; the values are Modbus exception codes."""

    FUNCTION = 1
    ADDRESS = 2
    """Outside of the map, read-only, not implemented, or part of a point."""
    VALUE = 3
    """Out of range, no such symbol, or 'not implemented'."""
    LOCAL = 4
    """The device is under local control (715 LocRemCtl): it cannot do what it is told."""
    BUSY = 6
    """A curve is being adopted."""


_UNSUPPORTED_MODES: Final = {("704.VarSetMod", 2.0), ("123.VArPct_Mod", 3.0)}
"""Percent of available vars: what is available is not known to registers."""
_POWER_FACTOR: Final = "123.OutPFSet"
"""Its range lies on both sides of zero."""


class Access:
    """The rules that each point stands under."""

    def __init__(self, registers: Registers, f_nominal_hz: float) -> None:
        self._registers, self._ranges = registers, RangesOfPoints(registers, f_nominal_hz)

    def refusal(self, device: int, written: Sequence[Written]) -> Refusal | None:
        """Return why these points may not be written, if they may not."""
        if not all(self._is_writable(device, each) for each in written):
            return Refusal.ADDRESS
        if not all(self._is_allowed(device, each.point, each.value) for each in written):
            return Refusal.VALUE
        if contradicts(self._registers, device, {each.point.name: each.value for each in written}):
            return Refusal.VALUE
        return None

    def _is_writable(self, device: int, written: Written) -> bool:
        if not written.point.writable or written.was is None:
            return False
        model, _, path = written.point.name.partition(".")
        adoption = ADOPTIONS.get(model)
        if adoption is None or not path.startswith(adoption.group + "."):
            return True
        slot = path.split(".")[1]
        return self._registers.number(device, f"{model}.{adoption.group}.{slot}.ReadOnly") != 1

    def _is_allowed(self, device: int, point: Point, value: Value) -> bool:
        if not isinstance(value, int | float):
            return False
        if point.kind.family == "enum":
            return self._is_allowed_code(device, point, value)
        if point.name == _POWER_FACTOR:
            return LEAST_PF <= abs(value) <= 1.0
        low, high = self._range(device, point.name)
        slack = 0.5 * 10.0 ** (point.exponent or 0) if point.name in SETPOINTS else 0.0
        return low - slack <= value <= high + slack

    def _is_allowed_code(self, device: int, point: Point, value: float) -> bool:
        if value not in point.symbols.values() or (point.name, value) in _UNSUPPORTED_MODES:
            return False
        if point.name == "123.Conn" and not self._registers.holds_point(device, "703.ES"):
            return value == self._registers.number(device, point.name)
        return point.name != "715.OpCtl" or allows_operation(self._registers, device, value)

    def _range(self, device: int, name: str) -> tuple[float, float]:
        model, _, path = name.partition(".")
        adoption = ADOPTIONS.get(model)
        if adoption is not None and path == adoption.request:
            return 1.0, self._places(device, model)
        if adoption is not None and path == f"Rvrt{adoption.group}":
            return 0.0, self._places(device, model)
        return self._ranges.of(device, name)

    def _places(self, device: int, model: str) -> float:
        """Return how many curves, or controls, a model has room for."""
        return float(self._registers.maps[device].group_size(model, ADOPTIONS[model].group))
