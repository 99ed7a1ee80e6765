"""Payments for services, as lines of bills. They are settled after a run, when baselines and scores are known.

    demand response = - per_kwh x reduced kWh
    regulation = - share x (capability_per_kw_h x capability + mileage_per_kw x mileage)

with the share that a customer's devices have of all ratings. What went into an amount stands beside it, on lines that
cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from derloop.contract import FloatArray
from federates.control.baseline import NAME
from federates.control.metering import Calendar
from federates.market.bill import Bill, Line
from federates.market.enrolment import Enrolled
from federates.market.paid import DemandResponsePrice, RegulationPrice
from federates.market.reduction import Reduced, reductions
from federates.market.regulated import HOUR_S, Regulated
from federates.market.schedule import NS_PER_S, Schedule
from federates.market.tariff import Tariff

DEMAND_RESPONSE = "demand response"
REGULATION = "regulation"


@dataclass(frozen=True, slots=True)
class Settlement:
    """What of a run is paid for services."""

    enrolled: Enrolled
    start: datetime
    hours: Regulated | None = None
    """Of the plant that regulates."""

    def added(
        self, made: Sequence[Bill], tariff: Tariff, schedule: Schedule, net_kw: FloatArray, has_der: bool
    ) -> list[Bill]:
        """Return the bills of a run with what services are paid; net_kw: (k, n) of its whole metering intervals."""
        shares = self._shares(net_kw.shape[1], has_der)
        response, calendar = self.enrolled.demand_response, Calendar(self.start, tariff.interval_s)
        events = reductions(response, calendar, net_kw) if response and tariff.demand_response else []
        return [
            bill._replace(
                lines=(
                    *bill.lines,
                    *_answered(tariff.demand_response, self._in_month(events, schedule, month)),
                    *_regulated(tariff.regulation, self._hours_in(schedule, month), shares, self._kw),
                )
            )
            for month, bill in enumerate(made)
        ]

    @property
    def _kw(self) -> float:
        return self.enrolled.regulation.capability_kw if self.enrolled.regulation else 0.0

    def _shares(self, customers: int, has_der: bool) -> FloatArray:
        """Return which part of a plant's regulation is whose (n,): nobody's without DER."""
        regulation = self.enrolled.regulation
        return np.array(regulation.share_pu) if regulation and has_der else np.zeros(customers)

    def _in_month(self, events: Sequence[Reduced], schedule: Schedule, month: int) -> list[Reduced]:
        return [event for event in events if schedule.month[event.interval] == month]

    def _hours_in(self, schedule: Schedule, month: int) -> Regulated | None:
        """Return the hours that begin in a billing period."""
        if self.hours is None:
            return None
        begins = self.hours.hour * (HOUR_S * NS_PER_S) // schedule.interval_ns
        return self.hours.of(schedule.month[begins] == month)


def _answered(price: DemandResponsePrice | None, events: Sequence[Reduced]) -> list[Line]:
    if price is None or not events:
        return []
    baseline_kwh, metered_kwh, reduced_kwh = (
        np.sum([getattr(event, what) for event in events], axis=0)
        for what in ("baseline_kwh", "metered_kwh", "reduced_kwh")
    )
    free = np.zeros(reduced_kwh.shape)
    return [
        Line("services", f"events: {NAME}", baseline_kwh, "kWh", free),
        Line("services", "events: metered", metered_kwh, "kWh", free),
        Line("services", DEMAND_RESPONSE, reduced_kwh, "kWh", -price.per_kwh * reduced_kwh),
    ]


def _regulated(price: RegulationPrice | None, hours: Regulated | None, shares: FloatArray, kw: float) -> list[Line]:
    if price is None or hours is None:
        return []
    capability = shares * hours.capability_kw_h(kw, price.least_score_pu).sum()
    mileage = shares * hours.moved_kw(price.least_score_pu).sum()
    score = f"score {hours.mean_score_pu:.4f}"
    return [
        Line("services", f"{REGULATION}: {score}", capability, "kW h", -price.capability_per_kw_h * capability),
        Line("services", f"{REGULATION}: mileage", mileage, "kW", -price.mileage_per_kw * mileage),
    ]
