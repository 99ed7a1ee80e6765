"""When the bulk system is away: outages that are listed, or drawn by chance.

Drawn outages are a renewal process: times between them and how long they last are both exponential, with the rate and
the mean that the settings say (R. Billinton and R. N. Allan, "Reliability Evaluation of Power Systems", 2nd ed., 1996,
chapter 2: constant rates of failure and repair).
"""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray
from derloop.kind import Settings
from federates.spells import Spell, check_in_turn

HOUR_S, YEAR_S = 3600.0, 8760.0 * 3600.0
MOST_DRAWN = 10_000


class OutageRate(Settings):
    """Outages by chance, the same in every run of a seed."""

    per_year: float = Field(gt=0.0, le=1e5, description="How often in a year of 8760 h.", examples=[1.3])
    mean_h: float = Field(gt=0.0, le=8760.0, description="How long they last in the mean, h.", examples=[2.0])


class OutageSettings(Settings):
    """When the bulk system is away: both together are allowed."""

    events: tuple[Spell, ...] = Field(
        default=(), max_length=10_000, description="Listed, one after the other.",
        examples=[[{"begins_s": 7200, "lasts_s": 43200}]],
    )  # fmt: skip
    by_chance: OutageRate | None = Field(
        default=None, description="Drawn, by the scenario's seed.", examples=[{"per_year": 1.3, "mean_h": 2.0}]
    )

    @model_validator(mode="after")
    def _are_in_order(self) -> Self:
        check_in_turn(self.events, "outages")
        return self

    @model_validator(mode="after")
    def _has_some(self) -> Self:
        if not self.events and self.by_chance is None:
            raise ValueError("needs events, by_chance or both")
        return self


class Outages:
    """Begins and ends of all outages, ns since the start."""

    def __init__(self, settings: OutageSettings | None, seed: int) -> None:
        listed = settings.events if settings else ()
        spans = [np.array([(event.begins_s, event.ends_s) for event in listed]).reshape(-1, 2)]
        if settings and settings.by_chance:
            spans.append(drawn_s(settings.by_chance, seed))
        self.spans_ns = np.round(np.concatenate(spans) * 1e9)

    def is_out(self, now_ns: int) -> bool:
        begins, ends = self.spans_ns.T
        return bool(((begins <= now_ns) & (now_ns < ends)).any())


def drawn_s(rate: OutageRate, seed: int) -> FloatArray:
    """Return begin and end (n, 2) of outages by chance, s, one after the other."""
    chance = np.random.default_rng([seed, 0x0A7A6E])
    waits_s = chance.exponential(YEAR_S / rate.per_year, MOST_DRAWN)
    lasts_s = chance.exponential(HOUR_S * rate.mean_h, MOST_DRAWN)
    ends_s = np.cumsum(waits_s + lasts_s)
    return np.column_stack([ends_s - lasts_s, ends_s])
