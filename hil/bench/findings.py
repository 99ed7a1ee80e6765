"""What is found where a bench file says that its devices are."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from derloop.errors import DeviceError
from hil.bench.devices import identity_of, reached, strangers
from hil.bench.file import Bench, DeviceEntry, Identity
from hil.inverter.device import SunSpecDevice
from hil.modbus.thread import LoopThread

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "limit of active power": ("704.WMaxLimPct", "123.WMaxLimPct"),
    "active power": ("704.WSet", "704.WSetPct"),
    "reactive power": ("704.VarSet", "704.VarSetPct", "123.VArWMaxPct"),
    "volt-var curve": ("705.Ena", "126.ModEna"),
}
"""What a device can be told, and the points of which it needs one for that."""
LEASES = ("704.WMaxLimPctRvrtTms", "704.WSetRvrtTms", "123.WMaxLimPct_RvrtTms")
RATED_DIFFERS = 0.01
"""How far a nameplate may be from what is expected, as a fraction."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one device is, and what keeps it from being used as the bench file says."""

    name: str
    where: str
    problems: tuple[str, ...] = ()
    identity: Identity = field(default_factory=Identity)
    models: tuple[str, ...] = ()
    rated_va: float | None = None
    rated_w: float | None = None
    v_nominal_v: float | None = None
    energy_wh: float | None = None
    commands: tuple[str, ...] = ()
    lease: str = ""

    @property
    def is_fine(self) -> bool:
        return not self.problems


def find(bench: Bench, names: Collection[str]) -> list[Finding]:
    """Ask devices who they are, all at the same time. One that does not answer is a finding like any other."""
    thread = LoopThread(f"bench {bench.file.name}")
    try:
        return thread.run(_find(bench, names))
    finally:
        thread.close()


async def _find(bench: Bench, names: Collection[str]) -> list[Finding]:
    async with reached(bench, names) as devices:
        return await asyncio.gather(*(_found(bench, name, device) for name, device in devices.items()))


async def _found(bench: Bench, name: str, device: SunSpecDevice) -> Finding:
    where, entry = str(bench.address(name)), bench.device(name)
    try:
        await device.discover()
    except DeviceError as error:
        return Finding(name, where, (error.why.removeprefix(f"{where}: "),))
    return Finding(
        name,
        where,
        problems=(*strangers(entry, device), *_rating_problems(entry, device), *_safety_problems(entry, device)),
        identity=identity_of(device),
        models=tuple(block.key for block in device.map.blocks),
        rated_va=number(device, "702.VAMax", "120.VARtg"),
        rated_w=number(device, "702.WMax", "120.WRtg"),
        v_nominal_v=number(device, "702.VNom", "121.VRef"),
        energy_wh=number(device, "713.WHRtg", "802.WHRtg"),
        commands=tuple(what for what, points in COMMANDS.items() if has_one(device, points)),
        lease=_lease(entry),
    )


def number(device: SunSpecDevice, *points: str) -> float | None:
    """Return the number at the first of some points that the device implements."""
    values = (device.map.value(point, device.image) for point in points if point in device.map)
    return next((value for value in values if isinstance(value, int | float)), None)


def has_one(device: SunSpecDevice, points: Sequence[str]) -> bool:
    """Return whether the device implements one of some points."""
    return any(p in device.map and device.map.value(p, device.image) is not None for p in points)


def _rating_problems(entry: DeviceEntry, device: SunSpecDevice) -> list[str]:
    rated_va = number(device, "702.VAMax", "120.VARtg")
    if entry.rated_kva is None or rated_va is None:
        return []
    asked_va = 1000 * entry.rated_kva
    if abs(rated_va - asked_va) <= RATED_DIFFERS * asked_va:
        return []
    return [f"is rated {rated_va / 1000:g} kVA, not {entry.rated_kva:g}"]


def _safety_problems(entry: DeviceEntry, device: SunSpecDevice) -> list[str]:
    """Return what the file's safety rules need and the device does not have."""
    named = [*entry.safety.limits.points, *(entry.safety.limits.may_write or ()), *entry.safety.safe_state.points]
    plain = dict.fromkeys(name for name in named if not set("*?[") & set(name))
    problems = [f"has no point {name!r}, which its safety rules name" for name in plain if name not in device.map]
    if entry.safety.lease.kind == "reversion" and not has_one(device, LEASES):
        problems.append("has no reversion timer, so no lease: the bench file must name another one, or none and why")
    return problems


def _lease(entry: DeviceEntry) -> str:
    lease = entry.safety.lease
    if lease.kind == "none":
        return f"NONE: {lease.because}"
    word = "reversion timer" if lease.kind == "reversion" else "heartbeat"
    return f"{word}, at most {lease.seconds} s"
