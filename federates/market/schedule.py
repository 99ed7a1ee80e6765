"""What a tariff says of each metering interval of a run: its period, its prices, its billing period.

A run has `k` metering intervals, which begin at the full intervals of the clock on the wall. Its days are those of the
calendar, also where the clock is set forward or back: such a day counts as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.kind import Context, PlaceError
from federates.der.clock import Clock, seconds_of_day
from federates.der.course import read_column
from federates.der.profile import Profile, too_dense
from federates.market.hours import season_of, sort_of
from federates.market.paid import FeedIn, NetBilling
from federates.market.tariff import InSeason, RealTime, Tariff

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
DAY_S = 86400.0
NS_PER_S = 10**9


@dataclass(frozen=True, slots=True)
class Run:
    """What of a run decides on its bills."""

    start: datetime
    """With its time zone."""
    until_ns: int

    @classmethod
    def of(cls, context: Context) -> Run:
        return cls(context.start, context.until_ns)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A tariff over the k metering intervals of a run."""

    interval_ns: int
    bucket: IntArray
    """(k,): which of the tariff's periods."""
    price: FloatArray
    """(k,): of drawing, for each kWh, without tiers."""
    market: FloatArray
    """(k,): the part of it that follows a market."""
    export_price: FloatArray
    """(k,): of injecting, where it is paid kWh by kWh; 0 elsewhere."""
    demand: BoolArray
    """(k, d): whether an interval counts for each demand charge."""
    month: IntArray
    """(k,): which billing period."""
    days: FloatArray
    """(k,): which part of a day an interval is, as far as the run has it."""
    months: FloatArray
    """(k,): which part of a month."""
    names: tuple[str, ...]
    """Of the billing periods: "2025-07"."""

    @property
    def interval_h(self) -> float:
        return self.interval_ns / 3.6e12

    def at(self, now_ns: int) -> int:
        """Return the number of the interval that has an instant."""
        return now_ns // self.interval_ns


@dataclass(frozen=True, slots=True)
class _Calendar:
    """The date and the hour of each interval."""

    hour: FloatArray
    day: IntArray
    """(k,): since the first day."""
    dates: tuple[date, ...]
    """Of the days 0, 1 ..."""
    lengths_h: FloatArray
    """Of the days: 24, or 23 and 25 where the clock is set."""


def make_schedule(tariff: Tariff, run: Run, real_time: FloatArray | None = None) -> Schedule:
    """Return the schedule of a run; `real_time` (k,) are the prices of the market, where the tariff follows one."""
    interval_ns = round(tariff.interval_s * NS_PER_S)
    calendar = _calendar(run, interval_ns)
    bucket, prices = _buckets(tariff, calendar)
    market = np.zeros(bucket.shape) if real_time is None else real_time
    price = prices[bucket] + market
    months = [f"{day:%Y-%m}" for day in calendar.dates]
    names = tuple(dict.fromkeys(months))
    lasts_ns = np.minimum(interval_ns, run.until_ns - interval_starts_ns(run, interval_ns))
    days = lasts_ns / 3.6e12 / calendar.lengths_h[calendar.day]
    of_month = np.array([1.0 / _days_in_month(day) for day in calendar.dates])
    return Schedule(
        interval_ns,
        bucket,
        price,
        market,
        _export_prices(tariff, price),
        _demand(tariff, calendar),
        np.array([names.index(month) for month in months])[calendar.day],
        days,
        days * of_month[calendar.day],
        names,
    )


def interval_starts_ns(run: Run, interval_ns: int) -> IntArray:
    """Return when each metering interval of a run begins (k,)."""
    return np.arange(-(-run.until_ns // interval_ns), dtype=np.int64) * interval_ns


def read_real_time(real_time: RealTime, context: Context, interval_ns: int) -> FloatArray:
    """Return the price (k,) of each interval: that of the last row before it. Raises PlaceError."""
    profile = read_column(real_time, ("real_time",), context, interval_ns)
    if what := too_dense(profile, interval_ns / NS_PER_S):
        raise PlaceError([(("real_time",), what)])
    return real_time.factor * _held(profile, interval_starts_ns(Run.of(context), interval_ns)) + real_time.adder_per_kwh


def misfit(tariff: Tariff, run: Run, step_ns: int) -> str:
    """Return why a run cannot be metered as the tariff asks, empty if it can."""
    interval_ns = round(tariff.interval_s * NS_PER_S)
    if interval_ns % step_ns:
        return f"a step of {step_ns / NS_PER_S:g} s does not divide the metering interval of {tariff.interval_s:g} s"
    if seconds_of_day(run.start) % tariff.interval_s:
        return f"the run starts at {run.start:%H:%M:%S}, within a metering interval of {tariff.interval_s:g} s"
    return ""


def check_fits(tariff: Tariff, run: Run, step_ns: int, path: tuple[str | int, ...]) -> None:
    """Raise PlaceError where a run cannot be metered as the tariff asks."""
    if what := misfit(tariff, run, step_ns):
        raise PlaceError([(path, what)])


def _held(profile: Profile, instants_ns: IntArray) -> FloatArray:
    shown_s = profile.clock.shows_all_s(instants_ns)
    row = np.searchsorted(profile.time_s, shown_s + 1e-6, side="right") - 1
    values: FloatArray = profile.values[row]
    return values


def _calendar(run: Run, interval_ns: int) -> _Calendar:
    shown_s = Clock.of(run.start, run.until_ns).shows_all_s(interval_starts_ns(run, interval_ns))
    day = np.floor(shown_s / DAY_S).astype(np.int64)
    dates = tuple(run.start.date() + timedelta(days=i) for i in range(int(day[-1]) + 1))
    lengths_h = np.array([_length_h(each, run.start) for each in dates])
    return _Calendar((shown_s - day * DAY_S) / 3600.0, day, dates, lengths_h)


def _length_h(day: date, start: datetime) -> float:
    begin, end = (datetime(d.year, d.month, d.day, tzinfo=start.tzinfo) for d in (day, day + timedelta(days=1)))
    return (end.timestamp() - begin.timestamp()) / 3600.0


def _days_in_month(day: date) -> int:
    first = day.replace(day=1)
    return ((first + timedelta(days=32)).replace(day=1) - first).days


def _buckets(tariff: Tariff, calendar: _Calendar) -> tuple[IntArray, FloatArray]:
    """Return which period each interval has (k,), and the price of each period."""
    if not tariff.periods:
        return np.zeros(calendar.day.shape, dtype=np.int64), np.zeros(1)
    found = np.array([_holding(period, tariff, calendar) for period in tariff.periods])
    return found.argmax(axis=0), np.array([period.price_per_kwh for period in tariff.periods])


def _holding(part: InSeason, tariff: Tariff, calendar: _Calendar) -> BoolArray:
    """Return in which intervals (k,) a part of the tariff holds."""
    in_season = np.array([part.in_season(season_of(day, tariff.seasons)) for day in calendar.dates])
    sorts = [sort_of(day, tariff.holidays) for day in calendar.dates]
    found = np.zeros(calendar.day.shape, dtype=bool)
    for hours in part.hours:
        on_day = in_season & np.array([hours.on(sort) for sort in sorts])
        found |= on_day[calendar.day] & (calendar.hour >= hours.from_h - 1e-9) & (calendar.hour < hours.to_h - 1e-9)
    return found


def _demand(tariff: Tariff, calendar: _Calendar) -> BoolArray:
    found = [_holding(charge, tariff, calendar) for charge in tariff.demand]
    return np.array(found, dtype=bool).reshape(len(found), calendar.day.size).T


def _export_prices(tariff: Tariff, price: FloatArray) -> FloatArray:
    export = tariff.export
    if isinstance(export, FeedIn):
        return np.full(price.shape, export.price_per_kwh)
    if isinstance(export, NetBilling):
        share_pu = export.share_of_price_pu
        return np.full(price.shape, export.price_per_kwh) if share_pu is None else share_pu * price
    return np.zeros(price.shape)


def told_export_price(tariff: Tariff, schedule: Schedule) -> FloatArray:
    """Return what a control may reckon with (k,): with net metering, an injected kWh saves one that is drawn."""
    return schedule.price if tariff.export.kind == "net-metering" else schedule.export_price
