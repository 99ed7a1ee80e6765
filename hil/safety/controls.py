"""The functions by which SunSpec devices are controlled: what enables each, what lies behind it, what it reverts to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hil.sunspec.points import Value
from hil.sunspec.register_map import RegisterMap


@dataclass(frozen=True, slots=True)
class Control:
    """One function that can be on or off."""

    enable: str
    """The point that turns it on: not zero."""
    prefix: str
    """Of the names of all its points."""
    lease: str | None = None
    """The point that says after how many seconds without a command it reverts; 0: never."""
    reverts_enable: str | None = None
    """The point that says what `enable` reverts to. None: off."""
    reverts: Mapping[str, str] = field(default_factory=dict)
    """The points that say what others revert to, by the names of these others."""
    reverts_curve: str | None = None
    """The point that says which curve it reverts to; 0: it turns off."""


def _setpoint(name: str, *values: str) -> Control:
    return Control(
        f"704.{name}Ena",
        f"704.{name}",
        f"704.{name}RvrtTms",
        f"704.{name}EnaRvrt",
        {f"704.{value}": f"704.{value}Rvrt" for value in values},
    )


def _power_factor(name: str) -> Control:
    parts = {f"704.{name}.{part}": f"704.{name}Rvrt.{part}" for part in ("PF", "Ext")}
    return replace(_setpoint(name), reverts=parts)


def _curve(model: str, group: str = "Crv") -> Control:
    return Control(f"{model}.Ena", f"{model}.", f"{model}.RvrtTms", reverts_curve=f"{model}.Rvrt{group}")


SUNSPEC = (
    _setpoint("WMaxLimPct", "WMaxLimPct"),
    _setpoint("WSet", "WSet", "WSetPct"),
    _setpoint("VarSet", "VarSet", "VarSetPct"),
    *(_power_factor(name) for name in ("PFWInj", "PFWAbs")),
    *(_curve(model) for model in ("705", "706", "712")),
    _curve("711", "Ctl"),
    Control("123.WMaxLim_Ena", "123.WMaxLim", "123.WMaxLimPct_RvrtTms"),
    Control("123.OutPFSet_Ena", "123.OutPFSet", "123.OutPFSet_RvrtTms"),
    Control("123.VArPct_Ena", "123.VAr", "123.VArPct_RvrtTms"),
    Control("124.StorCtl_Mod", "124.", "124.InOutWRte_RvrtTms"),
    *(Control(f"{model}.ModEna", f"{model}.", f"{model}.RvrtTms") for model in ("126", "127", "131", "132", "134")),
)
"""Models 704 to 712, and the older 123 to 134."""
_LOOKS_LIKE_ONE = re.compile(r"\d+\.\w*(Ena|ES)$")
COMMANDED = (
    *("704.WMaxLimPct*", "704.WSet*", "704.VarSet*"),
    *("705.Ena", "705.AdptCrvReq", "705.Rvrt*", "705.Crv.*"),
    *("123.WMaxLim*", "123.VAr*", "124.StorCtl_Mod", "124.OutWRte", "124.InWRte", "124.InOutWRte_*"),
    *("126.ActCrv", "126.ModEna", "126.RvrtTms", "126.curve.*"),
)
"""The points that commands write."""
REQUESTS = frozenset(
    {f"{model}.Adpt{group}Req" for model in range(705, 713) for group in ("Crv", "Ctl")}
    | {"715.ControllerHb", "715.AlarmReset", "715.OpCtl"}
)
"""Points that ask for something to be done once: they are no state."""


def controls_of(points: RegisterMap) -> tuple[Control, ...]:
    """Return the functions that a device has. One that is not known here has no lease that could be told."""
    known = {control.enable: control for control in SUNSPEC}
    writable = [name for name, point in points.points.items() if point.writable]
    return tuple(
        known.get(name, Control(name, name)) for name in writable if name in known or _LOOKS_LIKE_ONE.match(name)
    )


def is_on(value: Value) -> bool:
    """Return whether what an enabling point holds turns its function on. Not implemented: it does not."""
    return value not in (None, 0, 0.0, "")
