"""Tariffs: what a customer pays for what it draws, and gets for what it injects. JSON files.

The price of a kWh is the sum of what the tariff has of these:

    price(t) = period(t) + real_time(t) + tier(kWh drawn so far in the billing period)

A billing period is a calendar month, or what a run has of it. Import and export are netted within each metering
interval of `interval_s`, and demand is the mean power of an interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_core.core_schema import ValidationInfo

from derloop.kind import Settings
from derloop.texts import NAME, Currency
from derloop.validation import read_model
from federates.der.profile import ProfileColumn
from federates.market.filled import Filled
from federates.market.hours import (
    ALL_YEAR,
    SORTS,
    Days,
    Hours,
    Name,
    Season,
    Span,
    seasons_that_fail,
    spans_that_fail,
)
from federates.market.paid import (
    DemandResponsePrice,
    Export,
    FeedIn,
    NetMetering,
    NotNegative,
    Price,
    RegulationPrice,
    Unpaid,
)

JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
WHOLE_DAY = (Hours(),)


# --- prices of energy --------------------------------------------------------------------------------


class InSeason(Settings):
    """What holds in some seasons, at some hours."""

    name: Name = Field(description="What it is called on the bill.", examples=["summer peak"])
    seasons: tuple[Name, ...] = Field(
        default=(), max_length=12, description="Seasons in which it holds. Without them, all.", examples=[["summer"]]
    )
    hours: Filled[Hours] = Field(
        default=WHOLE_DAY,
        max_length=100,
        description="Hours in which it holds. Without them, all.",
        examples=[[{"days": "weekdays", "from_h": 16, "to_h": 21}]],
    )

    def in_season(self, season: str) -> bool:
        """Return whether it holds in a season, at some hours."""
        return not self.seasons or season in self.seasons


class Period(InSeason):
    """Hours with a price."""

    price_per_kwh: Price = Field(description="Price of a kWh.", examples=[0.42])


class Tier(Settings):
    """A step of a price that depends on how much was drawn."""

    up_to_kwh: float | None = Field(
        default=None, gt=0.0, le=1e12, description="Where it ends, kWh. Only the last has none.", examples=[300.0]
    )
    price_per_kwh: Price = Field(description="Price of each kWh in it, added to other prices.", examples=[0.06])


def _rising(tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
    for i, tier in enumerate(tiers[:-1]):
        if tier.up_to_kwh is None:
            raise ValueError(f"tier {i} has no up_to_kwh, and others follow it")
    if tiers[-1].up_to_kwh is not None:
        raise ValueError("the last tier ends at its up_to_kwh, and nothing is said of what is drawn beyond")
    ends = [tier.up_to_kwh or 0.0 for tier in tiers[:-1]]
    for i, (before, after) in enumerate(pairwise(ends)):
        if after <= before:
            raise ValueError(f"tiers must rise: tier {i + 1} ends at {after:g} kWh, tier {i} at {before:g} kWh")
    return tiers


class Tiers(Settings):
    """Prices that depend on how much was drawn in the billing period."""

    per: Literal["billing-period", "day"] = Field(
        default="billing-period",
        description="What up_to_kwh is for: the billing period, or each day that it has.",
        examples=["day"],
    )
    steps: Annotated[Filled[Tier], AfterValidator(_rising)] = Field(
        max_length=50,
        description="The tiers, rising.",
        examples=[[{"up_to_kwh": 10, "price_per_kwh": 0.0}, {"price_per_kwh": 0.08}]],
    )


class RealTime(ProfileColumn):
    """A price that follows a market, from a profile; it holds from one row to the next."""

    factor: float = Field(default=1.0, ge=-1e6, le=1e6, description="By which the column is multiplied.")
    adder_per_kwh: Price = Field(default=0.0, description="What is added to each kWh.", examples=[0.04])


# --- demand and fixed charges ------------------------------------------------------------------------


class DemandCharge(InSeason):
    """A price of the highest mean power of a metering interval in the billing period."""

    per_kw: NotNegative = Field(description="Price of a kW, for each billing period.", examples=[18.0])
    ratchet_pu: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="At least this share of the highest demand of earlier billing periods of the run is billed.",
        examples=[0.8],
    )


class Fixed(Settings):
    """What is paid whatever is drawn."""

    per_day: float = Field(default=0.0, ge=0.0, le=1e6, description="For each day.", examples=[0.35])
    per_month: float = Field(
        default=0.0, ge=0.0, le=1e9, description="For each month; of a part of a month, its share.", examples=[12.0]
    )


# --- the tariff --------------------------------------------------------------------------------------


class Tariff(Settings):
    """A tariff."""

    schema_: str | None = Field(default=None, alias="$schema", description="The JSON Schema, for editors.")
    name: Annotated[str, Field(max_length=64), NAME] = Field(description="Name.", examples=["example_home"])
    description: str = Field(default="", max_length=2000, description="What it is, for people.")
    source: str = Field(
        min_length=1, max_length=2000, description="Where its numbers come from.", examples=["made up, an example"]
    )
    currency: Currency = Field(description="ISO 4217 code of its money.", examples=["USD"])
    interval_s: float = Field(
        default=900.0, ge=60.0, le=3600.0, description="Metering interval, s; divides an hour.", examples=[900.0]
    )
    seasons: tuple[Season, ...] = Field(
        default=(), max_length=12, description="Parts of the year. Without them, there is one: the year."
    )
    holidays: tuple[date, ...] = Field(
        default=(), max_length=1000, description="Days that count as weekend.", examples=[["2025-07-04"]]
    )
    periods: tuple[Period, ...] = Field(
        default=(),
        max_length=100,
        description="Prices by season, day and hour. Each hour has one, unless there are none at all.",
    )
    tiers: Tiers | None = Field(default=None, description="Prices by how much was drawn.")
    real_time: RealTime | None = Field(default=None, description="A price that follows a market.")
    demand: tuple[DemandCharge, ...] = Field(default=(), max_length=20, description="Demand charges.")
    fixed: Fixed = Field(default=Fixed(), description="What is paid whatever is drawn.")
    export: Export = Field(default=Unpaid(kind="none"), description="What is paid for injecting.")
    demand_response: DemandResponsePrice | None = Field(default=None, description="Payments for demand response.")
    regulation: RegulationPrice | None = Field(default=None, description="Payments for frequency regulation.")

    @field_validator("interval_s")
    @classmethod
    def _divides_an_hour(cls, interval_s: float) -> float:
        if 3600.0 % interval_s:
            raise ValueError("must divide an hour")
        return interval_s

    @field_validator("seasons")
    @classmethod
    def _seasons_make_a_year(cls, seasons: tuple[Season, ...]) -> tuple[Season, ...]:
        if seasons and (wrong := [*seasons_that_fail(seasons)]):
            raise ValueError("; ".join(wrong))
        return seasons

    @field_validator("periods")
    @classmethod
    def _periods_have_each_hour_once(cls, periods: tuple[Period, ...], info: ValidationInfo) -> tuple[Period, ...]:
        wrong = [*_misnamed("periods", periods, info.data), *_misplaced(periods, info.data)]
        if wrong:
            raise ValueError("; ".join(wrong))
        return periods

    @field_validator("demand")
    @classmethod
    def _demand_charges_fit(cls, demand: tuple[DemandCharge, ...], info: ValidationInfo) -> tuple[DemandCharge, ...]:
        if wrong := [*_misnamed("demand charges", demand, info.data), *_unmetered(demand, info.data)]:
            raise ValueError("; ".join(wrong))
        return demand

    @model_validator(mode="after")
    def _says_what_energy_costs(self) -> Self:
        if not self.periods and self.tiers is None and self.real_time is None:
            raise ValueError("periods are missing, and tiers and real_time too: it does not say what a kWh costs")
        if isinstance(self.export, NetMetering) and self.real_time is not None:
            what = "real_time gives each interval a price of its own, and net metering nets kWh of one price"
            raise ValueError(f"{what}; possible is net-billing with share_of_price_pu 1")
        return self

    @property
    def is_gross(self) -> bool:
        """Whether what is generated is metered apart from what is used."""
        return isinstance(self.export, FeedIn) and self.export.of == "generation"

    @property
    def buckets(self) -> tuple[str, ...]:
        """The names by which energy is counted: those of the periods."""
        return tuple(period.name for period in self.periods) or ("energy",)


def _misnamed(word: str, parts: Sequence[InSeason], data: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the names that parts of a tariff have, and with those of their seasons."""
    if len({part.name for part in parts}) < len(parts):
        yield f"two {word} have one name"
    known = [season.name for season in data.get("seasons", ())]
    for i, part in enumerate(parts):
        for name in part.seasons if "seasons" in data else ():
            if name not in known:
                yield f"{i} ({part.name!r}): no season is called {name!r}; there are: {', '.join(known) or 'none'}"


def _misplaced(periods: Sequence[Period], data: dict[str, Any]) -> Iterator[str]:
    """Yield which hours have two prices, and which have none; and hours that begin within a metering interval."""
    yield from _unmetered(periods, data)
    if not periods or "seasons" not in data:
        return
    for season in [season.name for season in data["seasons"]] or [ALL_YEAR]:
        where = f" in {season}" if season != ALL_YEAR else ""
        found = {sort: [*spans_that_fail([*_spans(periods, season, sort)])] for sort in SORTS}
        for what in dict.fromkeys(what for problems in found.values() for what in problems):
            on = [sort for sort, problems in found.items() if what in problems]
            yield what + (f" on {on[0]}" if len(on) < len(SORTS) else "") + where


def _spans(periods: Sequence[Period], season: str, sort: Days) -> Iterator[Span]:
    for i, period in enumerate(periods):
        for hours in period.hours if period.in_season(season) else ():
            if hours.on(sort):
                yield Span(hours.from_h, hours.to_h, f"{i} ({period.name!r})")


def _unmetered(parts: Sequence[InSeason], data: dict[str, Any]) -> Iterator[str]:
    interval_s = data.get("interval_s", 3600.0)
    for i, part in enumerate(parts):
        for hour in [h for hours in part.hours for h in (hours.from_h, hours.to_h)]:
            if round(hour * 3600.0, 6) % interval_s:
                yield f"{i} ({part.name!r}): {hour:g} h lies within a metering interval of {interval_s:g} s"


def read_tariff(path: Path) -> Tariff:
    """Return the tariff in a file; raises ScenarioError with all that is wrong."""
    return read_model(Tariff, path)


def tariff_schema() -> dict[str, Any]:
    """Return the JSON Schema of tariffs."""
    return {"$schema": JSON_SCHEMA, **Tariff.model_json_schema(by_alias=True), "title": "derloop tariff"}
