"""One state, two views: which point of the old models (121 to 124, 802) says the same as which of 702 to 715.

What is written to an old point goes on to the new one, which is obeyed; whatever changes the new one shows in the old.
The power factor of 123 has the sign of its impedance (EEI): negative over-excited, that is injecting reactive power
while injecting active power; positive under-excited. Its percentages of vars are those of one mode at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from hil.emulator.registers import Registers
from hil.sunspec.points import Value
from hil.sunspec.register_map import RegisterMap

_MOST_UINT16: Final = 65534.0
_NONE, _OF_W_MAX, _OF_VAR_MAX = 0.0, 1.0, 2.0
"""123 VArPct_Mod."""
_VAR_MODES: Final[Mapping[float, float]] = {_OF_W_MAX: 0.0, _OF_VAR_MAX: 1.0}
"""123 VArPct_Mod as 704 VarSetMod."""
_IN_VARS: Final = 4.0
"""704 VarSetMod of what is no percentage."""
VAR_PERCENT: Final[Mapping[float, str]] = {_OF_W_MAX: "123.VArWMaxPct", _OF_VAR_MAX: "123.VArMaxPct"}
_OVER_EXCITED, _UNDER_EXCITED = 0.0, 1.0
"""704 PFWInj Ext."""


class Link(NamedTuple):
    """An old point and the new one that it stands for: old = factor * new, or by its codes."""

    old: str
    new: str
    factor: float = 1.0
    codes: Mapping[float, float] | None = None
    """New codes by old ones; of several old ones the first is shown."""
    most: float = math.inf
    """What the old point can hold."""

    def to_new(self, value: float) -> float:
        return value / self.factor if self.codes is None else self.codes[value]

    def to_old(self, value: float) -> float:
        if self.codes is None:
            return min(self.factor * value, self.most)
        return next(old for old, new in self.codes.items() if new == value)


def _time(old: str, new: str) -> Link:
    """Return the link of a time, which has 16 bits in the old models and 32 in the new ones."""
    return Link(old, new, most=_MOST_UINT16)


def _timed(old: str, enable: str, new: str) -> tuple[Link, Link]:
    return Link(f"123.{old}_{enable}", f"704.{new}Ena"), _time(f"123.{old}_RvrtTms", f"704.{new}RvrtTms")


LINKS: Final = (
    *(Link(f"121.{name}", f"702.{name}") for name in ("WMax", "VAMax")),
    Link("121.VRef", "702.VNom"),
    *(Link(f"121.VArMax{quadrant}", "702.VarMaxInj") for quadrant in ("Q1", "Q2")),
    *(Link(f"121.VArMax{quadrant}", "702.VarMaxAbs", -1.0) for quadrant in ("Q3", "Q4")),
    Link("124.WChaMax", "702.WChaRteMax"),
    Link("123.Conn", "703.ES"),
    Link("123.WMaxLimPct", "704.WMaxLimPct"),
    *(Link("123.WMaxLim_Ena", "704.WMaxLimPctEna"), _time("123.WMaxLimPct_RvrtTms", "704.WMaxLimPctRvrtTms")),
    *_timed("OutPFSet", "Ena", "PFWInj"),
    *_timed("VArPct", "Ena", "VarSet"),
    _time("126.RvrtTms", "705.RvrtTms"),
    Link("802.SetOp", "703.ES", codes={1.0: 1.0, 2.0: 0.0}),
    Link("802.SetInvState", "715.OpCtl", codes={1.0: 0.0, 2.0: 2.0, 3.0: 1.0}),
    Link("802.LocRemCtl", "715.LocRemCtl"),
)
BY_OLD: Final[Mapping[str, Link]] = {link.old: link for link in LINKS}
_POWER_FACTOR, _VARS = "123.OutPFSet", ("123.VArPct_Mod", *VAR_PERCENT.values())
_ONE_WAY: Final[Mapping[str, str]] = {"802.CtrlHb": "715.ControllerHb", "802.AlmRst": "715.AlarmReset"}

_OLD: Final = frozenset([*BY_OLD, *_ONE_WAY, _POWER_FACTOR, *_VARS])


def commanded(registers: Registers, device: int, changed: Mapping[str, Value]) -> dict[str, float]:
    """Return the new points that these old ones, just held, stand for, and their values."""
    if _OLD.isdisjoint(changed):
        return {}
    found: dict[str, float] = {}
    for name, value in changed.items():
        if not isinstance(value, int | float):
            continue
        if name in BY_OLD:
            found[BY_OLD[name].new] = BY_OLD[name].to_new(value)
        elif name in _ONE_WAY:
            found[_ONE_WAY[name]] = value
        elif name == _POWER_FACTOR:
            found["704.PFWInj.PF"] = abs(value)
            found["704.PFWInj.Ext"] = _UNDER_EXCITED if value > 0 else _OVER_EXCITED
    return found | (_vars_commanded(registers, device) if any(name in changed for name in _VARS) else {})


def _vars_commanded(registers: Registers, device: int) -> dict[str, float]:
    mode = registers.number(device, "123.VArPct_Mod")
    if mode is None or mode not in _VAR_MODES:
        has_one = registers.number(device, "704.VarSetMod") in _VAR_MODES.values()
        return {"704.VarSetMod": _IN_VARS} if mode == _NONE and has_one else {}
    return {"704.VarSetMod": _VAR_MODES[mode], "704.VarSetPct": registers.number(device, VAR_PERCENT[mode]) or 0.0}


def links_in(device: RegisterMap) -> tuple[Link, ...]:
    """Return the links of a device that has both points."""
    return tuple(link for link in LINKS if link.old in device and link.new in device)


def shown(registers: Registers, device: int, links: Sequence[Link]) -> Iterator[tuple[str, float]]:
    """Yield what the old points of a device that are views of new ones have to show."""
    for link in links:
        if registers.holds_point(device, link.old) and (value := registers.number(device, link.new)) is not None:
            yield link.old, _code(link, value)
    if registers.holds_point(device, _POWER_FACTOR):
        yield from _shown_reactive(registers, device)


def _code(link: Link, value: float) -> float:
    """Return what the old point says; 'started' for 715 'exit standby', which is over at once."""
    return link.to_old(1.0 if link.new == "715.OpCtl" and value == 3 else value)


def _shown_reactive(registers: Registers, device: int) -> Iterator[tuple[str, float]]:
    factor, excitation = (registers.number(device, f"704.PFWInj.{part}") for part in ("PF", "Ext"))
    if factor is not None:
        yield _POWER_FACTOR, factor if excitation == _UNDER_EXCITED or factor == 1.0 else -factor
    mode = next((old for old, new in _VAR_MODES.items() if new == registers.number(device, "704.VarSetMod")), _NONE)
    yield "123.VArPct_Mod", mode
    if mode != _NONE:
        yield VAR_PERCENT[mode], registers.number(device, "704.VarSetPct") or 0.0


def refresh(registers: Registers, device: int, links: Sequence[Link], is_pending: Callable[[str], bool]) -> None:
    """Show in the old points of a device what the new ones say, but where a command is still on its way.

    links: those that the device has (`links_in`).
    """
    for name, value in list(shown(registers, device, links)):
        if not is_pending(name) and registers.number(device, name) != value:
            registers.put(device, name, value)


def contradicts(registers: Registers, device: int, changed: Mapping[str, Value]) -> bool:
    """Return whether vars in percent are switched on, or left on, with nothing that they are a percentage of."""
    if "123.VArPct_Ena" not in changed and "123.VArPct_Mod" not in changed:
        return False
    held_on, held_mode = (registers.number(device, f"123.VArPct_{name}") for name in ("Ena", "Mod"))
    lost = changed.get("123.VArPct_Ena", held_on) == 1 and changed.get("123.VArPct_Mod", held_mode) not in _VAR_MODES
    return lost and ("123.VArPct_Ena" in changed or held_mode in _VAR_MODES)
