"""The wind at the hubs of a fleet, m/s: a course or chance, brought to their height, and each turbine's own gusts."""

from __future__ import annotations

from collections.abc import Callable
from math import erf, gamma, log, sqrt

import numpy as np

from derloop.contract import FloatArray
from derloop.kind import Context
from federates.der.course import Allowed, read_course
from federates.der.placement import stream
from federates.der.wind.settings import Turbulence, WindSeries, WindSettings

SLOW_WAVES, FAST_WAVES = 16, 32


class Wind:
    """The wind at n hubs. It depends on seed and time alone."""

    def __init__(self, settings: WindSettings, context: Context, labels: tuple[str, ...]) -> None:
        self._factor = settings.height.factor(settings.hub_height_m, settings.measured_at_m)
        self._slow = _slow(settings, context)
        self._gusts = settings.turbulence and _Gusts(settings.turbulence, context, labels)
        self._ones = np.ones(len(labels))

    def at(self, now_ns: int) -> FloatArray:
        """Return the wind speeds (n,), m/s."""
        hub = self._slow(now_ns) * self._factor
        if not self._gusts:
            return hub * self._ones
        return np.maximum(hub + self._gusts.sigma(hub) * self._gusts.at(now_ns), 0.0)


def _slow(settings: WindSettings, context: Context) -> Callable[[int], float]:
    if isinstance(settings.wind, WindSeries):
        return _Series(settings.wind, context).at
    return read_course(settings.wind, ("wind",), Allowed(0.0, 100.0, "m/s"), context, settings.step_ns(context)).at


class _Series:
    """A slow wind by chance."""

    def __init__(self, series: WindSeries, context: Context) -> None:
        chance = stream(context, "wind")
        period_s = series.period_s * 2.0 ** chance.uniform(-1.0, 1.0, SLOW_WAVES)
        self._rad_s = 2.0 * np.pi / period_s
        self._phase = chance.uniform(0.0, 2.0 * np.pi, SLOW_WAVES)
        self._shape = series.weibull_shape
        self._scale = series.mean_m_per_s / gamma(1.0 + 1.0 / series.weibull_shape)

    def at(self, now_ns: int) -> float:
        x = sqrt(2.0 / SLOW_WAVES) * float(np.cos(self._rad_s * (now_ns / 1e9) + self._phase).sum())
        above = 0.5 * (1.0 - erf(x / sqrt(2.0)))
        return self._scale * float((-log(max(above, 1e-15))) ** (1.0 / self._shape))


class _Gusts:
    """Turbulence at n hubs, of variance 1."""

    def __init__(self, turbulence: Turbulence, context: Context, labels: tuple[str, ...]) -> None:
        streams = [stream(context, f"turbulence {label}") for label in labels]
        share = (np.array([s.random(FAST_WAVES) for s in streams]) + np.arange(FAST_WAVES)) / FAST_WAVES
        self._rad_s = 2.0 * np.pi * ((1.0 - share) ** -1.5 - 1.0) / (6.0 * turbulence.time_scale_s)
        self._phase = np.array([s.uniform(0.0, 2.0 * np.pi, FAST_WAVES) for s in streams])
        self._intensity = turbulence.intensity_pu

    def sigma(self, hub_m_per_s: float) -> float:
        return self._intensity * (0.75 * hub_m_per_s + 5.6)

    def at(self, now_ns: int) -> FloatArray:
        waves = np.cos(self._rad_s * (now_ns / 1e9) + self._phase)
        gusts: FloatArray = sqrt(2.0 / FAST_WAVES) * waves.sum(axis=1)
        return gusts
