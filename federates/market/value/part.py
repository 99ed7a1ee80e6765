"""A part of a value stack: an amount of money, with its formula and what went into it."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from derloop.kind import Settings
from federates.market.filled import Filled
from federates.market.value.series import WHOLE, Runs, Series, Window


class Input(NamedTuple):
    """A number that went into a formula."""

    name: str
    value: float
    unit: str


class Worth(NamedTuple):
    """What a part is worth in the run."""

    amount: float
    """Positive: a gain."""
    formula: str
    inputs: tuple[Input, ...]
    """In the order of the formula."""


class Part(Settings):
    """What the parts of a stack have in common."""

    name: str = Field(default="", max_length=100, description="What it is called; its kind without it.")
    windows: Filled[Window] = Field(
        default=WHOLE,
        max_length=1000,
        description="Times that count. Without them, the whole run.",
        examples=[[{"from_s": 57600, "to_s": 75600}]],
    )

    @property
    def claims(self) -> tuple[str, ...]:
        """What it counts; no two parts of a stack may count the same."""
        return ()


class Committing(Part):
    """A part that is paid for power which is held ready: the same power cannot be held twice."""

    resource: str = Field(
        min_length=1, max_length=100, description="Whose power it is: one of the stack's resources.", examples=["fleet"]
    )

    def held_kw(self, runs: Runs) -> Series | float:
        """Return the power that is held within the windows."""
        raise NotImplementedError


def hours_of(windows: tuple[Window, ...], duration_h: float) -> float:
    """Return how long windows are within a run; they may overlap, and count once."""
    spans = sorted((min(w.from_s / 3600.0, duration_h), min(w.to_s / 3600.0, duration_h)) for w in windows)
    total_h, end_h = 0.0, 0.0
    for begin_h, until_h in spans:
        total_h += max(until_h - max(begin_h, end_h), 0.0)
        end_h = max(end_h, until_h)
    return total_h


def held_kw_h(held_kw: Series | float, windows: tuple[Window, ...], duration_h: float) -> float:
    """Return the power that is held, times hours."""
    if isinstance(held_kw, Series):
        return held_kw.integral_h(windows)
    return held_kw * hours_of(windows, duration_h)
