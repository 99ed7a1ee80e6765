"""A value stack: its parts, and the resources that some of them hold ready. JSON files."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from derloop.kind import Settings
from derloop.texts import Currency
from federates.market.filled import Filled
from federates.market.tariff import JSON_SCHEMA
from federates.market.value.services import DemandResponse, Regulation, Reserve
from federates.market.value.supply import AvoidedPeak, Capacity, Deferral, Energy, Losses
from federates.market.value.use import BillSavings, Emissions, Heat, Resilience

AnyPart = Annotated[
    Annotated[BillSavings, Tag("bill")]
    | Annotated[Energy, Tag("energy")]
    | Annotated[Losses, Tag("losses")]
    | Annotated[Capacity, Tag("capacity")]
    | Annotated[AvoidedPeak, Tag("avoided-peak")]
    | Annotated[Deferral, Tag("deferral")]
    | Annotated[Regulation, Tag("regulation")]
    | Annotated[Reserve, Tag("reserve")]
    | Annotated[DemandResponse, Tag("demand-response")]
    | Annotated[Heat, Tag("heat")]
    | Annotated[Resilience, Tag("resilience")]
    | Annotated[Emissions, Tag("emissions")],
    Discriminator("kind"),
]


class Resource(Settings):
    """Something that can hold power ready."""

    power_kw: float = Field(gt=0.0, le=1e9, description="What it can hold in all, kW.", examples=[500.0])


class Stack(Settings):
    """What of a run is valued."""

    schema_: str | None = Field(default=None, alias="$schema", description="The JSON Schema, for editors.")
    name: str = Field(min_length=1, max_length=100, description="Name.", examples=["community battery"])
    currency: Currency = Field(description="ISO 4217 code of the money.", examples=["USD"])
    resources: dict[str, Resource] = Field(
        default={}, max_length=1000, description="What holds power.", examples=[{"fleet": {"power_kw": 500}}]
    )
    parts: Filled[AnyPart] = Field(max_length=200, description="The parts.")

    def called(self, i: int) -> str:
        """Return what a part is called."""
        return self.parts[i].name or self.parts[i].kind


def value_schema() -> dict[str, Any]:
    """Return the JSON Schema of stacks."""
    return {"$schema": JSON_SCHEMA, **Stack.model_json_schema(by_alias=True), "title": "derloop value"}
