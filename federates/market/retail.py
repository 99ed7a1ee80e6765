"""A tariff: the prices that hold now, and what each customer pays by it, with its DER and without.

Prices are outputs, for controls: `price_per_kwh` of a kWh that is drawn, without tiers, which depend on the customer,
and `export_price_per_kwh` of one that is injected. With net metering an injected kWh saves one that is drawn, so both
are equal.

    price(t) = period(t) + real_time(t) + tier(kWh drawn so far in the billing period)

With `customers`, each of them is metered: `load_kw` is what its loads draw, `der_kw` what its DERs inject, and
`net_kw`, positive when drawn, what is left; as the feeder delivers it, and in a blackout nothing, or as they say where
no feeder tells that. A power that is told at `t` holds until the next step, so the energies and
the bill told at `t` are those at the end of that step:

    load(t + h) = load(t) + load_kw(t) h          net = load - der, within each metering interval
    imported = sum of max(net, 0)                 exported = sum of max(-net, 0)
    bill = energy + demand + fixed - export       bill_without: the same, of the loads alone

(`federates/market/bill.py` has the terms.) With `demand_response` and `regulation` customers are paid for these
services as the tariff says. That is settled after the run, as markets do: `bill` and `bill_without` are without it, and
`derloop bill` shows it in lines of its own, with the baseline and the score.

    demand response = per_kwh x max(sum over an event's intervals of (baseline - net) h, 0)      10-of-10 baseline
    regulation = share x score x (capability_per_kw_h x kw x h + mileage_per_kw x |moves of the signal|)

The bill is what would have to be paid if the run ended then. A billing period is a calendar month, or what the run has
of it: a demand charge is paid whole, for the highest demand that the run has seen; monthly charges in their share of
the month.

A run leaves its tariff in `market/NAME.json`, and beside it who takes part in which service. From these `derloop bill`
makes the bills, line by line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import Balance, FloatArray, Interface, Port, Values
from derloop.errors import ScenarioError
from derloop.kind import Context, Kind, Names, PlaceError
from derloop.memory import remembers
from federates.der import Stepped
from federates.der.inside import path_inside
from federates.market.account import Account, Counter
from federates.market.customers import Customers, CustomerSettings
from federates.market.enrolment import (
    DemandResponseEnrolment,
    Enrolled,
    RegulationEnrolment,
    enrolled,
)
from federates.market.schedule import (
    Run,
    Schedule,
    check_fits,
    make_schedule,
    read_real_time,
    told_export_price,
)
from federates.market.tariff import Tariff, read_tariff

NS_PER_H = 3.6e12
KEPT = "market"
"""Folder of a run in which its tariffs are."""


SERVICES = ".services.json"
"""End of the name of the file beside it: who takes part in services."""


class RetailSettings(Stepped):
    """A tariff, and who is billed by it."""

    tariff: Annotated[str, Names(holds=Tariff)] = Field(
        min_length=1,
        max_length=1024,
        description="JSON file of the tariff, relative to the scenario's folder and inside it.",
        examples=["tariffs/example_home_time_of_use.json"],
    )
    customers: CustomerSettings | None = Field(
        default=None,
        description="Who is billed. Without them it tells prices alone.",
        examples=[{"loads": ["homes"], "ders": ["batteries"]}],
    )
    demand_response: DemandResponseEnrolment | None = Field(
        default=None,
        description="Customers that are paid for what they draw less in events.",
        examples=[{"programme": "programme"}],
    )
    regulation: RegulationEnrolment | None = Field(
        default=None,
        description="Customers whose devices regulate, and share what that is paid.",
        examples=[{"plant": "vpp", "fleets": ["batteries"]}],
    )

    @property
    def fleets(self) -> tuple[str, ...]:
        """All that is billed."""
        return self.customers.fleets if self.customers else ()

    @model_validator(mode="after")
    def _pays_somebody(self) -> Self:
        if self.customers is None and (self.demand_response or self.regulation):
            raise ValueError("services are paid to customers, and customers is missing")
        return self


@remembers("_latest", "_now_ns", "_held")
class Retail:
    """A tariff in a run. State: the account of all customers, at the last instant and at this one.

    The account has 2 n columns: each customer as it is, and each without DER.
    """

    def __init__(self, settings: RetailSettings, context: Context) -> None:
        self.tariff = tariff_of(settings.tariff, context)
        self._step_ns, self._until_ns, self._name = settings.step_ns(context), context.until_ns, context.name
        self._schedule = schedule_of(self.tariff, context, self._step_ns)
        self._export_price = told_export_price(self.tariff, self._schedule)
        self._customers = None if settings.customers is None else Customers(settings.customers, context)
        self._enrolled = _enrolled(settings, self.tariff, self._customers, context)
        self.cautions = (*_billed_twice(settings, context),)
        labels = self._customers.labels if self._customers else ()
        self._counter = Counter(self.tariff, self._schedule, 2 * len(labels))
        self._now_ns: int | None = None
        self._held = self._latest = self._counter.empty
        inputs = self._customers.ports if self._customers else {}
        balances = (_energy(len(labels)),) if labels else ()
        self._interface = Interface(self._step_ns, inputs, self._ports(labels), balances=balances)

    @property
    def interface(self) -> Interface:
        return self._interface

    def keep_in(self, folder: Path) -> None:
        """Keep the tariff and who takes part in services, so that bills can be made of the run."""
        path = folder / KEPT / f"{self._name}.json"
        path.parent.mkdir(exist_ok=True)
        document = self.tariff.model_dump(mode="json", by_alias=True, exclude_none=True)
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        if self._enrolled != Enrolled():
            services = self._enrolled.model_dump_json(exclude_none=True)
            path.with_name(f"{self._name}{SERVICES}").write_text(services + "\n", encoding="utf-8")

    def start(self) -> Values:
        zeros = np.zeros(self._counter.empty.paid.size // 2)
        return self._outputs(0, zeros, zeros)

    def step(self, now_ns: int, inputs: Values) -> Values:
        if now_ns != self._now_ns:
            self._now_ns, self._held = now_ns, self._latest
        if self._customers is None:
            return self._prices(now_ns)
        load_kw, der_kw = self._customers.load_kw(inputs), self._customers.der_kw(inputs)
        hours = min(self._step_ns, self._until_ns - now_ns) / NS_PER_H
        drawn_kwh = np.tile(load_kw, 2) * hours
        injected_kwh = np.concatenate([der_kw, np.zeros(der_kw.shape)]) * hours
        self._latest = self._counter.add(self._held, self._schedule.at(now_ns), drawn_kwh, injected_kwh)
        return self._outputs(now_ns, load_kw, der_kw)

    def stop(self) -> None:
        pass

    def statistics(self) -> Mapping[str, float]:
        """Return what all customers together pay, with and without DER, drew and injected."""
        if self._customers is None:
            return {}
        told = self._accounts(self._latest)
        return {name: float(told[name].sum()) for name in ("bill", "bill_without", "imported_kwh", "exported_kwh")}

    def _ports(self, labels: tuple[str, ...]) -> dict[str, Port]:
        money, one = self.tariff.currency, (self.tariff.name,)
        ports = {name: Port(f"{money}/kWh", one) for name in ("price_per_kwh", "export_price_per_kwh")}
        if self.tariff.real_time is not None:
            ports["market_per_kwh"] = Port(f"{money}/kWh", one)
        units = {"load_kw": "kW", "der_kw": "kW", "net_kw": "kW", "imported_kwh": "kWh", "exported_kwh": "kWh"}
        units |= {"bill": money, "bill_without": money}
        return ports | ({name: Port(unit, labels) for name, unit in units.items()} if labels else {})

    def _prices(self, now_ns: int) -> Values:
        at, schedule = self._schedule.at(now_ns), self._schedule
        told = {"price_per_kwh": schedule.price[at], "export_price_per_kwh": self._export_price[at]}
        if self.tariff.real_time is not None:
            told["market_per_kwh"] = schedule.market[at]
        return {name: np.array([value]) for name, value in told.items()}

    def _outputs(self, now_ns: int, load_kw: FloatArray, der_kw: FloatArray) -> Values:
        prices = self._prices(now_ns)
        if self._customers is None:
            return prices
        powers = {"load_kw": load_kw, "der_kw": der_kw, "net_kw": load_kw - der_kw}
        return {**prices, **powers, **self._accounts(self._latest)}

    def _accounts(self, account: Account) -> dict[str, FloatArray]:
        n = account.paid.size // 2
        energy, owed = self._counter.energy(account), self._counter.owed(account)[0]
        energies = {"imported_kwh": energy.imported_kwh[:n], "exported_kwh": energy.exported_kwh[:n]}
        return {**energies, "bill": owed[:n], "bill_without": owed[n:]}


def _enrolled(settings: RetailSettings, tariff: Tariff, customers: Customers | None, context: Context) -> Enrolled:
    if customers is None:
        return Enrolled()
    return enrolled(settings.demand_response, settings.regulation, tariff, customers, context)


def _billed_twice(settings: RetailSettings, context: Context) -> Iterator[str]:
    """Yield a caution for each tariff before this one that bills the same fleets.

    It is no problem: a supplier and the owner of the grid may bill one meter.
    """
    others = takewhile(lambda name: name != context.name, context.settings)
    for other in others:
        billing = context.settings[other]
        if isinstance(billing, RetailSettings) and (both := [f for f in settings.fleets if f in billing.fleets]):
            what = f"{other!r} bills {', '.join(both)} too"
            yield f"{context.name}: {what}; both bills are whole, and owed only where both tariffs hold at once"


def _energy(customers: int) -> Balance:
    """Return what meters conserve: what they let through is what they counted, in one direction and the other."""
    stored, backwards = ("imported_kwh", "exported_kwh"), (-1.0,) * customers
    return Balance("energy", ("net_kw",), stored=stored, passed=("net_kw",), times={"exported_kwh": backwards})


def tariff_of(file: str, context: Context) -> Tariff:
    """Return the tariff in a file of the scenario's folder; raises PlaceError with all that is wrong in it."""
    try:
        path = path_inside(file, context.folder)
    except ValueError as error:
        raise PlaceError([(("tariff",), f"tariff {file!r} {error}")]) from error
    try:
        return read_tariff(path)
    except ScenarioError as error:
        raise PlaceError([(("tariff",), f"{file}{problem}") for problem in error.problems]) from error


def schedule_of(tariff: Tariff, context: Context, step_ns: int) -> Schedule:
    """Return the tariff over the run of `context`; raises PlaceError where it does not fit the run."""
    run = Run.of(context)
    check_fits(tariff, run, step_ns, ("tariff",))
    if tariff.real_time is None:
        return make_schedule(tariff, run)
    try:
        prices = read_real_time(tariff.real_time, context, round(tariff.interval_s * 1e9))
    except PlaceError as error:
        raise PlaceError([(("tariff",), what) for _, what in error.problems]) from error
    return make_schedule(tariff, run, prices)


KIND = Kind("tariff", "A tariff: prices for controls, and the bills of customers", RetailSettings, Retail)
