"""Check `pjm-score`: how well a regulation signal is followed, by PJM's three scores.

As PJM Manual 12, Balancing Operations, has them for the performance score, on samples every 10 s:

- correlation and delay: at each sample `t` the signal of the next 5 minutes is correlated with the response, shifted by
  `d = 0, 10 s ... 5 min`; the shift with the largest sum of both scores counts:

      correlation(d) = r(signal[t .. t + 5 min], response[t + d .. t + d + 5 min])
      delay(d) = |d - 5 min| / 5 min

  10 s of propagation are allowed: a shift up to `latency_s` costs nothing. Where the signal does not move,
  `correlation = 1 - |slope of the signal - slope of the response|`, of lines fitted to both, in pu of the mean signal
  for each 5 minutes. Each score is between 0 and 1 and averaged over the samples.

- precision: `1 - mean(|response - signal|) / mean(|signal|)`, at least 0, with the signal of `latency_s` before; both
  means are of the hour.

The performance score is the mean of the three. It is given for each hour of the window of which at least 20 minutes
were recorded, and the worst one is judged. PJM asks for 0.75 to qualify. (The manual itself was not at hand. What it
says of correlation and delay together, of 10 s for propagation and of slopes is as it is quoted in the code of the
University of Michigan's testbed for compressor loads, 2023, `pjmScoringPassFailv5`; below which deviation of the signal
slopes count the manual leaves open there.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from derloop.checks.bounds import Measured, at_least
from derloop.checks.elements import held, read_one, total
from derloop.checks.window import NS, NothingToJudge, Series, Windowed, read
from derloop.contract import FloatArray
from derloop.verdict import CheckKind, Recorded, Verdict, never

SAMPLE_NS, HOUR_NS = 10 * NS, 3600 * NS
SPAN = 30
"""Samples in 5 minutes."""
LEAST = 4 * SPAN
"""Samples that an hour must have to be scored: 20 minutes."""
SOURCE = "PJM Manual 12, performance score"


class PjmScore(Windowed):
    """A regulation signal is followed, by PJM's scores."""

    signal: str = Field(
        min_length=1,
        max_length=200,
        description="Glob of federate.port: the response. All elements are added.",
        examples=["batteries.p_kw"],
    )
    reference: str = Field(
        min_length=1, max_length=200, description="federate.port: the regulation signal, in the same unit."
    )
    baseline: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="federate.port that is subtracted from the response: what would be given without regulation.",
    )
    least: float = Field(0.75, ge=0, le=1, description="Least performance score of any hour.")
    latency_s: float = Field(10.0, ge=0, le=60, description="Delay that costs nothing, s.")


@dataclass(frozen=True, slots=True)
class Scores:
    """Each from 0 to 1."""

    correlation: float
    delay: float
    precision: float

    @property
    def performance(self) -> float:
        return (self.correlation + self.delay + self.precision) / 3


def scores(signal: FloatArray, response: FloatArray, latency: int = 1) -> Scores:
    """Return the scores of a response to a signal, both (m,), a sample every 10 s, m > 60.

    latency: samples of delay that cost nothing. Raises NothingToJudge for a signal that is always 0.
    """
    level = float(np.abs(signal).mean())
    if level == 0:
        raise NothingToJudge("the regulation signal is always 0")
    windows = np.lib.stride_tricks.sliding_window_view
    asked, given = windows(signal / level, SPAN + 1), windows(response / level, SPAN + 1)
    count = signal.size - 2 * SPAN
    correlation = np.stack([_correlation(asked[:count], given[d : d + count]) for d in range(SPAN + 1)])
    delay = np.clip((SPAN - np.maximum(np.arange(SPAN + 1) - latency, 0)) / SPAN, 0.0, 1.0)
    best = (np.clip(correlation, 0.0, 1.0) + delay[:, None]).argmax(axis=0)
    found = np.clip(correlation[best, np.arange(count)], 0.0, 1.0)
    error = np.abs(response[latency:] - signal[: signal.size - latency]).mean() / level
    return Scores(float(found.mean()), float(delay[best].mean()), max(0.0, 1.0 - float(error)))


def _correlation(asked: FloatArray, given: FloatArray) -> FloatArray:
    """Return Pearson's r of each row, (m,); where what is asked is constant, the likeness of the slopes."""
    a, g = asked - asked.mean(axis=1, keepdims=True), given - given.mean(axis=1, keepdims=True)
    spread = np.sqrt((a**2).sum(axis=1) * (g**2).sum(axis=1))
    tiny = 1e-12 * SPAN
    r = np.divide((a * g).sum(axis=1), spread, out=np.zeros(spread.shape), where=spread > tiny)
    time = np.arange(SPAN + 1) / SPAN - 0.5
    slopes = ((a - g) * time).sum(axis=1) / (time**2).sum()
    still = (a**2).sum(axis=1) <= tiny
    likeness: FloatArray = np.where(still, 1.0 - np.abs(slopes), r)
    return likeness


def judge(settings: PjmScore, recorded: Recorded) -> Verdict:
    """Return whether the worst hour has the score that is asked for. Raises: NothingToJudge."""
    reference = read_one(recorded, settings.reference, settings)
    response = total(read(recorded, settings.signal, settings), settings.signal)
    series = [reference, response]
    if settings.baseline is not None:
        series.append(read_one(recorded, settings.baseline, settings))
    if len({part.unit for part in series}) > 1 or any(part.step_ns > SPAN * SAMPLE_NS for part in series):
        raise NothingToJudge("response and regulation signal need one unit, and steps of 5 minutes at most")
    hours = [(when, _scored(settings, series, samples)) for when, samples in _hours(series)]
    if not hours:
        raise NothingToJudge(f"{settings.signal}: no hour of which 20 minutes were recorded")
    when_ns, worst = min(hours, key=lambda hour: hour[1].performance)
    parts = f"correlation {worst.correlation:.4f}, delay {worst.delay:.4f}, precision {worst.precision:.4f}"
    hour = f"{settings.signal} scores {worst.performance:.4f} in the hour from {recorded.calendar.at(when_ns)}"
    text = f"{hour} ({parts}); at least {settings.least:g} is asked for"
    return at_least(KIND.name, Measured(worst.performance, "1", settings.signal, when_ns), settings.least, text, SOURCE)


def _hours(parts: list[Series]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield the begin of each hour, and its samples (m,), where all have values."""
    first = max(int(part.time_ns[0]) for part in parts)
    end = min(part.end_ns for part in parts)
    samples = np.arange(-(-first // SAMPLE_NS) * SAMPLE_NS, end, SAMPLE_NS)
    for hour in np.unique(samples // HOUR_NS):
        within = samples[samples // HOUR_NS == hour]
        if within.size >= LEAST:
            yield int(within[0]), within


def _scored(settings: PjmScore, parts: list[Series], samples: NDArray[np.int64]) -> Scores:
    asked, given = (held(part, samples).sum(axis=1) for part in parts[:2])
    if settings.baseline is not None:
        given = given - held(parts[2], samples).sum(axis=1)
    return scores(asked, given, round(settings.latency_s * NS) // SAMPLE_NS)


def _signals(settings: PjmScore) -> tuple[tuple[tuple[str, ...], str], ...]:
    named = {"signal": settings.signal, "reference": settings.reference, "baseline": settings.baseline}
    return tuple(((name,), pattern) for name, pattern in named.items() if pattern is not None)


KIND = CheckKind(
    name="pjm-score",
    summary="A regulation signal is followed with PJM's scores for correlation, delay and precision.",
    settings=PjmScore,
    judge=judge,
    signals=_signals,
    fails_for_good=never,
)
