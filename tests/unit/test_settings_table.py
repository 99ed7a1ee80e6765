"""The settings of a kind as rows: names down to the objects within, types in words, defaults and ranges."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from derloop.kind import Settings
from derloop.settings_table import settings_rows

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Place(Settings):
    bus: str = Field(description="Which bus.")


class Fleet(Settings):
    at: tuple[Place, ...] = Field(description="Where they stand.")
    mode: Literal["idle", "commanded"] = Field(default="idle", description="Who sets the power.")
    droop_pu: float | None = Field(default=None, gt=0.0, le=0.5, description="Droop, pu.")
    band_pu: tuple[float, float] = Field(default=(0.95, 1.05), description="Voltages, pu.")
    shares_pu: tuple[Share, ...] | None = Field(default=None, description="Shares, pu.")
    first_pu: tuple[Share, Share] = Field(default=(0.0, 1.0), description="Two of them, pu.")
    point: tuple[Share, float] = Field(default=(0.0, 5.0), description="Share, pu, and power, kW.")


def test_a_row_says_what_a_setting_may_be() -> None:
    assert [*settings_rows(Fleet)] == [
        ("at", "[object, ...]", "required", "", "Where they stand."),
        ("at[].bus", "string", "required", "", "Which bus."),
        ("mode", "idle | commanded", "idle", "", "Who sets the power."),
        ("droop_pu", "number", "none", "> 0, <= 0.5", "Droop, pu."),
        ("band_pu", "[number, number]", "[0.95, 1.05]", "", "Voltages, pu."),
        ("shares_pu", "[number, ...]", "none", ">= 0, <= 1", "Shares, pu."),
        ("first_pu", "[number, number]", "[0.0, 1.0]", ">= 0, <= 1", "Two of them, pu."),
        ("point", "[number, number]", "[0.0, 5.0]", "", "Share, pu, and power, kW."),
    ]
