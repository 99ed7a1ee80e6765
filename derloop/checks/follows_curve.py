"""Check `follows-curve`: what a device gives follows a characteristic of what it sees, within the bands of IEEE 1547.1.

At each instant `y` must lie in

    Ymin = min of Y over [x_low - 1.5 MRA_x, x_high + 1.5 MRA_x] - 1.5 MRA_y
    Ymax = max of Y over [x_low - 1.5 MRA_x, x_high + 1.5 MRA_x] + 1.5 MRA_y

(IEEE 1547.1-2020, the pass criteria of characteristic curves). `x_low` and `x_high` are the least and the largest that
was seen in the last `within_s`: whatever answers to something seen in that time is right, so a device may lag by its
response time, or by the step that a delayed coupling takes. MRA is the minimum required accuracy of measurement, by
IEEE 1547-2018, table 3: voltage 1 % of nominal, frequency 10 mHz, powers 5 % of rated apparent power.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from derloop.checks.bounds import ROUNDING, Measured, at_least, at_most
from derloop.checks.characteristic import Characteristic, extremes
from derloop.checks.elements import held, in_order, read_one
from derloop.checks.window import NS, NothingToJudge, Series, Windowed, percent
from derloop.contract import FloatArray
from derloop.verdict import CheckKind, Recorded, Verdict

MRA_X = {"pu": 0.01, "Hz": 0.01}
"""IEEE 1547-2018, table 3, steady state, by unit."""
BANDS = "bands by IEEE 1547.1-2020"
Sense = Literal["equals", "at-most", "at-least"]


class FollowsCurve(Windowed):
    """A signal follows a characteristic of another."""

    x: str = Field(
        min_length=1, max_length=200, description="federate.port that is seen.", examples=["grid.rooftops.v_pu"]
    )
    y: str = Field(
        min_length=1, max_length=200, description="federate.port that follows it.", examples=["rooftops.q_kvar"]
    )
    curve: Characteristic = Field(description="What y is of x.", examples=[{"volt_var": "category-b"}])
    rated: float | tuple[float, ...] = Field(
        1.0,
        description="What y is divided by before it is compared, in its unit: for all elements, or one for each.",
        examples=[6.0, [5.0, 7.5]],
    )
    sense: Sense | None = Field(
        None,
        description="equals: y lies on the curve. at-most, at-least: on it or on that side of it. "
        "Without it, at-most for volt_watt, else equals.",
    )
    mra_x: float | None = Field(
        None, ge=0, le=100, description="Accuracy of x, in its unit; without it, 0.01 pu or 0.01 Hz by the standard."
    )
    mra_y: float = Field(0.05, ge=0, le=1, description="Accuracy of y, relative to `rated`.")
    within_s: float = Field(
        0.0, ge=0, le=86400, description="y may answer to any x of the last so many seconds.", examples=[60.0]
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    """Y and its band, each (k, n), and how far outside of it y lies; negative inside."""

    x: FloatArray
    y: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def excess(self) -> FloatArray:
        return np.maximum(self.y - self.high, self.low - self.y)

    @property
    def outside(self) -> float:
        """The share of the values that leave their band, by more than rounding."""
        nearer = np.where(self.y - self.high >= self.low - self.y, self.high, self.low)
        return float((self.excess > ROUNDING * np.abs(nearer)).mean())


def judge(settings: FollowsCurve, recorded: Recorded) -> Verdict:
    """Return whether y lies in the band everywhere. Raises: NothingToJudge."""
    y = read_one(recorded, settings.y, settings)
    x = in_order(read_one(recorded, settings.x, settings), y)
    y = _from(y, int(x.time_ns[0]) + round(settings.within_s * NS))
    found = _compared(settings, x, y)
    at = tuple(int(i) for i in np.unravel_index(int(found.excess.argmax()), found.y.shape))
    return _verdict(settings, found, y, (at[0], at[1]), x)


def _from(series: Series, first_ns: int) -> Series:
    first = int(np.searchsorted(series.time_ns, first_ns))
    if first == series.time_ns.size:
        raise NothingToJudge(f"{series.name} covers no more than within_s")
    return replace(series, time_ns=series.time_ns[first:], values=series.values[first:])


def _compared(settings: FollowsCurve, x: Series, y: Series) -> _Judged:
    mra_x = _mra_x(settings, x)
    x_low, x_high = _seen(x, y.time_ns, round(settings.within_s * NS))
    ends = x_low - 1.5 * mra_x, x_high + 1.5 * mra_x
    least, most = extremes(settings.curve.corners, *ends)
    sense = settings.sense or ("at-most" if settings.curve.is_ceiling else "equals")
    low = np.full(least.shape, -np.inf) if sense == "at-most" else least - 1.5 * settings.mra_y
    high = np.full(most.shape, np.inf) if sense == "at-least" else most + 1.5 * settings.mra_y
    return _Judged(held(x, y.time_ns), y.values / _rated(settings, y), low, high)


def _mra_x(settings: FollowsCurve, x: Series) -> float:
    if settings.mra_x is not None:
        return settings.mra_x
    if x.unit not in MRA_X:
        raise NothingToJudge(f"{x.name} is in {x.unit!r}, for which there is no accuracy to go by; give mra_x")
    return MRA_X[x.unit]


def _rated(settings: FollowsCurve, y: Series) -> FloatArray:
    rated = np.atleast_1d(np.asarray(settings.rated, dtype=np.float64))
    if rated.size not in (1, len(y.labels)) or not (rated > 0).all():
        raise NothingToJudge(f"rated: needs one number above 0, or one for each of the {len(y.labels)} of {y.name}")
    return rated


def _seen(x: Series, time_ns: NDArray[np.int64], within_ns: int) -> tuple[FloatArray, FloatArray]:
    """Return the least and the largest that held in the last `within_ns` at each of `time_ns`, each (k, n)."""
    last, first = (np.searchsorted(x.time_ns, at_ns, side="right") - 1 for at_ns in (time_ns, time_ns - within_ns))
    least, most = x.values[last], x.values[last]
    for more in np.unique(last - first):  # two numbers at most, where no instant is missing
        windows = np.lib.stride_tricks.sliding_window_view(x.values, more + 1, axis=0)
        at = last - first == more
        least[at], most[at] = windows.min(axis=-1)[first[at]], windows.max(axis=-1)[first[at]]
    return least, most


def _verdict(settings: FollowsCurve, found: _Judged, y: Series, at: tuple[int, int], x: Series) -> Verdict:
    value, low, high = (float(a[at]) for a in (found.y, found.low, found.high))
    measured = Measured(value, "pu", y.where(at[1]), int(y.time_ns[at[0]]))
    band = f"{low:.4g} to {high:.4g} pu" if np.isfinite([low, high]).all() else _one_sided(low, high)
    place = f"{value:.4g} pu at {found.x[at]:.5g} {x.unit}, {measured.where}, {y.calendar.at(measured.when_ns)}"
    within = "all values are within their band; nearest to its edge"
    text = f"{percent(found.outside)} of the values leave their band; worst" if found.outside else within
    text += f": {place}, allowed {band}"
    source = f"{settings.curve.source}; {BANDS}"
    if value - high >= low - value:
        return at_most(KIND.name, measured, high, text, source)
    return at_least(KIND.name, measured, low, text, source)


def _one_sided(low: float, high: float) -> str:
    return f"at most {high:.4g} pu" if np.isinf(low) else f"at least {low:.4g} pu"


KIND = CheckKind(
    name="follows-curve",
    summary="A signal follows a characteristic of another (volt-var, droop, points ...) within IEEE 1547.1 bands.",
    settings=FollowsCurve,
    judge=judge,
    signals=lambda settings: ((("x",), settings.x), (("y",), settings.y)),
)
