"""Check `does-not-hunt`: a signal does not swing to and fro.

A reversal is a turn by more than `amplitude`: from a rise to a fall, or back, where the signal has come back by that
much from its last extreme. Smaller swings are no turns, and a signal that rises once and falls once, like a day, has
reversed once. Counted are the reversals within each stretch of `window_s`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from derloop.checks.bounds import Measured, amount, at_most
from derloop.checks.elements import Elements, read_elements
from derloop.checks.window import NS, NothingToJudge, Series
from derloop.contract import FloatArray
from derloop.verdict import CheckKind, Recorded, Verdict


class DoesNotHunt(Elements):
    """A signal does not swing to and fro."""

    amplitude: float = Field(
        gt=0, le=1e12, description="Swings up to this are no reversals, in the signal's unit.", examples=[0.005]
    )
    most: int = Field(2, ge=0, le=1_000_000, description="Reversals that are allowed within any `window_s`.")
    window_s: float = Field(3600.0, gt=0, le=31 * 86400, description="Stretch in which reversals are counted, s.")


def judge(settings: DoesNotHunt, recorded: Recorded) -> Verdict:
    """Return whether no element reverses more often than allowed. Raises: NothingToJudge."""
    series = read_elements(recorded, settings)
    found = max((_worst(each, settings) for each in series), key=lambda m: m.value)
    count = f"{found.value:g} reversal{'' if found.value == 1 else 's'}"
    over = f"within {settings.window_s:g} s, by more than {amount(settings.amplitude, series[0].unit)}"
    place = f", {found.where}, until {recorded.calendar.at(found.when_ns)}" if found.value else ", anywhere"
    text = f"{count} {over}{place}; {settings.most} allowed"
    return at_most(KIND.name, found, settings.most, text)


def _worst(series: Series, settings: DoesNotHunt) -> Measured:
    steps = max(1, round(settings.window_s * NS) // series.step_ns)
    if series.time_ns.size < 3:
        raise NothingToJudge(f"{series.name} has too few values to reverse")
    if steps <= settings.most:
        few = f"no more than {steps} reversals of {series.name} fit in {settings.window_s:g} s"
        raise NothingToJudge(f"window_s: {few}, at its step of {series.step_ns / NS:g} s; {settings.most} are allowed")
    until = np.cumsum(reversals(series.values, settings.amplitude), axis=0)
    before = np.zeros_like(until)
    before[steps:] = until[:-steps]
    row, element = np.unravel_index(int((until - before).argmax()), until.shape)
    count = float((until - before)[row, element])
    return Measured(count, "1", series.where(int(element)), int(series.time_ns[row]))


def reversals(values: FloatArray, amplitude: float) -> NDArray[np.int64]:
    """Return 1 where an element of `values` (k, n) is found to have turned, else 0.

    The loop is over instants, as a turn depends on the last one; all elements go together.
    """
    turned = np.zeros(values.shape, np.int64)
    high, low = values[0].copy(), values[0].copy()
    direction = np.zeros(values.shape[1], np.int64)
    for row, value in enumerate(values):
        np.maximum(high, value, out=high)
        np.minimum(low, value, out=low)
        falls = (direction >= 0) & (value < high - amplitude)
        rises = (direction <= 0) & (value > low + amplitude) & ~falls
        turned[row] = (falls | rises) & (direction != 0)
        direction[falls], direction[rises] = -1, 1
        low[falls], high[rises] = value[falls], value[rises]
    return turned


KIND = CheckKind(
    name="does-not-hunt",
    summary="A signal does not swing to and fro: reversals above an amplitude are counted within a window.",
    settings=DoesNotHunt,
    judge=judge,
    signals=lambda settings: ((("signal",), settings.signal),),
)
