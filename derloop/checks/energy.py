"""Check `energy`: the integral of a power over time stays within bounds.

A power holds from its instant until the next, so with the time `h(t)` for which it does so within the window

    E = sum h(t) P(t)        net; of max(P, 0) or of max(-P, 0) where one direction is asked for
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from derloop.checks.bounds import Measured, allowed, between, limits_problem
from derloop.checks.elements import Elements, read_elements
from derloop.checks.window import Series, in_unit, require_unit
from derloop.contract import FloatArray
from derloop.verdict import CheckKind, Recorded, Verdict, never

HOUR_NS = 3.6e12


class Energy(Elements):
    """The energy of a power stays within bounds."""

    direction: Literal["net", "positive", "negative"] = Field(
        "net", description="net: the integral. positive, negative: of the power in that direction alone, as a positive."
    )
    min_kwh: float | None = Field(None, ge=-1e12, le=1e12, description="Least energy, kWh.", examples=[10.0])
    max_kwh: float | None = Field(None, ge=-1e12, le=1e12, description="Most energy, kWh.", examples=[250.0])

    @model_validator(mode="after")
    def _limits_make_a_band(self) -> Energy:
        if problem := limits_problem(self.min_kwh, self.max_kwh, ("min_kwh", "max_kwh")):
            raise ValueError(problem)
        return self


def judge(settings: Energy, recorded: Recorded) -> Verdict:
    """Return whether the energy of the worst element is within its bounds. Raises: NothingToJudge."""
    found = read_elements(recorded, settings)
    require_unit(found, "kW")
    verdicts = [_judged(settings, series, element) for series in found for element in range(len(series.labels))]
    return min(verdicts, key=lambda verdict: verdict.margin or 0.0)


def _judged(settings: Energy, series: Series, element: int) -> Verdict:
    until_kwh = _energy_kwh(series.values[:, element], settings.direction, series.lasts_ns)
    measured = Measured(float(until_kwh[-1]), "kWh", series.where(element), _when_ns(settings, series, until_kwh))
    limits = allowed(settings.min_kwh, settings.max_kwh, "kWh")
    passed = measured.when_ns != int(series.time_ns[-1])
    until = f", beyond that from {series.calendar.at(measured.when_ns)} on" if passed else ""
    text = f"{measured.value:.6g} kWh {settings.direction}, {measured.where}; {limits}{until}"
    return between(KIND.name, measured, settings.min_kwh, settings.max_kwh, text)


def _energy_kwh(power_kw: FloatArray, direction: str, lasts_ns: NDArray[np.int64]) -> FloatArray:
    """Return the energy (k,) from the window's begin until each power holds no longer."""
    signed = -power_kw if direction == "negative" else power_kw
    counted = signed if direction == "net" else np.maximum(signed, 0.0)
    return np.cumsum(counted * lasts_ns.astype(np.float64)) / HOUR_NS


def _when_ns(settings: Energy, series: Series, until_kwh: FloatArray) -> int:
    """Return when the energy passed its upper bound for the first time; without that, the last instant."""
    over = until_kwh > (np.inf if settings.max_kwh is None else settings.max_kwh)
    return int(series.time_ns[over.argmax() if over[-1] else -1])


KIND = CheckKind(
    name="energy",
    summary="The integral of a power over time, net or in one direction, stays within bounds.",
    settings=Energy,
    judge=judge,
    misfit=in_unit("kW"),
    signals=lambda settings: ((("signal",), settings.signal),),
    fails_for_good=never,
)
