"""Bills: what n customers pay for a billing period.

    bill = energy + demand + fixed - export - services
    energy = sum over periods of price x billed kWh + tiers(billed kWh) + sum over intervals of market price x kWh
    demand = sum over demand charges of per_kw x max(demand, ratchet x highest demand of earlier billing periods)
    fixed = per_day x days + per_month x months
    services: what demand response and regulation are paid (`federates/market/settlement.py`)

Billed is what was drawn. With net metering, in each period of the tariff, it is what was drawn less what was injected
and what is carried over from before, where that is positive; where it is negative, it is left over. What is left over
is carried over, or paid at `surplus_per_kwh` at the end of the billing period; what is carried at the run's end is paid
then. So kWh are conserved:

    sum of drawn - sum of injected = sum of billed - sum of paid surplus
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from derloop.contract import FloatArray
from federates.market.paid import NetMetering
from federates.market.schedule import Schedule
from federates.market.tariff import Tariff, Tiers
from federates.market.usage import Energy, Usage, usage

Group = Literal["energy", "demand", "fixed", "export", "services"]
GROUPS: tuple[Group, ...] = ("energy", "demand", "fixed", "export", "services")


class Line(NamedTuple):
    """One line of n bills: a quantity at a price."""

    group: Group
    name: str
    quantity: FloatArray
    """(n,)"""
    unit: str
    amount: FloatArray
    """(n,): money, negative where the customer gets it."""


class Bill(NamedTuple):
    """The bills of n customers for one billing period."""

    period: str
    lines: tuple[Line, ...]

    @property
    def total(self) -> FloatArray:
        """What each has to pay (n,)."""
        return sum_of(self.lines)

    def of(self, group: Group) -> FloatArray:
        """Return what each pays for one group of lines (n,)."""
        chosen = [line for line in self.lines if line.group == group]
        return sum_of(chosen) if chosen else np.zeros(self.lines[0].amount.shape)


class Carried(NamedTuple):
    """What one billing period leaves to the next."""

    surplus_kwh: FloatArray
    """(b, n)"""
    highest_kw: FloatArray
    """(d, n)"""


def sum_of(lines: Sequence[Line]) -> FloatArray:
    """Return the sum of lines for each customer (n,)."""
    total: FloatArray = np.sum([line.amount for line in lines], axis=0)
    return total


def bills(tariff: Tariff, schedule: Schedule, energy: Energy) -> list[Bill]:
    """Return the bills of a whole run, one for each billing period."""
    buckets, made = len(tariff.buckets), list[Bill]()
    carried = nothing_carried(tariff, energy.imported_kwh.shape[1])
    for i, name in enumerate(schedule.names):
        first, last = np.searchsorted(schedule.month, [i, i + 1])
        at = slice(int(first), int(last))
        used = usage(schedule, at, Energy(energy.imported_kwh[at], energy.exported_kwh[at]), buckets)
        bill, carried = make_bill(tariff, name, used, carried, is_last=i + 1 == len(schedule.names))
        made.append(bill)
    return made


def nothing_carried(tariff: Tariff, customers: int) -> Carried:
    """Return what the first billing period begins with."""
    return Carried(np.zeros((len(tariff.buckets), customers)), np.zeros((len(tariff.demand), customers)))


def make_bill(tariff: Tariff, period: str, used: Usage, carried: Carried, is_last: bool) -> tuple[Bill, Carried]:
    """Return the bills of a billing period, and what it leaves to the next. is_last: nothing follows it."""
    billed_kwh, export, surplus_kwh = _netted(tariff, used, carried, is_last)
    lines = (*_energy(tariff, billed_kwh, used), *_demand(tariff, used, carried), *_fixed(tariff, used), *export)
    return Bill(period, lines), Carried(surplus_kwh, np.maximum(carried.highest_kw, used.demand_kw))


def _netted(
    tariff: Tariff, used: Usage, carried: Carried, is_last: bool
) -> tuple[FloatArray, tuple[Line, ...], FloatArray]:
    """Return what is billed (b, n), what is paid for injecting, and what is carried over (b, n)."""
    export, none = tariff.export, np.zeros(used.imported_kwh.shape)
    if not isinstance(export, NetMetering):
        kwh, credit = used.exported_kwh.sum(axis=0), used.export_credit
        return used.imported_kwh, (Line("export", export.kind, kwh, "kWh", -credit),), none
    balance_kwh = used.imported_kwh - used.exported_kwh - carried.surplus_kwh
    left_kwh = np.maximum(-balance_kwh, 0.0)
    keeps = export.carry_over and not is_last
    paid_kwh = np.zeros(left_kwh.shape[1]) if keeps else left_kwh.sum(axis=0)
    line = Line("export", "surplus of net metering", paid_kwh, "kWh", -export.surplus_per_kwh * paid_kwh)
    return np.maximum(balance_kwh, 0.0), (line,), left_kwh if keeps else none


def _energy(tariff: Tariff, billed_kwh: FloatArray, used: Usage) -> list[Line]:
    periods = zip(tariff.periods, billed_kwh, strict=False)  # without periods there is one row and no price
    lines = [Line("energy", period.name, kwh, "kWh", period.price_per_kwh * kwh) for period, kwh in periods]
    total_kwh = billed_kwh.sum(axis=0)
    if tariff.real_time is not None:
        lines.append(Line("energy", "real-time prices", total_kwh, "kWh", used.market_cost))
    return lines + (_tiers(tariff.tiers, total_kwh, used.days) if tariff.tiers else [])


def _tiers(tiers: Tiers, total_kwh: FloatArray, days: float) -> list[Line]:
    """Return what each tier has of the energy, and costs."""
    times, low_kwh, lines = days if tiers.per == "day" else 1.0, 0.0, list[Line]()
    for number, tier in enumerate(tiers.steps, 1):
        high_kwh = np.inf if tier.up_to_kwh is None else times * tier.up_to_kwh
        kwh = np.clip(total_kwh, low_kwh, high_kwh) - low_kwh
        lines.append(Line("energy", f"tier {number}", kwh, "kWh", tier.price_per_kwh * kwh))
        low_kwh = high_kwh
    return lines


def _demand(tariff: Tariff, used: Usage, carried: Carried) -> list[Line]:
    rows = zip(tariff.demand, used.demand_kw, carried.highest_kw, strict=True)
    billed = [(charge, np.maximum(now_kw, charge.ratchet_pu * before_kw)) for charge, now_kw, before_kw in rows]
    return [Line("demand", charge.name, kw, "kW", charge.per_kw * kw) for charge, kw in billed]


def _fixed(tariff: Tariff, used: Usage) -> list[Line]:
    each = np.ones(used.market_cost.shape)
    fixed = tariff.fixed
    by_day = Line("fixed", "each day", used.days * each, "d", fixed.per_day * used.days * each)
    by_month = Line("fixed", "each month", used.months * each, "months", fixed.per_month * used.months * each)
    return [by_day, by_month]
