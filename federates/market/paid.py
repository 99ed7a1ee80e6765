"""What a tariff pays: for injecting, for demand response, for regulation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from derloop.kind import Settings

Price = Annotated[float, Field(ge=-1e4, le=1e4)]
NotNegative = Annotated[float, Field(ge=0.0, le=1e6)]


class Unpaid(Settings):
    """Nothing is paid for what is injected."""

    kind: Literal["none"] = Field(description="How injecting is paid.", examples=["none"])


class NetMetering(Settings):
    """What is injected is taken off what is drawn, kWh by kWh, within the billing period and each period of the day."""

    kind: Literal["net-metering"] = Field(description="How injecting is paid.", examples=["net-metering"])
    carry_over: bool = Field(
        default=False,
        description="What is left over is taken off the next billing period; at the run's end it is paid.",
        examples=[True],
    )
    surplus_per_kwh: NotNegative = Field(
        default=0.0, description="What is paid for each kWh that is left over.", examples=[0.03]
    )


class NetBilling(Settings):
    """What is injected, netted within a metering interval, is paid at a price of its own."""

    kind: Literal["net-billing"] = Field(description="How injecting is paid.", examples=["net-billing"])
    price_per_kwh: Price | None = Field(default=None, description="What a kWh is paid.", examples=[0.06])
    share_of_price_pu: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="Or: which share of the price of drawing (without tiers) at the time.",
        examples=[0.5],
    )

    @model_validator(mode="after")
    def _has_one_price(self) -> Self:
        if (self.price_per_kwh is None) == (self.share_of_price_pu is None):
            raise ValueError("needs one of price_per_kwh and share_of_price_pu, and not both")
        return self


class FeedIn(Settings):
    """A fixed price for what is injected, or for all that is generated."""

    kind: Literal["feed-in"] = Field(description="How injecting is paid.", examples=["feed-in"])
    price_per_kwh: NotNegative = Field(description="What a kWh is paid.", examples=[0.08])
    of: Literal["surplus", "generation"] = Field(
        default="surplus",
        description="Of what is injected into the grid, or of all that is generated, which has a meter of its own; "
        "then all that is used is bought.",
        examples=["generation"],
    )


Export = Annotated[
    Annotated[Unpaid, Tag("none")]
    | Annotated[NetMetering, Tag("net-metering")]
    | Annotated[NetBilling, Tag("net-billing")]
    | Annotated[FeedIn, Tag("feed-in")],
    Discriminator("kind"),
]


# --- payments for services ---------------------------------------------------------------------------


class DemandResponsePrice(Settings):
    """What drawing less in an event is paid."""

    per_kwh: NotNegative = Field(description="For each kWh below the baseline in events.", examples=[0.5])


class RegulationPrice(Settings):
    """What frequency regulation is paid: for the capability, and for what was moved, both times the performance."""

    capability_per_kw_h: NotNegative = Field(description="For each kW that is held, and hour.", examples=[0.02])
    mileage_per_kw: NotNegative = Field(
        default=0.0, description="For each kW by which the signal moves.", examples=[0.0005]
    )
    least_score_pu: float = Field(
        default=0.4, ge=0.0, le=1.0, description="Below this performance nothing is paid.", examples=[0.4]
    )
