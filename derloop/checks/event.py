"""What checks of an answer to an event have in common: when it was, and what held before and after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from derloop.checks.elements import Elements, read_elements
from derloop.checks.window import LONGEST_S, NS, NothingToJudge, Series
from derloop.contract import FloatArray
from derloop.verdict import Recorded


class AfterEvent(Elements):
    """An answer to something that happens at an instant."""

    at_s: float = Field(gt=0, le=LONGEST_S, description="When it happens, in s since the start.", examples=[600.0])
    within_s: float = Field(gt=0, le=LONGEST_S, description="Time that is allowed, s.", examples=[10.0])
    final: float | None = Field(
        None,
        description="Where the signal must end, in its unit; without it, at its last value within the window.",
        examples=[-44.0],
    )

    @model_validator(mode="after")
    def _event_is_in_the_window(self) -> AfterEvent:
        if not self.from_s < self.at_s:
            raise ValueError(f"at_s {self.at_s:g} must be after from_s {self.from_s:g}")
        if self.to_s is not None and round((self.at_s + self.within_s) * NS) > round(self.to_s * NS):
            raise ValueError(f"within_s {self.within_s:g} after at_s {self.at_s:g} ends after to_s {self.to_s:g}")
        return self

    @property
    def needs_ns(self) -> int:
        return max(super().needs_ns, round((self.at_s + self.within_s) * NS))


def has_an_end(settings: AfterEvent) -> bool:
    """Return whether it is known where the signal must end: without that, it is where it happens to be at the last."""
    return settings.final is not None


@dataclass(frozen=True, slots=True)
class Answer:
    """One signal around the event."""

    series: Series
    """From the event on."""
    since_s: FloatArray
    """Time since the event, (k,)."""
    before: FloatArray
    """The last value before the event, (n,)."""
    final: FloatArray
    """Where it ends, or must end, (n,)."""


def answers(recorded: Recorded, settings: AfterEvent) -> list[Answer]:
    """Return each signal around the event. Raises: NothingToJudge."""
    return [_answer(series, settings) for series in read_elements(recorded, settings)]


def _answer(series: Series, settings: AfterEvent) -> Answer:
    at_ns, until_ns = round(settings.at_s * NS), round((settings.at_s + settings.within_s) * NS)
    first = int(np.searchsorted(series.time_ns, at_ns))
    if first == 0:
        raise NothingToJudge(f"{series.name} has no value before at_s {settings.at_s:g}")
    if first == series.time_ns.size or series.end_ns < until_ns:
        raise NothingToJudge(f"{series.name} ends before within_s after at_s, {until_ns / NS:g} s")
    after = replace(series, time_ns=series.time_ns[first:], values=series.values[first:])
    last = after.values[-1]
    final = last if settings.final is None else np.full(last.shape, settings.final)
    return Answer(after, (after.time_ns - at_ns) / NS, series.values[first - 1], final)


def first_true(flags: NDArray[np.bool_], otherwise: int) -> NDArray[np.int64]:
    """Return for each column of `flags` (k, n) the first row that is True."""
    return np.where(flags.any(axis=0), flags.argmax(axis=0), otherwise)
