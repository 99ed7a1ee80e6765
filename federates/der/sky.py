"""The sky over the feeder: the light of the sun, and the shadows of clouds that the wind carries along.

It lights fleets in one of two ways:

- `clear_sky`: the irradiance in the plane of the arrays under a clear sky, a column of a profile. A device gets
  `G(t) (1 - depth c(r, t))`, with the cloud `c` in front of the sun at its place `r` (see `federates.der.clouds`).
- `weather`: global horizontal, direct normal and diffuse horizontal irradiance, air temperature and wind from a
  clear-sky model, a typical year or measured series (see `federates.der.weather`), and where the sun stands; for fleets
  that say how their arrays are mounted. Clouds take `depth c` of the beam and leave the diffuse light.

With weather and `"cover_pu": "weather"`, the cover is that with which the clear sky's beam has the mean that the
weather says: `cover = (1 - DNI / DNI_clear) / depth`; where that is beyond 0 to 1, the beam above the clouds is scaled.
So the energy of the typical year is kept, and its hours get the ramps of single clouds.

Devices see similar shadows, shifted by the time that the wind takes between them. Their places are those of their
buses: the feeder's coordinates, stretched to the area `extent_m`; a bus without coordinates is drawn uniformly on it.
Several feeders lie on one area, as if on top of each other; for those that lie apart, let each have a sky of its own.
Devices at one bus stand at one place. All depends on seed and time alone: the order of steps does not matter.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import Bundle, FloatArray, Interface, Port, Values
from derloop.errors import did_you_mean
from derloop.kind import Context, Kind, PlaceError
from derloop.memory import remembers
from federates.der import Stepped
from federates.der.above_clouds import AboveClouds
from federates.der.clouds import Clouds
from federates.der.lookahead import Instants, Lookahead
from federates.der.profile import ProfileColumn, read_profile
from federates.der.shades import Shades
from federates.der.sun import Site
from federates.der.sunlight import light_ports
from federates.der.weather import ClearSkyWeather, WeatherSettings, read_weather

_Metres = Annotated[float, Field(gt=0.0, le=1e6)]


class SkySettings(Stepped):
    """The sky over PV fleets."""

    over: tuple[str, ...] = Field(
        min_length=1, description="Names of the fleets that the sky lights.", examples=[["pv"]]
    )
    clear_sky: ProfileColumn | None = Field(
        default=None,
        description="Irradiance in the plane of the arrays under a clear sky, W/m2; or else, weather.",
        examples=[{"file": "profiles/clear_sky_july.csv", "column": "poa_wm2"}],
    )
    weather: WeatherSettings | None = Field(
        default=None,
        description="Irradiance, air temperature and wind, for fleets whose arrays have a plane; or else, clear_sky.",
        examples=[{"source": "typical-year", "file": "weather/valley_synthetic.epw"}],
    )
    site: Site | None = Field(
        default=None,
        description="Where the feeder is. With a typical year, that of its file without it.",
        examples=[{"latitude_deg": 33.45, "longitude_deg": -112.07, "altitude_m": 340.0}],
    )
    clouds: Clouds | None = Field(
        default=None, description="Passing clouds. Without it, none.", examples=[{"cover_pu": 0.4}]
    )
    extent_m: tuple[_Metres, _Metres] = Field(
        default=(1000.0, 1000.0), description="Size of the area, east and north, m.", examples=[[1000.0, 1000.0]]
    )

    @model_validator(mode="after")
    def _one_light(self) -> SkySettings:
        if (self.clear_sky is None) == (self.weather is None):
            raise ValueError("needs either clear_sky or weather")
        if self.site and self.clear_sky:
            raise ValueError("site is only for weather: clear_sky is light in the plane of the arrays already")
        cover = self.clouds.cover_pu if self.clouds else 0.0
        if cover == "weather" and (self.weather is None or isinstance(self.weather, ClearSkyWeather)):
            raise ValueError("clouds.cover_pu: 'weather' is only for a typical year or a series; allowed is a number")
        if cover != "weather" and self.clouds and not isinstance(self.weather, ClearSkyWeather | None):
            raise ValueError("clouds.cover_pu: a typical year or a series has its clouds already; allowed is 'weather'")
        return self


@remembers()
class Sky:
    """Irradiance in the planes of the devices of some fleets. No state."""

    def __init__(self, settings: SkySettings, context: Context) -> None:
        assert settings.clear_sky
        _check_fleets(settings, context)
        outputs = {f"{fleet}.irradiance_wm2": Port("W/m2", context.labels[fleet]) for fleet in settings.over}
        self._interface = Interface(settings.step_ns(context), {}, outputs)
        self._light = Bundle(outputs)
        self._clear = read_profile(settings.clear_sky, context, self._interface.step_ns, "clear_sky")
        self._shades = Shades(settings.over, settings.clouds, settings.extent_m, context)
        self._ahead = Lookahead(self._interface.step_ns, self._light.vector.size, self._lit)

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self.step(0, {})

    def step(self, now_ns: int, inputs: Values) -> Values:  # noqa: ARG002
        self._light.vector[...] = self._ahead.at(now_ns)
        return self._light

    def _lit(self, instants_ns: Instants) -> FloatArray:
        """Return the irradiance on all devices (k, n) at some instants."""
        return self._clear.at_all(instants_ns)[:, None] * self._shades.clearness(instants_ns)

    def stop(self) -> None:
        pass


@remembers()
class WeatherSky:
    """Irradiance from sun and sky on the devices of some fleets, their air, and where the sun stands. No state."""

    def __init__(self, settings: SkySettings, context: Context) -> None:
        assert settings.weather
        _check_fleets(settings, context)
        self._shades = Shades(settings.over, settings.clouds, settings.extent_m, context)
        step_ns = settings.step_ns(context)
        outputs = {
            f"{fleet}.{name}": port
            for fleet in settings.over
            for name, port in light_ports(context.labels[fleet]).items()
        }
        self._interface = Interface(step_ns, {}, outputs)
        weather = read_weather(settings.weather, settings.site, context, step_ns)
        _check_faces(settings.over, weather.site.latitude_deg, context)
        clouds = settings.clouds if settings.clouds and settings.clouds.cover_pu == "weather" else None
        self._weather = AboveClouds(weather, clouds, context, step_ns)
        self._light = Bundle(outputs)
        self._ahead = Lookahead(step_ns, self._light.vector.size, self._lit)

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self.step(0, {})

    def step(self, now_ns: int, inputs: Values) -> Values:  # noqa: ARG002
        self._light.vector[...] = self._ahead.at(now_ns)
        return self._light

    def _lit(self, instants_ns: Instants) -> FloatArray:
        """Return all outputs, one after the other, at some instants (k,)."""
        columns = self._weather.at(instants_ns)
        ghi, dni, dhi, zenith_deg, *_ = (column[:, None] for column in columns)
        clearness = self._shades.clearness(instants_ns, columns.cover_pu)
        beam = dni * clearness
        diffuse = dhi * np.ones(clearness.shape)
        all_of_it = ghi + (beam - dni) * np.maximum(np.cos(np.radians(zenith_deg)), 0.0)
        parts = zip(*map(self._shades.split, (all_of_it, beam, diffuse)), strict=True)
        for_all = np.column_stack(columns[3:8])
        return np.concatenate([rows for part in parts for rows in (*part, for_all)], axis=1)

    def stop(self) -> None:
        pass


def _check_fleets(settings: SkySettings, context: Context) -> None:
    problems: list[tuple[tuple[str | int, ...], str]] = [
        (("over", i), what)
        for i, fleet in enumerate(settings.over)
        if (what := _unlit(fleet, settings.weather is not None, context))
    ]
    if len(set(settings.over)) < len(settings.over):
        problems.append((("over",), "a fleet is named twice"))
    if problems:
        raise PlaceError(problems)


def _unlit(fleet: str, by_weather: bool, context: Context) -> str:
    """Return why the sky cannot light a fleet, empty if it can."""
    if fleet not in context.labels:
        return f"no fleet is called {fleet!r}" + did_you_mean(fleet, [*context.labels])
    has_plane = getattr(context.settings.get(fleet), "plane", Ellipsis)
    if has_plane is Ellipsis or (has_plane is not None) == by_weather:
        return ""
    if by_weather:
        return f"{fleet!r} does not say how its arrays are mounted; with weather it needs the setting plane"
    return f"{fleet!r} has the setting plane, which needs weather; clear_sky is light in one plane for all"


def _check_faces(over: tuple[str, ...], latitude_deg: float, context: Context) -> None:
    """Raise PlaceError for fleets south of the equator that leave it to the default where their arrays face."""
    what = f"does not say where its arrays face: by default south, and at {latitude_deg:g} degrees the sun is north"
    problems: list[tuple[tuple[str | int, ...], str]] = [
        (("over", i), f"{fleet!r} {what}; allowed is any plane.azimuth_deg, 0 for north")
        for i, fleet in enumerate(over)
        if latitude_deg < 0.0 and getattr(context.settings.get(fleet), "faces_by_default", False)
    ]
    if problems:
        raise PlaceError(problems)


def build(settings: SkySettings, context: Context) -> Sky | WeatherSky:
    return WeatherSky(settings, context) if settings.weather else Sky(settings, context)


KIND = Kind("sky", "Irradiance with passing clouds", SkySettings, build)
