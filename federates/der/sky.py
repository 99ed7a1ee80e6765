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
Devices at one bus stand at one place. All depends on seed and time alone: the order of steps does not matter.
"""

from __future__ import annotations

from math import cos, radians
from typing import Annotated, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.errors import did_you_mean
from derloop.kind import Context, Kind, PlaceError
from federates.der import Stepped
from federates.der.clouds import CloudField, Clouds
from federates.der.placement import stream
from federates.der.profile import ProfileColumn, read_profile
from federates.der.sun import Site, clear_sky, linke_of_months
from federates.der.sunlight import light_ports
from federates.der.weather import ClearSkyWeather, Moments, Weather, WeatherSettings, read_weather

CHUNK: Final = 900
"""Instants for which the weather is computed at once."""

_Extent = Annotated[float, Field(gt=0.0, le=1e6)]


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
        examples=[{"source": "typical-year", "file": "weather/phoenix_like.epw"}],
    )
    site: Site | None = Field(
        default=None,
        description="Where the feeder is. With a typical year, that of its file without it.",
        examples=[{"latitude_deg": 33.45, "longitude_deg": -112.07, "altitude_m": 340.0}],
    )
    clouds: Clouds | None = Field(
        default=None, description="Passing clouds. Without it, none.", examples=[{"cover_pu": 0.4}]
    )
    extent_m: tuple[_Extent, _Extent] = Field(
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


class Sky:
    """Irradiance in the planes of the devices of some fleets. No state."""

    def __init__(self, settings: SkySettings, context: Context) -> None:
        assert settings.clear_sky
        shades = _Shades(settings, context)
        outputs = {f"{fleet}.irradiance_wm2": Port("W/m2", context.labels[fleet]) for fleet in settings.over}
        self._interface = Interface(settings.step_ns(context), {}, outputs)
        self._clear = read_profile(settings.clear_sky, context, self._interface.step_ns, "clear_sky")
        self._shades = shades

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self.step(0, {})

    def step(self, now_ns: int, inputs: Values) -> Values:  # noqa: ARG002
        irradiance = self._shades.split(self._clear.at(now_ns) * self._shades.clearness(now_ns))
        return dict(zip(self._interface.outputs, irradiance, strict=True))

    def stop(self) -> None:
        pass


class WeatherSky:
    """Irradiance from sun and sky on the devices of some fleets, their air, and where the sun stands. No state."""

    def __init__(self, settings: SkySettings, context: Context) -> None:
        assert settings.weather
        self._fleets, self._shades = settings.over, _Shades(settings, context)
        step_ns = settings.step_ns(context)
        outputs = {
            f"{fleet}.{name}": port
            for fleet in settings.over
            for name, port in light_ports(context.labels[fleet]).items()
        }
        self._interface = Interface(step_ns, {}, outputs)
        weather = read_weather(settings.weather, settings.site, context, step_ns)
        clouds = settings.clouds if settings.clouds and settings.clouds.cover_pu == "weather" else None
        self._hours = _Chunks(weather, clouds, context, step_ns)

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self.step(0, {})

    def step(self, now_ns: int, inputs: Values) -> Values:  # noqa: ARG002
        now = self._hours.at(now_ns)
        clearness = self._shades.clearness(now_ns, now.cover_pu)
        dni = now.dni_wm2 * clearness
        dhi = now.dhi_wm2 * np.ones(clearness.shape)
        ghi = now.ghi_wm2 + (dni - now.dni_wm2) * max(cos(radians(now.zenith_deg)), 0.0)
        parts = zip(*map(self._shades.split, (ghi, dni, dhi)), strict=True)
        one = [np.array([x]) for x in now[3:8]]
        return dict(zip(self._interface.outputs, [v for part in parts for v in (*part, *one)], strict=True))

    def stop(self) -> None:
        pass


class _Now(NamedTuple):
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


class _Chunks:
    """The weather at the instants of a run, computed for some at once."""

    def __init__(self, weather: Weather, clouds: Clouds | None, context: Context, step_ns: int) -> None:
        self._weather, self._clouds, self._start, self._step_ns = weather, clouds, context.start, step_ns
        self._linke = linke_of_months(weather.site, None) if clouds else np.empty(0)
        self._number, self._rows = -1, np.empty((0, len(_Now._fields)))

    def at(self, now_ns: int) -> _Now:
        number, row = divmod(now_ns // self._step_ns, CHUNK)
        if number != self._number:
            instants_ns = (number * CHUNK + np.arange(CHUNK)) * self._step_ns
            self._number, self._rows = number, np.column_stack(self._columns(instants_ns))
        return _Now(*self._rows[row].tolist())

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


class _Shades:
    """What passing clouds leave of the light, at the devices of all fleets, one after the other."""

    def __init__(self, settings: SkySettings, context: Context) -> None:
        _check_fleets(settings, context)
        counts = [len(context.labels[fleet]) for fleet in settings.over]
        places = np.concatenate([_places_m(fleet, settings, context) for fleet in settings.over])
        places, self._place_of = np.unique(places, axis=0, return_inverse=True)
        self._clouds = settings.clouds and CloudField(settings.clouds, context, places)
        self._edges, self._ones = np.cumsum(counts)[:-1], np.ones(sum(counts))

    def clearness(self, now_ns: int, cover_pu: float = 0.0) -> FloatArray:
        """Return the share (n,) that is left."""
        return self._clouds.clearness(now_ns, cover_pu)[self._place_of] if self._clouds else self._ones

    def split(self, values: FloatArray) -> list[FloatArray]:
        """Return the values of each fleet."""
        return np.split(values, self._edges)


def _places_m(fleet: str, settings: SkySettings, context: Context) -> FloatArray:
    """Return where the devices of `fleet` stand (n, 2): by bus where one is known, else by label."""
    terminals = context.terminals.get(fleet, ())
    buses = [terminal.bus for terminal in terminals] or [f"{fleet} {label}" for label in context.labels[fleet]]
    drawn = _drawn(context)
    place = {bus: drawn.get(bus, _by_chance(bus, context)) for bus in dict.fromkeys(buses)}
    return np.array([place[bus] for bus in buses]) * settings.extent_m


def _by_chance(bus: str, context: Context) -> FloatArray:
    return stream(context, f"place {bus}").uniform(0.0, 1.0, 2)


def _drawn(context: Context) -> dict[str, FloatArray]:
    """Return where the feeder's file draws its buses, from 0 to 1 in the box around them."""
    buses = context.feeder.buses if context.feeder else {}
    xy = {name: np.array(bus.xy) for name, bus in buses.items() if bus.xy is not None}
    if len(xy) < 2:
        return {}
    corner, opposite = np.min([*xy.values()], axis=0), np.max([*xy.values()], axis=0)
    size = np.where(opposite > corner, opposite - corner, 1.0)
    return {name: (at - corner) / size for name, at in xy.items()}


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


def build(settings: SkySettings, context: Context) -> Sky | WeatherSky:
    return WeatherSky(settings, context) if settings.weather else Sky(settings, context)


KIND = Kind("sky", "Irradiance with passing clouds", SkySettings, build)
