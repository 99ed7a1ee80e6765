"""The outermost values that each point may be written to.

Points of functions: the ranges of adjustment of IEEE 1547-2018, the widest of all categories, at 60 Hz: enter service
(table 4), volt-var (table 8), volt-watt (table 10), trip (tables 11 to 13 and 18), momentary cessation (tables 14 to
16), frequency droop (table 24); the numbers are as EPRI OpenDER 2.2.0 has them. Whether numbers fit beside each other,
and the device's category, is decided where a function is asked (`RegisterBank.allows`).
Setpoints and limits: what 702 says of the device.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from hil.emulator.links import BY_OLD
from hil.emulator.old_curves import POINTS
from hil.emulator.registers import Registers

_LIST_INDEX: Final = re.compile(r"\.\d+(?=\.)")
_PERCENT, _SIGNED_PERCENT, _SECONDS = (0.0, 100.0), (-100.0, 100.0), (0.0, 1000.0)
_P_RANGE, _Q_RANGE = ("-702.WChaRteMax", "702.WMax"), ("-702.VarMaxAbs", "702.VarMaxInj")
LEAST_PF: Final = 1e-3
SETPOINTS: Final = frozenset(f"704.{name}Set{suffix}" for name in ("W", "Var") for suffix in ("", "Rvrt"))
"""In steps that may be coarser than those of the maxima in 702: the step that is nearest to a maximum is within it."""

_OF_THE_DEVICE: Final[Mapping[str, tuple[float | str, float | str]]] = {
    **{f"704.WMaxLimPct{suffix}": _PERCENT for suffix in ("", "Rvrt")},
    **{f"704.{name}Pct{suffix}": _SIGNED_PERCENT for name in ("WSet", "VarSet") for suffix in ("", "Rvrt")},
    **{f"704.WSet{suffix}": _P_RANGE for suffix in ("", "Rvrt")},
    **{f"704.VarSet{suffix}": _Q_RANGE for suffix in ("", "Rvrt")},
    **{f"704.PFW{way}{suffix}.PF": (LEAST_PF, 1.0) for way in ("Inj", "Abs") for suffix in ("", "Rvrt")},
    **{f"702.{name}": (1.0, f"702.{name}Rtg") for name in ("WMax", "VAMax")},
    **{f"702.{name}": (0.0, f"702.{name}Rtg") for name in ("VarMaxInj", "VarMaxAbs")},
    **{f"702.{name}": (0.0, f"702.{name}Rtg") for name in ("WChaRteMax", "WDisChaRteMax")},
    **{"702.VNom": ("702.VNomRtg", "702.VNomRtg"), "1.DA": ("1.DA", "1.DA"), "121.VRefOfs": (0.0, 0.0)},
    **{f"123.VAr{of}Pct": _SIGNED_PERCENT for of in ("WMax", "Max")},
    **{"124.WChaGra": (100.0, 100.0), "124.WDisChaGra": (100.0, 100.0), "124.StorCtl_Mod": (0.0, 3.0)},
    **{f"124.{way}WRte": _SIGNED_PERCENT for way in ("In", "Out")},
    **{"126.ActCrv": (0.0, "126.NCrv"), "126.ModEna": (0.0, 1.0)},
    **{"715.AlarmReset": (0.0, 1.0), "802.AlmRst": (0.0, 1.0)},
}
"""Numbers, or points that hold them, some with their sign turned. Where both are one, nothing else may be written."""

_OF_THE_STANDARD: Final[Mapping[str, tuple[float, float]]] = {
    **{"703.ESVLo": (88.0, 95.0), "703.ESVHi": (105.0, 106.0)},
    **{"703.ESDlyTms": (0.0, 600.0), "703.ESRmpTms": _SECONDS, "703.ESRndTms": _SECONDS},
    **{"705.Crv.Pt.V": (77.0, 123.0), "705.Crv.Pt.Var": _SIGNED_PERCENT, "705.Crv.RspTms": (1.0, 90.0)},
    "705.Crv.VRef": (95.0, 105.0),
    **{f"126.curve.V{i}": (77.0, 123.0) for i in range(1, POINTS + 1)},
    **{f"126.curve.VAr{i}": _SIGNED_PERCENT for i in range(1, POINTS + 1)},
    "126.curve.RmpTms": (2.0, 117.0),
    **{"706.Crv.Pt.V": (105.0, 110.0), "706.Crv.Pt.W": _SIGNED_PERCENT, "706.Crv.RspTms": (0.5, 60.0)},
    **{"706.Crv.ActPt": (2.0, 2.0), "712.Crv.ActPt": (6.0, 6.0)},
    **{"712.Crv.Pt.W": _SIGNED_PERCENT, "712.Crv.Pt.Var": _SIGNED_PERCENT},
    **{f"{model}.Crv.MustTrip.ActPt": (2.0, 2.0) for model in ("707", "708", "709", "710")},
    **{f"{model}.Crv.MomCess.ActPt": (0.0, 1.0) for model in ("707", "708")},
    **{"707.Crv.MustTrip.Pt.V": (0.0, 88.0), "707.Crv.MustTrip.Pt.Tms": (0.16, 50.0)},
    **{"708.Crv.MustTrip.Pt.V": (110.0, 120.0), "708.Crv.MustTrip.Pt.Tms": (0.16, 13.0)},
    **{"707.Crv.MomCess.Pt.V": (0.0, 50.0), "708.Crv.MomCess.Pt.V": (110.0, 120.0)},
    **{f"{model}.Crv.MustTrip.Pt.Tms": (0.16, 1000.0) for model in ("709", "710")},
    **{"711.Ctl.KOf": (0.02, 0.05), "711.Ctl.KUf": (0.02, 0.05), "711.Ctl.RspTms": (0.2, 10.0)},
}
_OF_THE_STANDARD_HZ: Final[Mapping[str, tuple[float, float]]] = {
    **{"703.ESHzLo": (59.0, 59.9), "703.ESHzHi": (60.1, 61.0)},
    **{"709.Crv.MustTrip.Pt.Hz": (50.0, 59.0), "710.Crv.MustTrip.Pt.Hz": (61.0, 66.0)},
    **{"711.Ctl.DbOf": (0.017, 1.0), "711.Ctl.DbUf": (0.017, 1.0)},
}
"""At 60 Hz."""


class RangesOfPoints:
    """What every point of n devices may be written to."""

    def __init__(self, registers: Registers, f_nominal_hz: float) -> None:
        self._registers = registers
        scale = f_nominal_hz / 60.0
        in_hz = {name: (low * scale, high * scale) for name, (low, high) in _OF_THE_STANDARD_HZ.items()}
        self._standard = {**_OF_THE_STANDARD, **in_hz}

    def of(self, device: int, name: str) -> tuple[float, float]:
        """Return the least and the most of a point; without bounds if it has none. An old point has its new one's."""
        if name in BY_OLD and BY_OLD[name].codes is None:
            factor = BY_OLD[name].factor
            bounds = [factor * bound for bound in self.of(device, BY_OLD[name].new)]
            return min(bounds), max(bounds)
        if name in _OF_THE_DEVICE:
            low, high = _OF_THE_DEVICE[name]
            return self._bound(device, low), self._bound(device, high)
        found = self._standard.get(_LIST_INDEX.sub("", name))
        if found is None and name.endswith("ActPt"):
            return 0.0, self._registers.number(device, f"{name.partition('.')[0]}.NPt") or 0.0
        return found or (-math.inf, math.inf)

    def _bound(self, device: int, bound: float | str) -> float:
        if isinstance(bound, float):
            return bound
        held = self._registers.number(device, bound.removeprefix("-")) or 0.0
        return -held if bound.startswith("-") else held
