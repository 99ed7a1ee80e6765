"""What a check reads of a run: signals by pattern, within a window of time, and why there may be nothing to judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from derloop.calendar import UNDATED, Calendar
from derloop.contract import FloatArray
from derloop.errors import DerloopError
from derloop.kind import Settings
from derloop.verdict import Recorded, SignalInfo

NS = 1_000_000_000
LONGEST_S = 100 * 366 * 86400.0


class NothingToJudge(DerloopError):
    """What was recorded does not suffice for a verdict."""


class Windowed(Settings):
    """What checks have in common: the part of the run that they judge."""

    from_s: float = Field(0.0, ge=0, le=LONGEST_S, description="Judged from here, in s since the scenario's start.")
    to_s: float | None = Field(
        None, gt=0, le=LONGEST_S, description="Judged until here, in s since the start; without it, to the run's end."
    )

    @model_validator(mode="after")
    def _window_is_not_empty(self) -> Windowed:
        if self.to_s is not None and self.to_s <= self.from_s:
            raise ValueError(f"to_s {self.to_s:g} must be greater than from_s {self.from_s:g}")
        return self

    @property
    def needs_ns(self) -> int:
        """How long a run must be at least for this to be judged, ns."""
        return round(self.from_s * NS) + 1 if self.to_s is None else round(self.to_s * NS)


@dataclass(frozen=True, slots=True)
class Series:
    """One signal within the window. A value holds from its instant until the next, the last one until `end_ns`.

    The first one may be older than the window: it is there from the window's begin on.
    """

    name: str
    unit: str
    labels: tuple[str, ...]
    step_ns: int
    time_ns: NDArray[np.int64]
    """Shape (k,), k > 0."""
    values: FloatArray
    """Shape (k, n), all finite."""
    end_ns: int
    """Where the window ends, or what was recorded."""
    calendar: Calendar = UNDATED
    """How its instants are said."""
    is_sum: bool = False
    """Its one element is the sum of several."""

    @property
    def lasts_ns(self) -> NDArray[np.int64]:
        """How long each value holds, (k,)."""
        return np.diff(self.time_ns, append=self.end_ns)

    def where(self, element: int) -> str:
        return f"{self.name} in sum" if self.is_sum else f"{self.name} at {self.labels[element]!r}"

    def only(self, kept: NDArray[np.bool_]) -> Series:
        """Return this series with the elements that are True in `kept`, shape (n,)."""
        labels = tuple(label for label, keep in zip(self.labels, kept, strict=True) if keep)
        return replace(self, labels=labels, values=self.values[:, kept])


def read(recorded: Recorded, pattern: str, window: Windowed) -> list[Series]:
    """Return every signal that fits `pattern`, within `window`.

    Raises: NothingToJudge, with the reason.
    """
    return read_signals(recorded, recorded.select(pattern), pattern, window)


def read_signals(recorded: Recorded, found: Sequence[SignalInfo], pattern: str, window: Windowed) -> list[Series]:
    """Return the signals `found`, within `window`. Raises: NothingToJudge."""
    if not found:
        raise NothingToJudge(f"no signal {pattern!r} was recorded")
    units = sorted({signal.unit for signal in found})
    if len(units) > 1:
        raise NothingToJudge(f"the signals that fit {pattern!r} have several units: {', '.join(units)}")
    series = [_within(_series(recorded, signal), window) for signal in found if signal.labels]
    if not series:
        raise NothingToJudge(f"the signals that fit {pattern!r} have no elements")
    return series


def read_in(recorded: Recorded, pattern: str, window: Windowed, unit: str) -> list[Series]:
    """As `read`, and the signals must be in `unit`."""
    series = read(recorded, pattern, window)
    require_unit(series, unit)
    return series


def require_unit(series: Sequence[Series], unit: str) -> None:
    """Raise NothingToJudge unless every one of `series` is in `unit`."""
    if what := other_unit(series[0], unit):
        raise NothingToJudge(what)


def other_unit(signal: SignalInfo | Series, unit: str) -> str:
    """Return that a signal is in another unit than `unit`; nothing if it is not."""
    return "" if signal.unit == unit else f"{signal.name} is in {signal.unit!r}; this check needs {unit!r}"


def in_unit(unit: str) -> Callable[[Any, SignalInfo], str]:
    """Return the `misfit` of a check that needs signals in `unit`."""
    return lambda _, signal: other_unit(signal, unit)


def percent(share: float) -> str:
    """Return a share of 1 as text: 2.5 %."""
    return f"{100 * share:.4g} %"


def _series(recorded: Recorded, signal: SignalInfo) -> Series:
    time_ns, values = recorded.read(signal.name)
    if not np.isfinite(values).all():
        raise NothingToJudge(f"{signal.name} holds values that are not finite")
    end_ns = int(time_ns[-1]) + signal.step_ns if time_ns.size else 0
    return Series(signal.name, signal.unit, signal.labels, signal.step_ns, time_ns, values, end_ns, recorded.calendar)


def _within(series: Series, window: Windowed) -> Series:
    if series.time_ns.size == 0:
        raise NothingToJudge(f"{series.name} has no values")
    _require_cover(series, window)
    begin_ns = max(round(window.from_s * NS), int(series.time_ns[0]))
    end_ns = series.end_ns if window.to_s is None else round(window.to_s * NS)
    if begin_ns >= end_ns:
        raise NothingToJudge(f"{series.name} has no value from {window.from_s:g} s on that could be judged")
    first = int(np.searchsorted(series.time_ns, begin_ns, side="right")) - 1
    last = int(np.searchsorted(series.time_ns, end_ns))
    time_ns, values = np.maximum(series.time_ns[first:last], begin_ns), series.values[first:last]
    return replace(series, time_ns=time_ns, values=values, end_ns=end_ns)


def _require_cover(series: Series, window: Windowed) -> None:
    begins, ends = int(series.time_ns[0]), series.end_ns
    if window.to_s is not None and ends < round(window.to_s * NS):
        raise NothingToJudge(f"{series.name} ends at {ends / NS:g} s, before to_s {window.to_s:g}")
    if begins > round(window.from_s * NS) + series.step_ns:
        raise NothingToJudge(f"{series.name} begins at {begins / NS:g} s, after from_s {window.from_s:g}")
