"""Forecasts: what a plan knows of the time to come, right to a given error.

The truth is a column of a profile. A forecast that is made at `t` for `t + l` is

    forecast = truth + sigma level sqrt(l / day) e         e: a random walk over l with standard deviation 1

with `level` the mean of the truth's size over the horizon. So the next interval is known well, and a day later the
error has the standard deviation `sigma_pu` of the level. Each plan has its own errors for each column, which come from
the scenario's seed, the column and the plan's time alone. With `sigma_pu` 0 the forecast is perfect.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from derloop.contract import FloatArray
from derloop.kind import PlaceError, Settings
from federates.control.vpp.dispatch import Dispatch
from federates.control.vpp.plan import Store, lowest_peak
from federates.control.vpp.service import Now, Stand
from federates.der.course import read_column
from federates.der.profile import ProfileColumn

DAY_S = 86400.0
LEVEL_PU = 1e-4
"""How near a planned level comes to the lowest, of the highest load."""


class ForecastColumn(ProfileColumn):
    """A column of a CSV file that is what will be, and how well that is known before."""

    scale: float = Field(default=1.0, ge=-1e9, le=1e9, description="What a 1 in the column is.", examples=[3500.0])
    sigma_pu: float = Field(
        default=0.0,
        ge=0.0,
        le=2.0,
        description="Standard deviation of the forecast a day ahead, pu of the mean level; 0: perfect.",
        examples=[0.1],
    )


class HorizonSettings(Settings):
    """How far a plan looks, in which steps, and how often it is made anew."""

    ahead_h: Annotated[float, Field(gt=0.0, le=336.0)] = Field(
        default=12.0, description="How far it looks, h, or to the end of the run.", examples=[24.0]
    )
    interval_s: float = Field(
        default=1800.0, ge=1.0, le=86400.0, description="Intervals of the plan, s.", examples=[900.0]
    )
    replan_s: float = Field(
        default=1800.0, ge=1.0, le=86400.0, description="From one plan to the next, s.", examples=[900.0]
    )


class Forecast:
    """What will be, as it is known at some time before."""

    def __init__(self, column: ForecastColumn, path: tuple[str | int, ...], stand: Stand) -> None:
        plain = ProfileColumn(**column.model_dump(include=set(ProfileColumn.model_fields)))
        self._profile = read_column(plain, path, stand.context, stand.step_ns)
        self._scale, self._sigma_pu = column.scale, column.sigma_pu
        self._seed = stand.context.seed, zlib.crc32(f"{column.file}/{column.column}".encode())
        ends_s, clock = self._profile.time_s[-1], self._profile.clock
        self.until_ns = int(float(clock.elapsed_s(ends_s)) * 1e9)
        """To where it is known."""
        self.shown_ns = int((float(ends_s) - clock.shows_s(0)) * 1e9)
        """For how long, by the clock."""

    @property
    def range(self) -> tuple[float, float]:
        """The least and the most that it ever is."""
        values = self._scale * self._profile.values
        return float(values.min()), float(values.max())

    def now(self, now_ns: int) -> float:
        """Return what is true now."""
        return self._scale * self._profile.at(now_ns)

    def over(self, instants_ns: NDArray[np.int64], made_ns: int) -> FloatArray:
        """Return what was expected at `made_ns` for some instants (k,)."""
        truth = self._scale * self._profile.at_all(instants_ns)
        if self._sigma_pu == 0.0:
            return truth
        chance = np.random.default_rng([*self._seed, made_ns])
        walk = np.cumsum(chance.normal(size=truth.size)) / np.sqrt(np.arange(1, truth.size + 1))
        ahead_s = np.maximum(instants_ns - made_ns, 0) / 1e9
        expected: FloatArray = truth + self._sigma_pu * np.abs(truth).mean() * np.sqrt(ahead_s / DAY_S) * walk
        return expected


class Horizon:
    """When plans are made, and over which intervals."""

    def __init__(
        self, column: ForecastColumn, settings: HorizonSettings, path: tuple[str | int, ...], stand: Stand
    ) -> None:
        self.forecast = Forecast(column, path, stand)
        self._settings, self._stand = settings, stand
        ahead_ns, known_ns = round(settings.ahead_h * 3.6e12), max(self.forecast.until_ns, self.forecast.shown_ns)
        if ahead_ns > known_ns:
            what = f"a plan that looks {settings.ahead_h:g} h ahead is longer than the forecast"
            told = f"{what}: {column.file!r} goes on for {known_ns / 3.6e12:g} h from the start"
            raise PlaceError([((*path[:-1], "horizon", "ahead_h"), told)])
        self._ahead_ns = ahead_ns

    def is_due(self, now_ns: int, planned_ns: int | None) -> bool:
        return planned_ns is None or now_ns - planned_ns >= round(self._settings.replan_s * 1e9)

    def intervals(self, now_ns: int) -> tuple[NDArray[np.int64], FloatArray]:
        """Return the middle (k,), ns, and the length (k,), h, of each interval from now on."""
        step_ns = round(self._settings.interval_s * 1e9)
        end_ns = min(now_ns + self._ahead_ns, self.forecast.until_ns, self._stand.context.until_ns)
        edges = np.append(np.arange(now_ns, max(end_ns, now_ns + 1), step_ns), max(end_ns, now_ns + 1))
        return (edges[:-1] + edges[1:]) // 2, np.diff(edges) / 3.6e12

    def lowest_peak_kw(self, now_ns: int, store: Store, recharge_kw: Callable[[float], float]) -> float:
        """Return the lowest level that a store can hold from now on, as far as is known.

        recharge_kw: up to what is drawn to recharge, by the level, which it rises with.
        """
        middles, hours = self.intervals(now_ns)
        load_kw = self.forecast.over(middles, now_ns)

        def held_kw(level_kw: float) -> float:
            return lowest_peak(store, hours, load_kw, np.maximum(recharge_kw(level_kw) - load_kw, 0.0))[0]

        low_kw, near_kw = lowest_peak(store, hours, load_kw)[0], LEVEL_PU * (1.0 + float(np.abs(load_kw).max()))
        high_kw = held_kw(low_kw)
        while high_kw - low_kw > near_kw:  # a higher level leaves more room to recharge, so it is held
            middle_kw = (low_kw + high_kw) / 2.0
            low_kw, high_kw = (low_kw, middle_kw) if held_kw(middle_kw) <= middle_kw else (middle_kw, high_kw)
        return high_kw


def store_of(now: Now, efficiency_pu: float, dispatch: Dispatch) -> Store:
    """Return all members that store as one; what is kept for other services is not in it."""
    members = now.members
    stored_kwh = max(float(members.discharging_kwh.sum()) - dispatch.kept_kwh, 0.0)
    most_kwh = stored_kwh + max(float(members.charging_kwh.sum()) - dispatch.kept_room_kwh, 0.0)
    charge_kw, discharge_kw = (
        np.maximum(members.rated_kw - kept_kw, 0.0) for kept_kw in (dispatch.kept_down_kw, dispatch.kept_kw)
    )
    stores = members.soc_pu >= 0.0  # engines fill none, and empty none
    given_kw = float(discharge_kw[stores & members.discharges].sum())
    return Store(float(charge_kw[stores].sum()), given_kw, stored_kwh, most_kwh, efficiency_pu)
