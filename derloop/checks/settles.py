"""Check `settles`: after an event, a signal comes into a band about its final value within a time, and stays there."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from derloop.checks.bounds import Measured, amount, at_most
from derloop.checks.event import AfterEvent, Answer, answers
from derloop.verdict import CheckKind, Recorded, Verdict


class Settles(AfterEvent):
    """A signal settles after an event."""

    band: float = Field(
        gt=0, le=1e12, description="How far from its final value it may be once settled, in its unit.", examples=[0.005]
    )


def judge(settings: Settles, recorded: Recorded) -> Verdict:
    """Return whether the last element to settle does so in time. Raises: NothingToJudge.

    Measured is from the event to the first instant from which on an element stays in its band to the window's end.
    """
    around = answers(recorded, settings)
    found = max((_last(answer, settings) for answer in around), key=lambda last: last.value)
    unit, when = around[0].series.unit, recorded.calendar.at(settings.at_s * 1e9)
    about = "its final value" if settings.final is None else amount(settings.final, unit)
    text = (
        f"{found.where} stays within {amount(settings.band, unit)} of {about} from {found.value:g} s after the event "
        f"at {when} on; {settings.within_s:g} s are allowed"
    )
    return at_most(KIND.name, found, settings.within_s, text)


def _last(answer: Answer, settings: Settles) -> Measured:
    """Return when the last element is settled: a step after it was outside for the last time."""
    outside = np.abs(answer.series.values - answer.final) > settings.band
    rows = outside.shape[0] - outside[::-1].argmax(axis=0)
    rows = np.where(outside.any(axis=0), rows, 0)
    element = int(rows.argmax())
    row, step_ns = int(rows[element]), answer.series.step_ns
    when_ns = int(answer.series.time_ns[row]) if row < outside.shape[0] else int(answer.series.time_ns[-1]) + step_ns
    settled_s = (when_ns - int(answer.series.time_ns[0])) / 1e9 + float(answer.since_s[0])
    return Measured(settled_s if row else 0.0, "s", answer.series.where(element), when_ns)


KIND = CheckKind(
    name="settles",
    summary="After an event, a signal comes into a band about its final value within a time, and stays there.",
    settings=Settles,
    judge=judge,
    signals=lambda settings: ((("signal",), settings.signal),),
)
