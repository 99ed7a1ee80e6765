"""The weather at each instant of a run, above the clouds that pass: what `federates.der.weather` says, and how many."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from derloop.contract import FloatArray
from derloop.kind import Context
from federates.der.clouds import Clouds
from federates.der.lookahead import Instants, Lookahead
from federates.der.sun import clear_sky, linke_of_months
from federates.der.weather import Moments, Weather


class Skies(NamedTuple):
    """The weather at k instants (k,), before any cloud that passes."""

    ghi_wm2: FloatArray
    dni_wm2: FloatArray
    dhi_wm2: FloatArray
    zenith_deg: FloatArray
    azimuth_deg: FloatArray
    extra_wm2: FloatArray
    air_c: FloatArray
    wind_m_per_s: FloatArray
    cover_pu: FloatArray


class AboveClouds:
    """The weather at the instants of a run before clouds pass."""

    def __init__(self, weather: Weather, clouds: Clouds | None, context: Context, step_ns: int) -> None:
        self._weather, self._clouds, self._start = weather, clouds, context.start
        self._linke = linke_of_months(weather.site, None) if clouds else np.empty(0)
        self._ahead = Lookahead(step_ns, len(Skies._fields), lambda instants: np.column_stack(self._columns(instants)))

    def at(self, instants_ns: Instants) -> Skies:
        return Skies(*np.array([self._ahead.at(now_ns) for now_ns in instants_ns.tolist()]).T)

    def _columns(self, instants_ns: Instants) -> tuple[FloatArray, ...]:
        found = self._weather.at(instants_ns)
        ghi, dni, cover = found.ghi_wm2, found.dni_wm2, np.zeros(instants_ns.shape)
        if self._clouds:
            above, cover = self._above_clouds(found, instants_ns, self._clouds.depth_pu)
            ghi, dni = ghi + (above - dni) * found.sun.cos_zenith, above
        sun = found.sun
        where = sun.zenith_deg, sun.azimuth_deg, sun.extra_wm2
        return ghi, dni, found.dhi_wm2, *where, found.air_c, found.wind_m_per_s, cover

    def _above_clouds(self, found: Moments, instants_ns: Instants, depth_pu: float) -> tuple[FloatArray, FloatArray]:
        """Return the beam (k,) above the clouds and the cover (k,) with which it has the mean of the weather below."""
        _, clear, _ = clear_sky(self._weather.site, self._start, instants_ns, found.sun, self._linke)
        missing = 1.0 - np.divide(found.dni_wm2, clear, out=np.ones(clear.shape), where=clear > 0.0)
        cover = np.clip(missing / depth_pu, 0.0, 1.0) if depth_pu else np.zeros(clear.shape)
        left = 1.0 - depth_pu * cover
        return np.divide(found.dni_wm2, left, out=np.zeros(clear.shape), where=left > 0.0), cover
