"""From the light of sun and sky to that in the planes of n PV arrays.

With the angle of incidence `theta` between the sun and a plane's normal, the zenith `z` of the sun, `A = DNI / DNI_0`
(the share of the light above the atmosphere that comes through as beam), and the plane's tilt `b`:

- beam: `DNI max(cos theta, 0)`;
- sky: `DHI ((1 - A) (1 + cos b) / 2 + A max(cos theta, 0) / max(cos z, 0.01745))` (J. E. Hay and J. A. Davies,
  Proc. First Canadian Solar Radiation Data Workshop, 1980);
- ground: `GHI albedo (1 - cos b) / 2`.

Of the beam a part is reflected: Fresnel's and Bouguer's laws for glass of index 1.526, 2 mm thick, extinction 4 per m,
relative to normal incidence (W. De Soto, S. A. Klein and W. A. Beckman, Solar Energy 80, 2006, eqs. 13 to 15).
"""

from __future__ import annotations

from math import exp
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from derloop.contract import FloatArray
from derloop.kind import Context, Settings
from federates.der.placement import draw
from federates.der.sunlight import Sunlight

INDEX: Final = 1.526
EXTINCTION: Final = 4.0 * 0.002
LEAST_COS_ZENITH: Final = 0.01745
"""Of the sky's circumsolar part: 1 degree above the horizon, as in pvlib."""


def _as_range(value: Any) -> Any:
    """Return one number as the range that holds only it."""
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"a range is [min, max], but {value[0]:g} is more than {value[1]:g}")
    return value


def _as_written(value: tuple[float, float]) -> float | list[float]:
    return value[0] if value[0] == value[1] else list(value)


def _schema(least: float, most: float) -> WithJsonSchema:
    one = {"type": "number", "minimum": least, "maximum": most}
    return WithJsonSchema({"anyOf": [one, {"type": "array", "items": one, "minItems": 2, "maxItems": 2}]})


_Tilt = Annotated[float, Field(ge=0.0, le=90.0, strict=True)]
_Azimuth = Annotated[float, Field(ge=-360.0, le=360.0, strict=True)]
_SHAPE = (BeforeValidator(_as_range), AfterValidator(_ordered), PlainSerializer(_as_written))
Tilt = Annotated[tuple[_Tilt, _Tilt], *_SHAPE, _schema(0.0, 90.0)]
Azimuth = Annotated[tuple[_Azimuth, _Azimuth], *_SHAPE, _schema(-360.0, 360.0)]


class Plane(Settings):
    """How arrays are mounted."""

    tilt_deg: Tilt = Field(
        description="From the horizontal, degrees: a number, or [min, max] to draw from.", examples=[25.0, [10.0, 40.0]]
    )
    azimuth_deg: Azimuth = Field(
        default=(180.0, 180.0),
        description="Where the arrays face, degrees clockwise from north: a number, or [min, max] to draw from. "
        "Without it south, which a sky refuses south of the equator.",
        examples=[180.0, [90.0, 270.0]],
    )
    albedo: float = Field(
        default=0.25, ge=0.0, le=1.0, description="Share of the light that the ground reflects.", examples=[0.25]
    )


class Light(NamedTuple):
    """Irradiance in n planes (n,), W/m2."""

    poa_wm2: FloatArray
    """All that arrives: what warms the cells."""
    effective_wm2: FloatArray
    """What gets through the glass."""


class Planes:
    """The planes of n arrays."""

    def __init__(self, tilt_deg: FloatArray, azimuth_deg: FloatArray, albedo: float) -> None:
        tilt, azimuth = np.radians(tilt_deg), np.radians(azimuth_deg)
        self._east, self._north = np.sin(tilt) * np.sin(azimuth), np.sin(tilt) * np.cos(azimuth)
        self._up = np.cos(tilt)
        self._sky = 0.5 * (1.0 + self._up)
        self._ground = albedo * 0.5 * (1.0 - self._up)
        self._nothing, self._whole = np.zeros(tilt.shape), np.ones(tilt.shape)

    @classmethod
    def drawn(cls, plane: Plane, context: Context, own_tilt_deg: FloatArray, own_azimuth_deg: FloatArray) -> Planes:
        """Return the planes of devices (n,), each with its own angle where that is not NaN."""
        tilt = draw(plane.tilt_deg, own_tilt_deg.size, context, "tilt_deg")
        azimuth = draw(plane.azimuth_deg, own_azimuth_deg.size, context, "azimuth_deg")
        return cls(
            np.where(np.isnan(own_tilt_deg), tilt, own_tilt_deg),
            np.where(np.isnan(own_azimuth_deg), azimuth, own_azimuth_deg),
            plane.albedo,
        )

    def light(self, sun: Sunlight) -> Light:
        """Return the light in the planes."""
        cosine = self._cos_incidence(sun)
        through = sun.dni_wm2 / np.array(sun.dni_extra_wm2)
        direct = sun.dni_wm2 * cosine
        diffuse = self._diffuse(sun, through, cosine)
        effective = glass(cosine)
        np.multiply(direct, effective, effective)
        np.add(effective, diffuse, effective)
        return Light(np.add(direct, diffuse, direct), effective)

    def _diffuse(self, sun: Sunlight, through: FloatArray, cosine: FloatArray) -> FloatArray:
        """Return the light (n,) from around the sun, from the rest of the sky, and from the ground."""
        diffuse: FloatArray = sun.dhi_wm2 * through
        np.multiply(diffuse, cosine, diffuse)
        np.divide(diffuse, np.array(max(sun.up, LEAST_COS_ZENITH)), diffuse)
        sky = np.subtract(_ONE, through)
        np.multiply(sun.dhi_wm2, sky, sky)
        np.multiply(sky, self._sky, sky)
        np.maximum(sky, self._nothing, out=sky)
        np.add(diffuse, sky, diffuse)
        np.add(diffuse, sun.ghi_wm2 * self._ground, diffuse)
        return diffuse

    def _cos_incidence(self, sun: Sunlight) -> FloatArray:
        """Return the cosines (n,) of the angle of incidence; 0 where the sun is behind the plane."""
        cosine: FloatArray = self._east * np.array(sun.east)
        np.add(cosine, self._north * np.array(sun.north), cosine)
        np.add(cosine, self._up * np.array(sun.up), cosine)
        np.maximum(cosine, self._nothing, out=cosine)
        np.minimum(cosine, self._whole, out=cosine)
        return cosine


def glass(cosine: FloatArray) -> FloatArray:
    """Return the share (n,) of beam light that gets through the glass, relative to normal incidence."""
    bent: FloatArray = cosine * cosine
    np.sqrt(np.add(bent, _BENDS, bent), bent)  # index times the cosine inside the glass
    across = (cosine - bent) / (cosine + bent)
    inside = np.divide(bent, _INDEX, bent)
    steep = cosine * _INDEX
    along = (inside - steep) / (inside + steep)
    through: FloatArray = across * across
    np.add(through, np.multiply(along, along, along), through)
    np.subtract(_ONE, np.multiply(through, _HALF, through), through)
    left = np.divide(_EXTINCTION, inside, inside)
    np.multiply(through, np.exp(left, left), through)
    np.divide(through, _NORMAL, through)
    return through


_NORMAL: Final = np.array((1.0 - ((1.0 - INDEX) / (1.0 + INDEX)) ** 2) * exp(-EXTINCTION))
_INDEX, _BENDS, _EXTINCTION = np.array(INDEX), np.array(INDEX**2 - 1.0), np.array(-EXTINCTION)
_ONE, _HALF = np.array(1.0), np.array(0.5)
