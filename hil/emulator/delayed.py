"""Commands of model 123 that wait within a time window and go along a ramp (WinTms and RmpTms).

A command waits a random time up to its window, the same in every run; what was commanded before goes on until then.
Then it takes effect, at once or along its ramp from where the device was.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from hil.emulator.registers import Registers
from hil.sunspec.points import RegisterArray


class _Command(NamedTuple):
    """A command of model 123 and the new points that it sets."""

    prefix: str
    sets: tuple[str, ...]
    enable: str = ""
    ramped: str = ""
    """Goes along a ramp; without it there is none."""
    rest: float = 0.0
    """Where a ramp begins if the function was off."""

    def is_set_by(self, names: set[str]) -> bool:
        return any(name.startswith(f"123.{self.prefix}") for name in names)


_COMMANDS: Final = (
    _Command("Conn", ("703.ES",)),
    _Command("WMaxLim", ("704.WMaxLimPctEna", "704.WMaxLimPct"), "704.WMaxLimPctEna", "704.WMaxLimPct", 100.0),
    _Command("OutPFSet", ("704.PFWInjEna", "704.PFWInj.PF", "704.PFWInj.Ext"), "704.PFWInjEna"),
    _Command("VAr", ("704.VarSetEna", "704.VarSetMod", "704.VarSetPct"), "704.VarSetEna", "704.VarSetPct"),
)
_TIMES: Final[Mapping[str, str]] = {"WMaxLim": "WMaxLimPct", "VAr": "VArPct"}


@dataclass(slots=True)
class _Pending:
    """A command on its way."""

    targets: Mapping[str, float]
    begins_at: float
    wait_ns: int
    ramp_ns: int
    passed_ns: int = 0
    in_effect: bool = False


class Delayed:
    """The commands of n devices that are on their way."""

    def __init__(self, registers: Registers, seed: int) -> None:
        self._registers, self._chance = registers, random.Random(seed)  # noqa: S311 - no secret
        self._pending: dict[tuple[int, _Command], _Pending] = {}

    def is_pending(self, device: int, old: str) -> bool:
        """Return whether what this point of 123 commands is on its way."""
        return any(owner == device and command.is_set_by({old}) for owner, command in self._pending)

    def begin(self, device: int, names: set[str], before: RegisterArray) -> None:
        """Hold back what a write of these points has just commanded, as its window and its ramp say.

        before: the device's registers before the write.
        """
        for command in _COMMANDS:
            if command.is_set_by(names):
                self._pending.pop((device, command), None)
                self._hold_back(device, command, before)
            elif not names.isdisjoint(command.sets):
                self._pending.pop((device, command), None)

    def cancel(self, device: int, names: set[str]) -> None:
        """Forget commands of these points, which have just been set otherwise."""
        for command in _COMMANDS:
            if not names.isdisjoint(command.sets):
                self._pending.pop((device, command), None)

    def _hold_back(self, device: int, command: _Command, before: RegisterArray) -> None:
        window_s, ramp_s = (self._time_s(device, command, which) for which in ("WinTms", "RmpTms"))
        if not window_s and not (ramp_s and command.ramped):
            return
        targets = {name: self._registers.number(device, name) for name in command.sets}
        known = {name: value for name, value in targets.items() if value is not None}
        held = {name: self._before(device, name, before) for name in known}
        if known == held:
            return
        wait_ns = round(self._chance.uniform(0.0, window_s) * 1e9)
        for name, value in held.items():
            self._registers.put(device, name, value)
        was_on = held.get(command.enable, 1.0) == 1
        begins_at = held[command.ramped] if command.ramped and was_on else command.rest
        self._pending[device, command] = _Pending(known, begins_at, wait_ns, round(ramp_s * 1e9))
        if not wait_ns:
            self._take_effect(device, command, self._pending[device, command])

    def _time_s(self, device: int, command: _Command, which: str) -> float:
        prefix = _TIMES.get(command.prefix, command.prefix)
        return self._registers.number(device, f"123.{prefix}_{which}") or 0.0

    def _before(self, device: int, name: str, before: RegisterArray) -> float:
        value = self._registers.maps[device].value(name, before)
        return float(value) if isinstance(value, int | float) else 0.0

    def advance(self, dt_s: float) -> list[tuple[int, set[str]]]:
        """Let time pass; return which points of which devices have been set."""
        moved: list[tuple[int, set[str]]] = []
        for (device, command), pending in list(self._pending.items()):
            pending.passed_ns += round(dt_s * 1e9)
            if pending.passed_ns >= pending.wait_ns:
                moved.append((device, self._move(device, command, pending)))
        return moved

    def _move(self, device: int, command: _Command, pending: _Pending) -> set[str]:
        begun = set() if pending.in_effect else self._take_effect(device, command, pending)
        along_ns = pending.passed_ns - pending.wait_ns
        if pending.ramp_ns > along_ns and command.ramped:
            return begun | self._ramp(device, command, pending, along_ns / pending.ramp_ns)
        del self._pending[device, command]
        for name, value in pending.targets.items():
            self._registers.put(device, name, value)
        return begun

    def _take_effect(self, device: int, command: _Command, pending: _Pending) -> set[str]:
        pending.in_effect = True
        for name, value in pending.targets.items():
            self._registers.put(device, name, value)
        if command.ramped and pending.ramp_ns:
            self._ramp(device, command, pending, 0.0)
        return set(pending.targets)

    def _ramp(self, device: int, command: _Command, pending: _Pending, share: float) -> set[str]:
        value = pending.begins_at + share * (pending.targets[command.ramped] - pending.begins_at)
        self._registers.put(device, command.ramped, value)
        return set()
