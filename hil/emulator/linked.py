"""Points that follow others: those that say the same, and switches of which one is on.

Both trip models of one quantity have one switch, as the function behind them has. The power factor of absorbing is that
of injecting. Of the two setpoints of reactive power (704) the last that was switched on counts, and so it is with the
two curves (705, 712); while a setpoint is on it goes before the curves, which have their place again when it reverts.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Final

from hil.emulator.registers import Registers
from hil.sunspec.points import Value

_POWER_FACTOR = ("Ena", "EnaRvrt", "RvrtTms", ".PF", ".Ext", "Rvrt.PF", "Rvrt.Ext")
_ALIKE: Final[Mapping[str, str]] = {
    **{f"{a}.Ena": f"{b}.Ena" for pair in (("707", "708"), ("709", "710")) for a, b in permutations(pair)},
    **{f"704.PFW{a}{part}": f"704.PFW{b}{part}" for part in _POWER_FACTOR for a, b in permutations(("Inj", "Abs"))},
}
_EXCLUSIVE: Final = (("704.VarSetEna", "704.PFWInjEna", "704.PFWAbsEna"), ("705.Ena", "712.Ena"))
_TOGETHER: Final = ("704.PFWInjEna", "704.PFWAbsEna")
_LEADING: Final = frozenset([*_ALIKE, *(name for group in _EXCLUSIVE for name in group)])


def followers(registers: Registers, device: int, changed: Mapping[str, Value]) -> dict[str, float]:
    """Return the points that change with these, and to what; only those that the device has."""
    if _LEADING.isdisjoint(changed):
        return {}
    found: dict[str, float] = {}
    for name, value in changed.items():
        if not isinstance(value, int | float):
            continue
        if name in _ALIKE:
            found[_ALIKE[name]] = value
        if value == 1:
            found |= dict.fromkeys(_excluded(name), 0.0)
    return {n: v for n, v in found.items() if n not in changed and registers.number(device, n) is not None}


def _excluded(name: str) -> tuple[str, ...]:
    group = next((group for group in _EXCLUSIVE if name in group), ())
    return tuple(n for n in group if n != name and not (n in _TOGETHER and name in _TOGETHER))
