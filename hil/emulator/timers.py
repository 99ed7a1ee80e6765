"""Reversion timers: a function that is not commanded any more returns to what it was told to revert to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from hil.emulator.adoption import ADOPTIONS, Adoptions
from hil.emulator.registers import Registers
from hil.sunspec.table import PointTable


class _Timer(NamedTuple):
    """A function that ends when its reversion time has passed while it was enabled."""

    enable: str
    time: str
    remaining: str
    reverts: Mapping[str, str | float]
    """What is set to what, a number or another point, when the time has passed. Writing it starts the time again."""
    model: str | None = None
    """The model whose `RvrtCrv` or `RvrtCtl` is adopted instead."""
    rest: float = 0.0
    """What `enable` says when there is nothing to revert."""
    also: tuple[str, ...] = ()
    """Other points whose writing starts the time again."""

    @property
    def started_by(self) -> tuple[str, ...]:
        """The points that start the time, or end it, when they are written."""
        return (self.enable, self.time, *self.reverts, *self.also)


def _setpoint_timer(name: str, *settings: str) -> _Timer:
    ours: dict[str, str | float] = {f"704.{setting}": f"704.{setting}Rvrt" for setting in (*settings, f"{name}Ena")}
    return _Timer(f"704.{name}Ena", f"704.{name}RvrtTms", f"704.{name}RvrtRem", ours)


def _power_factor_timer(name: str) -> _Timer:
    parts: dict[str, str | float] = {f"704.{name}.{part}": f"704.{name}Rvrt.{part}" for part in ("PF", "Ext")}
    timer = _setpoint_timer(name)
    return timer._replace(reverts={**parts, **timer.reverts})


def _curve_timer(model: str) -> _Timer:
    request = f"{model}.{ADOPTIONS[model].request}"
    return _Timer(f"{model}.Ena", f"{model}.RvrtTms", f"{model}.RvrtRem", {request: ""}, model)


_NOT_SHOWN: Final = "-"
_CONNECTION: Final = _Timer("703.ES", "123.Conn_RvrtTms", _NOT_SHOWN, {"703.ES": 1.0}, rest=1.0, also=("123.Conn",))
_STORAGE: Final = _Timer(
    "124.StorCtl_Mod",
    "124.InOutWRte_RvrtTms",
    _NOT_SHOWN,
    {"124.StorCtl_Mod": 0.0},
    also=("124.InWRte", "124.OutWRte"),
)
_TIMERS: Final = (
    _setpoint_timer("WMaxLimPct", "WMaxLimPct"),
    _setpoint_timer("WSet", "WSet", "WSetPct"),
    _setpoint_timer("VarSet", "VarSet", "VarSetPct"),
    *(_power_factor_timer(name) for name in ("PFWInj", "PFWAbs")),
    *(_curve_timer(model) for model in ("705", "706", "711", "712")),
    _CONNECTION,
    _STORAGE,
)
_STARTED_BY: Final = {
    name: tuple(index for index, timer in enumerate(_TIMERS) if name in timer.started_by)
    for name in dict.fromkeys(name for timer in _TIMERS for name in timer.started_by)
}
"""Which timers a write to a point starts or ends."""


class Timers:
    """The reversion timers of n devices."""

    def __init__(self, registers: Registers, adoptions: Adoptions) -> None:
        self._registers, self._adoptions = registers, adoptions
        self._remaining = PointTable.of_image(registers.maps, [timer.remaining for timer in _TIMERS])
        self._has_remaining = ~np.isnan(self._remaining.decode(registers.images))
        self._left_ns = np.zeros((len(registers.maps), len(_TIMERS)), dtype=np.int64)

    def start(self, device: int, names: set[str]) -> None:
        """Start and end what a write to these points starts and ends."""
        for index in {index for name in names for index in _STARTED_BY.get(name, ())}:
            timer = _TIMERS[index]
            time_s = self._registers.number(device, timer.time) or 0.0 if self._is_on(device, timer) else 0.0
            left_ns = round(time_s * 1e9)
            if left_ns != self._left_ns[device, index]:
                self._left_ns[device, index] = left_ns
                self._show_one(device, index)

    def _is_on(self, device: int, timer: _Timer) -> bool:
        return self._registers.number(device, timer.enable) not in (None, timer.rest)

    def revert_setpoints(self, device: int) -> set[str]:
        """Revert every setpoint of a device that is on, as if its time had run out; return what has been set."""
        found: set[str] = set()
        for index, timer in enumerate(_TIMERS):
            if timer.model is None and timer is not _CONNECTION and self._is_on(device, timer):
                self._left_ns[device, index] = 0
                found |= self._revert(device, timer)
        self._show()
        return found

    def advance(self, dt_s: float) -> list[tuple[int, set[str]]]:
        """Let time pass (rounded to nanoseconds); revert what has run out, and return what has been set of whom."""
        running = self._left_ns > 0
        if not running.any():
            return []
        self._left_ns = np.maximum(self._left_ns - round(dt_s * 1e9), 0)
        over = np.argwhere(running & (self._left_ns == 0)).tolist()
        found = [(device, self._revert(device, _TIMERS[timer])) for device, timer in over]
        self._show()
        return found

    def _show_one(self, device: int, index: int) -> None:
        if self._has_remaining[device, index]:
            seconds = math.ceil(self._left_ns[device, index] / 1e9)
            self._registers.put(device, _TIMERS[index].remaining, float(seconds))

    def _show(self) -> None:
        seconds = np.ceil(self._left_ns / 1e9)
        self._remaining.encode(np.where(self._has_remaining, seconds, np.nan), self._registers.images)

    def _revert(self, device: int, timer: _Timer) -> set[str]:
        if timer.model is not None:
            self._revert_curve(device, timer.model)
            return set()
        for name, reversion in timer.reverts.items():
            value = self._registers.number(device, reversion) if isinstance(reversion, str) else reversion
            if value is not None:
                self._registers.put(device, name, value)
        return set(timer.reverts)

    def _revert_curve(self, device: int, model: str) -> None:
        """Adopt the curve that a model reverts to, or end its function if there is none that it can follow."""
        group = ADOPTIONS[model].group
        curve = self._registers.number(device, f"{model}.Rvrt{group}") or 0.0
        is_there = 1 <= curve <= self._registers.maps[device].group_size(model, group)
        if not (is_there and self._adoptions.adopt(device, model, int(curve) - 1)):
            self._registers.put(device, f"{model}.Ena", 0.0)
