"""The weather at each instant of a run, above the clouds that pass: what `federates.der.weather` says, and how many.

Weather is computed for many instants at once and kept until others are asked for: memory does not grow with the run.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.kind import Context
from federates.der.clouds import Clouds
from federates.der.sun import clear_sky, linke_of_months
from federates.der.weather import Moments, Weather

CHUNK: Final = 900
"""Instants for which the weather is computed at once."""


class Now(NamedTuple):
    """The weather at one instant, before any cloud that passes."""

    ghi_wm2: float
    dni_wm2: float
    dhi_wm2: float
    zenith_deg: float
    azimuth_deg: float
    extra_wm2: float
    air_c: float
    wind_m_per_s: float
    cover_pu: float


class AboveClouds:
    """The weather at the instants of a run before clouds pass, computed for some instants at once."""

    def __init__(self, weather: Weather, clouds: Clouds | None, context: Context, step_ns: int) -> None:
        self._weather, self._clouds, self._start, self._step_ns = weather, clouds, context.start, step_ns
        self._linke = linke_of_months(weather.site, None) if clouds else np.empty(0)
        self._number, self._rows = -1, np.empty((0, len(Now._fields)))

    def at(self, now_ns: int) -> Now:
        number, row = divmod(now_ns // self._step_ns, CHUNK)
        if number != self._number:
            instants_ns = (number * CHUNK + np.arange(CHUNK)) * self._step_ns
            self._number, self._rows = number, np.column_stack(self._columns(instants_ns))
        return Now(*self._rows[row].tolist())

    def _columns(self, instants_ns: NDArray[np.int64]) -> tuple[FloatArray, ...]:
        found = self._weather.at(instants_ns)
        ghi, dni, cover = found.ghi_wm2, found.dni_wm2, np.zeros(instants_ns.shape)
        if self._clouds:
            above, cover = self._above_clouds(found, instants_ns, self._clouds.depth_pu)
            ghi, dni = ghi + (above - dni) * found.sun.cos_zenith, above
        sun = found.sun
        where = sun.zenith_deg, sun.azimuth_deg, sun.extra_wm2
        return ghi, dni, found.dhi_wm2, *where, found.air_c, found.wind_m_per_s, cover

    def _above_clouds(
        self, found: Moments, instants_ns: NDArray[np.int64], depth_pu: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return the beam (k,) above the clouds and the cover (k,) with which it has the mean of the weather below."""
        _, clear, _ = clear_sky(self._weather.site, self._start, instants_ns, found.sun, self._linke)
        missing = 1.0 - np.divide(found.dni_wm2, clear, out=np.ones(clear.shape), where=clear > 0.0)
        cover = np.clip(missing / depth_pu, 0.0, 1.0) if depth_pu else np.zeros(clear.shape)
        left = 1.0 - depth_pu * cover
        return np.divide(found.dni_wm2, left, out=np.zeros(clear.shape), where=left > 0.0), cover
