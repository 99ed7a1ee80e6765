"""The dialect of a SunSpec device: models 701 to 715 where it has them, else 101 to 126 and 802, function by function.

A device that is no inverter is measured by its meter: 201 to 204, 211 to 214.

Active power is positive when it leaves the device, reactive power when it is injected (quadrants 1 and 4 are
injecting: SunSpec inverter control models, settings VArMaxQ1 to VArMaxQ4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, NamedTuple

from hil.inverter.dialect import (
    Dialect,
    Function,
    Heartbeat,
    IdentityPart,
    Meaning,
    Quantity,
    Rating,
    Reversion,
    Source,
    Term,
)
from hil.sunspec.points import RegisterArray, Value
from hil.sunspec.register_map import RegisterMap

_OLD_INVERTERS = ("103", "102", "101", "113", "112", "111")
"""Three phases, split phase, one phase; integers, then floating point numbers."""


def _old(*points: str, offset: float = 0.0) -> tuple[Source, ...]:
    return tuple(Source(tuple(f"{model}.{point}" for point in points), offset=offset) for model in _OLD_INVERTERS)


_MEASURED: Final[Mapping[Quantity, tuple[Source, ...]]] = {
    "p_w": (Source(("701.W",)), *_old("W")),
    "q_var": (Source(("701.Var",)), *_old("VAr")),
    "v_ln_v": (Source(("701.LNV",)), *_old("PhVphA", "PhVphB", "PhVphC")),
    "v_ll_v": (Source(("701.LLV",)), *_old("PPVphAB", "PPVphBC", "PPVphCA")),
    "f_hz": (Source(("701.Hz",)), *_old("Hz")),
    "state": (Source(("701.InvSt",)), *_old("St", offset=-1.0)),
    "alarms": (Source(("701.Alrm",)), *_old("Evt1")),
    "soc_pct": (Source(("713.SoC",)), Source(("802.SoC",)), Source(("124.ChaState",))),
}
"""Where each quantity is, the best first. 101 St counts from 1 what 701 InvSt counts from 0; the bits 0 to 15 of Evt1
are those of Alrm."""

_METERS: Final = ("203", "202", "204", "201", "213", "212", "214", "211")
"""Wye, split phase, delta, one phase; integers, then floating point numbers."""


def _metered(*points: str, factor: float = 1.0) -> tuple[Source, ...]:
    return tuple(Source(tuple(f"{model}.{point}" for point in points), factor) for model in _METERS)


_METERED: Final[Mapping[Quantity, tuple[Source, ...]]] = {
    "p_w": _metered("W", factor=-1.0),
    "q_var": _metered("VAR", factor=-1.0),
    "v_ln_v": _metered("PhV"),
    "v_ll_v": _metered("PPV"),
    "f_hz": _metered("Hz"),
}
"""Where each quantity of a meter is, which counts as positive what is drawn from the grid (its import). A device that
is an inverter too is not measured by its meter: that may stand elsewhere."""

_NAMEPLATE: Final[Mapping[Rating, tuple[Source, ...]]] = {
    "p_max_w": (Source(("702.WMax",)), Source(("121.WMax",)), Source(("120.WRtg",))),
    "s_max_va": (Source(("702.VAMax",)), Source(("121.VAMax",)), Source(("120.VARtg",))),
    "q_max_injected_var": (Source(("702.VarMaxInj",)), Source(("121.VArMaxQ1",)), Source(("120.VArRtgQ1",))),
    "q_max_absorbed_var": (
        Source(("702.VarMaxAbs",)),
        Source(("121.VArMaxQ4",), magnitude=True),
        Source(("120.VArRtgQ4",), magnitude=True),
    ),
    "p_max_charge_w": (Source(("702.WChaRteMax",)), Source(("124.WChaMax",)), Source(("120.MaxChaRte",))),
    "p_max_discharge_w": (Source(("702.WDisChaRteMax",)), Source(("120.MaxDisChaRte",))),
    "v_nominal_v": (Source(("702.VNom",)), Source(("121.VRef",))),
    "energy_wh": (Source(("713.WHRtg",)), Source(("120.WHRtg",)), Source(("802.WHRtg",))),
}
"""Settings before ratings."""

_IDENTITY: Final[Mapping[IdentityPart, str]] = {
    "manufacturer": "1.Mn",
    "model": "1.Md",
    "version": "1.Vr",
    "serial": "1.SN",
}


def sunspec_dialect(device: RegisterMap, image: RegisterArray) -> Dialect:
    """Return which points mean what, from what a device implements when it is discovered."""
    found = _Found(device, image)
    is_inverter = any(f"{model}.W" in device for model in ("701", *_OLD_INVERTERS))
    where = _MEASURED if is_inverter else {**_MEASURED, **_METERED}
    measured = {quantity: found.best(sources) for quantity, sources in where.items()}
    nameplate = {rating: found.best(sources) for rating, sources in _NAMEPLATE.items()}
    plate = {rating: source.value(found.held(source.points)) for rating, source in nameplate.items()}
    functions = {meaning: build(found, plate) for meaning, build in _FUNCTIONS.items()}
    return Dialect(
        measured=measured,
        nameplate=nameplate,
        functions={meaning: function for meaning, function in functions.items() if function is not None},
        heartbeat=Heartbeat("715.ControllerHb", rolls_at=0xFFFF_FFFE) if found.has("715.ControllerHb") else None,
        volt_var=_volt_var(device),
        witnesses=tuple(_headers(device, (point for source in measured.values() for point in source.points))),
        identity={part: point for part, point in _IDENTITY.items() if point in device},
    )


class _Found(NamedTuple):
    """What a device holds when it is discovered."""

    device: RegisterMap
    image: RegisterArray

    def has(self, *names: str) -> bool:
        """Return whether a device implements all of these points."""
        return all(name in self.device and self.device.value(name, self.image) is not None for name in names)

    def held(self, names: Iterable[str]) -> dict[str, Value]:
        return {name: self.device.value(name, self.image) for name in names if name in self.device}

    def best(self, sources: tuple[Source, ...]) -> Source:
        """Return the first source that is implemented; else the first that is there: it may come to be."""
        there = [source for source in sources if any(point in self.device for point in source.points)]
        implemented = (source for source in there if any(self.has(point) for point in source.points))
        return next(implemented, there[0] if there else Source())


def _headers(device: RegisterMap, points: Iterable[str]) -> list[str]:
    """Return the points ID and L of the models that hold some points."""
    keys = dict.fromkeys(point.partition(".")[0] for point in points if point in device)
    return [f"{key}.{name}" for key in keys for name in ("ID", "L")]


def _volt_var(device: RegisterMap) -> Literal["705", "126"] | None:
    if "705.Ena" in device:
        return "705"
    return "126" if "126.ModEna" in device else None


Plate = Mapping[Rating, float]


def _limit(found: _Found, _plate: Plate) -> Function | None:
    if found.has("704.WMaxLimPctEna", "704.WMaxLimPct"):
        return _function_704(found, "WMaxLimPct", (Term("704.WMaxLimPct", 100.0),))
    if found.has("123.WMaxLim_Ena", "123.WMaxLimPct"):
        terms = (Term("123.WMaxLimPct", 100.0),)
        return _switched("123.WMaxLim_Ena", terms, timer=_old_timer(found, "123.WMaxLimPct_RvrtTms"))
    return None


def _p_set(found: _Found, plate: Plate) -> Function | None:
    if found.has("704.WSetEna", "704.WSet"):
        return _function_704(found, "WSet", (Term("704.WSet"),), mode=1.0)
    if found.has("704.WSetEna", "704.WSetPct", "702.WMax"):
        return _function_704(found, "WSet", (Term("704.WSetPct", _percent_of(plate["p_max_w"])),), mode=0.0)
    return _storage_window(found, plate)


def _storage_window(found: _Found, plate: Plate) -> Function | None:
    """Return how 124 sets a power: both rates are limits, and together they leave one power.

    InWRte is the most that the storage may draw, OutWRte the most that it may give, each in percent of its rating;
    a negative one demands the opposite. So charging with 40 % is InWRte 40 and OutWRte -40.
    """
    discharge_w, charge_w = _number(found, "120.MaxDisChaRte") or plate["p_max_w"], plate["p_max_charge_w"]
    can = found.has("124.StorCtl_Mod", "124.InWRte", "124.OutWRte")
    if not (can and discharge_w > 0 and charge_w > 0):
        return None
    out, drawn = 100.0 / discharge_w, -100.0 / charge_w
    terms = (Term("124.OutWRte", out), Term("124.InWRte", drawn))
    both = {"124.StorCtl_Mod": 3.0}
    timer = _old_timer(found, "124.InOutWRte_RvrtTms")
    return Function(terms, on=both, off={"124.StorCtl_Mod": 0.0}, reversion=timer)


def _q_set(found: _Found, plate: Plate) -> Function | None:
    most = (_percent_of(plate["q_max_injected_var"]), _percent_of(plate["q_max_absorbed_var"]))
    if found.has("704.VarSetEna", "704.VarSet"):
        return _function_704(found, "VarSet", (Term("704.VarSet"),), mode=4.0)
    if found.has("704.VarSetEna", "704.VarSetPct", "702.VarMaxInj", "702.VarMaxAbs"):
        return _function_704(found, "VarSet", (Term("704.VarSetPct", *most),), mode=1.0)
    timer = _old_timer(found, "123.VArPct_RvrtTms")
    if found.has("123.VArPct_Ena", "123.VArMaxPct"):
        modes = {"123.VArPct_Mod": 2.0} if found.has("123.VArPct_Mod") else {}
        return _switched("123.VArPct_Ena", (Term("123.VArMaxPct", *most),), modes, timer)
    if found.has("123.VArPct_Ena", "123.VArWMaxPct"):
        modes = {"123.VArPct_Mod": 1.0} if found.has("123.VArPct_Mod") else {}
        return _switched("123.VArPct_Ena", (Term("123.VArWMaxPct", _percent_of(plate["p_max_w"])),), modes, timer)
    return None


_FUNCTIONS: Final[Mapping[Meaning, Callable[[_Found, Plate], Function | None]]] = {
    "limit_fraction": _limit,
    "p_w": _p_set,
    "q_var": _q_set,
}


def _function_704(found: _Found, name: str, terms: tuple[Term, ...], mode: float | None = None) -> Function | None:
    """Return a function of model 704, whose points are named alike."""
    enable, back = f"704.{name}Ena", f"704.{name}EnaRvrt"
    pairs = {term.point: f"{term.point}Rvrt" for term in terms} | {enable: back}
    timed = found.has(f"704.{name}RvrtTms", back)
    reverts = {point: reverted for point, reverted in pairs.items() if found.has(reverted)}
    timer = Reversion(f"704.{name}RvrtTms", reverts) if timed else None
    return _switched(enable, terms, {} if mode is None else {f"704.{name}Mod": mode}, timer)


def _switched(
    enable: str,
    terms: tuple[Term, ...],
    modes: Mapping[str, float] | None = None,
    timer: Reversion | None = None,
) -> Function | None:
    """Return a function that a point turns on and off; None if a rating that it is scaled by is not known."""
    if not all(math.isfinite(term.factor(sign)) for term in terms for sign in (1.0, -1.0)):
        return None
    return Function(terms, modes or {}, on={enable: 1.0}, off={enable: 0.0}, reversion=timer)


def _old_timer(found: _Found, time: str) -> Reversion | None:
    """Return the timer of a function of 123 or 124: when it has run out the function is off."""
    return Reversion(time) if found.has(time) else None


def _percent_of(rating: float) -> float:
    """Return how many percent one unit is of a rating; NaN if that is not known."""
    return 100.0 / rating if rating > 0 else math.nan


def _number(found: _Found, name: str) -> float | None:
    value = found.device.value(name, found.image) if name in found.device else None
    return value if isinstance(value, int | float) else None
