"""Check `responds-within`: after a step, a signal has gone 90 % of its way within the open-loop response time.

By IEEE 1547.1-2020, with `Y0` before the step and `Yss` in the steady state after it,

    Y(Tr) = Y0 + 0.9 (Yss - Y0)

must be reached at `Tr` (+ 1.5 MRA_t), with Y within 1.5 MRA_y of it. Measured is the time after which an element is
there for the first time. Without `final`, `Yss` is the last value in the window; an element that did not move then
proves nothing.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from derloop.checks.bounds import Measured, at_most, just_beyond
from derloop.checks.event import AfterEvent, Answer, answers, first_true, has_an_end
from derloop.checks.window import NS, NothingToJudge, percent
from derloop.verdict import CheckKind, Recorded, Verdict

SOURCE = "scenario; open-loop response by IEEE 1547.1-2020"


class RespondsWithin(AfterEvent):
    """A signal answers a step within its open-loop response time."""

    share: float = Field(0.9, gt=0, le=1, description="Share of the way that is gone by then.")
    mra_y: float = Field(0.0, ge=0, description="Accuracy of the signal, in its unit; 1.5 times it may be missing.")
    mra_t_pu: float = Field(
        0.01, ge=0, le=1, description="Accuracy of time, relative to within_s: 1 % by IEEE 1547-2018, table 3."
    )

    @property
    def limit_s(self) -> float:
        return self.within_s * (1 + 1.5 * self.mra_t_pu)


def judge(settings: RespondsWithin, recorded: Recorded) -> Verdict:
    """Return whether the slowest element is fast enough. Raises: NothingToJudge."""
    slowest = [_slowest(answer, settings) for answer in answers(recorded, settings)]
    moved = [found for found in slowest if found is not None]
    if not moved:
        raise NothingToJudge(f"{settings.signal} does not move after at_s {settings.at_s:g}; give 'final' if it should")
    found, is_there = max(moved, key=lambda pair: (not pair[1], pair[0].value))
    way = f"{percent(settings.share)} of the way"
    said = f"has gone {way} {found.value:g} s" if is_there else f"has not gone {way} {found.value:g} s"
    when = recorded.calendar.at(settings.at_s * NS)
    text = f"{found.where} {said} after the event at {when}; {settings.limit_s:g} s are allowed"
    if not is_there:
        found = Measured(max(found.value, just_beyond(settings.limit_s)), "s", found.where, found.when_ns)
    return at_most(KIND.name, found, settings.limit_s, text, SOURCE)


def _slowest(answer: Answer, settings: RespondsWithin) -> tuple[Measured, bool] | None:
    """Return the time that the slowest element took, and whether it is there at all; None where nothing moves."""
    way = answer.final - answer.before
    moves = np.abs(way) > 1.5 * settings.mra_y
    if not moves.any():
        return None
    gone = (answer.series.values - answer.before) * np.sign(way)
    there = gone >= settings.share * np.abs(way) - 1.5 * settings.mra_y - 1e-12 * np.abs(way)
    last = len(answer.since_s) - 1
    reached = first_true(there, last)
    took_s = np.where(moves, answer.since_s[reached], -np.inf)
    late = np.where(moves & ~there.any(axis=0), np.inf, took_s)
    element = int(late.argmax())
    when_ns = int(settings.at_s * NS + took_s[element] * NS)
    return Measured(float(took_s[element]), "s", answer.series.where(element), when_ns), bool(there[:, element].any())


KIND = CheckKind(
    name="responds-within",
    summary="After a step, a signal has gone 90 % of its way within the open-loop response time (IEEE 1547.1).",
    settings=RespondsWithin,
    judge=judge,
    signals=lambda settings: ((("signal",), settings.signal),),
    fails_for_good=has_an_end,
)
