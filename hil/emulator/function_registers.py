"""What the functions of n devices are set to, as their registers say: see `functions` for what stands where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from hil.emulator.functions import MOMENTARY, Function, Place
from hil.emulator.settings import (
    STORAGE_LIMITS,
    limit_fraction,
    p_setpoint,
    q_setpoint,
    reference_va,
    storage_limits_w,
    storage_rates_w,
)
from hil.sunspec.points import BoolArray, FloatArray, RegisterArray
from hil.sunspec.register_map import RegisterMap
from hil.sunspec.table import PointTable

At = Mapping[str, FloatArray]
"""Points (n,) by name."""
_RATINGS: Final = ("702.WMax", "702.WMaxRtg", "702.VAMax", "702.VAMaxRtg", "702.VarMaxInj", "702.VarMaxAbs")
_SETPOINTS: Final = (
    *("704.VarSetEna", "704.VarSetMod", "704.VarSet", "704.VarSetPct", "704.PFWInjEna"),
    *("704.WMaxLimPctEna", "704.WMaxLimPct", "704.WSetEna", "704.WSetMod", "704.WSet", "704.WSetPct"),
)
_REACTIVE: Final = ("704.VarSetEna", "704.PFWInjEna", "705.Ena", "712.Ena")
"""In their order of precedence."""
_NO_MOMENTARY: Final = {"momentary_low_pu": 0.0, "momentary_high_pu": 1.2}
"""Where momentary cessation has no active point: the end of its range."""


class FunctionState(NamedTuple):
    """One function of n devices: where (n,) it is on, and its numbers (n,)."""

    on: BoolArray
    numbers: Mapping[str, FloatArray]

    def equals(self, other: FunctionState) -> bool:
        same = (np.array_equal(self.numbers[name], other.numbers[name]) for name in self.numbers)
        return np.array_equal(self.on, other.on) and all(same)


class FunctionRegisters:
    """Decodes functions from the images of n devices.

    A register that holds what it began with stands for the exact number that it was filled with; any other for what
    it says, in steps of its scale factor.
    """

    def __init__(
        self,
        maps: Sequence[RegisterMap],
        functions: Sequence[Function],
        exact: Mapping[str, Mapping[str, FloatArray]],
        images: RegisterArray,
        *,
        takes_setpoint: bool,
    ) -> None:
        """exact: the numbers (n,) that `images` were filled with. takes_setpoint: 704 WSet is more than a limit."""
        self._functions, self._takes_setpoint = functions, takes_setpoint
        enables = (function.enable for function in functions if function.enable)
        places = (place.point for function in functions for place in function.places)
        momentary = (f"{path}.ActPt" for path in MOMENTARY.values())
        momentary_and_storage = (*momentary, *STORAGE_LIMITS)
        names = (*_RATINGS, *_SETPOINTS, *_REACTIVE, *enables, *places, *momentary_and_storage, "712.Crv.0.DeptRef")
        self._names = tuple(dict.fromkeys(names))
        self._points = {f.name: {p.point for p in f.places} | ({f.enable} if f.enable else set()) for f in functions}
        self._points["constant_q"] |= {"704.VarSetMod", "704.VarSet", "704.VarSetPct"}
        self._table = PointTable.of_image(maps, self._names)
        self._exact: Mapping[str, Mapping[str, FloatArray]] = exact
        self._initial: Mapping[str, FunctionState] = {}
        self._initial = self.read(images)

    def read(self, images: RegisterArray) -> dict[str, FunctionState]:
        """Return every function, by name."""
        at = dict(zip(self._names, self._table.decode(images).T, strict=True))
        found = {function.name: self._state(function, at) for function in self._functions}
        if not self._initial:
            return found
        found = {name: self._made_exact(name, state) for name, state in found.items()}
        return found | {"ride_through": _with_active_points(found["ride_through"], at)}

    def touched_by(self, points: set[str]) -> list[str]:
        """Return the functions that these points set or switch on, not those whose reference alone they change."""
        return [name for name, own in self._points.items() if not points.isdisjoint(own)]

    def _state(self, function: Function, at: At) -> FunctionState:
        numbers = {place.number: _number(place, at) for place in function.places}
        on = np.ones(at["702.WMax"].shape, np.bool_) if function.enable is None else at[function.enable] == 1
        if function.name == "active_power_limit":
            return self._limit(at)
        if function.name == "constant_q":
            numbers = {"q_pu": q_setpoint(at) / at["702.VAMaxRtg"]}
        if function.enable in _REACTIVE:
            on = on & ~_reactive_before(function.enable, at)
        return FunctionState(on, numbers)

    def _limit(self, at: At) -> FunctionState:
        """Return the limit: 704 WMaxLimPct of WMax, and what a device that takes no setpoint is set to."""
        limit_w = limit_fraction(at) * at["702.WMax"]
        if not self._takes_setpoint:
            limit_w = np.where(at["704.WSetEna"] == 1, np.minimum(limit_w, p_setpoint(at)), limit_w)
            limit_w = np.minimum(limit_w, np.minimum(storage_limits_w(at)[1], storage_rates_w(at)[1]))
        p_max_pu = limit_w / at["702.WMaxRtg"]
        return FunctionState((p_max_pu < 1.0) | (at["704.WMaxLimPctEna"] == 1), {"p_max_pu": p_max_pu})

    def _made_exact(self, name: str, state: FunctionState) -> FunctionState:
        initial, exact = self._initial[name].numbers, self._exact[name]
        numbers = {n: np.where(value == initial[n], exact[n], value) for n, value in state.numbers.items()}
        return FunctionState(state.on, numbers)


def _reactive_before(enable: str, at: At) -> BoolArray:
    """Return where (n,) a reactive function that goes before this one is on."""
    found = np.zeros(at["702.WMax"].shape, np.bool_)
    for name in _REACTIVE[: _REACTIVE.index(enable)]:
        found |= at[name] == 1
    return found


def _number(place: Place, at: At) -> FloatArray:
    number = (at[place.point] - place.offset) / place.factor
    if place.reference == "w_max":
        return number * at["702.WMax"] / at["702.WMaxRtg"]
    if place.reference == "dept":
        return number * reference_va(at, at["712.Crv.0.DeptRef"], number) / at["702.VAMaxRtg"]
    return number


def _with_active_points(state: FunctionState, at: At) -> FunctionState:
    """Return momentary cessation without the side that has no active point."""
    active = {name: at[f"{path}.ActPt"] > 0 for name, path in MOMENTARY.items()}
    found = {name: np.where(active[name], value, _NO_MOMENTARY[name]) for name, value in state.numbers.items()}
    return FunctionState(np.logical_or.reduce(list(active.values())), found)
