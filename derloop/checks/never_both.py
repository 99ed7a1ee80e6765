"""Check `never-both`: two things are not so at the same instant and place, as charging and exporting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from derloop.checks.bounds import Measured, at_most
from derloop.checks.elements import held, in_order, read_one
from derloop.checks.stays_within import BoolArray
from derloop.checks.window import LONGEST_S, NS, NothingToJudge, Series, Windowed
from derloop.contract import FloatArray
from derloop.kind import Settings
from derloop.verdict import CheckKind, Recorded, Verdict


class Beyond(Settings):
    """A signal beyond a threshold."""

    signal: str = Field(min_length=1, max_length=200, description="federate.port.", examples=["batteries.p_kw"])
    above: float | None = Field(None, description="It is so above this, in the signal's unit.", examples=[0.01])
    below: float | None = Field(None, description="It is so below this, in the signal's unit.", examples=[-0.01])

    @model_validator(mode="after")
    def _is_one(self) -> Beyond:
        if (self.above is None) == (self.below is None):
            raise ValueError("needs either above or below")
        return self

    def of(self, values: NDArray[np.float64]) -> BoolArray:
        above = np.inf if self.above is None else self.above
        below = -np.inf if self.below is None else self.below
        return np.asarray((values > above) | (values < below))

    def __str__(self) -> str:
        return f"{self.signal} " + (f"above {self.above:g}" if self.above is not None else f"below {self.below:g}")


class NeverBoth(Windowed):
    """Two signals are never both beyond their thresholds."""

    first: Beyond = Field(description="One of them.", examples=[{"signal": "batteries.p_kw", "below": -0.01}])
    second: Beyond = Field(description="The other.", examples=[{"signal": "meters.p_kw", "above": 0.01}])
    settle_s: float = Field(
        0.0, ge=0, le=LONGEST_S, description="What lasts for this or less, in sum over the window, is allowed, s."
    )


def judge(settings: NeverBoth, recorded: Recorded) -> Verdict:
    """Return whether at no place both are so for longer than allowed. Raises: NothingToJudge.

    Elements are paired by their labels; a signal of one element belongs to all of the other's.
    """
    said = [read_one(recorded, part.signal, settings) for part in (settings.first, settings.second)]
    first, second = _paired(*said)
    time_ns, lasts_ns = _instants(first, second)
    both = settings.first.of(held(first, time_ns)) & settings.second.of(held(second, time_ns))
    so_far_s = np.cumsum(both * lasts_ns[:, None], axis=0) / NS
    element = int(so_far_s[-1].argmax())
    when_ns = _when_ns(both[:, element], so_far_s[:, element], time_ns, settings.settle_s)
    named = second if len(said[0].labels) == 1 < len(said[1].labels) else first
    found = Measured(float(so_far_s[-1, element]), "s", named.where(element), when_ns)
    text = f"both {settings.first} and {settings.second} for {found.value:g} s in all"
    text += "" if when_ns is None else f", {found.where}, at {recorded.calendar.at(when_ns)}"
    text += f"; {settings.settle_s:g} s are allowed"
    return at_most(KIND.name, found, settings.settle_s, text)


def _when_ns(both: BoolArray, so_far_s: FloatArray, time_ns: NDArray[np.int64], allowed_s: float) -> int | None:
    """Return the instant from which both are so for too long; else the first one at which they are, if there is any."""
    if not both.any():
        return None
    return int(time_ns[(so_far_s > allowed_s).argmax() if so_far_s[-1] > allowed_s else both.argmax()])


def _paired(first: Series, second: Series) -> tuple[Series, Series]:
    """Return both with the elements of the one that has fewer; with those of the other where it has only one."""
    if len(first.labels) == 1 or (len(second.labels) > 1 and len(second.labels) < len(first.labels)):
        return in_order(first, second), second
    return first, in_order(second, first)


def _instants(first: Series, second: Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the instants at which one of them changes, from where both have a value, and how long each lasts, (k,)."""
    begin_ns, end_ns = max(int(first.time_ns[0]), int(second.time_ns[0])), min(first.end_ns, second.end_ns)
    time_ns = np.union1d(first.time_ns, second.time_ns)
    time_ns = time_ns[(time_ns >= begin_ns) & (time_ns < end_ns)]
    if time_ns.size == 0:
        raise NothingToJudge(f"{first.name} and {second.name} have no instant in common")
    return time_ns, np.diff(time_ns, append=end_ns)


KIND = CheckKind(
    name="never-both",
    summary="Two signals are not both beyond a threshold at the same instant and place: charging and exporting.",
    settings=NeverBoth,
    judge=judge,
    signals=lambda s: ((("first", "signal"), s.first.signal), (("second", "signal"), s.second.signal)),
)
