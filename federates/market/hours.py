"""Seasons and hours: which parts of the year and of the week a price holds for, and whether they leave none out.

A day is a weekday (Monday to Friday) or belongs to the weekend (Saturday, Sunday, and every holiday of the tariff).
Hours are those that the clock on the wall shows. A season goes from one day of the year to another, both part of it,
also over new year.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from derloop.kind import Settings
from derloop.texts import Shape

Days = Literal["all", "weekdays", "weekends"]
SORTS: tuple[Days, ...] = ("weekdays", "weekends")
"""The sorts of day that there are; `all` is both."""
ALL_YEAR = "all year"
LEAP_YEAR = 2024
MonthDay = Annotated[str, Shape(r"^(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$", "a month and a day of it: 06-01")]
Name = Annotated[str, Field(min_length=1, max_length=64)]


class Season(Settings):
    """A part of the year."""

    name: Name = Field(description="What it is called.", examples=["summer"])
    first: MonthDay = Field(description="First day, month and day.", examples=["06-01"])
    last: MonthDay = Field(description="Last day, month and day; part of it.", examples=["09-30"])

    @model_validator(mode="after")
    def _has_days_of_a_calendar(self) -> Self:
        for key, text in (("first", self.first), ("last", self.last)):
            try:
                date.fromisoformat(f"{LEAP_YEAR}-{text}")
            except ValueError as error:
                raise ValueError(f"{key} is no day of the year: {text}") from error
        return self

    def has(self, day: str) -> bool:
        """Return whether a day, written as 06-01, is in it."""
        if self.first <= self.last:
            return self.first <= day <= self.last
        return day >= self.first or day <= self.last


class Hours(Settings):
    """Some hours of some days."""

    days: Days = Field(default="all", description="On which days.", examples=["weekdays"])
    from_h: float = Field(default=0.0, ge=0.0, lt=24.0, description="Begin, h since midnight.", examples=[16.0])
    to_h: float = Field(
        default=24.0, gt=0.0, le=24.0, description="End, h since midnight; not part of it.", examples=[21.0]
    )

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.from_h >= self.to_h:
            what = f"from_h {self.from_h:g} is not before to_h {self.to_h:g}"
            raise ValueError(f"{what}; hours over midnight are written as two")
        return self

    def on(self, sort: Days) -> bool:
        """Return whether it has hours on this sort of day."""
        return self.days in ("all", sort)


class Span(NamedTuple):
    """Hours of one sort of day in one season, and whose they are."""

    from_h: float
    to_h: float
    owner: str


def sort_of(day: date, holidays: Sequence[date]) -> Days:
    """Return what sort of day it is."""
    return "weekends" if day.weekday() >= 5 or day in holidays else "weekdays"


def season_of(day: date, seasons: Sequence[Season]) -> str:
    """Return the name of the season that has a day; seasons leave none out."""
    text = day.isoformat()[5:]
    return next((season.name for season in seasons if season.has(text)), ALL_YEAR)


def seasons_that_fail(seasons: Sequence[Season]) -> Iterator[str]:
    """Yield what is wrong with seasons that do not have each day of the year once."""
    if len({season.name for season in seasons}) < len(seasons):
        yield "two seasons have one name"
    days = [(date(LEAP_YEAR, 1, 1) + timedelta(days=i)).isoformat()[5:] for i in range(366)]
    counts = [(day, [season.name for season in seasons if season.has(day)]) for day in days]
    twice = [(day, names) for day, names in counts if len(names) > 1]
    never = [day for day, names in counts if not names]
    if twice:
        yield f"seasons must not overlap: {twice[0][0]} is in {' and '.join(twice[0][1])}"
    if never:
        yield f"no season has {never[0]}" + (f" and {len(never) - 1} days more" if len(never) > 1 else "")


def spans_that_fail(spans: Sequence[Span]) -> Iterator[str]:
    """Yield what is wrong with spans of a day that do not have each hour once."""
    if not spans:
        yield "no period has any hour"
        return
    last = Span(0.0, 0.0, "")
    for span in [*sorted(spans), Span(24.0, 24.0, "")]:
        if span.from_h > last.to_h:
            yield f"no period has {last.to_h:g} to {span.from_h:g} h"
        elif span.from_h < last.to_h:
            yield f"{last.owner} and {span.owner} both have {span.from_h:g} to {min(last.to_h, span.to_h):g} h"
        last = max(last, span, key=lambda s: s.to_h)
