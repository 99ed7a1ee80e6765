"""Whether a device has what the safety rules of its bench file name: a limit of no point protects nothing."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import filter as fitting

from derloop.errors import Interlocked, did_you_mean
from hil.bench.file import DeviceEntry
from hil.inverter.device import Device
from hil.safety.rules import SafetyRules
from hil.sunspec.codec import encode
from hil.sunspec.errors import SunSpecError


def misfits(rules: SafetyRules, device: Device) -> list[str]:
    """Return which points the rules name and a discovered device lacks, and which values do not fit its points.

    What may be written may be a pattern that fits nothing, as nothing is written then.
    """
    named = [*rules.limits.points, *rules.write_budget.points, *_plain(rules.limits.may_write or ())]
    lacking = [_lacks(name, device) for name in dict.fromkeys(named) if not fitting(device.map.points, name)]
    return [*lacking, *_unholdable(rules, device)]


def refuse_misfits(entry: DeviceEntry, device: Device) -> None:
    """Raise Interlocked for a discovered device whose safety rules name what it does not have."""
    if problems := misfits(entry.safety, device):
        raise Interlocked(device.name, f"is not commanded: it {'; it '.join(problems)}")


def _plain(patterns: tuple[str, ...]) -> list[str]:
    return [pattern for pattern in patterns if not set("*?[") & set(pattern)]


def _lacks(name: str, device: Device) -> str:
    hint = did_you_mean(name, tuple(device.map.points))
    return f"has no point {name!r}, which its safety rules name{hint}"


def _unholdable(rules: SafetyRules, device: Device) -> Iterator[str]:
    """Yield which points of the safe state cannot hold what they should."""
    for name, value in rules.safe_state.points.items():
        if name not in device.map:
            yield _lacks(name, device)
            continue
        if not device.map[name].writable:
            yield f"cannot be brought to its safe_state: {name} can only be read"
            continue
        try:
            encode(device.map[name], value)
        except SunSpecError as misfit:
            yield f"cannot hold its safe_state: {misfit}"
