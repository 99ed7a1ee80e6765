"""Volt-var curves of SunSpec model 126, which has no handshake: a curve is followed once it is the active one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from derloop.errors import Rejected
from hil.inverter.commands import Reference, VoltVarCurve
from hil.inverter.mirror import Mirror
from hil.inverter.rounding import refuse_coarse

_T95_IN_T90: Final = 1.301
"""ln(20) / ln(10): 126 RmpTms is where a first order lag has done 95 %, an open-loop response time where 90 %."""


class OldCurves:
    """The curves of one device with model 126. Places are counted from 0, ActCrv counts from 1."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    async def follow(self, curve: VoltVarCurve, now_s: float) -> None:
        """Write a curve to a place that is not active, make that active, and enable it; nothing if it is already."""
        active = self._active()
        if active is not None and await self._is_followed(active, self._wanted(active, curve)):
            return
        place = self._spare(active)
        if place == active:
            await self._mirror.put({"126.ModEna": 0.0}, now_s)
        await self._mirror.put(self._wanted(place, curve), now_s)
        await self._mirror.put({"126.ActCrv": place + 1.0}, now_s)
        await self._mirror.put({"126.ModEna": 1.0}, now_s)

    def _wanted(self, place: int, curve: VoltVarCurve) -> dict[str, float | str]:
        """Return what a place holds with this curve. Raises Rejected if its steps are too coarse for it."""
        path, scale = f"126.curve.{place}.", self._scale(curve.reference)
        pairs = enumerate(zip(curve.v_pu, curve.q_pu, strict=True), start=1)
        points: dict[str, float | str] = {}
        for index, (v_pu, q_pu) in pairs:
            points |= {f"{path}V{index}": 100.0 * v_pu, f"{path}VAr{index}": scale * q_pu}
        refuse_coarse(self._mirror, points)
        points |= {f"{path}ActPt": len(curve.v_pu)}
        points |= {f"{path}DeptRef": "VArMax" if curve.reference == "var_max" else "WMax"}
        if self._mirror.implemented(f"{path}RmpTms"):
            points |= {f"{path}RmpTms": max(1, round(_T95_IN_T90 * curve.response_s))}
        return points

    async def _is_followed(self, place: int, wanted: Mapping[str, float | str]) -> bool:
        all_wanted = self._mirror.encode({**wanted, "126.ActCrv": place + 1.0, "126.ModEna": 1.0})
        await self._mirror.read(list(all_wanted))
        return not self._mirror.changed(all_wanted)

    def _active(self) -> int | None:
        number = self._mirror.value("126.ActCrv")
        count = self._mirror.map.group_size("126", "curve")
        return int(number) - 1 if isinstance(number, int | float) and 1 <= number <= count else None

    def _spare(self, active: int | None) -> int:
        """Return a place that may be written: one that is not active, if there is one."""
        places = sorted(range(self._mirror.map.group_size("126", "curve")), key=lambda place: place == active)
        for place in places:
            if self._mirror.value(f"126.curve.{place}.ReadOnly") == 0:
                return place
        raise Rejected(self._mirror.device, "has no curve that may be written (126 curve.ReadOnly)")

    def _scale(self, reference: Reference) -> float:
        """Return what turns per unit of a reference into percent of what 126 refers to: WMax, or VArMax."""
        if reference != "va_max":
            return 100.0
        return 100.0 * self._rating("121.VAMax", "120.VARtg") / self._rating("121.WMax", "120.WRtg")

    def _rating(self, *names: str) -> float:
        for name in names:
            value = self._mirror.value(name) if name in self._mirror.map else None
            if isinstance(value, int | float) and value > 0:
                return value
        raise Rejected(self._mirror.device, f"says none of {', '.join(names)}, which a curve refers to")
