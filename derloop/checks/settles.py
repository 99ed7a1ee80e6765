"""Check `settles`: after an event, a signal comes into a band about its final value within a time, and stays there."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from derloop.checks.bounds import Measured, amount, at_most, just_beyond
from derloop.checks.event import AfterEvent, Answer, answers, has_an_end
from derloop.checks.window import NS
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
    found, is_settled = max((_last(answer, settings) for answer in around), key=lambda last: last[0].value)
    unit, when = around[0].series.unit, recorded.calendar.at(settings.at_s * 1e9)
    about = "its final value" if settings.final is None else amount(settings.final, unit)
    band = f"within {amount(settings.band, unit)} of {about}"
    said = f"stays {band} from {found.value:g} s after the event at {when} on"
    if not is_settled:
        said = f"is not {band} at {recorded.calendar.at(found.when_ns)}, {found.value:g} s after the event at {when}"
    return at_most(KIND.name, found, settings.within_s, f"{found.where} {said}; {settings.within_s:g} s are allowed")


def _last(answer: Answer, settings: Settles) -> tuple[Measured, bool]:
    """Return when the last element is settled, where the last value that is outside holds no longer, and whether it is.

    Right after the event that may be the value from before it. One that is outside to the end has taken too long, also
    where the window ends with the time that is allowed.
    """
    series, at_ns = answer.series, round(settings.at_s * NS)
    values, edges_ns = series.values, np.append(series.time_ns, series.end_ns)
    if edges_ns[0] > at_ns:
        values, edges_ns = np.vstack([answer.before, values]), np.append(at_ns, edges_ns)
    outside = np.abs(values - answer.final) > settings.band
    rows = np.where(outside.any(axis=0), len(outside) - outside[::-1].argmax(axis=0), 0)
    element = int(rows.argmax())
    when_ns = int(edges_ns[rows[element]])
    took_s, is_settled = (when_ns - at_ns) / NS, bool(rows[element] < len(outside))
    took_s = took_s if is_settled else max(took_s, just_beyond(settings.within_s))
    return Measured(took_s, "s", series.where(element), when_ns), is_settled


KIND = CheckKind(
    name="settles",
    summary="After an event, a signal comes into a band about its final value within a time, and stays there.",
    settings=Settles,
    judge=judge,
    signals=lambda settings: ((("signal",), settings.signal),),
    fails_for_good=has_an_end,
)
