"""What customers used, as far as their bills depend on it: sums and highest values, which add up over time.

Energies are of netted metering intervals, so each is either import or export. `n` customers, `b` periods of the tariff,
`d` demand charges.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from derloop.contract import FloatArray
from federates.market.schedule import Schedule


class Energy(NamedTuple):
    """What was drawn and injected in metering intervals, kWh, neither negative: each (k, n)."""

    imported_kwh: FloatArray
    exported_kwh: FloatArray


class Usage(NamedTuple):
    """Of some intervals of one billing period."""

    imported_kwh: FloatArray
    """(b, n)"""
    exported_kwh: FloatArray
    """(b, n)"""
    market_cost: FloatArray
    """(n,): what was drawn, at the prices of the market."""
    export_credit: FloatArray
    """(n,): what was injected, at the prices of injecting."""
    demand_kw: FloatArray
    """(d, n): the highest mean power of an interval."""
    days: float
    months: float

    def plus(self, other: Usage) -> Usage:
        """Return the usage of both."""
        return Usage(
            self.imported_kwh + other.imported_kwh,
            self.exported_kwh + other.exported_kwh,
            self.market_cost + other.market_cost,
            self.export_credit + other.export_credit,
            np.maximum(self.demand_kw, other.demand_kw),
            self.days + other.days,
            self.months + other.months,
        )


def metered(load_kwh: FloatArray, der_kwh: FloatArray, is_gross: bool) -> Energy:
    """Return what meters saw in each interval (k, n).

    load_kwh: drawn by loads; der_kwh: injected by DERs, negative where they charge. is_gross: what DERs generate has a
    meter of its own.
    """
    if is_gross:
        used, generated_kwh = metered(load_kwh, np.minimum(der_kwh, 0.0), False), np.maximum(der_kwh, 0.0)
        return Energy(used.imported_kwh, used.exported_kwh + generated_kwh)
    net_kwh = load_kwh - der_kwh
    return Energy(np.maximum(net_kwh, 0.0), np.maximum(-net_kwh, 0.0))


def nothing(buckets: int, charges: int, customers: int) -> Usage:
    """Return the usage of no time at all."""
    by_bucket, each = np.zeros((buckets, customers)), np.zeros(customers)
    return Usage(by_bucket, by_bucket, each, each, np.zeros((charges, customers)), 0.0, 0.0)


def usage(schedule: Schedule, at: slice, energy: Energy, buckets: int) -> Usage:
    """Return what was used in the intervals `at`, which are of one billing period."""
    which = schedule.bucket[at] == np.arange(buckets)[:, None]
    mean_kw = energy.imported_kwh / schedule.interval_h
    counts = schedule.demand[at].T
    return Usage(
        which.astype(float) @ energy.imported_kwh,
        which.astype(float) @ energy.exported_kwh,
        schedule.market[at] @ energy.imported_kwh,
        schedule.export_price[at] @ energy.exported_kwh,
        np.array([mean_kw[count].max(axis=0, initial=0.0) for count in counts]).reshape(len(counts), mean_kw.shape[1]),
        float(schedule.days[at].sum()),
        float(schedule.months[at].sum()),
    )
