"""What control functions ask for in watts, vars and percent, whichever points say it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from hil.inverter.dialect import Function
from hil.inverter.dialect import Meaning as Setting
from hil.safety.outcome import Device, Outcome

Meaning = Literal["p_w", "q_var", "limit_pct"]


class Amount(NamedTuple):
    """One quantity that a function of a device asks for."""

    meaning: Meaning
    points: tuple[str, ...]
    """Those that say it. A change of any of them is a change of the quantity."""
    of: Callable[[Outcome], float | None]
    """In W, var or % of WMax, positive when injected; None where the device does not say what its percent is of."""
    switch: str = ""
    """The point that puts it into effect; empty: it always is."""
    is_in_reserve: bool = False
    """It comes into effect when a lease lapses: its rate is not ours."""
    rests_on: tuple[str, ...] = ()
    """Points of which it is a part: who moves these moves it, while it is in effect."""

    @property
    def key(self) -> str:
        """Tells amounts apart."""
        return f"{self.meaning} of {self.points[-1]}"


def amounts_of(device: Device) -> tuple[Amount, ...]:
    """Return what the functions of a device can ask for."""
    sunspec = tuple(each for each in AMOUNTS if any(point in device.map for point in each.points))
    told = {point for each in sunspec for point in each.points}
    functions = device.dialect.functions.items()
    others = (_of_function(m, f) for m, f in functions if told.isdisjoint(term.point for term in f.terms))
    return (*sunspec, *others)


def _of_function(meaning: Setting, function: Function) -> Amount:
    points = tuple(dict.fromkeys([*function.modes, *(term.point for term in function.terms)]))

    def of(outcome: Outcome) -> float | None:
        setpoint = function.setpoint({term.point: outcome(term.point) for term in function.terms})
        return 100 * setpoint if setpoint is not None and meaning == "limit_fraction" else setpoint

    return Amount("limit_pct" if meaning == "limit_fraction" else meaning, points, of, next(iter(function.on), ""))


def _percent(point: str, *nameplate: str) -> Callable[[Outcome], float | None]:
    """Return what reads `point`, percent of the first of `nameplate` that the device implements."""

    def amount(outcome: Outcome) -> float | None:
        part = outcome.number(point)
        whole = next((number for name in nameplate if (number := outcome.number(name)) is not None), None)
        return None if part is None or whole is None else part / 100 * whole

    return amount


def _var_percent(point: str, injected: tuple[str, ...], absorbed: tuple[str, ...]) -> Callable[[Outcome], float | None]:
    """Return what reads `point`, percent of the most vars on the side of its sign (available ones are no more)."""

    def amount(outcome: Outcome) -> float | None:
        side = injected if (outcome.number(point) or 0.0) >= 0 else absorbed
        value = _percent(point, *side)(outcome)
        return None if value is None else math.copysign(value, outcome.number(point) or 0.0)

    return amount


def _by_mode(mode: str, ways: dict[int, Callable[[Outcome], float | None]]) -> Callable[[Outcome], float | None]:
    def amount(outcome: Outcome) -> float | None:
        way = ways.get(int(outcome.number(mode) or 0))
        return way(outcome) if way else None

    return amount


def _p_of_704(suffix: str = "") -> Callable[[Outcome], float | None]:
    ways = {0: _percent(f"704.WSetPct{suffix}", "702.WMax"), 1: _number(f"704.WSet{suffix}")}
    return _by_mode("704.WSetMod", ways)


def _q_of_704(suffix: str = "") -> Callable[[Outcome], float | None]:
    percent = f"704.VarSetPct{suffix}"
    most = _var_percent(percent, ("702.VarMaxInj",), ("702.VarMaxAbs", "702.VarMaxInj"))
    ways = {
        0: _percent(percent, "702.WMax"),
        1: most,
        2: most,
        3: _percent(percent, "702.VAMax"),
        4: _number(f"704.VarSet{suffix}"),
    }
    return _by_mode("704.VarSetMod", ways)


def _number(point: str) -> Callable[[Outcome], float | None]:
    return lambda outcome: outcome.number(point)


def _negative(amount: Callable[[Outcome], float | None]) -> Callable[[Outcome], float | None]:
    def negated(outcome: Outcome) -> float | None:
        value = amount(outcome)
        return None if value is None else -value

    return negated


_VARS_OF_123 = _by_mode(
    "123.VArPct_Mod",
    {
        1: _percent("123.VArWMaxPct", "121.WMax", "120.WRtg"),
        2: _var_percent("123.VArMaxPct", ("121.VArMaxQ1", "120.VArRtgQ1"), ("121.VArMaxQ4", "120.VArRtgQ4")),
        3: _var_percent("123.VArAvalPct", ("121.VArMaxQ1", "120.VArRtgQ1"), ("121.VArMaxQ4", "120.VArRtgQ4")),
    },
)
_VAR_POINTS = ("123.VArPct_Mod", "123.VArWMaxPct", "123.VArMaxPct", "123.VArAvalPct")
_GIVES = _percent("124.OutWRte", "120.MaxDisChaRte", "121.WMax", "120.WRtg")
_DRAWS = _negative(_percent("124.InWRte", "124.WChaMax", "120.MaxChaRte"))
_W_MAX, _VARS_704 = ("702.WMax",), ("702.WMax", "702.VAMax", "702.VarMaxInj", "702.VarMaxAbs")
_VARS_123 = ("121.WMax", "121.VArMaxQ1", "121.VArMaxQ4")
AMOUNTS = (
    Amount("limit_pct", ("704.WMaxLimPct",), _number("704.WMaxLimPct"), "704.WMaxLimPctEna"),
    Amount("p_w", ("704.WSetMod", "704.WSetPct", "704.WSet"), _p_of_704(), "704.WSetEna", rests_on=_W_MAX),
    Amount("q_var", ("704.VarSetMod", "704.VarSetPct", "704.VarSet"), _q_of_704(), "704.VarSetEna", rests_on=_VARS_704),
    Amount("limit_pct", ("123.WMaxLimPct",), _number("123.WMaxLimPct"), "123.WMaxLim_Ena"),
    Amount("q_var", _VAR_POINTS, _VARS_OF_123, "123.VArPct_Ena", rests_on=_VARS_123),
    Amount("p_w", ("124.OutWRte",), _GIVES, "124.StorCtl_Mod", rests_on=("121.WMax",)),
    Amount("p_w", ("124.InWRte",), _DRAWS, "124.StorCtl_Mod", rests_on=("124.WChaMax",)),
    Amount("limit_pct", ("704.WMaxLimPctRvrt",), _number("704.WMaxLimPctRvrt"), "704.WMaxLimPctEnaRvrt", True),
    Amount("p_w", ("704.WSetPctRvrt", "704.WSetRvrt"), _p_of_704("Rvrt"), "704.WSetEnaRvrt", True, _W_MAX),
    Amount("q_var", ("704.VarSetPctRvrt", "704.VarSetRvrt"), _q_of_704("Rvrt"), "704.VarSetEnaRvrt", True, _VARS_704),
)
"""Of models 704, 123 and 124; what 704 asks for once its leases have lapsed among them."""
