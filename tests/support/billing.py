"""Tariffs and runs for tests of bills: what a test does not say is as plain as can be."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np

from derloop.validation import typed_model
from federates.market.bill import Bill, bills
from federates.market.schedule import Run, Schedule, make_schedule
from federates.market.tariff import Tariff
from federates.market.usage import metered

FLAT: dict[str, Any] = {"periods": [{"name": "energy", "price_per_kwh": 0.2}]}
MIDNIGHT = datetime.fromisoformat("2025-07-15T00:00:00-07:00")
HOUR_NS = 3600 * 10**9


def tariff(**parts: Any) -> Tariff:
    """Return a tariff with these parts and intervals of an hour; refused as a file would be."""
    base = {"name": "tested", "source": "a test", "currency": "USD", "interval_s": 3600}
    return typed_model(Tariff, {**base, **(parts or FLAT)}, "tariff")


def schedule(of: Tariff, hours: int, start: datetime = MIDNIGHT, real_time: list[float] | None = None) -> Schedule:
    prices = None if real_time is None else np.array(real_time)
    return make_schedule(of, Run(start, hours * HOUR_NS), prices)


def billed(
    of: Tariff,
    load_kw: list[float],
    der_kw: list[float] | None = None,
    start: datetime = MIDNIGHT,
    real_time: list[float] | None = None,
) -> list[Bill]:
    """Return the bills of one customer: a power for each hour."""
    loads = np.array(load_kw)[:, None]
    ders = np.zeros(loads.shape) if der_kw is None else np.array(der_kw)[:, None]
    hourly = schedule(of, len(load_kw), start, real_time)
    return bills(of, hourly, metered(loads, ders, of.is_gross))


def total(made: list[Bill]) -> float:
    return float(sum(bill.total[0] for bill in made))


def line(bill: Bill, name: str) -> tuple[float, float]:
    """Return quantity and amount of a line."""
    found = next(line for line in bill.lines if line.name == name)
    return float(found.quantity[0]), float(found.amount[0])
