"""Commands of model 123 that wait within a time window and go along a ramp (WinTms and RmpTms).

A command waits a random time up to its window, the same in every run; what was commanded before goes on until then.
Then it takes effect, at once or along its ramp from where the device was.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from hil.emulator.links import commanded
from hil.emulator.registers import Registers
from hil.sunspec.points import RegisterArray


class _Command(NamedTuple):
    """A command of model 123 and the new points that it sets."""

    name: str
    """Of its times: 123.<name>_WinTms."""
    old: tuple[str, ...]
    """The points that command."""
    sets: tuple[str, ...]
    enable: str = ""
    ramped: str = ""
    """Goes along a ramp; without it there is none."""
    rest: float = 0.0
    """Where a ramp begins if the function was off."""

    def is_given_by(self, names: set[str]) -> bool:
        return not names.isdisjoint(self.old)


def _command(name: str, old: tuple[str, ...], new: tuple[str, ...], *, ramped: str = "", rest: float = 0.0) -> _Command:
    """Return a command of 123 that sets points of 704, the first of which is its switch."""
    sets = tuple(f"704.{each}" for each in new)
    return _Command(name, tuple(f"123.{each}" for each in old), sets, sets[0], ramped and f"704.{ramped}", rest)


_COMMANDS: Final = (
    _Command("Conn", ("123.Conn",), ("703.ES",)),
    _command(
        "WMaxLimPct", ("WMaxLimPct", "WMaxLim_Ena"), ("WMaxLimPctEna", "WMaxLimPct"), ramped="WMaxLimPct", rest=100.0
    ),
    _command("OutPFSet", ("OutPFSet", "OutPFSet_Ena"), ("PFWInjEna", "PFWInj.PF", "PFWInj.Ext")),
    _command(
        "VArPct",
        ("VArPct_Mod", "VArWMaxPct", "VArMaxPct", "VArPct_Ena"),
        ("VarSetEna", "VarSetMod", "VarSetPct"),
        ramped="VarSetPct",
    ),
)

_OLD: Final = frozenset(name for command in _COMMANDS for name in command.old)


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
        return any(owner == device and old in command.old for owner, command in self._pending)

    def begin(self, device: int, names: set[str], before: RegisterArray) -> None:
        """Hold back what a write of these points has just commanded, as its window and its ramp say.

        before: the device's registers before the write.
        """
        if not self._pending and _OLD.isdisjoint(names):
            return
        for command in _COMMANDS:
            if command.is_given_by(names):
                self._hold_back(device, command, before)
            elif not names.isdisjoint(command.sets):
                self._pending.pop((device, command), None)

    def cancel(self, device: int, names: set[str]) -> None:
        """Forget commands of these points, which have just been set otherwise."""
        for command in _COMMANDS:
            if not names.isdisjoint(command.sets):
                self._pending.pop((device, command), None)

    def _hold_back(self, device: int, command: _Command, before: RegisterArray) -> None:
        targets, earlier = self._targets(device, command), self._pending.pop((device, command), None)
        held = {name: self._before(device, name, before) for name in targets}
        wait_s, ramp_s = self._time_s(device, command, "WinTms"), self._time_s(device, command, "RmpTms")
        waits = wait_s > 0 or (ramp_s > 0 and command.ramped != "")
        switched_off = targets.get(command.enable) == 0
        if switched_off or not waits or targets == held:
            self._put(device, targets)
            return
        self._put(device, held)
        if earlier is None or earlier.targets != targets:
            was_on = held.get(command.enable, 1.0) == 1
            begins_at = held[command.ramped] if command.ramped and was_on else command.rest
            earlier = _Pending(targets, begins_at, round(self._chance.uniform(0.0, wait_s) * 1e9), round(ramp_s * 1e9))
        self._pending[device, command] = earlier
        if not earlier.wait_ns and not earlier.in_effect:
            self._take_effect(device, command, earlier)

    def _targets(self, device: int, command: _Command) -> dict[str, float]:
        """Return what the old points, all of them, command."""
        asked = {name: self._registers.holds(device, name) for name in command.old}
        wanted = commanded(self._registers, device, asked)
        there = (name for name in command.sets if self._registers.holds_point(device, name))
        return {name: wanted[name] for name in there if name in wanted}

    def _put(self, device: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._registers.put(device, name, value)

    def _time_s(self, device: int, command: _Command, which: str) -> float:
        return self._registers.number(device, f"123.{command.name}_{which}") or 0.0

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
            self._ramp(device, command, pending, along_ns / pending.ramp_ns)
            return begun
        del self._pending[device, command]
        self._put(device, pending.targets)
        return begun

    def _take_effect(self, device: int, command: _Command, pending: _Pending) -> set[str]:
        pending.in_effect = True
        self._put(device, pending.targets)
        if command.ramped and pending.ramp_ns:
            self._ramp(device, command, pending, 0.0)
        return set(pending.targets)

    def _ramp(self, device: int, command: _Command, pending: _Pending, share: float) -> None:
        value = pending.begins_at + share * (pending.targets[command.ramped] - pending.begins_at)
        self._registers.put(device, command.ramped, value)
