"""What whoever supplies the feeder saves: energy, losses, capacity, peaks, upgrades."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from federates.market.paid import NotNegative
from federates.market.value.part import Committing, Input, Part, Worth, held_kw_h, hours_of
from federates.market.value.series import Amount, Runs, Series, SeriesName

HOURS_PER_YEAR = 8760.0


class Energy(Part):
    """Energy at a wholesale price that need not be bought."""

    kind: Literal["energy"] = Field(description="Which part.", examples=["energy"])
    reads: SeriesName = Field(default="grid.head_kw", description="What is bought, kW.", examples=["grid.head_kw"])
    less: SeriesName | None = Field(
        default=None,
        description="What is taken off it, kW: losses that are a part of their own.",
        examples=["grid.losses_kw"],
    )
    price_per_kwh: Amount = Field(
        description="A number, or a series of the run.", examples=[0.08, "market.price_per_kwh"]
    )
    carbon_in_price: bool = Field(default=False, description="The price has the price of emissions in it.")

    @property
    def claims(self) -> tuple[str, ...]:
        losses = () if self.less else (losses_of(self.reads),)
        return (f"the energy of {self.reads}", *losses, *(("emissions",) if self.carbon_in_price else ()))

    def worth(self, runs: Runs, currency: str) -> Worth:
        avoided = runs.avoided(self.reads)
        if self.less:
            avoided = avoided.less(runs.avoided(self.less))
        amount, kwh = avoided.times(runs.energy_price(self.price_per_kwh, currency)), avoided.integral_h(self.windows)
        what = f"({self.reads} - {self.less})" if self.less else self.reads
        return _priced_energy(amount.integral_h(self.windows), kwh, f"sum of price x avoided {what} x h", currency)


class Losses(Part):
    """Losses in the feeder that are avoided."""

    kind: Literal["losses"] = Field(description="Which part.", examples=["losses"])
    reads: SeriesName = Field(default="grid.losses_kw", description="Losses, kW.", examples=["grid.losses_kw"])
    price_per_kwh: Amount = Field(
        description="A number, or a series of the run.", examples=[0.08, "market.price_per_kwh"]
    )

    @property
    def claims(self) -> tuple[str, ...]:
        return (losses_of(self.reads),)

    def worth(self, runs: Runs, currency: str) -> Worth:
        avoided = runs.avoided(self.reads)
        amount = avoided.times(runs.energy_price(self.price_per_kwh, currency)).integral_h(self.windows)
        formula = f"sum of price x avoided {self.reads} x h"
        return _priced_energy(amount, avoided.integral_h(self.windows), formula, currency)


class Capacity(Committing):
    """Power that is paid for being there."""

    kind: Literal["capacity"] = Field(description="Which part.", examples=["capacity"])
    kw: float = Field(gt=0.0, le=1e9, description="What is sold, kW.", examples=[200.0])
    per_kw_h: NotNegative = Field(description="Price of a kW for each hour in the windows.", examples=[0.01])
    available: SeriesName | None = Field(
        default=None,
        description="What could be injected, kW: no more counts than the least of it in the windows.",
        examples=["batteries.p_max_kw"],
    )
    asset: str = Field(default="bulk system", max_length=100, description="Whose capacity it stands for.")

    @property
    def claims(self) -> tuple[str, ...]:
        return (capacity_of(self.asset),)

    def held_kw(self, runs: Runs) -> Series | float:
        if self.available is None:
            return self.kw
        return max(min(self.kw, runs.run.series(self.available, "kW").lowest(self.windows)), 0.0)

    def worth(self, runs: Runs, currency: str) -> Worth:
        kw_h = held_kw_h(self.held_kw(runs), self.windows, runs.run.duration_h)
        hours = hours_of(self.windows, runs.run.duration_h)
        inputs = (
            Input("kw", kw_h / hours if hours else 0.0, "kW"),
            Input("hours", hours, "h"),
            Input("per_kw_h", self.per_kw_h, f"{currency}/(kW h)"),
        )
        return Worth(kw_h * self.per_kw_h, "kw x hours x per_kw_h", inputs)


class AvoidedPeak(Part):
    """A peak that is lower."""

    kind: Literal["avoided-peak"] = Field(description="Which part.", examples=["avoided-peak"])
    asset: str = Field(
        min_length=1, max_length=100, description="What is built or paid for the peak.", examples=["transmission"]
    )
    reads: SeriesName = Field(default="grid.head_kw", description="What peaks, kW.", examples=["grid.head_kw"])
    per_kw: NotNegative = Field(description="What a kW of the peak of this run costs.", examples=[4.0])

    @property
    def claims(self) -> tuple[str, ...]:
        return (capacity_of(self.asset),)

    def worth(self, runs: Runs, currency: str) -> Worth:
        before_kw = runs.other.series(self.reads, "kW").highest(self.windows)
        now_kw = runs.run.series(self.reads, "kW").highest(self.windows)
        inputs = (
            Input("peak_without", before_kw, "kW"),
            Input("peak", now_kw, "kW"),
            Input("per_kw", self.per_kw, f"{currency}/kW"),
        )
        return Worth((before_kw - now_kw) * self.per_kw, "(peak_without - peak) x per_kw", inputs)


class Deferral(Part):
    """An upgrade that is not needed yet, since the peak stays below the rating: a year later costs less.

    The value of a year is `cost (1 - (1 + i) / (1 + r))`, with the discount rate `r` and the inflation `i` of the cost
    (the real economic carrying charge of an asset that is replaced for ever), of which the run has its part.
    """

    kind: Literal["deferral"] = Field(description="Which part.", examples=["deferral"])
    asset: str = Field(min_length=1, max_length=100, description="What would be upgraded.", examples=["substation"])
    reads: SeriesName = Field(default="grid.head_kw", description="What loads it, kW.", examples=["grid.head_kw"])
    rating_kw: float = Field(gt=0.0, le=1e9, description="What it can carry, kW.", examples=[3000.0])
    cost: NotNegative = Field(description="What the upgrade costs.", examples=[500_000.0])
    discount_pu: float = Field(default=0.07, gt=0.0, le=1.0, description="Discount rate, for a year.", examples=[0.07])
    inflation_pu: float = Field(
        default=0.02, ge=0.0, le=1.0, description="By how much the cost rises in a year.", examples=[0.02]
    )

    @property
    def claims(self) -> tuple[str, ...]:
        return (capacity_of(self.asset),)

    def worth(self, runs: Runs, currency: str) -> Worth:
        before_kw = runs.other.series(self.reads, "kW").highest(self.windows)
        now_kw = runs.run.series(self.reads, "kW").highest(self.windows)
        defers = before_kw > self.rating_kw >= now_kw
        of_year = self.cost * (1.0 - (1.0 + self.inflation_pu) / (1.0 + self.discount_pu))
        share = runs.run.duration_h / HOURS_PER_YEAR
        inputs = (
            Input("peak_without", before_kw, "kW"),
            Input("rating", self.rating_kw, "kW"),
            Input("peak", now_kw, "kW"),
            Input("cost", self.cost, currency),
            Input("inflation", self.inflation_pu, "pu"),
            Input("discount", self.discount_pu, "pu"),
            Input("years", share, "a"),
        )
        formula = "cost x (1 - (1 + inflation) / (1 + discount)) x years, if peak_without > rating >= peak"
        return Worth(of_year * share if defers else 0.0, formula, inputs)


def losses_of(series: str) -> str:
    return f"the losses of {series.partition('.')[0]}"


def capacity_of(asset: str) -> str:
    return f"the capacity of {asset!r}"


def _priced_energy(amount: float, kwh: float, formula: str, currency: str) -> Worth:
    mean = amount / kwh if kwh else 0.0
    inputs = (Input("avoided", kwh, "kWh"), Input("mean price of it", mean, f"{currency}/kWh"))
    return Worth(amount, formula, inputs)
