"""When a battery charges and discharges by the clock, or by a price.

By `periods`: hours of the day as the clock on the wall of the place where the scenario starts shows them, also after a
change of daylight-saving time during the run. Outside of periods the battery rests. By `price`: it charges below one
price and discharges above another.

`discharge` gives no more than the site draws where there is one, unless `exports` is true.
"""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from derloop.kind import Context, PlaceError, Settings
from federates.der.clock import DAY_NS, Clock
from federates.der.course import Allowed, Course, read_course

Action = Literal["charge", "discharge", "self-consumption"]
Days = Literal["all", "weekdays", "weekends"]
DAY_S = 86400.0
SATURDAY = 5
PRICE = Allowed(-1e4, 1e4, "per kWh")


class Period(Settings):
    """Some hours of some days."""

    from_h: float = Field(ge=0.0, lt=24.0, description="Begin, h since local midnight.", examples=[23.0])
    to_h: float = Field(gt=0.0, le=24.0, description="End, h since local midnight; not part of it.", examples=[24.0])
    days: Days = Field(default="all", description="On which days.", examples=["weekdays"])
    action: Action = Field(description="What the battery does.", examples=["charge"])
    power_pu: float = Field(
        default=1.0, gt=0.0, le=1.0, description="With which share of its power, at most.", examples=[0.5]
    )

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.from_h >= self.to_h:
            what = f"from_h {self.from_h:g} is not before to_h {self.to_h:g}"
            raise ValueError(f"{what}; a period over midnight is written as two")
        return self

    def meets(self, other: Period) -> bool:
        """Return whether there is a time in both."""
        same_days = "all" in (self.days, other.days) or self.days == other.days
        return same_days and self.from_h < other.to_h and other.from_h < self.to_h


def _apart(periods: tuple[Period, ...]) -> tuple[Period, ...]:
    for (i, one), (k, other) in combinations(enumerate(periods), 2):
        if one.meets(other):
            hours = f"{max(one.from_h, other.from_h):g} to {min(one.to_h, other.to_h):g} h"
            raise ValueError(f"periods must not overlap: {i} and {k} both have {hours}")
    return periods


class Price(Settings):
    """A price, and what it makes the battery do."""

    per_kwh: Course = Field(
        description="Price over the run, for each kWh.", examples=[{"file": "profiles/prices.csv", "column": "price"}]
    )
    charge_below: float = Field(ge=-1e4, le=1e4, description="Charge below this price.", examples=[0.12])
    discharge_above: float = Field(ge=-1e4, le=1e4, description="Discharge above this price.", examples=[0.3])

    @model_validator(mode="after")
    def _buys_cheaper_than_it_sells(self) -> Self:
        if self.charge_below > self.discharge_above:
            what = f"charge_below {self.charge_below:g} is more than discharge_above {self.discharge_above:g}"
            raise ValueError(f"{what}: between them it would do both")
        return self


class TimeOfUse(Settings):
    """Charging when energy is cheap, discharging when it is dear."""

    periods: Annotated[tuple[Period, ...], AfterValidator(_apart)] = Field(
        default=(),
        max_length=200,
        description="What is done when. Periods must not overlap.",
        examples=[[{"from_h": 0, "to_h": 6, "action": "charge"}, {"from_h": 17, "to_h": 21, "action": "discharge"}]],
    )
    price: Price | None = Field(
        default=None,
        description="A price to follow, in place of periods.",
        examples=[{"per_kwh": 0.2, "charge_below": 0.12, "discharge_above": 0.3}],
    )
    exports: bool = Field(
        default=False,
        description="Discharging may inject more than the site draws; of use with a `site`, for where there is none, "
        "nothing holds it to what is drawn.",
        examples=[True],
    )

    @model_validator(mode="after")
    def _follows_one_thing(self) -> Self:
        if bool(self.periods) == (self.price is not None):
            raise ValueError("needs one of periods and price, and not both")
        return self

    @property
    def needs_site(self) -> bool:
        """Whether it cannot do without knowing what the site draws."""
        return any(period.action == "self-consumption" for period in self.periods)


class Schedule:
    """What a time-of-use setting asks for at each instant."""

    def __init__(self, settings: TimeOfUse, context: Context, step_ns: int) -> None:
        self._settings = settings
        self._weekday, self._clock = context.start.weekday(), Clock.of(context.start, context.until_ns)
        _refuse_unseen(settings.periods, self._clock, step_ns)
        price = settings.price
        path = ("time_of_use", "price", "per_kwh")
        self._price = None if price is None else read_course(price.per_kwh, path, PRICE, context, step_ns)

    def at(self, now_ns: int) -> tuple[Action | None, float]:
        """Return what to do at this instant, None for rest, and with which share of the power."""
        if self._settings.price is not None and self._price is not None:
            price, limits = self._price.at(now_ns), self._settings.price
            if price < limits.charge_below:
                return "charge", 1.0
            return ("discharge", 1.0) if price > limits.discharge_above else (None, 0.0)
        days, second = divmod(self._clock.shows_s(now_ns), DAY_S)
        today = "weekends" if (self._weekday + int(days)) % 7 >= SATURDAY else "weekdays"
        for period in self._settings.periods:
            if period.days in ("all", today) and period.from_h <= second / 3600.0 < period.to_h:
                return period.action, period.power_pu
        return None, 0.0


def _refuse_unseen(periods: tuple[Period, ...], clock: Clock, step_ns: int) -> None:
    """Raise PlaceError with the periods that fall between two instants, on each day as steps are parts of one."""
    if DAY_NS % step_ns:
        return
    what = f"falls between two instants of the batteries, whose step is {step_ns / 1e9:g} s: it does nothing"
    since_ns = [round((period.from_h * 3600.0 - clock.start_s) * 1e9) for period in periods]
    problems = [
        (("time_of_use", "periods", i), what)
        for i, (period, ns) in enumerate(zip(periods, since_ns, strict=True))
        if -ns % step_ns >= round((period.to_h - period.from_h) * 3600e9)
    ]
    if problems:
        raise PlaceError([*problems])
