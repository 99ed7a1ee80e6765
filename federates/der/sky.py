"""The sky over the feeder: irradiance under a clear sky, and the shadows of clouds that the wind carries along.

The clear-sky irradiance `G(t)`, in the plane of the arrays, is a column of a profile. A device at the place `r` (m,
east and north) gets

    G(t) (1 - depth c(r, t))      c = 1 / (1 + exp(-(f(r, t) - z) / softness))

where `c` is how much cloud is in front of the sun, 0 to 1: a smooth threshold of a random field `f` at `z`,
the quantile of the normal distribution that `f` exceeds on the share `cover` of the sky. The field is frozen and
moves with the wind `w` (G. I. Taylor, "The Spectrum of Turbulence", Proc. R. Soc. A 164, 1938):

    f(r, t) = sqrt(2 / M) sum_m cos(k_m . (r - w t) + phi_m)

with M = 64 waves, wave vectors `k_m` normal with standard deviation `1 / size`, phases uniform: about normal, mean 0,
variance 1, correlation `exp(-d^2 / (2 size^2))` over a distance `d` (M. Shinozuka and G. Deodatis, "Simulation of
Multi-Dimensional Gaussian Stochastic Fields by Spectral Representation", Appl. Mech. Rev. 49, 1996). Over one run a
place is under cloud for about the share `cover`, more or less as the seed has it.

So devices see similar shadows, shifted by the time that the wind takes between them. Buses are drawn uniformly on the
area, and devices at one bus stand at one place. All depends on seed and time alone: the order of steps does not matter.
"""

from __future__ import annotations

from math import cos, radians, sin, sqrt
from statistics import NormalDist
from typing import Annotated

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.errors import did_you_mean
from derloop.kind import Context, Kind, PlaceError, Settings
from federates.der import Stepped
from federates.der.placement import stream
from federates.der.profile import ProfileColumn, read_profile

WAVES = 64
_Extent = Annotated[float, Field(gt=0.0, le=1e6)]


class Clouds(Settings):
    """Passing clouds."""

    cover_pu: float = Field(
        default=0.4, ge=0.0, le=1.0, description="Share of the sky that is under cloud.", examples=[0.4]
    )
    depth_pu: float = Field(
        default=0.7, ge=0.0, le=1.0, description="Share of the light that a full cloud takes away.", examples=[0.7]
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


class SkySettings(Stepped):
    """The sky over PV fleets."""

    over: tuple[str, ...] = Field(
        min_length=1, description="Names of the fleets that the sky lights.", examples=[["pv"]]
    )
    clear_sky: ProfileColumn = Field(
        description="Irradiance in the plane of the arrays under a clear sky, W/m2.",
        examples=[{"file": "profiles/clear_sky_july.csv", "column": "poa_wm2"}],
    )
    clouds: Clouds | None = Field(
        default=None, description="Passing clouds. Without it, the sky is clear.", examples=[{"cover_pu": 0.4}]
    )
    extent_m: tuple[_Extent, _Extent] = Field(
        default=(1000.0, 1000.0), description="Size of the area, east and north, m.", examples=[[1000.0, 1000.0]]
    )


class Sky:
    """Irradiance on the devices of some fleets. No state."""

    def __init__(self, settings: SkySettings, context: Context) -> None:
        _check_fleets(settings, context)
        labels = {fleet: context.labels[fleet] for fleet in settings.over}
        outputs = {f"{fleet}.irradiance_wm2": Port("W/m2", labels[fleet]) for fleet in labels}
        self._interface = Interface(settings.step_ns(context), {}, outputs)
        self._clear = read_profile(settings.clear_sky, context, self._interface.step_ns, "clear_sky")
        self._edges = np.cumsum([len(labels[fleet]) for fleet in labels])[:-1]
        places = np.concatenate([_places_m(fleet, settings, context) for fleet in labels])
        places, self._place_of = np.unique(places, axis=0, return_inverse=True)
        self._clouds = settings.clouds and CloudField(settings.clouds, context, places)
        self._ones = np.ones(len(self._place_of))

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self.step(0, {})

    def step(self, now_ns: int, inputs: Values) -> Values:  # noqa: ARG002
        clearness = self._clouds.clearness(now_ns)[self._place_of] if self._clouds else self._ones
        irradiance = np.split(self._clear.at(now_ns) * clearness, self._edges)
        return dict(zip(self._interface.outputs, irradiance, strict=True))

    def stop(self) -> None:
        pass


class CloudField:
    """The clouds in front of the sun, seen from n places (n, 2), m."""

    def __init__(self, clouds: Clouds, context: Context, places_m: FloatArray) -> None:
        chance = stream(context, "clouds")
        wave_rad_m = chance.standard_normal((WAVES, 2)) / clouds.size_m
        phase = chance.uniform(0.0, 2.0 * np.pi, WAVES)
        there = (places_m[:, None, :] * wave_rad_m).sum(axis=2) + phase
        self._cos, self._sin = np.cos(there), np.sin(there)
        towards = radians(clouds.wind_from_deg + 180.0)
        wind_m_s = clouds.wind_m_per_s * np.array([sin(towards), cos(towards)])
        self._rad_s = (wave_rad_m * wind_m_s).sum(axis=1)
        self._softness, self._depth = clouds.softness, clouds.depth_pu
        self._threshold = _threshold(clouds.cover_pu)

    def clearness(self, now_ns: int) -> FloatArray:
        """Return the share of the light (n,) that is left."""
        passed = self._rad_s * (now_ns / 1e9)
        waves = self._cos * np.cos(passed)
        waves += self._sin * np.sin(passed)
        above = sqrt(2.0 / WAVES) * waves.sum(axis=1) - self._threshold
        cloud = 0.5 + 0.5 * np.tanh(above / (2.0 * self._softness))
        clearness: FloatArray = 1.0 - self._depth * cloud
        return clearness


def _threshold(cover_pu: float) -> float:
    """Return what a standard normal variable exceeds with the probability `cover_pu`."""
    if cover_pu in (0.0, 1.0):
        return np.inf if cover_pu == 0.0 else -np.inf
    return NormalDist().inv_cdf(1.0 - cover_pu)


def _places_m(fleet: str, settings: SkySettings, context: Context) -> FloatArray:
    """Return where the devices of `fleet` stand (n, 2): by bus where one is known, else by label."""
    terminals = context.terminals.get(fleet, ())
    buses = [terminal.bus for terminal in terminals] or [f"{fleet} {label}" for label in context.labels[fleet]]
    place = {bus: stream(context, f"place {bus}").uniform(0.0, 1.0, 2) for bus in dict.fromkeys(buses)}
    return np.array([place[bus] for bus in buses]) * settings.extent_m


def _check_fleets(settings: SkySettings, context: Context) -> None:
    problems: list[tuple[tuple[str | int, ...], str]] = [
        (("over", i), f"no fleet is called {fleet!r}" + did_you_mean(fleet, [*context.labels]))
        for i, fleet in enumerate(settings.over)
        if fleet not in context.labels
    ]
    if len(set(settings.over)) < len(settings.over):
        problems.append((("over",), "a fleet is named twice"))
    if problems:
        raise PlaceError(problems)


KIND = Kind("sky", "Irradiance with passing clouds", SkySettings, Sky)
