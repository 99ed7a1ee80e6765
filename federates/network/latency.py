"""How long messages are on their way: distributions, drawn for many at once. Seconds."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray
from derloop.kind import Settings

LONGEST_S = 7 * 86400.0
SDS, MEANS = 4.0, 10.0
"""How far a normal and an exponential latency reach where the settings do not say: so many of their sd, or mean."""

Seconds = Annotated[float, Field(ge=0.0, le=LONGEST_S)]


class Constant(Settings):
    """Always the same."""

    kind: Literal["constant"] = Field(description="Which distribution.", examples=["constant"])
    s: Seconds = Field(description="The latency, s.", examples=[0.5])

    @property
    def shortest_s(self) -> float:
        return self.s

    @property
    def longest_s(self) -> float:
        return self.s

    def draw(self, _: np.random.Generator, count: int) -> FloatArray:
        """Return as many latencies (count,), s."""
        return np.full(count, self.s)


class Uniform(Settings):
    """Anything between two bounds, equally likely."""

    kind: Literal["uniform"] = Field(description="Which distribution.", examples=["uniform"])
    least_s: Seconds = Field(default=0.0, description="Shortest latency, s.", examples=[0.1])
    most_s: Seconds = Field(description="Longest latency, s.", examples=[2.0])

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        _check_order(self.least_s, self.most_s)
        return self

    @property
    def shortest_s(self) -> float:
        return self.least_s

    @property
    def longest_s(self) -> float:
        return self.most_s

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        return rng.uniform(self.least_s, self.most_s, count)


class Normal(Settings):
    """Normal, what lies outside of the bounds put on them."""

    kind: Literal["normal"] = Field(description="Which distribution.", examples=["normal"])
    mean_s: Seconds = Field(description="Mean, s.", examples=[1.0])
    sd_s: Seconds = Field(description="Standard deviation, s.", examples=[0.2])
    least_s: Seconds = Field(default=0.0, description="Shortest latency, s.", examples=[0.1])
    most_s: Seconds | None = Field(
        default=None,
        description=f"Longest latency, s. Without it, the mean and {SDS:g} standard deviations.",
        examples=[2],
    )

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        _check_order(self.least_s, self.longest_s)
        return self

    @property
    def shortest_s(self) -> float:
        return self.least_s

    @property
    def longest_s(self) -> float:
        return self.mean_s + SDS * self.sd_s if self.most_s is None else self.most_s

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        return np.clip(rng.normal(self.mean_s, self.sd_s, count), self.least_s, self.longest_s)


class Exponential(Settings):
    """A least latency and an exponential wait on top, what lies beyond the longest put on it."""

    kind: Literal["exponential"] = Field(description="Which distribution.", examples=["exponential"])
    mean_s: Seconds = Field(description="Mean of the wait, s.", examples=[1.0])
    least_s: Seconds = Field(default=0.0, description="Shortest latency, s.", examples=[0.1])
    most_s: Seconds | None = Field(
        default=None, description=f"Longest latency, s. Without it, the least and {MEANS:g} means.", examples=[10.0]
    )

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        _check_order(self.least_s, self.longest_s)
        return self

    @property
    def shortest_s(self) -> float:
        return self.least_s

    @property
    def longest_s(self) -> float:
        return self.least_s + MEANS * self.mean_s if self.most_s is None else self.most_s

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        return np.minimum(self.least_s + rng.exponential(self.mean_s, count), self.longest_s)


class Empirical(Settings):
    """One of those that were measured, equally likely."""

    kind: Literal["empirical"] = Field(description="Which distribution.", examples=["empirical"])
    s: tuple[Seconds, ...] = Field(
        min_length=1, max_length=100_000, description="Measured latencies, s.", examples=[[0.2, 0.3, 0.3, 4.0]]
    )

    @property
    def shortest_s(self) -> float:
        return min(self.s)

    @property
    def longest_s(self) -> float:
        return max(self.s)

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        return np.array(self.s)[rng.integers(len(self.s), size=count)]


Latency = Annotated[Constant | Uniform | Normal | Exponential | Empirical, Field(discriminator="kind")]


def _check_order(least_s: float, most_s: float) -> None:
    if least_s > most_s:
        raise ValueError(f"the longest latency, {most_s:g} s, is shorter than least_s {least_s:g}")
