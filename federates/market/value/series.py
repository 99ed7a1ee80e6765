"""What runs recorded, as parts of a value need it: sums over elements, energies over windows of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator, Field, Tag, model_validator

from derloop.contract import FloatArray
from derloop.errors import DerloopError
from derloop.kind import Settings
from derloop.texts import Shape
from federates.market.billing import Billing
from federates.market.tariff import Tariff

TimeArray = NDArray[np.int64]
NS_PER_S, NS_PER_H = 1e9, 3.6e12
SeriesName = Annotated[
    str,
    Field(max_length=200),
    Shape(r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_.]*(:.+)?$", "federate.port or federate.port:label: grid.head_kw"),
]
"""`federate.port`, the sum over its elements, or `federate.port:label`, one of them."""


def _written(value: Any) -> str:
    return "series" if isinstance(value, str) else "number"


Amount = Annotated[
    Annotated[float, Field(ge=-1e9, le=1e9), Tag("number")] | Annotated[SeriesName, Tag("series")],
    Discriminator(_written),
]
"""A number, or a series of the run."""


class Window(Settings):
    """A time of the run."""

    from_s: float = Field(default=0.0, ge=0.0, le=1e10, description="Begin, s since the start.", examples=[57600])
    to_s: float = Field(default=1e10, gt=0.0, le=1e10, description="End, s; not part of it.", examples=[75600])

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.from_s >= self.to_s:
            raise ValueError(f"from_s {self.from_s:g} is not before to_s {self.to_s:g}")
        return self


WHOLE = (Window(),)


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity over a run: each value holds for a step."""

    name: str
    unit: str
    step_ns: int
    time_ns: TimeArray
    """(k,)"""
    values: FloatArray
    """(k,)"""

    def within(self, windows: Sequence[Window]) -> NDArray[np.bool_]:
        """Return which instants (k,) lie in one of the windows."""
        time_s = self.time_ns / NS_PER_S
        found = np.zeros(time_s.shape, dtype=bool)
        for window in windows:
            found |= (time_s >= window.from_s) & (time_s < window.to_s)
        return found

    def lasts_ns(self, windows: Sequence[Window]) -> FloatArray:
        """Return how long each value (k,) holds in the windows; where they overlap, it counts once."""
        total, until_ns = np.zeros(self.time_ns.shape), -np.inf
        for window in sorted(windows, key=lambda window: window.from_s):
            begin_ns, end_ns = max(window.from_s * NS_PER_S, until_ns), window.to_s * NS_PER_S
            held_ns = np.minimum(self.time_ns + self.step_ns, end_ns) - np.maximum(self.time_ns, begin_ns)
            total += np.maximum(held_ns, 0.0)
            until_ns = max(until_ns, end_ns)
        return total

    def integral_h(self, windows: Sequence[Window]) -> float:
        """Return the sum of the values times hours: the energy of a power."""
        return float(self.values @ self.lasts_ns(windows)) / NS_PER_H

    def gained(self, windows: Sequence[Window]) -> float:
        """Return by how much a count that begins with 0 grows within the windows.

        What it has at an instant has passed by then, so it grows in the step before.
        """
        begins_ns = np.maximum(self.time_ns - self.step_ns, 0)
        grows = Series(self.name, self.unit, self.step_ns, begins_ns, np.diff(self.values, prepend=0.0))
        return float(grows.values[grows.within(windows)].sum())

    def highest(self, windows: Sequence[Window]) -> float:
        inside = self.lasts_ns(windows) > 0
        if not inside.any():
            raise DerloopError(f"{self.name} has no value in the windows")
        return float(self.values[inside].max())

    def lowest(self, windows: Sequence[Window]) -> float:
        return -Series(self.name, self.unit, self.step_ns, self.time_ns, -self.values).highest(windows)

    def times(self, other: Series | float) -> Series:
        """Return the product with a number, or with what another series holds at the same time."""
        factor = other if isinstance(other, float | int) else other.at(self.time_ns)
        return Series(self.name, self.unit, self.step_ns, self.time_ns, self.values * factor)

    def less(self, other: Series) -> Series:
        """Return the difference to a series with the same instants; raises DerloopError for others."""
        if not np.array_equal(self.time_ns, other.time_ns):
            raise DerloopError(f"{self.name} and {other.name} have different instants: the runs cannot be compared")
        return Series(self.name, self.unit, self.step_ns, self.time_ns, self.values - other.values)

    def at(self, time_ns: TimeArray) -> FloatArray:
        """Return what it holds at some instants."""
        row = np.clip(np.searchsorted(self.time_ns, time_ns, side="right") - 1, 0, None)
        held: FloatArray = self.values[row]
        return held


class History(Protocol):
    """What one run recorded."""

    @property
    def duration_h(self) -> float: ...

    def series(self, name: str, unit: str) -> Series:
        """Return a series, summed over its elements; raises DerloopError where there is none in that unit."""
        ...

    def has(self, name: str) -> bool:
        """Return whether the federate of a series took part."""
        ...

    def tariff(self, name: str) -> Tariff:
        """Return one of the run's tariffs, by its federate."""
        ...

    def billing(self, meter: str) -> Billing:
        """Return the bills of a run by one of its tariffs."""
        ...

    def performance(self, signal: str, response: str) -> Mapping[int, float]:
        """Return how well a regulation signal was followed in each hour of the run that can be scored."""
        ...


@dataclass(frozen=True, slots=True)
class Runs:
    """The run that is valued, and the one without what is valued."""

    run: History
    base: History | None

    @property
    def other(self) -> History:
        if self.base is None:
            raise DerloopError("needs the run without it: --without BASE_RUN")
        return self.base

    def avoided(self, name: str) -> Series:
        """Return by how much a power of the other run, kW, is above that of the run."""
        return self.other.series(name, "kW").less(self.run.series(name, "kW"))

    def amount(self, amount: float | str, unit: str) -> Series | float:
        """Return a number, or a series of the run."""
        return self.run.series(amount, unit) if isinstance(amount, str) else float(amount)

    def tariff(self, name: str, currency: str) -> Tariff:
        """Return one of the run's tariffs, which has the stack's money."""
        return _in(currency, self.run.tariff(name))

    def other_tariff(self, name: str, currency: str) -> Tariff:
        """Return one of the other run's tariffs, which has the stack's money."""
        return _in(currency, self.other.tariff(name))

    def energy_price(self, price: float | str, currency: str) -> Series | float:
        return self.amount(price, f"{currency}/kWh")


def _in(currency: str, tariff: Tariff) -> Tariff:
    """Return a tariff that is in this money; raise DerloopError where it is in another."""
    if tariff.currency != currency:
        raise DerloopError(f"tariff {tariff.name!r} is in {tariff.currency}, the stack in {currency}")
    return tariff
