"""Check `tracking`: a signal follows a reference, element by element, with a delay that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from derloop.checks.bounds import ROUNDING
from derloop.checks.elements import held, read_one
from derloop.checks.window import NS, NothingToJudge, Series, Windowed, percent
from derloop.contract import FloatArray
from derloop.verdict import CheckKind, Recorded, Verdict

MAX_SHIFTS = 10_000

MEASURES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "rmse": lambda error: np.sqrt(np.mean(error**2, axis=0)),
    "largest": lambda error: np.abs(error).max(axis=0),
}
"""From errors (k, n) to one number for each element, (n,)."""


class Tracking(Windowed):
    """A signal follows a reference."""

    signal: str = Field(min_length=1, max_length=200, description="federate.port.", examples=["battery.p_kw"])
    reference: str = Field(
        min_length=1, max_length=200, description="federate.port that it follows.", examples=["vpp.battery.p_set_kw"]
    )
    measure: Literal["rmse", "largest"] = Field(
        "rmse", description="rmse: root mean square of the error over time. largest: its largest magnitude."
    )
    tolerance_pu: float = Field(
        0.05, gt=0, le=10, description="Largest error of any element, relative to `rated`.", examples=[0.02]
    )
    rated: float | None = Field(
        None,
        gt=0,
        le=1e12,
        description="What errors are relative to, in the signal's unit; without it, the span of the reference "
        "(largest less smallest value, over all elements).",
        examples=[5.0],
    )
    delay_s: float = Field(
        0.0, ge=0, le=86400, description="The signal may lag behind its reference by up to this, s.", examples=[60.0]
    )


@dataclass(frozen=True, slots=True)
class _Errors:
    """Of each element at the delay that suits it best: its measure and its worst instant, both shape (n,)."""

    measured: FloatArray
    when_ns: NDArray[np.int64]


def judge(settings: Tracking, recorded: Recorded) -> Verdict:
    """Return whether the worst element follows its reference within the tolerance. Raises: NothingToJudge."""
    signal = read_one(recorded, settings.signal, settings)
    reference = _aligned(read_one(recorded, settings.reference, settings), signal)
    rated = settings.rated or _span(reference)
    errors = _errors(signal, reference, settings)
    worst = int(np.argmax(errors.measured))
    measured, when_ns = float(errors.measured[worst]) / rated, int(errors.when_ns[worst])
    passed = measured <= settings.tolerance_pu * (1 + ROUNDING)
    relation = "within" if passed else "beyond"
    name = "an RMS error" if settings.measure == "rmse" else "a largest error"
    return Verdict(
        check=KIND.name,
        kind=KIND.name,
        outcome="PASS" if passed else "FAIL",
        text=f"{signal.where(worst)} follows {reference.name} with {name} of {percent(measured)} of {rated:g} "
        f"{signal.unit}, {relation} {percent(settings.tolerance_pu)}; farthest off at {signal.calendar.at(when_ns)}",
        measured=measured,
        limit=settings.tolerance_pu,
        margin=settings.tolerance_pu - measured,
        unit="pu",
        where=signal.where(worst),
        when_ns=when_ns,
        source="scenario",
    )


def _aligned(reference: Series, signal: Series) -> Series:
    """Return `reference` with its elements in the order of the signal's."""
    if reference.unit != signal.unit:
        raise NothingToJudge(f"{signal.name} is in {signal.unit!r} and {reference.name} in {reference.unit!r}")
    if len(reference.labels) == len(signal.labels) == 1:
        return reference
    at = {label: i for i, label in enumerate(reference.labels)}
    if set(at) != set(signal.labels):
        raise NothingToJudge(f"{signal.name} and {reference.name} have different elements")
    order = [at[label] for label in signal.labels]
    return replace(reference, labels=signal.labels, values=reference.values[:, order])


def _span(reference: Series) -> float:
    span = float(reference.values.max() - reference.values.min())
    if span <= 0:
        raise NothingToJudge(f"{reference.name} never changes, so its span is no measure; give 'rated'")
    return span


def _errors(signal: Series, reference: Series, settings: Tracking) -> _Errors:
    """Return the errors at the delay, out of 0, 1, 2 ... steps of the signal, that suits each element best."""
    rows = _comparable(signal, reference, round(settings.delay_s * NS))
    measure = MEASURES[settings.measure]
    best = _Errors(np.full(len(signal.labels), np.inf), np.zeros(len(signal.labels), np.int64))
    for delay_ns in _delays(signal, settings):
        error = signal.values[rows] - held(reference, signal.time_ns[rows] - delay_ns)
        found = _Errors(measure(error), signal.time_ns[rows][np.abs(error).argmax(axis=0)])
        better = found.measured < best.measured
        best = _Errors(np.where(better, found.measured, best.measured), np.where(better, found.when_ns, best.when_ns))
    return best


def _comparable(signal: Series, reference: Series, delay_ns: int) -> slice:
    """Return the rows of the signal for which there is a reference at every delay."""
    first = int(np.searchsorted(signal.time_ns, reference.time_ns[0] + delay_ns))
    if first == signal.time_ns.size:
        raise NothingToJudge(f"{signal.name} covers less than the delay of {delay_ns / NS:g} s that is allowed")
    return slice(first, None)


def _delays(signal: Series, settings: Tracking) -> range:
    shifts = round(settings.delay_s * NS) // signal.step_ns
    if shifts > MAX_SHIFTS:
        raise NothingToJudge(f"delay_s {settings.delay_s:g} is more than {MAX_SHIFTS} steps of {signal.name}")
    return range(0, shifts * signal.step_ns + 1, signal.step_ns)


KIND = CheckKind(
    name="tracking",
    summary="A signal follows a reference, element by element, within a tolerance; a delay can be allowed.",
    settings=Tracking,
    judge=judge,
    signals=lambda settings: ((("signal",), settings.signal), (("reference",), settings.reference)),
    fails_for_good=lambda settings: settings.measure == "largest" and settings.rated is not None,
)
