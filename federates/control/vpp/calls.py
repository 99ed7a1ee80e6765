"""Times in which somebody calls on a plant: of demand response, or of reserve that is held."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field

from derloop.kind import Settings

NS_PER_S = 1e9


class Call(Settings):
    """A time in which something is called."""

    begins_s: float = Field(ge=0.0, le=1e10, description="Begin, s since the scenario's start.", examples=[61200.0])
    lasts_s: float = Field(gt=0.0, le=86400.0, description="How long, s.", examples=[3600.0])
    share_pu: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Which share of what is offered is called.", examples=[0.5]
    )

    @property
    def ends_s(self) -> float:
        return self.begins_s + self.lasts_s


def _apart(calls: tuple[Call, ...]) -> tuple[Call, ...]:
    for before, after in pairwise(calls):
        if after.begins_s < before.ends_s:
            what = f"one begins at {after.begins_s:g} s, before the one ahead of it ends at {before.ends_s:g} s"
            raise ValueError(f"calls must follow each other: {what}")
    return calls


Calls = Annotated[tuple[Call, ...], AfterValidator(_apart)]


def called_pu(calls: Sequence[Call], now_ns: int) -> float:
    """Return the share that is called at an instant, 0 outside of calls."""
    now_s = now_ns / NS_PER_S
    return next((call.share_pu for call in calls if call.begins_s <= now_s < call.ends_s), 0.0)
