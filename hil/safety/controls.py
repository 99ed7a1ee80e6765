"""The functions by which a device is controlled: what turns each off, what lies behind it, what it reverts to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hil.inverter.dialect import Function, Meaning
from hil.safety.outcome import Device, Outcome


@dataclass(frozen=True, slots=True)
class Control:
    """One function of a device that can be commanded."""

    name: str
    """For messages: what enables it, or what it means."""
    prefixes: tuple[str, ...]
    """How the names of its points begin."""
    off: Mapping[str, float] = field(default_factory=dict)
    """What ends it; empty if nothing does."""
    lease: str | None = None
    """The point that says after how many seconds without a command it reverts; 0: never."""
    reverts: Mapping[str, str] = field(default_factory=dict)
    """The points that say what others revert to, by the names of these. One that ends it and is not here reverts to
    off."""
    reverts_curve: str | None = None
    """The point that says which curve it reverts to; 0: it turns off."""

    def is_on(self, outcome: Outcome) -> bool:
        """Return whether it is in effect. What does not implement its switch is off; what has none is always on."""
        held = {name: outcome(name) for name in self.off}
        return not self.off or any(value is not None and value != self.off[name] for name, value in held.items())

    def is_touched_by(self, names: Iterable[str]) -> bool:
        """Return whether writing these points enables it, commands it, or changes what ends it."""
        return any(name.startswith(self.prefixes) for name in names)


def _setpoint(name: str, *values: str) -> Control:
    enable = f"704.{name}Ena"
    reverts = {f"704.{value}": f"704.{value}Rvrt" for value in values} | {enable: f"{enable}Rvrt"}
    return Control(enable, (f"704.{name}",), {enable: 0.0}, f"704.{name}RvrtTms", reverts)


def _power_factor(name: str) -> Control:
    control = _setpoint(name)
    parts = {f"704.{name}.{part}": f"704.{name}Rvrt.{part}" for part in ("PF", "Ext")}
    return Control(control.name, control.prefixes, control.off, control.lease, {**parts, **control.reverts})


def _curve(model: str, group: str = "Crv") -> Control:
    return _switch(f"{model}.Ena", (f"{model}.",), f"{model}.RvrtTms", reverts_curve=f"{model}.Rvrt{group}")


def _switch(enable: str, prefixes: tuple[str, ...], lease: str | None, reverts_curve: str | None = None) -> Control:
    return Control(enable, prefixes, {enable: 0.0}, lease, reverts_curve=reverts_curve)


SUNSPEC = (
    _setpoint("WMaxLimPct", "WMaxLimPct"),
    _setpoint("WSet", "WSet", "WSetPct"),
    _setpoint("VarSet", "VarSet", "VarSetPct"),
    *(_power_factor(name) for name in ("PFWInj", "PFWAbs")),
    *(_curve(model) for model in ("705", "706", "712")),
    _curve("711", "Ctl"),
    _switch("123.WMaxLim_Ena", ("123.WMaxLim",), "123.WMaxLimPct_RvrtTms"),
    _switch("123.OutPFSet_Ena", ("123.OutPFSet",), "123.OutPFSet_RvrtTms"),
    _switch("123.VArPct_Ena", ("123.VAr",), "123.VArPct_RvrtTms"),
    _switch("124.StorCtl_Mod", ("124.",), "124.InOutWRte_RvrtTms"),
    *(_switch(f"{model}.ModEna", (f"{model}.",), f"{model}.RvrtTms") for model in ("126", "127", "131", "132", "134")),
)
"""Models 704 to 712, and the older 123 to 134."""
_LOOKS_LIKE_ONE = re.compile(r"\d+\.\w*(Ena|ES)$")
_ADOPTING = range(705, 713)
REQUESTS = frozenset(
    {f"{model}.Adpt{group}Req" for model in _ADOPTING for group in ("Crv", "Ctl")} | {"715.AlarmReset", "715.OpCtl"}
)
"""Points that ask for something to be done once: they are no state."""


def controls_of(device: Device) -> tuple[Control, ...]:
    """Return the functions that a device has. One that is not known here has no lease that could be told."""
    known = {control.name: control for control in SUNSPEC}
    writable = [name for name, point in device.map.points.items() if point.writable]
    of_map = [known.get(name, _switch(name, (name,), None)) for name in writable if _is_switch(name, known)]
    switches = {name for control in of_map for name in control.off}
    return (*of_map, *_others(device, switches))


def _is_switch(name: str, known: Mapping[str, Control]) -> bool:
    return name in known or _LOOKS_LIKE_ONE.match(name) is not None


def _others(device: Device, switches: set[str]) -> Iterator[Control]:
    """Yield the functions of a device that are not SunSpec's."""
    for meaning, function in device.dialect.functions.items():
        if switches.isdisjoint(function.off):
            yield _of_function(meaning, function)


def _of_function(meaning: Meaning, function: Function) -> Control:
    timer = function.reversion
    return Control(
        meaning,
        function.points,
        function.off,
        timer.time if timer else None,
        timer.reverts if timer else {},
    )


def commanded(device: Device) -> frozenset[str]:
    """Return the points that commands write."""
    dialect = device.dialect
    functions = {point for function in dialect.functions.values() for point in function.points}
    beat = dialect.heartbeat
    beats = set() if beat is None else {beat.point, beat.time or beat.point}
    curves = {n for n in device.map.points if dialect.volt_var and n.startswith(f"{dialect.volt_var}.")}
    return frozenset(functions | beats | curves)


def is_momentary(device: Device, name: str) -> bool:
    """Return whether a point is no state that could be restored: a request, or a counter."""
    beat = device.dialect.heartbeat
    return name in REQUESTS or (beat is not None and name == beat.point)
