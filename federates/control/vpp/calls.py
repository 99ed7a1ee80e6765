"""Times in which somebody calls on a plant: of demand response, or of reserve that is held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from federates.spells import Spell, check_in_turn

NS_PER_S = 1e9


class Call(Spell):
    """A time in which something is called."""

    share_pu: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Which share of what is offered is called.", examples=[0.5]
    )


def _apart(calls: tuple[Call, ...]) -> tuple[Call, ...]:
    check_in_turn(calls, "calls")
    return calls


Calls = Annotated[tuple[Call, ...], AfterValidator(_apart)]


def called_pu(calls: Sequence[Call], now_ns: int) -> float:
    """Return the share that is called at an instant, 0 outside of calls."""
    now_s = now_ns / NS_PER_S
    return next((call.share_pu for call in calls if call.holds(now_s)), 0.0)
