"""A control may only be enabled when the device will let go of it by itself, to its safe state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hil.inverter.guard import Change
from hil.safety.controls import Control, controls_of, is_on
from hil.safety.outcome import Device, Outcome
from hil.safety.rules import Heartbeat, LeaseRule, NoLease, Reversion, SafeState


class LeaseCheck:
    """Sees to it that what ends a control is armed before the control is enabled."""

    def __init__(self, device: Device, rule: LeaseRule, safe_state: SafeState) -> None:
        self._device, self._rule, self._safe = device, rule, safe_state

    def problems(self, changes: Sequence[Change]) -> Iterator[str]:
        """Yield what is wrong with a command that leaves functions on."""
        rule = self._rule
        if isinstance(rule, NoLease):
            return
        after, order = Outcome(self._device, changes), [change.point.name for change in changes]
        for control in controls_of(self._device.map):
            if _touches(control, order) and is_on(after(control.enable)) and not self._is_safe(control, after):
                yield from self._control_problems(control, rule, changes, after)

    def _is_safe(self, control: Control, after: Outcome) -> bool:
        """Return whether the function is on in the safe state: with a setpoint, only with the one that it has there."""
        return self._is_on_when_safe(control) and all(
            name in self._safe.points and after(name) == self._safe.points[name] for name in control.reverts
        )

    def _is_on_when_safe(self, control: Control) -> bool:
        return is_on(self._safe.points.get(control.enable, 0))

    def _control_problems(
        self, control: Control, rule: Reversion | Heartbeat, changes: Sequence[Change], after: Outcome
    ) -> Iterator[str]:
        if isinstance(rule, Heartbeat):
            yield f"{control.enable}: no heartbeat of this device can be told to be armed (lease)"
            return
        seconds = self._armed(control, changes)
        if control.lease is None:
            yield f"{control.enable} has no reversion timer, so nothing would end it if this run dies (lease){HOW}"
        elif not seconds:
            yield f"{control.lease} is not armed before {control.enable}, so nothing would end it (lease){HOW}"
        elif seconds > rule.seconds:
            yield f"{control.lease}: {seconds:g} s is more than the {rule.seconds} s of the lease"
        else:
            yield from self._unsafe_reversions(control, after)

    def _armed(self, control: Control, changes: Sequence[Change]) -> float | None:
        """Return the seconds that the device will have been told when the function is enabled, or commanded."""
        names = [change.point.name for change in changes]
        first = names.index(control.enable) if control.enable in names else len(names)
        return Outcome(self._device, changes[:first]).number(control.lease or "")

    def _unsafe_reversions(self, control: Control, after: Outcome) -> Iterator[str]:
        """Yield where the device would revert to anything but its safe state."""
        safe = self._is_on_when_safe(control)
        if self._stays_on(control, after) != safe:
            to, must = ("on", "off") if not safe else ("off", "on")
            yield f"{control.enable} would revert to {to}, and the safe state is {must} (safe_state)"
        elif safe:
            for name, reversion in control.reverts.items():
                wanted = self._safe.points.get(name)
                if wanted is not None and after(reversion) != wanted:
                    yield f"{name} would revert to {after(reversion)!r}, and the safe state is {wanted!r} ({reversion})"

    def _stays_on(self, control: Control, after: Outcome) -> bool:
        deciding = control.reverts_enable or control.reverts_curve
        return deciding is not None and is_on(after(deciding))


HOW = '; a bench file may say why that is safe: "lease": {"kind": "none", "because": ...}'


def _touches(control: Control, names: Sequence[str]) -> bool:
    """Return whether a command to these points enables a function, commands it, or changes what ends it."""
    return any(name.startswith(control.prefix) for name in names)
