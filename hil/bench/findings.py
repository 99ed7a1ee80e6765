"""What is found where a bench file says that its devices are."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from derloop.errors import DeviceError, Interlocked, did_you_mean
from hil.bench.devices import reached
from hil.bench.file import Bench, DeviceEntry
from hil.bench.fitting import misfits
from hil.bench.traces import forsaken, forsaken_in_words, traces_of
from hil.inverter.device import Device, Identity
from hil.inverter.dialect import Rating
from hil.modbus.thread import LoopThread
from hil.safety.controls import commanded, is_momentary
from hil.safety.former import former
from hil.safety.restore import is_curve

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
    rated: Mapping[Rating, float] = field(default_factory=dict)
    """What its nameplate says."""
    commands: tuple[str, ...] = ()
    """What it can be told."""
    lease: str = ""
    left: str = ""
    """What of it is not left as it was found, since nobody can read it; empty if all is."""
    held_by: str = ""
    """Which run commands it now; empty if none does."""

    @property
    def is_fine(self) -> bool:
        return not self.problems


def find(bench: Bench, names: Collection[str]) -> list[Finding]:
    """Ask devices who they are, all at the same time. One that does not answer is a finding like any other.

    So is one that a run has left and the file has no more, where all are asked.
    """
    thread = LoopThread(f"bench {bench.file.name}")
    try:
        found = thread.run(_find(bench, names))
    finally:
        thread.close()
    gone = forsaken(bench, [each.identity for each in found]) if {*names} >= {*bench.names} else []
    return [*found, *(Finding(record.device, record.address, (forsaken_in_words(record),)) for record in gone)]


async def _find(bench: Bench, names: Collection[str]) -> list[Finding]:
    async with reached(bench, names) as devices:
        return await asyncio.gather(*(_found(bench, name, device) for name, device in devices.items()))


async def _found(bench: Bench, name: str, device: Device) -> Finding:
    where, entry = str(bench.address(name)), bench.device(name)
    try:
        await device.discover()
    except DeviceError as error:
        traces = await traces_of(bench, name, Identity())
        return Finding(name, where, (error.why.removeprefix(f"{where}: "), *traces.problems), held_by=traces.held_by)
    traces = await traces_of(bench, name, device.identity)
    return Finding(
        name,
        where,
        problems=(
            *traces.problems,
            *entry.identity.differences(device.identity),
            *_rating_problems(entry, device),
            *_safety_problems(entry, device),
            *_input_problems(bench, device),
        ),
        identity=device.identity,
        models=tuple(block.key for block in device.map.blocks),
        rated=ratings_of(device),
        commands=(*device.dialect.functions, *(["volt_var"] if device.dialect.volt_var else [])),
        lease=_lease(entry),
        left=_left(entry, device),
        held_by=traces.held_by,
    )


def ratings_of(device: Device) -> dict[Rating, float]:
    """Return what a device's nameplate says, without what it leaves out."""
    held = {name: device.map.value(name, device.image) for name in nameplate_points(device)}
    found = {rating: source.value(held) for rating, source in device.dialect.nameplate.items()}
    return {rating: value for rating, value in found.items() if not math.isnan(value)}


def nameplate_points(device: Device) -> list[str]:
    """Return the points of a device's nameplate."""
    names = [name for source in device.dialect.nameplate.values() for name in source.points]
    return [name for name in dict.fromkeys(names) if name in device.map]


def _rating_problems(entry: DeviceEntry, device: Device) -> list[str]:
    rated_va = ratings_of(device).get("s_max_va")
    if entry.rated_kva is None or rated_va is None:
        return []
    asked_va = 1000 * entry.rated_kva
    if abs(rated_va - asked_va) <= RATED_DIFFERS * asked_va:
        return []
    return [f"is rated {rated_va / 1000:g} kVA, not {entry.rated_kva:g}"]


def _safety_problems(entry: DeviceEntry, device: Device) -> list[str]:
    """Return what the file's safety rules need and the device does not have."""
    rules = entry.safety
    problems = misfits(rules, device)
    without = [meaning for meaning, function in device.dialect.functions.items() if function.reversion is None]
    if rules.lease.kind == "reversion" and without:
        problems.append(f"has no reversion timer, and so no lease, for {', '.join(without)}")
    if rules.lease.kind == "heartbeat" and device.dialect.heartbeat is None:
        problems.append("has no heartbeat, and so no lease")
    return problems


def _input_problems(bench: Bench, device: Device) -> list[str]:
    """Return which points the emergency stop looks at and the device does not have."""
    watched = [each.point for each in bench.file.emergency_stop.inputs if each.device == device.name]
    lacking = [name for name in dict.fromkeys(watched) if name not in device.map]
    points = tuple(device.map.points)
    return [f"has no point {name!r}, at which emergency_stop looks{did_you_mean(name, points)}" for name in lacking]


def refuse_blind(bench: Bench, device: Device) -> None:
    """Raise Interlocked for a discovered device that lacks a point at which the emergency stop looks."""
    if lacking := _input_problems(bench, device):
        raise Interlocked(device.name, f"cannot stop the bench, so nothing is commanded: {'; '.join(lacking)}")


def _left(entry: DeviceEntry, device: Device) -> str:
    """Return how points are left that commands write, and whose values cannot be read before."""
    names = [n for n in sorted(commanded(device)) if n in device.map and not (is_curve(n) or is_momentary(device, n))]
    points = {name: device.map[name] for name in names if device.map[name].writable}
    held = {n: device.map.value(n, device.image) if p.manner.readable else None for n, p in points.items()}
    found = former(device, held, entry.safety.safe_state.points)
    instead = [name for name in found.points if held[name] is None]
    said = {"off, or in the safe state": instead, "as written last": found.stay, "unwritten": sorted(found.lost)}
    return "; ".join(f"{how}: {', '.join(names)}" for how, names in said.items() if names)


def _lease(entry: DeviceEntry) -> str:
    lease = entry.safety.lease
    if lease.kind == "none":
        return f"NONE: {lease.because}"
    word = "reversion timer" if lease.kind == "reversion" else "heartbeat"
    return f"{word}, {lease.seconds} s"
