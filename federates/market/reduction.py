"""What customers drew less in events of demand response, each against its own baseline.

The baseline of a customer is the 10-of-10 baseline of what its meter saw (`federates/control/baseline.py`), import less
export, made on the day's first event. Over an event it has

    reduced = max(sum over intervals of (baseline - metered) h, 0)

so that nobody pays for having drawn more. Of an interval in which the run ends nobody knows the mean: it counts neither
for what was metered nor for the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from derloop.contract import FloatArray
from federates.control.baseline import Baseline, ten_of_ten
from federates.control.eligible import ns
from federates.control.metering import Calendar
from federates.market.enrolment import EnrolledDemandResponse
from federates.spells import Spell


class Reduced(NamedTuple):
    """One event, of n customers; 0 of those that take no part."""

    interval: int
    """The metering interval of the run with which it begins."""
    baseline_kwh: FloatArray
    metered_kwh: FloatArray

    @property
    def reduced_kwh(self) -> FloatArray:
        """What is paid (n,)."""
        return np.maximum(self.baseline_kwh - self.metered_kwh, 0.0)


def reductions(of: EnrolledDemandResponse, calendar: Calendar, net_kw: FloatArray) -> list[Reduced]:
    """Return what each event came to, as far as it was metered; net_kw: (k, n) of the whole intervals of a run."""
    meters = _Days(calendar, net_kw)
    begun = [event for event in of.events if _interval(event.begins_s, calendar) < len(net_kw)]
    firsts = {calendar.day(ns(event.begins_s)): event for event in reversed(begun)}
    baselines = {day: _baseline(of, calendar, meters, event, [*firsts]).p_kw for day, event in firsts.items()}
    return [_reduced(of, calendar, net_kw, event, baselines[calendar.day(ns(event.begins_s))]) for event in begun]


def _reduced(
    of: EnrolledDemandResponse, calendar: Calendar, net_kw: FloatArray, event: Spell, baseline_kw: FloatArray
) -> Reduced:
    first, last = _interval(event.begins_s, calendar), _interval(event.ends_s, calendar)
    metered_kw = net_kw[first:last]
    begin, hours = calendar.interval(ns(event.begins_s)), calendar.interval_s / 3600.0
    expected_kw = baseline_kw[:, begin : begin + len(metered_kw)]
    takes = np.array(of.takes_part, dtype=float)
    return Reduced(first, takes * expected_kw.sum(axis=1) * hours, takes * metered_kw.sum(axis=0) * hours)


class _Days:
    """What meters saw (days, intervals, n), kW; not a number where there was no run."""

    def __init__(self, calendar: Calendar, net_kw: FloatArray) -> None:
        before = calendar.interval(0)
        after = -(before + len(net_kw)) % calendar.intervals
        padded = np.pad(net_kw, ((before, after), (0, 0)), constant_values=np.nan)
        self.p_kw: FloatArray = padded.reshape(-1, calendar.intervals, net_kw.shape[1])

    @property
    def whole(self) -> set[int]:
        """Which were metered from midnight to midnight."""
        return {*np.flatnonzero(np.isfinite(self.p_kw).all(axis=(1, 2))).tolist()}


def _baseline(
    of: EnrolledDemandResponse, calendar: Calendar, meters: _Days, first: Spell, event_days: Sequence[int]
) -> Baseline:
    """Return the baseline (n, intervals of a day) on the day of its first event."""
    today, begin = calendar.day(ns(first.begins_s)), calendar.interval(ns(first.begins_s))
    like = calendar.like(today, meters.whole - {*event_days})
    per_hour, n = round(3600.0 / calendar.interval_s), meters.p_kw.shape[2]
    rows = [_ten([*of.history_kw[i]], meters.p_kw[like, :, i]) for i in range(n)]
    history_kw = np.stack(rows, axis=1)
    today_kw = np.nan_to_num(meters.p_kw[today].T)
    return ten_of_ten(history_kw, today_kw, begin, per_hour, of.most_adjustment_pu)


def _ten(before_kw: Sequence[Sequence[float]], in_run_kw: FloatArray) -> FloatArray:
    """Return the ten most recent days (10, intervals); those that take no part may have fewer, and are not paid."""
    known = np.concatenate([np.array(before_kw).reshape(-1, in_run_kw.shape[1]), in_run_kw])[-10:]
    return np.pad(known, ((10 - len(known), 0), (0, 0)))


def _interval(time_s: float, calendar: Calendar) -> int:
    """Return the number of the run's interval that begins at a time."""
    return round(time_s / calendar.interval_s)
