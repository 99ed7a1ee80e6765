"""Clouds that the wind carries along: how much cloud is in front of the sun at a place.

At the place `r` (m, east and north)

    c = 1 / (1 + exp(-(f(r, t) - z) / softness))

is how much cloud is in front of the sun, 0 to 1: a smooth threshold of a random field `f` at `z`. The field is frozen
and moves with the wind `w` (G. I. Taylor, "The Spectrum of Turbulence", Proc. R. Soc. A 164, 1938):

    f(r, t) = sqrt(2 / M) sum_m cos(k_m . (r - w t) + phi_m)

with M = 64 waves, wave vectors `k_m` normal with standard deviation `1 / size`, phases uniform: about normal, mean 0,
variance 1, correlation `exp(-d^2 / (2 size^2))` over a distance `d` (M. Shinozuka and G. Deodatis, "Simulation of
Multi-Dimensional Gaussian Stochastic Fields by Spectral Representation", Appl. Mech. Rev. 49, 1996).

`z` is the quantile of the normal distribution that `f` exceeds on the share `cover` of the sky. Over one run a place is
under cloud for about that share, more or less as the seed has it. Where the cover follows the weather, `z` is wider by
`sqrt(1 + (1.702 softness)^2)`, so that the mean of `c`, soft edges included, is the cover (the logistic curve is a
normal one of that scale to 0.01).
"""

from __future__ import annotations

from math import cos, inf, radians, sin, sqrt
from statistics import NormalDist
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag

from derloop.contract import FloatArray
from derloop.kind import Context, Settings
from federates.der.lookahead import Instants
from federates.der.placement import stream

WAVES: Final = 64
LOGISTIC: Final = 1.702


def _written(value: Any) -> str:
    return "word" if isinstance(value, str) else "number"


Cover = Annotated[
    Annotated[float, Field(ge=0.0, le=1.0), Tag("number")] | Annotated[Literal["weather"], Tag("word")],
    Discriminator(_written),
]


class Clouds(Settings):
    """Passing clouds."""

    cover_pu: Cover = Field(
        default=0.4,
        description="Share of the sky that is under cloud. `weather`: as much as the beam of a typical year or a "
        "series says, so that its mean is kept and only its course from second to second is by chance.",
        examples=[0.4, "weather"],
    )
    depth_pu: float = Field(
        default=0.7,
        ge=0.0,
        le=1.0,
        description="Share of the light that a full cloud takes away; of weather, share of the beam.",
        examples=[0.7],
    )
    size_m: float = Field(
        default=400.0, ge=10.0, le=100_000.0, description="Correlation length of the clouds, m.", examples=[400.0]
    )
    softness: float = Field(
        default=0.15,
        ge=0.01,
        le=2.0,
        description="Width of the edges of clouds, in standard deviations of the field.",
        examples=[0.15],
    )
    wind_m_per_s: float = Field(default=8.0, ge=0.0, le=100.0, description="Speed of the clouds, m/s.", examples=[8.0])
    wind_from_deg: float = Field(
        default=270.0,
        ge=0.0,
        le=360.0,
        description="Where the clouds come from, degrees clockwise from north.",
        examples=[270.0],
    )


class CloudField:
    """The clouds in front of the sun, seen from n places (n, 2), m. It depends on seed and time alone."""

    def __init__(self, clouds: Clouds, context: Context, places_m: FloatArray) -> None:
        chance = stream(context, "clouds")
        wave_rad_m = chance.standard_normal((WAVES, 2)) / clouds.size_m
        phase = chance.uniform(0.0, 2.0 * np.pi, WAVES)
        there = (places_m[:, None, :] * wave_rad_m).sum(axis=2) + phase
        self._there = np.concatenate([np.cos(there), np.sin(there)], axis=1)
        towards = radians(clouds.wind_from_deg + 180.0)
        wind_m_s = clouds.wind_m_per_s * np.array([sin(towards), cos(towards)])
        self._rad_s = (wave_rad_m * wind_m_s).sum(axis=1)
        self._softness, self._depth_pu = clouds.softness, clouds.depth_pu
        self._threshold = None if clouds.cover_pu == "weather" else threshold(clouds.cover_pu)

    def clearness(self, instants_ns: Instants, cover_pu: FloatArray | None = None) -> FloatArray:
        """Return the share of the light (k, n) that is left at k instants.

        cover_pu: of each of them (k,), where it follows the weather.
        """
        passed = (instants_ns / 1e9)[:, None] * self._rad_s
        now = np.concatenate([np.cos(passed), np.sin(passed)], axis=1)
        # einsum, and no product of matrices: that one's last digits depend on how many places and instants there are
        clearness: FloatArray = np.einsum("nm,km->kn", self._there, now)
        clearness *= sqrt(2.0 / WAVES)
        clearness -= self._thresholds(cover_pu)
        clearness /= 2.0 * self._softness
        np.tanh(clearness, clearness)  # twice the cloud in front of the sun, less one
        clearness *= 0.5
        clearness += 0.5
        clearness *= self._depth_pu
        return np.subtract(1.0, clearness, clearness)

    def _thresholds(self, cover_pu: FloatArray | None) -> FloatArray | float:
        """Return `z`, one or of each instant (k, 1)."""
        if self._threshold is not None:
            return self._threshold
        assert cover_pu is not None
        wider = sqrt(1.0 + (LOGISTIC * self._softness) ** 2)
        return np.array([[threshold(cover) * wider] for cover in cover_pu.tolist()])


def threshold(cover_pu: float) -> float:
    """Return what a standard normal variable exceeds with the probability `cover_pu`."""
    if cover_pu <= 0.0 or cover_pu >= 1.0:
        return inf if cover_pu <= 0.0 else -inf
    return NormalDist().inv_cdf(1.0 - cover_pu)
