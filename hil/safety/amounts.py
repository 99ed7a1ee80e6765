"""What control functions ask for in watts, vars and percent, whichever points say it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from hil.safety.outcome import Outcome

Meaning = Literal["p_w", "q_var", "limit_pct"]


class Amount(NamedTuple):
    """One quantity that a function of a device asks for."""

    meaning: Meaning
    enable: str
    points: tuple[str, ...]
    """Those that say it. A change of any of them is a change of the quantity."""
    of: Callable[[Outcome], float | None]
    """In W, var or % of WMax, positive when injected; None where the device does not say what its percent is of."""

    @property
    def key(self) -> str:
        """Tells amounts apart."""
        return f"{self.meaning} of {self.points[-1]}"


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
AMOUNTS = (
    Amount("limit_pct", "704.WMaxLimPctEna", ("704.WMaxLimPct",), _number("704.WMaxLimPct")),
    Amount("p_w", "704.WSetEna", ("704.WSetMod", "704.WSet", "704.WSetPct"), _p_of_704()),
    Amount("q_var", "704.VarSetEna", ("704.VarSetMod", "704.VarSet", "704.VarSetPct"), _q_of_704()),
    Amount("limit_pct", "123.WMaxLim_Ena", ("123.WMaxLimPct",), _number("123.WMaxLimPct")),
    Amount(
        "q_var",
        "123.VArPct_Ena",
        ("123.VArPct_Mod", "123.VArWMaxPct", "123.VArMaxPct", "123.VArAvalPct"),
        _VARS_OF_123,
    ),
    Amount("p_w", "124.StorCtl_Mod", ("124.OutWRte",), _percent("124.OutWRte", "124.WChaMax")),
    Amount("p_w", "124.StorCtl_Mod", ("124.InWRte",), _negative(_percent("124.InWRte", "124.WChaMax"))),
)
"""What commands ask for, of models 704, 123 and 124."""
REVERTED = (
    Amount("limit_pct", "704.WMaxLimPctEnaRvrt", ("704.WMaxLimPctRvrt",), _number("704.WMaxLimPctRvrt")),
    Amount("p_w", "704.WSetEnaRvrt", ("704.WSetRvrt", "704.WSetPctRvrt"), _p_of_704("Rvrt")),
    Amount("q_var", "704.VarSetEnaRvrt", ("704.VarSetRvrt", "704.VarSetPctRvrt"), _q_of_704("Rvrt")),
)
"""What they ask for once their leases have lapsed."""
