"""Points that may be written though nobody can read what they held before: what becomes of them at a run's end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hil.safety.controls import Control, controls_of
from hil.safety.outcome import Device
from hil.sunspec.codec import encode
from hil.sunspec.errors import SunSpecError
from hil.sunspec.points import SUNSPEC_MANNER, Point, Value


@dataclass(frozen=True, slots=True)
class Former:
    """What is known of a device's state before its first write, and what is done about what is not."""

    points: Mapping[str, float | str] = field(default_factory=dict)
    """What points are brought back to: what they held; else what is safe, or what turns their functions off."""
    stay: tuple[str, ...] = ()
    """They go on to hold what was written last, and the function to which each belongs is as it was, or off."""
    lost: frozenset[str] = frozenset()
    """Nothing would undo a write, and nothing is said to be safe: they are not written."""


def former(device: Device, held: Mapping[str, Value], safe: Mapping[str, float | str]) -> Former:
    """Return what can be restored of `held`: what a device says that it holds at points that may be written.

    held: None where the device does not say it. What a point may not hold by its map is not known either.
    safe: what points hold in the safe state. A switch of which the device says itself that it does not have it is not
    written: what would turn it off would be refused.
    """
    controls = controls_of(device)
    known = {n: value for n, value in held.items() if value is not None and _may_hold(device.map[n], value)}
    unknown = [name for name in held if name not in known]
    off = {name: value for control in controls for name, value in control.off.items()}
    absent = frozenset(n for n in unknown if n in off and n not in safe and device.map[n].manner is SUNSPEC_MANNER)
    instead = {name: {**off, **safe}[name] for name in unknown if name not in absent and (name in off or name in safe)}
    others = [name for name in unknown if name not in instead and name not in absent]
    stay = tuple(name for name in others if _is_behind_a_switch(name, controls))
    return Former(known | instead, stay, absent | (frozenset(others) - frozenset(stay)))


def _may_hold(point: Point, value: Value) -> bool:
    """Return whether a value can be written to a point: it may be found beyond the range that its map gives."""
    try:
        encode(point, value)
    except SunSpecError:
        return False
    return True


def says_it_lacks(device: Device, name: str) -> bool:
    """Return whether a device says itself, as it was read last, that it does not have a point."""
    return device.map[name].manner is SUNSPEC_MANNER and device.map.value(name, device.image) is None


def _is_behind_a_switch(name: str, controls: Iterable[Control]) -> bool:
    return any(control.off and control.is_touched_by([name]) for control in controls)
