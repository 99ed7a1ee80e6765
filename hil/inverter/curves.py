"""Curves that a device is to follow: written to a spare place, handed over, and verified (705 to 712; 126)."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Final

from derloop.errors import Rejected
from hil.inverter.commands import REFERENCES, VoltVarCurve
from hil.inverter.course import Stage
from hil.inverter.lease import NO_LEASE, Lease
from hil.inverter.mirror import Mirror
from hil.inverter.old_curves import OldCurves
from hil.inverter.rounding import refuse_coarse

ADOPTION_S = 5.0
"""How long a device may take to adopt a curve."""
_IN_PROGRESS, _COMPLETED, _FAILED = 0, 1, 2
"""705 AdptCrvRslt."""
_UNMOVED: Final = {"VRef": 100.0, "VRefAutoEna": 0.0}
"""What leaves the voltages of a 705 curve where its points have them: neither a reference of its own, nor one that goes
after the grid's voltage."""
_ENABLES: Final = {"705": "705.Ena", "126": "126.ModEna"}


class Curves:
    """The curves of one device.

    Under a `lease` by reversion a volt-var curve ends, by its own timer, when it is not renewed; where the device does
    not implement that timer, or the lease is another one, it stays.
    """

    def __init__(self, mirror: Mirror, lease: Lease = NO_LEASE) -> None:
        self._mirror, self._lease = mirror, lease
        self._old = OldCurves(mirror)
        self._followed: str | None = None
        self._curve: VoltVarCurve | None = None
        self._asserted_s = -math.inf

    # volt-var

    async def follow(self, model: str, curve: VoltVarCurve, now_s: float) -> None:
        """Make a volt-var curve the device's, and enable it."""
        await self._mirror.put(self._arming(model), now_s)
        await (self._follow_705(curve, now_s) if model == "705" else self._old.follow(curve, now_s))
        self._followed, self._curve, self._asserted_s = model, curve, now_s

    async def follow_again(self, now_s: float) -> None:
        """Make the volt-var curve that was followed the device's again: it has restarted, or holds another one."""
        if self._followed is not None and self._curve is not None:
            await self.follow(self._followed, self._curve, now_s)

    async def stop_following(self, model: str, now_s: float) -> None:
        """Disable volt-var, unless it is."""
        self._followed = None
        await self._mirror.put({_ENABLES[model]: 0.0}, now_s)

    def is_due(self, now_s: float) -> bool:
        """Return whether half of the volt-var curve's lease is over."""
        return self._followed is not None and now_s - self._asserted_s >= self._lease.half_s

    async def renew(self, now_s: float) -> None:
        """Assert the volt-var curve again when half of its lease is over."""
        model = self._followed
        if model is None or not self.is_due(now_s):
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
        settings = {"RspTms": curve.response_s, **_UNMOVED}
        values |= {path: value for path, value in settings.items() if self.has("705", path)}
        for index, (v_pu, q_pu) in enumerate(zip(curve.v_pu, curve.q_pu, strict=True)):
            values |= {f"Pt.{index}.V": 100.0 * v_pu, f"Pt.{index}.Var": 100.0 * q_pu}
        refuse_coarse(
            self._mirror, {f"705.Crv.0.{path}": value for path, value in values.items() if path.startswith("Pt.")}
        )
        await self.adopt("705", values, now_s)
        await self._mirror.put({"705.Ena": 1.0}, now_s)

    # the handshake of 705 to 712

    async def adopt(self, model: str, values: Mapping[str, float | str], now_s: float) -> None:
        """Make a curve (of 711 a control) the active one, unless it is; see `Device.adopt`."""
        mirror, group = self._mirror, self._group(model)
        active = mirror.encode({f"{model}.{group}.0.{path}": value for path, value in values.items()})
        await mirror.read(list(active))
        if not mirror.changed(active):
            return
        slot, kept = self._spare(model, group), await self._kept(f"{model}.{group}.0.", values)
        spare = mirror.encode({f"{model}.{group}.{slot}.{path}": value for path, value in {**kept, **values}.items()})
        result = f"{model}.Adpt{group}Rslt"
        await mirror.read([*spare, result])
        before = mirror.value(result)
        await mirror.write([mirror.changed(spare)], now_s)
        await mirror.verify(spare)
        await mirror.write([mirror.encode({f"{model}.Adpt{group}Req": slot + 1.0})], now_s)
        await self._wait_for(active, result, before, f"{model} {group} {slot + 1}")

    def has(self, model: str, path: str) -> bool:
        """Return whether a device implements what it need not of its curves, in any place: the active one may be
        empty."""
        group = self._group(model)
        places = range(self._mirror.map.group_size(model, group))
        return any(self._mirror.implemented(f"{model}.{group}.{place}.{path}") for place in places)

    def _group(self, model: str) -> str:
        return "Ctl" if f"{model}.AdptCtlReq" in self._mirror.map else "Crv"

    async def _kept(self, active: str, values: Mapping[str, float | str]) -> dict[str, float | str]:
        """Return what the active curve, whose points begin so, is set to beside `values`: a spare place may hold
        whatever somebody tried there."""
        own = {name.removeprefix(active): name for name in self._mirror.map.points if name.startswith(active)}
        names = {
            path: name
            for path, name in own.items()
            if "." not in path and path not in values and self._mirror.map[name].writable
        }
        await self._mirror.read([*names.values()])
        held = self._mirror.values([*names.values()])
        return {path: value for path, name in names.items() if (value := held[name]) is not None}

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
