"""What those who use energy gain: lower bills, heat, supply in an outage; and what all do: fewer emissions."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from federates.market.bill import GROUPS
from federates.market.filled import Filled
from federates.market.paid import NotNegative
from federates.market.value.part import Input, Part, Worth
from federates.market.value.series import WHOLE, Amount, Runs, SeriesName


class BillSavings(Part):
    """What the customers of a tariff pay less."""

    kind: Literal["bill"] = Field(description="Which part.", examples=["bill"])
    tariff: str = Field(
        min_length=1, max_length=64, description="The run's federate of kind tariff.", examples=["retail"]
    )
    against: Literal["loads-alone", "other-run"] = Field(
        default="loads-alone",
        description="What bills are compared with: of the loads alone in the same run, or of the other run.",
        examples=["other-run"],
    )

    services: bool = Field(
        default=True,
        description="With what the run's bills pay for services; false where that is a part of its own.",
    )

    @model_validator(mode="after")
    def _is_of_the_whole_run(self) -> Self:
        if self.windows != WHOLE:
            raise ValueError("bills are of the whole run: leave windows out")
        return self

    @property
    def claims(self) -> tuple[str, ...]:
        return (f"the bills by {self.tariff}",)

    def worth(self, runs: Runs, currency: str) -> Worth:
        runs.tariff(self.tariff, currency)
        bills = runs.run.billing(self.tariff)
        if self.against == "other-run":
            runs.other_tariff(self.tariff, currency)
        others = bills if self.against == "loads-alone" else runs.other.billing(self.tariff)
        now, before = bills.by_group(), others.by_group(without_der=self.against == "loads-alone")
        if not self.services:
            now["services"] = 0.0
        totals = {"bills_without": sum(before.values()), "bills": sum(now.values())}
        inputs = [Input(name, amount, currency) for name, amount in totals.items()]
        inputs += [Input(f"of which {group}", before[group] - now[group], currency) for group in GROUPS]
        return Worth(totals["bills_without"] - totals["bills"], "bills_without - bills", tuple(inputs))


class Heat(Part):
    """Heat that a boiler need not make, less the fuel that was burnt for it and the electricity beside it."""

    kind: Literal["heat"] = Field(description="Which part.", examples=["heat"])
    heat: SeriesName = Field(description="Heat that is used, kW.", examples=["chp.used_kw"])
    fuel: Filled[SeriesName] = Field(
        description="Fuel that is burnt, kW, also in the plant's own boiler.",
        examples=[["chp.fuel_kw", "chp.boiler_fuel_kw"]],
    )
    boiler_efficiency_pu: float = Field(
        default=0.9, gt=0.0, le=1.1, description="Of the boiler that would make the heat.", examples=[0.9]
    )
    fuel_per_kwh: NotNegative = Field(description="Price of fuel.", examples=[0.04])

    @property
    def claims(self) -> tuple[str, ...]:
        return (f"the heat {self.heat}", *(f"the fuel {name}" for name in self.fuel))

    def worth(self, runs: Runs, currency: str) -> Worth:
        heat_kwh = runs.run.series(self.heat, "kW").integral_h(self.windows)
        fuel_kwh = sum(runs.run.series(name, "kW").integral_h(self.windows) for name in self.fuel)
        inputs = (
            Input("heat", heat_kwh, "kWh"),
            Input("boiler_efficiency", self.boiler_efficiency_pu, "pu"),
            Input("fuel", fuel_kwh, "kWh"),
            Input("fuel_per_kwh", self.fuel_per_kwh, f"{currency}/kWh"),
        )
        amount = (heat_kwh / self.boiler_efficiency_pu - fuel_kwh) * self.fuel_per_kwh
        return Worth(amount, "(heat / boiler_efficiency - fuel) x fuel_per_kwh", inputs)


class Resilience(Part):
    """Energy that is served in an outage, at the value of lost load."""

    kind: Literal["resilience"] = Field(description="Which part.", examples=["resilience"])
    unserved_kwh: SeriesName = Field(
        description="What was not served so far, kWh.", examples=["microgrid.critical_unserved_kwh"]
    )
    without_kwh: float | None = Field(
        default=None,
        ge=0.0,
        le=1e12,
        description="What would not be served without what is valued, kWh. Without it, as in the other run.",
        examples=[1200.0],
    )
    value_per_kwh: NotNegative = Field(description="Value of lost load.", examples=[20.0])

    @property
    def claims(self) -> tuple[str, ...]:
        return (f"what is not served, {self.unserved_kwh}",)

    def worth(self, runs: Runs, currency: str) -> Worth:
        before_kwh = self.without_kwh
        if before_kwh is None:
            before_kwh = runs.other.series(self.unserved_kwh, "kWh").gained(self.windows)
        now_kwh = runs.run.series(self.unserved_kwh, "kWh").gained(self.windows)
        inputs = (
            Input("unserved_without", before_kwh, "kWh"),
            Input("unserved", now_kwh, "kWh"),
            Input("value_per_kwh", self.value_per_kwh, f"{currency}/kWh"),
        )
        formula = "(unserved_without - unserved) x value_per_kwh"
        return Worth((before_kwh - now_kwh) * self.value_per_kwh, formula, inputs)


class Emissions(Part):
    """Emissions of the bulk system that are avoided, less those of fuel that is burnt here."""

    kind: Literal["emissions"] = Field(description="Which part.", examples=["emissions"])
    reads: SeriesName = Field(default="grid.head_kw", description="What is drawn, kW.", examples=["grid.head_kw"])
    kg_per_kwh: Amount = Field(
        description="Emissions of a kWh, kg of CO2: a number, or a series of the run in kg/kWh.", examples=[0.4]
    )
    fuel: tuple[SeriesName, ...] = Field(
        default=(), max_length=100, description="Fuel burnt here, kW.", examples=[["chp.fuel_kw"]]
    )
    fuel_kg_per_kwh: NotNegative = Field(
        default=0.202,
        description="Emissions of a kWh of fuel, kg; natural gas without it.",
        examples=[0.202],
    )
    per_kg: NotNegative = Field(description="What a kg is worth.", examples=[0.05])

    @property
    def claims(self) -> tuple[str, ...]:
        return ("emissions", *(f"the emissions of {name}" for name in self.fuel))

    def worth(self, runs: Runs, currency: str) -> Worth:
        factor = runs.amount(self.kg_per_kwh, "kg/kWh")
        avoided_kg = runs.avoided(self.reads).times(factor).integral_h(self.windows)
        more_kwh = self._more_fuel_kwh(runs)
        inputs = (
            Input("avoided", avoided_kg, "kg"),
            Input("more fuel", more_kwh, "kWh"),
            Input("fuel_kg_per_kwh", self.fuel_kg_per_kwh, "kg/kWh"),
            Input("per_kg", self.per_kg, f"{currency}/kg"),
        )
        amount = (avoided_kg - more_kwh * self.fuel_kg_per_kwh) * self.per_kg
        return Worth(amount, "(avoided - more fuel x fuel_kg_per_kwh) x per_kg", inputs)

    def _more_fuel_kwh(self, runs: Runs) -> float:
        """Return how much more fuel is burnt than in the other run, which may have nothing that burns it."""
        here_kwh = sum(runs.run.series(name, "kW").integral_h(self.windows) for name in self.fuel)
        there = [name for name in self.fuel if runs.other.has(name)]
        return here_kwh - sum(runs.other.series(name, "kW").integral_h(self.windows) for name in there)
