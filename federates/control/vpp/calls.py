"""Times in which somebody calls on a plant: of demand response, or of reserve that is held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from derloop.kind import PlaceError
from federates.fleets import Path
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


def refuse_unheard(calls: Sequence[Call], path: Path, step_ns: int) -> None:
    """Raise PlaceError with the calls, which stand at `path`, that fall between two instants of the plant."""
    what = f"falls between two instants of the plant, whose step is {step_ns / NS_PER_S:g} s: nobody hears it"
    problems = [
        ((*path, i), what)
        for i, call in enumerate(calls)
        if -round(call.begins_s * NS_PER_S) % step_ns >= round(call.lasts_s * NS_PER_S)
    ]
    if problems:
        raise PlaceError([*problems])
