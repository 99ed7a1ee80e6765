"""The bills of a run, from what its meters recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from derloop.contract import FloatArray
from derloop.errors import DerloopError
from federates.market.bill import GROUPS, Bill, bills
from federates.market.schedule import Schedule
from federates.market.settlement import Settlement
from federates.market.tariff import Tariff
from federates.market.usage import metered

ROUNDING = 1e-9


class Unreconciled(DerloopError):
    """Sums that must be equal are not: a defect of derloop, or of what was recorded."""


@dataclass(frozen=True, slots=True)
class Metered:
    """What the meters of n customers recorded, at each step (k, n)."""

    customers: tuple[str, ...]
    step_ns: int
    load_kw: FloatArray
    der_kw: FloatArray


@dataclass(frozen=True, slots=True)
class Billing:
    """The bills of n customers over a run, with their DER and without, one for each billing period."""

    tariff: Tariff
    customers: tuple[str, ...]
    with_der: tuple[Bill, ...]
    without_der: tuple[Bill, ...]
    settlement: Settlement | None = None
    """What services were paid by."""

    @property
    def total(self) -> FloatArray:
        """(n,): what each pays."""
        return _total(self.with_der)

    @property
    def total_without(self) -> FloatArray:
        """(n,): what each would pay without its DER."""
        return _total(self.without_der)

    def by_group(self, without_der: bool = False) -> dict[str, float]:
        """Return what all customers together pay, group by group."""
        made = self.without_der if without_der else self.with_der
        return {group: float(sum(bill.of(group).sum() for bill in made)) for group in GROUPS}

    def paid_for(self, service: str) -> float:
        """Return what all customers together are paid for a service."""
        lines = [line for bill in self.with_der for line in bill.lines]
        return -float(sum(x.amount.sum() for x in lines if x.group == "services" and x.name.startswith(service)))

    def saved_by_group(self) -> dict[str, float]:
        """Return what all customers together pay less with DER, group by group."""
        now, before = self.by_group(), self.by_group(without_der=True)
        return {group: before[group] - now[group] for group in GROUPS}

    def reconcile(self, told: FloatArray, told_without: FloatArray) -> None:
        """Raise Unreconciled unless these bills are what the run told at its end, and groups sum up to totals.

        A run tells bills without services, which are settled after it.
        """
        equal("bills and what the run told of them", self.total - _services(self.with_der), told)
        without = self.total_without - _services(self.without_der)
        equal("bills without DER and what the run told of them", without, told_without)
        saved = np.array([sum(self.saved_by_group().values())])
        equal("savings by group and by customer", saved, np.array([(self.total_without - self.total).sum()]))


def equal(what: str, one: FloatArray, other: FloatArray) -> None:
    """Raise Unreconciled unless both are equal, to rounding."""
    scale = max(1.0, float(np.abs(one).max(initial=0.0)), float(np.abs(other).max(initial=0.0)))
    off = float(np.abs(one - other).max(initial=0.0))
    if not off <= ROUNDING * scale:
        raise Unreconciled(f"{what} do not add up: {float(np.sum(one)):.9g} and {float(np.sum(other)):.9g}")


def make_billing(tariff: Tariff, schedule: Schedule, of: Metered, settlement: Settlement | None = None) -> Billing:
    """Return the bills of a run, with what services are paid where there is a settlement of them."""
    load_kwh, der_kwh = (_by_interval(kw, of.step_ns, schedule.interval_ns) for kw in (of.load_kw, of.der_kw))
    with_der = bills(tariff, schedule, metered(load_kwh, der_kwh, tariff.is_gross))
    without = bills(tariff, schedule, metered(load_kwh, np.zeros(der_kwh.shape), tariff.is_gross))
    if settlement is not None:
        whole = len(of.load_kw) * of.step_ns // schedule.interval_ns  # nobody knows the mean of a part of an interval
        with_kw, without_kw = (kwh[:whole] / schedule.interval_h for kwh in (load_kwh - der_kwh, load_kwh))
        with_der = settlement.added(with_der, tariff, schedule, with_kw, has_der=True)
        without = settlement.added(without, tariff, schedule, without_kw, has_der=False)
    return Billing(tariff, of.customers, tuple(with_der), tuple(without), settlement)


def _by_interval(p_kw: FloatArray, step_ns: int, interval_ns: int) -> FloatArray:
    """Return the energy of each metering interval (k, n) of powers that hold for a step."""
    starts = np.arange(0, len(p_kw), interval_ns // step_ns)
    energy: FloatArray = np.add.reduceat(p_kw, starts, axis=0) * (step_ns / 3.6e12)
    return energy


def _services(made: tuple[Bill, ...]) -> FloatArray:
    """Return what each pays for services (n,): nothing or less."""
    total: FloatArray = np.sum([bill.of("services") for bill in made], axis=0)
    return total


def _total(made: tuple[Bill, ...]) -> FloatArray:
    total: FloatArray = np.sum([bill.total for bill in made], axis=0)
    return total
