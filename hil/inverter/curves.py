"""Curves that a device is to follow: written to a spare place, handed over, and verified (705 to 712; 126)."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Final

from derloop.errors import Rejected
from hil.inverter.commands import REFERENCES, Reference, VoltVarCurve
from hil.inverter.lease import NO_LEASE, Lease
from hil.inverter.mirror import Mirror, Stage

ADOPTION_S = 5.0
"""How long a device may take to adopt a curve."""
CURVE_ROUNDING = 0.1
"""By how much the points of a volt-var curve may be rounded, in percent of the nominal voltage and of the reference."""
_IN_PROGRESS, _COMPLETED, _FAILED = 0, 1, 2
"""705 AdptCrvRslt."""
_ENABLES: Final = {"705": "705.Ena", "126": "126.ModEna"}
_T95_IN_T90: Final = 1.301
"""ln(20) / ln(10): 126 RmpTms is where a first order lag has done 95 %, an open-loop response time where 90 %."""


class Curves:
    """The curves of one device.

    Under a `lease` by reversion a volt-var curve ends, by its own timer, when it is not renewed; where the device does
    not implement that timer, or the lease is another one, it stays.
    """

    def __init__(self, mirror: Mirror, lease: Lease = NO_LEASE) -> None:
        self._mirror, self._lease = mirror, lease
        self._followed: str | None = None
        self._asserted_s = -math.inf

    # volt-var

    async def follow(self, model: str, curve: VoltVarCurve, now_s: float) -> None:
        """Make a volt-var curve the device's, and enable it."""
        await self._put(self._arming(model), now_s)
        await (self._follow_705(curve, now_s) if model == "705" else self._follow_126(curve, now_s))
        self._followed, self._asserted_s = model, now_s

    async def stop_following(self, model: str, now_s: float) -> None:
        """Disable volt-var, unless it is."""
        self._followed = None
        await self._put({_ENABLES[model]: 0.0}, now_s)

    async def renew(self, now_s: float) -> None:
        """Assert the volt-var curve again when half of its lease is over."""
        model = self._followed
        if model is None or now_s - self._asserted_s < self._lease.half_s:
            return
        if armed := self._mirror.encode(self._arming(model)):
            enabled = self._mirror.encode({_ENABLES[model]: 1.0})
            await self._mirror.write([armed, enabled], now_s)
            await self._mirror.verify(armed | enabled)
        self._asserted_s = now_s

    def _arming(self, model: str) -> dict[str, float | str]:
        """Return what lets a volt-var curve end when its lease does; empty where nothing can, or is to."""
        timer = f"{model}.RvrtTms"
        if self._lease.kind != "reversion" or not self._mirror.implemented(timer):
            return {}
        off = {f"{model}.RvrtCrv": 0.0} if f"{model}.RvrtCrv" in self._mirror.map else {}
        return {timer: float(self._lease.seconds), **off}

    async def _follow_705(self, curve: VoltVarCurve, now_s: float) -> None:
        values: dict[str, float | str] = {"ActPt": len(curve.v_pu), "DeptRef": REFERENCES[curve.reference]}
        if self._mirror.implemented("705.Crv.0.RspTms"):
            values["RspTms"] = curve.response_s
        for index, (v_pu, q_pu) in enumerate(zip(curve.v_pu, curve.q_pu, strict=True)):
            values |= {f"Pt.{index}.V": 100.0 * v_pu, f"Pt.{index}.Var": 100.0 * q_pu}
        self._refuse_coarse({f"705.Crv.0.{path}": value for path, value in values.items() if path.startswith("Pt.")})
        await self.adopt("705", values, now_s)
        await self._put({"705.Ena": 1.0}, now_s)

    async def _follow_126(self, curve: VoltVarCurve, now_s: float) -> None:
        """Write the curve to a place that is not active, then make it active: 126 has no handshake."""
        slot = self._spare_126()
        path = f"126.curve.{slot}."
        scale = self._scale_126(curve.reference)
        points = {f"{path}{name}": value for name, value in _points_126(curve, scale).items()}
        self._refuse_coarse(points)
        wanted: dict[str, float | str] = {f"{path}ActPt": len(curve.v_pu), **points}
        wanted[f"{path}DeptRef"] = "VArMax" if curve.reference == "var_max" else "WMax"
        if self._mirror.implemented(f"{path}RmpTms"):
            wanted[f"{path}RmpTms"] = max(1, round(_T95_IN_T90 * curve.response_s))
        if await self._is_active_126(slot, wanted):
            return
        if self._mirror.value("126.ActCrv") == slot + 1:
            await self._put({"126.ModEna": 0.0}, now_s)
        await self._put(wanted, now_s)
        await self._put({"126.ActCrv": slot + 1.0}, now_s)
        await self._put({"126.ModEna": 1.0}, now_s)

    async def _is_active_126(self, slot: int, wanted: Mapping[str, float | str]) -> bool:
        all_wanted = self._mirror.encode({**wanted, "126.ActCrv": slot + 1.0, "126.ModEna": 1.0})
        await self._mirror.read(list(all_wanted))
        return not self._mirror.changed(all_wanted)

    def _spare_126(self) -> int:
        """Return the place of the active curve if that may be written, else the first that may, counted from 0."""
        count = self._mirror.map.group_size("126", "curve")
        active = self._mirror.value("126.ActCrv")
        first = int(active) - 1 if isinstance(active, int | float) else -1
        for slot in sorted(range(count), key=lambda slot: slot != first):
            if self._mirror.value(f"126.curve.{slot}.ReadOnly") == 0:
                return slot
        raise Rejected(self._mirror.device, "has no curve that may be written (126 curve.ReadOnly)")

    def _scale_126(self, reference: Reference) -> float:
        """Return what turns per unit of a reference into percent of what 126 refers to: WMax, or VArMax."""
        if reference != "va_max":
            return 100.0
        s_max = self._first_number("121.VAMax", "120.VARtg")
        return 100.0 * s_max / self._first_number("121.WMax", "120.WRtg")

    def _first_number(self, *names: str) -> float:
        for name in names:
            value = self._mirror.value(name) if name in self._mirror.map else None
            if isinstance(value, int | float) and value > 0:
                return value
        raise Rejected(self._mirror.device, f"says neither of {', '.join(names)}, which a curve refers to")

    def _refuse_coarse(self, points: Mapping[str, float | str]) -> None:
        for name, each in self._mirror.encode(points).items():
            asked, held = points[name], each.value
            if isinstance(asked, int | float) and isinstance(held, int | float) and abs(held - asked) > CURVE_ROUNDING:
                why = f"{name} {asked:g} was asked, {held:g} is the nearest that it can hold"
                raise Rejected(self._mirror.device, f"{why}; allowed are {CURVE_ROUNDING:g} %")

    # the handshake of 705 to 712

    async def adopt(self, model: str, values: Mapping[str, float | str], now_s: float) -> None:
        """Make a curve (of 711 a control) the active one, unless it is; see `SunSpecDevice.adopt`."""
        mirror, group = self._mirror, "Ctl" if f"{model}.AdptCtlReq" in self._mirror.map else "Crv"
        active = mirror.encode({f"{model}.{group}.0.{path}": value for path, value in values.items()})
        await mirror.read(list(active))
        if not mirror.changed(active):
            return
        slot = self._spare(model, group)
        spare = mirror.encode({f"{model}.{group}.{slot}.{path}": value for path, value in values.items()})
        result = f"{model}.Adpt{group}Rslt"
        await mirror.read([*spare, result])
        before = mirror.value(result)
        await mirror.write([mirror.changed(spare)], now_s)
        await mirror.verify(spare)
        await mirror.write([mirror.encode({f"{model}.Adpt{group}Req": slot + 1.0})], now_s)
        await self._wait_for(active, result, before, f"{model} {group} {slot + 1}")

    def _spare(self, model: str, group: str) -> int:
        """Return the first place for a curve, counted from 0, that may be written."""
        for slot in range(1, self._mirror.map.group_size(model, group)):
            if self._mirror.value(f"{model}.{group}.{slot}.ReadOnly") == 0:
                return slot
        raise Rejected(self._mirror.device, f"has no curve that may be written ({model} {group}.ReadOnly)")

    async def _wait_for(self, active: Stage, result: str, before: object, what: str) -> None:
        """Wait until the device has adopted a curve: it says so, and its active curve is the wanted one.

        A result that stands from before tells nothing: devices may be slow to say 'in progress'.
        """
        mirror, end_s, pause_s = self._mirror, time.monotonic() + ADOPTION_S, 0.002
        while True:
            await mirror.read([result])
            said = mirror.value(result)
            if said == _COMPLETED:
                await mirror.read(list(active))
                if not mirror.changed(active):
                    return
            if said == _FAILED and before != _FAILED:
                raise Rejected(mirror.device, f"did not adopt {what}: {result} is {said}")
            before = said if said == _IN_PROGRESS else before
            if time.monotonic() > end_s:
                break
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.5)
        if said == _COMPLETED:
            await mirror.verify(active)
        raise Rejected(mirror.device, f"has not adopted {what} within {ADOPTION_S:g} s: {result} is {said}")

    async def _put(self, values: Mapping[str, float | str], now_s: float) -> None:
        """Write what is not held, and verify it."""
        wanted = self._mirror.encode(values)
        await self._mirror.read(list(wanted))
        if changed := self._mirror.changed(wanted):
            await self._mirror.write([changed], now_s)
            await self._mirror.verify(wanted)


def _points_126(curve: VoltVarCurve, scale: float) -> dict[str, float]:
    """Return the points of a curve, which 126 counts from 1."""
    pairs = enumerate(zip(curve.v_pu, curve.q_pu, strict=True), start=1)
    return {n: v for i, (v_pu, q_pu) in pairs for n, v in ((f"V{i}", 100.0 * v_pu), (f"VAr{i}", scale * q_pu))}
