"""The sun over a site, and the light of a clear sky, from pvlib.

Position: the algorithm of I. Reda and A. Andreas (NREL/TP-560-34302), with refraction. Irradiance above the atmosphere:
J. W. Spencer, 1971. Clear sky: P. Ineichen and R. Perez, "A new airmass independent formulation for the Linke turbidity
coefficient", Solar Energy 73, 2002. pvlib takes more than a second to import, and is so when it is first needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from derloop.contract import FloatArray
from derloop.kind import Settings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIDDLES = np.array([15.5, 45.0, 74.5, 105.0, 135.5, 166.0, 196.5, 227.5, 258.0, 288.5, 319.0, 349.5])
"""Days of the year at which the months are half over."""


class Site(Settings):
    """A place on earth."""

    latitude_deg: float = Field(ge=-90.0, le=90.0, description="Degrees north.", examples=[33.45])
    longitude_deg: float = Field(ge=-180.0, le=180.0, description="Degrees east; west is negative.", examples=[-112.07])
    altitude_m: float = Field(
        default=0.0, ge=-500.0, le=9000.0, description="Height above the sea, m.", examples=[340.0]
    )


@dataclass(frozen=True, slots=True)
class Sun:
    """Where the sun stands at each of some instants (k,)."""

    zenith_deg: FloatArray
    """As it is seen, refraction included."""
    azimuth_deg: FloatArray
    """Clockwise from north."""
    extra_wm2: FloatArray
    """Irradiance above the atmosphere, on a plane that faces the sun."""

    @property
    def cos_zenith(self) -> FloatArray:
        """0 below the horizon."""
        cosine: FloatArray = np.maximum(np.cos(np.radians(self.zenith_deg)), 0.0)
        return cosine


def sun_at(site: Site, start: datetime, instants_ns: NDArray[np.int64], air_c: FloatArray) -> Sun:
    """Return the sun at instants (k,) since `start`; air_c (k,): the air's temperature, for refraction."""
    from pvlib import atmosphere, irradiance, solarposition

    times = _times(start, instants_ns)
    found = solarposition.get_solarposition(
        times,
        site.latitude_deg,
        site.longitude_deg,
        altitude=site.altitude_m,
        pressure=atmosphere.alt2pres(site.altitude_m),
        method="nrel_numpy",
        temperature=air_c,
    )
    extra = irradiance.get_extra_radiation(_days(times))
    return Sun(found["apparent_zenith"].to_numpy(), found["azimuth"].to_numpy(), extra)


def linke_of_months(site: Site, everywhere: float | None) -> FloatArray:
    """Return the Linke turbidity of each month (12,): one for all, or that of pvlib's table (SoDa, 2003)."""
    if everywhere is not None:
        return np.full(12, everywhere)
    import pandas as pd
    from pvlib import clearsky

    months = pd.date_range("2025-01-15", periods=12, freq=pd.DateOffset(months=1), tz="UTC")
    found = clearsky.lookup_linke_turbidity(months, site.latitude_deg, site.longitude_deg, interp_turbidity=False)
    table: FloatArray = found.to_numpy(dtype=np.float64)
    return table


def clear_sky(
    site: Site, start: datetime, instants_ns: NDArray[np.int64], sun: Sun, linke: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return global horizontal, direct normal and diffuse horizontal irradiance (k,), W/m2, under no clouds.

    linke (12,): turbidity in the middle of each month; between, straight lines.
    """
    from pvlib import atmosphere, clearsky

    turbidity = np.interp(_days(_times(start, instants_ns)), MIDDLES, linke, period=365.0)
    relative = atmosphere.get_relative_airmass(sun.zenith_deg)
    airmass = atmosphere.get_absolute_airmass(relative, atmosphere.alt2pres(site.altitude_m))
    with np.errstate(divide="ignore"):  # at night pvlib divides by the cosine, and makes it 0 later
        found = clearsky.ineichen(sun.zenith_deg, airmass, turbidity, site.altitude_m, sun.extra_wm2)
    return found["ghi"], found["dni"], found["dhi"]


def split(ghi_wm2: FloatArray, start: datetime, instants_ns: NDArray[np.int64], sun: Sun) -> tuple[FloatArray, ...]:
    """Return direct normal and diffuse horizontal irradiance (k,) from the global one.

    D. G. Erbs, S. A. Klein and J. A. Duffie, Solar Energy 28, 1982, through pvlib.
    """
    from pvlib import irradiance

    found = irradiance.erbs(ghi_wm2, sun.zenith_deg, _days(_times(start, instants_ns)))
    return found["dni"], found["dhi"]


def _times(start: datetime, instants_ns: NDArray[np.int64]) -> Any:
    import pandas as pd

    since_ns = (start - EPOCH) // timedelta(microseconds=1) * 1000
    return pd.to_datetime(since_ns + instants_ns, unit="ns", utc=True)


def _days(times: Any) -> NDArray[np.int64]:
    """Return the days of the year (k,), 1 and more, by UTC."""
    when = times.tz_localize(None).to_numpy()
    since: NDArray[np.int64] = (when.astype("datetime64[D]") - when.astype("datetime64[Y]")).astype(np.int64)
    return since + 1
