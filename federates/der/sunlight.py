"""What a sky gives to fleets whose arrays have planes: the ports between the two."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, radians, sin
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from derloop.contract import FloatArray, Port, Values

ON_EACH: Final = ("ghi_wm2", "dni_wm2", "dhi_wm2")
"""Global horizontal, direct normal and diffuse horizontal irradiance on each device."""
FOR_ALL: Final[Mapping[str, str]] = MappingProxyType(
    {"sun_zenith_deg": "deg", "sun_azimuth_deg": "deg", "dni_extra_wm2": "W/m2", "air_c": "degC", "wind_m_per_s": "m/s"}
)
"""One value for the site, and its unit; `dni_extra_wm2` is the irradiance above the atmosphere, facing the sun."""


def light_ports(labels: tuple[str, ...]) -> dict[str, Port]:
    """Return the ports through which the devices of a fleet are lit."""
    return {name: Port("W/m2", labels) for name in ON_EACH} | {
        name: Port(unit, ("site",)) for name, unit in FOR_ALL.items()
    }


class Sunlight(NamedTuple):
    """Irradiance (n,) at one instant, and where the sun stands."""

    ghi_wm2: FloatArray
    dni_wm2: FloatArray
    dhi_wm2: FloatArray
    dni_extra_wm2: float
    east: float
    """Of the unit vector towards the sun; as `north` and `up`."""
    north: float
    up: float

    @classmethod
    def of(cls, inputs: Values) -> Sunlight:
        """Return what the inputs say; irradiance below 0 is none."""
        ghi, dni, dhi = (np.maximum(inputs[name], 0.0) for name in ON_EACH)
        zenith, azimuth = (radians(float(inputs[name][0])) for name in ("sun_zenith_deg", "sun_azimuth_deg"))
        east, north, up = sin(zenith) * sin(azimuth), sin(zenith) * cos(azimuth), cos(zenith)
        return cls(ghi, dni, dhi, float(inputs["dni_extra_wm2"][0]), east, north, up)
