"""Bringing a device to a state, verified: what was off is turned off first, and what was on is turned on last."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Literal, Protocol

from derloop.errors import DeviceError, Interlocked, Rejected
from hil.inverter.device import Identity
from hil.inverter.guard import Change, Guard
from hil.safety.controls import controls_of, is_momentary
from hil.safety.outcome import Device, Outcome
from hil.sunspec.errors import SunSpecError
from hil.sunspec.points import Value

Target = Mapping[str, float | str]
"""What points are to hold."""
Goal = Literal["what it held before", "its safe state"]
PAUSE_S = 0.1
"""After a failed attempt; each next one is twice as long, to a second at most."""


class NotRestored(DeviceError):
    """The device could not be brought to the state in which it is to be left, or that could not be verified."""


def together(failures: Sequence[NotRestored]) -> NotRestored:
    """Return one error that names every device."""
    devices, whys = ", ".join(each.device for each in failures), (f"{each.device}: {each.why}" for each in failures)
    return NotRestored(devices, "; ".join(whys))


class Writable(Device, Protocol):
    """A device whose points can be read and written, each write read back."""

    guard: Guard

    @property
    def identity(self) -> Identity: ...
    async def discover(self) -> None: ...
    async def has_moved(self) -> bool: ...
    async def read(self, names: Sequence[str]) -> dict[str, Value]: ...
    async def write(self, values: Mapping[str, float | str]) -> None: ...
    async def adopt(self, model: str, values: Mapping[str, float | str]) -> None: ...


class OnlyTarget:
    """Permits what is part of bringing a device to a state, and nothing else: commands have ended."""

    def __init__(self, device: Writable, target: Target, is_urgent: bool) -> None:
        """is_urgent: it waits for no disk; its writes are counted once they are done."""
        self._device, self._target, self._before = device, target, device.guard
        self._is_urgent = is_urgent

    def permit(self, changes: Sequence[Change], now_s: float) -> None:  # noqa: ARG002 - a guard's
        """Raise Interlocked for anything else than what the points are to hold."""
        after = Outcome(self._device, changes)
        for name in (change.point.name for change in changes):
            is_step = is_curve(name) or is_momentary(self._device, name)
            if not is_step and after(name) != self._target.get(name):
                why = f"{name} = {after(name)!r} is no part of the state to which it is being brought"
                raise Interlocked(self._device.name, f"nothing was written: {why}")
        if not self._is_urgent:
            with suppress(Interlocked):  # what cannot be counted is restored all the same
                self.ahead(changes)

    def ahead(self, changes: Sequence[Change]) -> None:
        """Let whoever guarded the device before count what is about to be written."""
        self._before.ahead(changes)

    def written(self, changes: Sequence[Change], now_s: float) -> None:
        """Let whoever guarded the device before count the writes."""
        self._before.written(changes, now_s)

    def doubted(self, changes: Sequence[Change], now_s: float) -> None:
        """Let whoever guarded the device before count what may have been written."""
        self._before.doubted(changes, now_s)

    def __enter__(self) -> None:
        self._device.guard = self

    def __exit__(self, *_: object) -> None:
        self._device.guard = self._before


async def bring(device: Writable, goal: Goal, target: Target, identity: Identity, within_s: float) -> None:
    """Bring a device to `target`, called `goal`, trying again for `within_s` while it does not answer, or not do it.

    Raises NotRestored, with the last reason; at once, and nothing is written, if it is another device than `identity`.
    """
    with OnlyTarget(device, target, is_urgent=goal == "its safe state"):
        if why := await _failure(device, target, identity, within_s):
            raise NotRestored(device.name, f"COULD NOT BE BROUGHT TO {goal.upper()}: {why}")


async def _failure(device: Writable, target: Target, identity: Identity, within_s: float) -> str:
    """Try until it is done, and return nothing, or until the time is over, and return the last reason."""
    end_s, pause_s, why = monotonic() + within_s, PAUSE_S, "there was no time"
    while (left_s := end_s - monotonic()) > 0:
        try:
            async with asyncio.timeout(left_s):
                await _attempt(device, target, identity)
                return ""
        except NotRestored:
            raise
        except DeviceError as failure:
            why = failure.why
        except SunSpecError as misfit:  # its map is another one than when that was recorded
            why = str(misfit)
        except TimeoutError:
            why = f"no end within {within_s:g} s; last: {why}"
        await asyncio.sleep(max(min(pause_s, end_s - monotonic()), 0.0))
        pause_s = min(2 * pause_s, 1.0)
    return why


async def _attempt(device: Writable, target: Target, identity: Identity) -> None:
    await _refuse_another(device, identity)
    off = {name: value for control in controls_of(device) for name, value in control.off.items() if name in target}
    await _turn_off(device, target, [name for name, value in off.items() if target[name] == value])
    await _write(device, target, [name for name in target if name not in off and not _active(name)])
    await _adopt(device, target)
    await _write(device, target, [name for name, value in off.items() if target[name] != value])
    if wrong := await _differing(device, target, [*target]):
        raise DeviceError(device.name, f"holds {', '.join(f'{name} {value!r}' for name, value in wrong.items())}")


async def _refuse_another(device: Writable, identity: Identity) -> None:
    """Raise NotRestored if another device answers than was commanded. One that restarted may have moved its map.

    What does not say who it is, is known by what its register map expects of it: discovering it raises Rejected then.
    """
    if not await device.has_moved():
        await device.read([*device.dialect.identity.values()])
        if device.identity.is_of(identity):
            return
    await device.discover()
    if not device.identity.is_of(identity):
        raise NotRestored(device.name, f"{device.identity} answers, not {identity}: nothing was written to it")


async def _differing(device: Writable, target: Target, names: Sequence[str]) -> dict[str, Value]:
    """Return what the device holds at those of these points that do not hold what they should."""
    held = await device.read(names) if names else {}
    return {name: value for name, value in held.items() if value != target[name]}


async def _write(device: Writable, target: Target, names: Sequence[str]) -> None:
    """Write those of these points that differ."""
    if wrong := await _differing(device, target, names):
        await device.write({name: target[name] for name in wrong})


async def _turn_off(device: Writable, target: Target, names: Sequence[str]) -> None:
    """Turn off each function that is on, whatever becomes of the others; raise the first refusal then."""
    refusals = []
    for name in await _differing(device, target, names):
        try:
            await device.write({name: target[name]})
        except Rejected as refusal:
            refusals.append(refusal)
    if refusals:
        raise refusals[0]


async def _adopt(device: Writable, target: Target) -> None:
    """Make curves the active ones again, of all models whose active one differs, and tidy the places this used."""
    active = [name for name in target if _active(name)]
    models = dict.fromkeys(name.partition(".")[0] for name in await _differing(device, target, active))
    for model in models:
        start = next(prefix for prefix in _actives(model) if any(name.startswith(prefix) for name in active))
        curve = {name.removeprefix(start): target[name] for name in active if name.startswith(start)}
        await device.adopt(model, curve)
    if models:
        await _write(device, target, [name for name in target if is_curve(name) and not _active(name)])


def _actives(model: str) -> tuple[str, str]:
    return f"{model}.Crv.0.", f"{model}.Ctl.0."


def _active(name: str) -> bool:
    """Return whether a point is of an active curve, which is not written but adopted."""
    return name.startswith(_actives(name.partition(".")[0]))


def is_curve(name: str) -> bool:
    return ".Crv." in name or ".Ctl." in name
