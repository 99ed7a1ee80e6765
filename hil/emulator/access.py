"""What may be written to a device: access, ranges, symbols."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum

from hil.emulator.adoption import ADOPTIONS
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


_PERCENT, _SIGNED_PERCENT, _UNIT = (0.0, 100.0), (-100.0, 100.0), (0.0, 1.0)
_P_RANGE, _Q_RANGE = ("-702.WChaRteMax", "702.WMax"), ("-702.VarMaxAbs", "702.VarMaxInj")
_RANGES: Mapping[str, tuple[float | str, float | str]] = {
    **{f"704.WMaxLimPct{suffix}": _PERCENT for suffix in ("", "Rvrt")},
    **{f"704.{name}Pct{suffix}": _SIGNED_PERCENT for name in ("WSet", "VarSet") for suffix in ("", "Rvrt")},
    **{f"704.WSet{suffix}": _P_RANGE for suffix in ("", "Rvrt")},
    **{f"704.VarSet{suffix}": _Q_RANGE for suffix in ("", "Rvrt")},
    **{f"704.PFWInj{suffix}.PF": _UNIT for suffix in ("", "Rvrt")},
    **{f"702.{name}": (0.0, f"702.{name}Rtg") for name in ("WMax", "VAMax", "VarMaxInj", "VarMaxAbs")},
    **{f"702.{name}": (0.0, f"702.{name}Rtg") for name in ("WChaRteMax", "WDisChaRteMax")},
}
"""What may be written: numbers, or points that hold them, some with their sign turned."""
_UNSUPPORTED_MODE = ("704.VarSetMod", 2.0)
"""Percent of available vars: what is available is not known to registers."""


class Access:
    """The rules that each point stands under."""

    def __init__(self, registers: Registers) -> None:
        self._registers = registers

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
        if path.endswith("ActPt"):
            return 0.0, self._registers.number(device, f"{model}.NPt") or 0.0
        low, high = _RANGES.get(name, (-math.inf, math.inf))
        return self._bound(device, low), self._bound(device, high)

    def _bound(self, device: int, bound: float | str) -> float:
        if isinstance(bound, float):
            return bound
        held = self._registers.number(device, bound.removeprefix("-")) or 0.0
        return -held if bound.startswith("-") else held
