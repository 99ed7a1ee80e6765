"""What the market pays for services: regulation, reserve, demand response."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, Self, TypeVar

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray
from derloop.errors import DerloopError
from federates.market.billing import Billing
from federates.market.paid import DemandResponsePrice, NotNegative, RegulationPrice
from federates.market.regulated import regulated
from federates.market.schedule import IntArray
from federates.market.settlement import DEMAND_RESPONSE
from federates.market.value.part import Committing, Input, Part, Worth, held_kw_h
from federates.market.value.series import WHOLE, Amount, Runs, Series, SeriesName

FROM_TARIFF = "Or: the run's federate of kind tariff that says what is paid."
TariffName = Annotated[str, Field(min_length=1, max_length=64)]
PriceOf = TypeVar("PriceOf", DemandResponsePrice, RegulationPrice)


class Reserve(Committing):
    """Power that is held back for calls."""

    kind: Literal["reserve"] = Field(description="Which part.", examples=["reserve"])
    kw: Amount = Field(description="What is held, kW: a number, or a series of the run.", examples=[100.0])
    per_kw_h: NotNegative = Field(description="Price of a kW for each hour.", examples=[0.005])

    def held_kw(self, runs: Runs) -> Series | float:
        return runs.amount(self.kw, "kW")

    def worth(self, runs: Runs, currency: str) -> Worth:
        kw_h = held_kw_h(self.held_kw(runs), self.windows, runs.run.duration_h)
        inputs = (Input("held", kw_h, "kW h"), Input("per_kw_h", self.per_kw_h, f"{currency}/(kW h)"))
        return Worth(kw_h * self.per_kw_h, "held x per_kw_h", inputs)


class Regulation(Committing):
    """Frequency regulation, settled hour by hour as PJM does: the capability and the mileage are paid in proportion to
    the performance score of the hour, and nothing below the least one.

    The mileage of an hour is the sum of the moves of the signal in it, kW.
    """

    kind: Literal["regulation"] = Field(description="Which part.", examples=["regulation"])
    kw: float = Field(gt=0.0, le=1e9, description="Capability, up and down, kW.", examples=[200.0])
    signal: SeriesName = Field(description="What is asked, kW.", examples=["vpp.signal_kw"])
    response: SeriesName | None = Field(
        default=None, description="What is given, kW: the score is computed.", examples=["vpp.response_kw"]
    )
    score_pu: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Or: the performance score of all hours.", examples=[0.9]
    )
    price: RegulationPrice | None = Field(
        default=None, description="What is paid.", examples=[{"capability_per_kw_h": 0.02, "mileage_per_kw": 0.0005}]
    )
    tariff: TariffName | None = Field(default=None, description=FROM_TARIFF, examples=["market"])

    @model_validator(mode="after")
    def _has_one_score_and_one_price(self) -> Self:
        _one_of("response", self.response, "score_pu", self.score_pu)
        _one_of("price", self.price, "tariff", self.tariff)
        return self

    @property
    def claims(self) -> tuple[str, ...]:
        return (f"the regulation by {self.signal}",)

    def is_on(self, meter: str, billing: Billing) -> bool:
        """Return whether it is what the bills by a tariff of the run pay."""
        on_bills = None if billing.settlement is None else billing.settlement.enrolled.regulation
        if on_bills is None:
            return False
        billed = (meter, f"{on_bills.plant}.response_kw", on_bills.capability_kw, WHOLE)
        return (self.tariff, self.response, self.kw, self.windows) == billed

    def held_kw(self, runs: Runs) -> Series | float:  # noqa: ARG002 - of every run the same
        return self.kw

    def worth(self, runs: Runs, currency: str) -> Worth:
        signal, price = runs.run.series(self.signal, "kW"), self._price(runs, currency)
        inside, scores = signal.within(self.windows), partial(self._scores, runs)
        hours = regulated(signal.time_ns, signal.values, signal.step_ns, inside, scores)
        capability = float(hours.capability_kw_h(self.kw, price.least_score_pu).sum())
        mileage = float(hours.moved_kw(price.least_score_pu).sum())
        amount = capability * price.capability_per_kw_h + mileage * price.mileage_per_kw
        inputs = (
            Input("capability x score", capability, "kW h"),
            Input("per_kw_h", price.capability_per_kw_h, f"{currency}/(kW h)"),
            Input("mileage x score", mileage, "kW"),
            Input("per_kw", price.mileage_per_kw, f"{currency}/kW"),
            Input("mean score", hours.mean_score_pu, "pu"),
        )
        formula = "sum over hours of score x (kw x h x per_kw_h + mileage x per_kw), if score >= least"
        return Worth(amount, formula, inputs)

    def _price(self, runs: Runs, currency: str) -> RegulationPrice:
        if self.price is not None:
            return self.price
        return of_tariff(runs.tariff(str(self.tariff), currency).regulation, "regulation")

    def _scores(self, runs: Runs, hours: IntArray) -> FloatArray:
        """Return the score of each hour; one that cannot be scored is not paid."""
        if self.response is None:
            return np.full(hours.shape, float(self.score_pu or 0.0))
        found = runs.run.performance(self.signal, self.response)
        return np.array([found.get(int(h), 0.0) for h in hours])


class DemandResponse(Part):
    """Energy that was not drawn in events, against a baseline."""

    kind: Literal["demand-response"] = Field(description="Which part.", examples=["demand-response"])
    reduced_kwh: SeriesName | None = Field(
        default=None,
        description="Energy that has been saved in events so far, kWh.",
        examples=["programme.reduced_kwh"],
    )
    customers: TariffName | None = Field(
        default=None,
        description="Or: the run's federate of kind tariff whose customers are paid for it on their bills.",
        examples=["retail"],
    )
    per_kwh: NotNegative | None = Field(default=None, description="What a kWh is paid.", examples=[0.5])
    tariff: TariffName | None = Field(default=None, description=FROM_TARIFF, examples=["market"])

    @model_validator(mode="after")
    def _has_one_price(self) -> Self:
        _one_of("reduced_kwh", self.reduced_kwh, "customers", self.customers)
        if self.customers is None:
            _one_of("per_kwh", self.per_kwh, "tariff", self.tariff)
        elif self.per_kwh is not None or self.tariff is not None or self.windows != WHOLE:
            raise ValueError("customers are paid by their tariff for the whole run: without per_kwh, tariff, windows")
        return self

    @property
    def claims(self) -> tuple[str, ...]:
        return (f"the reduction {self.reduced_kwh or 'of the customers of ' + str(self.customers)}",)

    def is_on(self, meter: str, billing: Billing) -> bool:  # noqa: ARG002 - as of regulation
        """Return whether it is what the bills by a tariff of the run pay."""
        return self.customers == meter

    def worth(self, runs: Runs, currency: str) -> Worth:
        if self.customers is not None:
            return self._billed(self.customers, runs, currency)
        assert self.reduced_kwh is not None
        kwh = runs.run.series(self.reduced_kwh, "kWh").gained(self.windows)
        per_kwh = self._per_kwh(runs, currency)
        inputs = (Input("reduced", kwh, "kWh"), Input("per_kwh", per_kwh, f"{currency}/kWh"))
        return Worth(kwh * per_kwh, "reduced x per_kwh", inputs)

    def _billed(self, meter: str, runs: Runs, currency: str) -> Worth:
        """Return what bills pay."""
        price = of_tariff(runs.tariff(meter, currency).demand_response, "demand response")
        kwh = runs.run.billing(meter).paid_for(DEMAND_RESPONSE) / price.per_kwh if price.per_kwh else 0.0
        inputs = (Input("reduced, on bills", kwh, "kWh"), Input("per_kwh", price.per_kwh, f"{currency}/kWh"))
        return Worth(kwh * price.per_kwh, "reduced x per_kwh", inputs)

    def _per_kwh(self, runs: Runs, currency: str) -> float:
        if self.per_kwh is not None:
            return self.per_kwh
        return of_tariff(runs.tariff(str(self.tariff), currency).demand_response, "demand response").per_kwh


def of_tariff(price: PriceOf | None, service: str) -> PriceOf:
    """Return what a tariff pays for a service; raises DerloopError where it says nothing of it."""
    if price is None:
        raise DerloopError(f"the tariff does not say what {service} is paid")
    return price


def _one_of(one: str, value: object, other: str, other_value: object) -> None:
    if (value is None) == (other_value is None):
        raise ValueError(f"needs one of {one} and {other}, and not both")
