"""Check `ramp-rate`: a signal changes no faster than allowed.

The rate at `t` is the change over the last `over_s`, for each minute:

    r(t) = (x(t) - x(t - over_s)) / over_s * 60 s
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field, model_validator

from derloop.checks.elements import Elements, read_elements
from derloop.checks.stays_within import Band, Sustained, judge_band, of_all
from derloop.checks.window import NS, NothingToJudge, Series
from derloop.verdict import CheckKind, Recorded, SignalInfo, Verdict

ROUNDINGS = 16 * float(np.finfo(float).eps)
"""Of a value, as a part of it: a few operations, each rounded."""


class RampRate(Elements, Sustained):
    """A signal changes no faster than allowed."""

    up_per_min: float | None = Field(
        None, ge=0, le=1e12, description="Largest rise, in the signal's unit for each minute.", examples=[50.0]
    )
    down_per_min: float | None = Field(
        None, ge=0, le=1e12, description="Largest fall, as a positive, in the signal's unit for each minute."
    )
    over_s: float | None = Field(
        None,
        gt=0,
        le=86400,
        description="The change is taken over this, a multiple of the signal's step, s; without it, over one step.",
        examples=[60.0],
    )

    @model_validator(mode="after")
    def _has_a_limit(self) -> RampRate:
        if self.up_per_min is None and self.down_per_min is None:
            raise ValueError("up_per_min, down_per_min or both are needed")
        return self

    @property
    def band(self) -> tuple[float, float]:
        down = np.inf if self.down_per_min is None else self.down_per_min
        return -down, np.inf if self.up_per_min is None else self.up_per_min


def judge(settings: RampRate, recorded: Recorded) -> Verdict:
    """Return whether no element changes faster than allowed. Raises: NothingToJudge."""
    rates = [_rates(series, settings) for series in read_elements(recorded, settings)]
    return judge_band(KIND.name, rates, Band(*settings.band, rates[0].unit), settings, "scenario")


def _no_multiple(signal: SignalInfo | Series, over_s: float | None) -> str:
    """Return that the change is not taken over a whole number of steps; nothing if it is."""
    over_ns = signal.step_ns if over_s is None else round(over_s * NS)
    if over_ns and over_ns % signal.step_ns == 0:
        return ""
    return f"over_s: {over_ns / NS:g} s is no multiple of the step of {signal.name}, {signal.step_ns / NS:g} s"


def _rates(series: Series, settings: RampRate) -> Series:
    """Return the rates of change, for each minute, from the first instant on that has one.

    One that only rounding of the two values keeps from a limit is that limit.
    """
    over_ns = series.step_ns if settings.over_s is None else round(settings.over_s * NS)
    if what := _no_multiple(series, settings.over_s):
        raise NothingToJudge(what)
    steps = over_ns // series.step_ns
    if series.time_ns.size <= steps:
        raise NothingToJudge(f"{series.name} covers no more than over_s, {over_ns / NS:g} s")
    now, before, per_minute = series.values[steps:], series.values[:-steps], 60 * NS / over_ns
    rates = (now - before) * per_minute
    rounding = ROUNDINGS * np.maximum(np.abs(now), np.abs(before)) * per_minute
    for limit in settings.band:
        rates = np.where(np.abs(rates - limit) <= rounding, limit, rates)
    return replace(series, unit=f"{series.unit}/min", time_ns=series.time_ns[steps:], values=rates)


KIND = CheckKind(
    name="ramp-rate",
    summary="A signal, element by element or in sum, rises and falls no faster than allowed.",
    settings=RampRate,
    judge=judge,
    misfit=lambda settings, signal: _no_multiple(signal, settings.over_s),
    signals=lambda settings: ((("signal",), settings.signal),),
    fails_for_good=of_all,
)
