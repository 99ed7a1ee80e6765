"""Functions that a device is given once and goes on to have: volt-watt, watt-var, droop, a power factor ...

Where a lease ends by reversion they end by their own timers, which are armed before they are enabled, and renewed at
half their time. What the device holds is looked at again then: one that has restarted is given its functions again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from derloop.errors import Rejected
from hil.inverter.curves import Curves
from hil.inverter.device import Device
from hil.inverter.lease import NO_LEASE, UNCHECKED_S, Lease
from hil.inverter.mirror import Mirror
from hil.inverter.rounding import refuse_coarse
from hil.sunspec.errors import SunSpecError

Points = Mapping[str, float | str]
GROUPS: Final[Mapping[str, str]] = {"706": "Crv", "711": "Ctl", "712": "Crv"}
"""What the curves of a model are called."""
OPTIONAL: Final = ("RspTms",)
"""What a device with curves need not have. Where another point says nothing, it had no curve yet."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One function of one device."""

    name: str
    """For messages."""
    enable: str
    """The point that switches it on: "706.Ena", "704.PFWInjEna"."""
    values: Points = field(default_factory=dict)
    """What other points of it hold."""
    curve: Points = field(default_factory=dict)
    """What its active curve holds, by path: "Pt.0.V"; empty where it has none."""

    @property
    def model(self) -> str:
        return self.enable.partition(".")[0]

    @property
    def prefix(self) -> str:
        """How the names of all its points begin."""
        return f"{self.model}." if self.curve else self.enable.removesuffix("Ena")

    @property
    def timer(self) -> str:
        """The point that says when it ends."""
        return f"{self.prefix}RvrtTms"

    @property
    def off_after(self) -> Points:
        """What makes it off when the timer has run out."""
        return {f"{self.model}.Rvrt{GROUPS[self.model]}": 0.0} if self.curve else {f"{self.enable}Rvrt": 0.0}


class StandingFunctions:
    """The standing functions of one device that has been discovered, for use inside an event loop."""

    def __init__(self, device: Device, functions: Sequence[Standing], lease: Lease, safe: Points) -> None:
        """safe: the device's safe state; a function that is on in it is under no lease.

        Raises Rejected for functions that the device does not have.
        """
        self._functions, self._safe, self._lease = tuple(functions), safe, lease
        self._mirror = Mirror(device.link, device.guard)
        self._mirror.take(device.map, device.image.copy())
        self._curves = Curves(self._mirror)
        self._asserted_s, self._lapses = -math.inf, 0
        if lacking := [each for each in functions if not self._mirror.implemented(each.enable)]:
            why = ", ".join(f"{each.name} ({each.enable})" for each in lacking)
            raise Rejected(device.name, f"does not have what the scenario's 'smart' sets: {why}")

    async def keep(self, now_s: float, lapses: int = 0) -> None:
        """Give the device its functions, or give them again when half of their lease is over.

        lapses: how often it was found to hold no more what it was told; when it is once more, they are given again.
        Raises Rejected where it does not hold them then.
        """
        if lapses == self._lapses and now_s - self._asserted_s < min(self._lease.half_s, UNCHECKED_S):
            return
        try:
            for function in self._functions:
                await self._assert(function, now_s)
        except SunSpecError as misfit:
            raise Rejected(self._mirror.device, str(misfit)) from misfit
        self._asserted_s, self._lapses = now_s, lapses

    async def _assert(self, function: Standing, now_s: float) -> None:
        mirror, arming = self._mirror, self._arming(function)
        if function.curve:
            await self._adopt(function, now_s)
        before, enabled = mirror.encode({**arming, **function.values}), mirror.encode({function.enable: 1.0})
        await mirror.read([*before, *enabled])
        changed = mirror.changed({**before, **enabled})
        if changed or arming:
            await mirror.write([before, enabled], now_s)
            await mirror.verify({**before, **enabled})

    async def _adopt(self, function: Standing, now_s: float) -> None:
        first = f"{function.model}.{GROUPS[function.model]}.0."
        lacking = {path for path in OPTIONAL if not self._curves.has(function.model, path)}
        there = {path: value for path, value in function.curve.items() if path not in lacking}
        levels = {first + path: value for path, value in there.items() if isinstance(value, float) and "Pt." in path}
        refuse_coarse(self._mirror, levels)
        await self._curves.adopt(function.model, there, now_s)

    def _arming(self, function: Standing) -> Points:
        """Return what lets a function end when the lease does; empty where it is to stay."""
        lease = NO_LEASE if self._safe.get(function.enable) else self._lease
        if lease.kind != "reversion":
            return {}
        off = {name: value for name, value in function.off_after.items() if name in self._mirror.map}
        return {function.timer: float(lease.seconds), **off}
