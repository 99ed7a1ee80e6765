"""What customers would have drawn without an event of demand response: the 10-of-10 baseline, adjusted on the day.

The baseline is the mean, interval by interval, of the ten most recent days that are like the event's and had no event.
The adjustment on the day multiplies it by what the customer drew over what the baseline has in the second, third and
fourth hour before the event, between 80 % and 120 %: the "10 of 10 baseline with a 20% same day adjustment" by which
the California ISO settles demand response (California ISO Baseline Accuracy Work Group, draft proposal, April 2017;
S. Mohajeryami et al., "The impact of Customer Baseline Load (CBL) calculation methods on Peak Time Rebate program",
Electr. Power Syst. Res. 137, 2016). The hour before the event does not count, so that it cannot be used to raise the
baseline.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from derloop.contract import FloatArray

DAYS = 10
NAME = "10-of-10 baseline"
BEGIN_H, END_H = 4, 1
"""The adjustment looks at the time from four hours to one hour before the event."""


class Baseline(NamedTuple):
    """What would have been drawn on the day of the event."""

    p_kw: FloatArray
    """One value for each interval of the day (..., m), kW, drawn."""
    factor: FloatArray
    """By which the mean of the ten days was multiplied (...)."""


def ten_of_ten(
    history_kw: FloatArray, today_kw: FloatArray, begin: int, per_hour: int, most_adjustment_pu: float = 0.2
) -> Baseline:
    """Return the baseline of the day, m intervals long, of one customer or of many.

    history_kw: (days, ..., m) of earlier days that are like this one and had no event, the most recent last; ten or
    more. today_kw: (..., m), of which only the intervals before the event count.
    begin: number of the interval with which the event begins. per_hour: intervals in an hour.
    Raises ValueError for fewer than ten days, other shapes, and an event that begins too early in the day.
    """
    if history_kw.ndim < 2 or len(history_kw) < DAYS:
        raise ValueError(f"a {NAME} needs {DAYS} days without an event, shape (days, ..., intervals)")
    if today_kw.shape != history_kw.shape[1:]:
        raise ValueError(f"today has {today_kw.shape[-1]} intervals, the days before have {history_kw.shape[-1]}")
    if not BEGIN_H * per_hour <= begin < today_kw.shape[-1]:
        allowed = f"{BEGIN_H * per_hour} to {today_kw.shape[-1] - 1}"
        raise ValueError(f"the event begins at interval {begin}; allowed is {allowed}, {BEGIN_H} h into the day")
    mean_kw: FloatArray = history_kw[-DAYS:].mean(axis=0)
    before = slice(begin - BEGIN_H * per_hour, begin - END_H * per_hour)
    usual_kw, drawn_kw = mean_kw[..., before].sum(axis=-1), today_kw[..., before].sum(axis=-1)
    ratio = np.divide(drawn_kw, usual_kw, out=np.ones(np.shape(usual_kw)), where=usual_kw > 0.0)
    factor = np.clip(ratio, 1.0 - most_adjustment_pu, 1.0 + most_adjustment_pu)
    return Baseline(mean_kw * factor[..., None], factor)
