"""Check `ends-within`: the last value of an account, a state of charge or a count lies within bounds."""

from __future__ import annotations

from pydantic import Field, model_validator

from derloop.checks.bounds import Measured, allowed, amount, between, limits_problem
from derloop.checks.elements import Elements, read_elements
from derloop.checks.window import Series
from derloop.verdict import CheckKind, Recorded, Verdict, never


class EndsWithin(Elements):
    """The last value of a signal lies within bounds."""

    min: float | None = Field(None, description="Least value, in the signal's unit.", examples=[0.2])
    max: float | None = Field(None, description="Largest value, in the signal's unit.", examples=[12.5])
    change: bool = Field(
        False, description="Judge by how much it is more than the first value of the window: what was added to it."
    )

    @model_validator(mode="after")
    def _limits_make_a_band(self) -> EndsWithin:
        if problem := limits_problem(self.min, self.max, ("min", "max")):
            raise ValueError(problem)
        return self


def judge(settings: EndsWithin, recorded: Recorded) -> Verdict:
    """Return whether the last value of the worst element is within its bounds. Raises: NothingToJudge."""
    found = read_elements(recorded, settings)
    verdicts = [_judged(settings, series, element) for series in found for element in range(len(series.labels))]
    return min(verdicts, key=lambda verdict: verdict.margin or 0.0)


def _judged(settings: EndsWithin, series: Series, element: int) -> Verdict:
    value = float(series.values[-1, element]) - (float(series.values[0, element]) if settings.change else 0.0)
    measured = Measured(value, series.unit, series.where(element), int(series.time_ns[-1]))
    shown = amount(value, series.unit)
    what = f"changes by {shown}" if settings.change else f"ends at {shown}"
    limits = allowed(settings.min, settings.max, series.unit)
    text = f"{measured.where} {what}, {series.calendar.at(measured.when_ns)}; {limits}"
    return between(KIND.name, measured, settings.min, settings.max, text)


KIND = CheckKind(
    name="ends-within",
    summary="The last value of a signal, or what was added to it, lies within bounds: money, energy stored, a count.",
    settings=EndsWithin,
    judge=judge,
    signals=lambda settings: ((("signal",), settings.signal),),
    fails_for_good=never,
)
