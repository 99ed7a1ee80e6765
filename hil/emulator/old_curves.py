"""Model 126: volt-var curves without a handshake, a view of 705.

The active curve (ActCrv) is followed while ModEna says so, from the write that makes it so; there is no adoption. Its
vars are percent of WMax or of VArMax, its RmpTms is the time of 95 % of a step where 705 RspTms is that of 90 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hil.emulator.nameplate import Ratings
from hil.emulator.registers import Registers
from hil.sunspec.points import Value

POINTS: Final = 20
"""That a curve of 126 has names for."""
T95_IN_T90: Final = 1.301
"""ln(20) / ln(10): of a first-order lag."""
_VA_MAX = 3.0
"""705 DeptRef."""
_REFERENCES: Final[Mapping[float, float]] = {1.0: 0.0, 2.0: 1.0}
"""126 DeptRef as 705 has it: WMax, VArMax."""
MOST_PCT: Final = 327.67
"""What an int16 with two decimals holds."""
_ROUNDING: Final = 0.02
"""Values that differ by less, in percent, are one."""


def old_volt_var_model(ratings: Ratings, curve: Mapping[str, Any], *, places: int) -> dict[str, Any]:
    """Return model 126 that says what this model 705 says, whose vars are percent of VAMax, in every place."""
    count = int(curve["NPt"])
    factor = ratings.s_max_va / ratings.p_max_w
    points: dict[str, Any] = {"ActPt": curve["Crv.0.ActPt"], "DeptRef": "WMax", "ReadOnly": 0}
    points["RmpTms"] = max(1, round(T95_IN_T90 * curve["Crv.0.RspTms"]))
    for index in range(count):
        points[f"V{index + 1}"] = curve[f"Crv.0.Pt.{index}.V"]
        points[f"VAr{index + 1}"] = factor * curve[f"Crv.0.Pt.{index}.Var"]
    scales = {"V_SF": -2, "DeptRef_SF": -2}
    state = {"ActCrv": 1, "ModEna": curve["Ena"], "RvrtTms": 0, "NCrv": places, "NPt": min(count, POINTS)}
    return {**state, **scales, "curve": [points] * places}


def followed(registers: Registers, device: int, changed: Mapping[str, Value]) -> dict[str, float]:
    """Return the points of 705 that these points of 126, just held, set."""
    if not any(name.startswith("126.") for name in changed):
        return {}
    active = registers.number(device, "126.ActCrv") or 0.0
    if registers.number(device, "126.ModEna") != 1 or active == 0:
        return {"705.Ena": 0.0}
    return {"705.Ena": 1.0, **_as_705(registers, device, int(active) - 1)}


def _as_705(registers: Registers, device: int, place: int) -> dict[str, float]:
    """Return a curve of 126, counted from 0, as curve 1 of 705."""
    path = f"126.curve.{place}."
    count = int(registers.number(device, f"{path}ActPt") or 0)
    reference = registers.number(device, f"{path}DeptRef") or 0.0
    found = {"ActPt": float(count), "DeptRef": _REFERENCES.get(reference, _VA_MAX - 1.0)}
    found["RspTms"] = (registers.number(device, f"{path}RmpTms") or 0.0) / T95_IN_T90
    for index in range(count):
        for ours, theirs in (("V", "V"), ("VAr", "Var")):
            found[f"Pt.{index}.{theirs}"] = registers.number(device, f"{path}{ours}{index + 1}") or 0.0
    return {f"705.Crv.0.{name}": value for name, value in found.items()}


def refresh(registers: Registers, device: int) -> None:
    """Show in 126 what 705 says, as its curve 1 where none of its own says that."""
    if not registers.holds_point(device, "126.ModEna"):
        return
    enabled = registers.number(device, "705.Ena") or 0.0
    if registers.number(device, "126.ModEna") != enabled:
        registers.put(device, "126.ModEna", enabled)
    active = int(registers.number(device, "126.ActCrv") or 0)
    if enabled == 1 and (active == 0 or not _says_the_same(registers, device, active - 1)):
        _show(registers, device)


def _says_the_same(registers: Registers, device: int, place: int) -> bool:
    wanted = _as_126(registers, device)
    held = {name: registers.number(device, f"126.curve.{place}.{name}") for name in wanted}
    return all(value is not None and abs(value - wanted[name]) <= _ROUNDING for name, value in held.items())


def _as_126(registers: Registers, device: int) -> dict[str, float]:
    """Return curve 1 of 705 as a curve of 126 has it; percent of VAMax become percent of WMax.

    As far as its registers reach: where WMax is set to a small part of VAMax, they do not hold the whole curve.
    """
    count = int(registers.number(device, "705.Crv.0.ActPt") or 0)
    reference = registers.number(device, "705.Crv.0.DeptRef")
    s_max_va, p_max_w = (registers.number(device, f"702.{name}") or 1.0 for name in ("VAMax", "WMax"))
    factor = s_max_va / p_max_w if reference == _VA_MAX else 1.0
    found = {"ActPt": float(count), "DeptRef": next((old for old, new in _REFERENCES.items() if new == reference), 1.0)}
    found["RmpTms"] = float(max(1, round(T95_IN_T90 * (registers.number(device, "705.Crv.0.RspTms") or 0.0))))
    for index in range(min(count, POINTS)):
        found[f"V{index + 1}"] = registers.number(device, f"705.Crv.0.Pt.{index}.V") or 0.0
        asked_pct = factor * (registers.number(device, f"705.Crv.0.Pt.{index}.Var") or 0.0)
        found[f"VAr{index + 1}"] = min(max(asked_pct, -MOST_PCT), MOST_PCT)
    return found


def _show(registers: Registers, device: int) -> None:
    """Put the curve of 705 into place 1 and make it the active one."""
    for name, value in _as_126(registers, device).items():
        registers.put(device, f"126.curve.0.{name}", value)
    registers.put(device, "126.ActCrv", 1.0)
