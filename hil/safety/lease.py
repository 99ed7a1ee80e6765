"""A control may only be enabled when the device will let go of it by itself, to its safe state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property

from hil.inverter.guard import Change
from hil.safety.controls import Control, controls_of
from hil.safety.outcome import Device, Outcome, as_held
from hil.safety.rules import Heartbeat, LeaseRule, NoLease, Reversion, SafeState

HOW = '; a bench file may say that it stays on (safe_state), or why no lease is safe: {"kind": "none", "because": ...}'


class LeaseCheck:
    """Sees to it that what ends a control is armed before the control is enabled."""

    def __init__(self, device: Device, rule: LeaseRule, safe_state: SafeState) -> None:
        self._device, self._rule, self._safe_state = device, rule, safe_state
        self._beat_s = -math.inf

    @cached_property
    def _safe(self) -> dict[str, float | str]:
        return as_held(self._device, self._safe_state.points)

    @cached_property
    def _controls(self) -> tuple[Control, ...]:
        return controls_of(self._device)

    def note(self, changes: Sequence[Change], now_s: float) -> None:
        """Remember when the device's heartbeat was last acknowledged."""
        beat = self._device.dialect.heartbeat
        if beat is not None and any(change.point.name == beat.point for change in changes):
            self._beat_s = now_s

    def turns_off(self, changes: Sequence[Change]) -> frozenset[str]:
        """Return the points of a command that turn functions off."""
        after, off = Outcome(self._device, changes), {k: v for each in self._controls for k, v in each.off.items()}
        return frozenset(each.point.name for each in changes if after(each.point.name) == off.get(each.point.name))

    def problems(self, changes: Sequence[Change], now_s: float) -> Iterator[str]:
        """Yield what is wrong with a command that leaves functions on."""
        rule, after, names = self._rule, Outcome(self._device, changes), [change.point.name for change in changes]
        if isinstance(rule, NoLease):
            return
        for control in self._controls:
            if control.is_touched_by(names) and control.is_on(after) and not self._is_safe(control, after):
                before = changes[: next((i for i, name in enumerate(names) if name in control.off), len(names))]
                if isinstance(rule, Heartbeat):
                    yield from self._heartbeat_problems(control, rule, before, now_s)
                else:
                    yield from self._reversion_problems(control, rule, before, after)

    def _is_safe(self, control: Control, after: Outcome) -> bool:
        """Return whether the function is on in the safe state: with a setpoint, only with the one that it has there."""
        safe = self._safe
        values = [name for name in control.reverts if name not in control.off]
        return self._is_on_when_safe(control) and all(name in safe and after(name) == safe[name] for name in values)

    def _is_on_when_safe(self, control: Control) -> bool:
        return any(self._safe.get(name, off) != off for name, off in control.off.items())

    def _heartbeat_problems(
        self, control: Control, rule: Heartbeat, before: Sequence[Change], now_s: float
    ) -> Iterator[str]:
        beat = self._device.dialect.heartbeat
        if beat is None:
            yield f"{control.name}: the device has no heartbeat, so nothing would end it if this run dies (lease){HOW}"
            return
        waits_s = rule.seconds if beat.time is None else Outcome(self._device, before).number(beat.time)
        if not waits_s or waits_s > rule.seconds:
            yield f"{beat.time} is {waits_s!r} before {control.name} is enabled, not 1 to {rule.seconds} s (lease)"
        is_beating = now_s - self._beat_s <= rule.seconds or beat.point in {change.point.name for change in before}
        if not is_beating:
            yield f"{beat.point} does not beat before {control.name} is enabled, so nothing would end it (lease)"

    def _reversion_problems(
        self, control: Control, rule: Reversion, before: Sequence[Change], after: Outcome
    ) -> Iterator[str]:
        seconds = Outcome(self._device, before).number(control.lease or "")
        if control.lease is None:
            yield f"{control.name} has no reversion timer, so nothing would end it if this run dies (lease){HOW}"
        elif not seconds:
            yield f"{control.lease} is not armed before {control.name}, so nothing would end it (lease){HOW}"
        elif seconds > rule.seconds:
            yield f"{control.lease}: {seconds:g} s is more than the {rule.seconds} s of the lease"
        else:
            yield from self._unsafe_reversions(control, after)

    def _unsafe_reversions(self, control: Control, after: Outcome) -> Iterator[str]:
        """Yield where the device would revert to anything but its safe state."""
        safe, stays = self._is_on_when_safe(control), self._stays_on(control, after)
        if stays != safe:
            to, must = ("on", "off") if stays else ("off", "on")
            yield f"{control.name} would revert to {to}, and the safe state is {must} (safe_state)"
        for name, reversion in control.reverts.items() if stays and safe else ():
            wanted = self._safe.get(name)
            if wanted is not None and after(reversion) != wanted:
                yield f"{name} would revert to {after(reversion)!r}, and the safe state is {wanted!r} ({reversion})"

    def _stays_on(self, control: Control, after: Outcome) -> bool:
        """Return whether the function is still on once its lease has lapsed."""
        if control.reverts_curve:
            return after(control.reverts_curve) not in (None, 0)
        switches = {control.reverts[name]: off for name, off in control.off.items() if name in control.reverts}
        return any(after(reversion) not in (None, off) for reversion, off in switches.items())
