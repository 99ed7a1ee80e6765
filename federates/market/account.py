"""What customers owe while a run goes on: the same bills as after it, as far as it has come."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from derloop.contract import FloatArray
from federates.market.bill import Carried, make_bill, nothing_carried
from federates.market.schedule import Schedule
from federates.market.tariff import Tariff
from federates.market.usage import Energy, Usage, metered, nothing, usage


class Account(NamedTuple):
    """Of n customers, up to an instant. Nothing in it is written: each step makes a new one."""

    interval: int
    """The metering interval that goes on."""
    load_kwh: FloatArray
    """(n,): drawn by loads in that interval so far."""
    der_kwh: FloatArray
    """(n,): injected by DERs in it."""
    used: Usage
    """Of the intervals of this billing period that are over."""
    carried: Carried
    paid: FloatArray
    """(n,): the bills of the billing periods that are over."""
    imported_kwh: FloatArray
    """(n,): of the intervals that are over, since the run's start."""
    exported_kwh: FloatArray


class Counter:
    """Counts what customers use, by a tariff."""

    def __init__(self, tariff: Tariff, schedule: Schedule, customers: int) -> None:
        self._tariff, self._schedule, self._n = tariff, schedule, customers

    @property
    def empty(self) -> Account:
        """The account before the run."""
        zeros = np.zeros(self._n)
        return Account(0, zeros, zeros, self._nothing, nothing_carried(self._tariff, self._n), zeros, zeros, zeros)

    @property
    def _nothing(self) -> Usage:
        return nothing(len(self._tariff.buckets), len(self._tariff.demand), self._n)

    def add(self, account: Account, interval: int, load_kwh: FloatArray, der_kwh: FloatArray) -> Account:
        """Return the account after some time within one interval, which is not before that of the account."""
        while account.interval < interval:
            account = self._closed(account)
        return account._replace(load_kwh=account.load_kwh + load_kwh, der_kwh=account.der_kwh + der_kwh)

    def owed(self, account: Account) -> tuple[FloatArray, Usage]:
        """Return what each would have to pay in all (n,) if the run ended now, and the usage of the billing period."""
        used = account.used.plus(self._of_interval(account)[1])
        bill, _ = make_bill(self._tariff, "", used, account.carried, is_last=True)
        return account.paid + bill.total, used

    def energy(self, account: Account) -> Energy:
        """Return what each has drawn and injected since the run's start (n,), kWh."""
        now = self._of_interval(account)[0]
        return Energy(account.imported_kwh + now.imported_kwh[0], account.exported_kwh + now.exported_kwh[0])

    def _of_interval(self, account: Account) -> tuple[Energy, Usage]:
        energy = metered(account.load_kwh[None, :], account.der_kwh[None, :], self._tariff.is_gross)
        at = slice(account.interval, account.interval + 1)
        return energy, usage(self._schedule, at, energy, len(self._tariff.buckets))

    def _closed(self, account: Account) -> Account:
        """Return the account at the end of its interval, and of its billing period where that ends too."""
        energy, now = self._of_interval(account)
        used, month, zeros = account.used.plus(now), self._schedule.month, np.zeros(self._n)
        imported_kwh = account.imported_kwh + energy.imported_kwh[0]
        exported_kwh = account.exported_kwh + energy.exported_kwh[0]
        carried, paid, following = account.carried, account.paid, account.interval + 1
        if month[following] != month[account.interval]:
            bill, carried = make_bill(self._tariff, "", used, carried, is_last=False)
            used, paid = self._nothing, paid + bill.total
        return Account(following, zeros, zeros, used, carried, paid, imported_kwh, exported_kwh)
