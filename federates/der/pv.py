"""Solar PV systems: irradiance to DC to AC, with smart-inverter functions.

Powers are positive when injected. Light comes in one of two ways:

- without `plane`: the irradiance `G` (W/m2) in the plane of the array is the input `irradiance_wm2`, and the air has
  `ambient_c` all the time;
- with `plane`, each array's tilt and azimuth: the inputs are global horizontal, direct normal and diffuse horizontal
  irradiance, where the sun stands, air temperature and wind, as the kind `sky` has them with `weather`. `G` follows by
  `federates.der.plane` (Hay-Davies, reflection at the glass).

Then

- cell temperature `T = T_ambient + G r(wind)`: `federates.der.cell`, without the setting `cell`
  `r = (NOCT - 20) / 800` (R. G. Ross, 14th IEEE PVSC, 1980);
- DC power `P_dc = dc_kw (G' / 1000) (1 - losses) (1 + gamma (T - 25))` (PVWatts version 5, NREL/TP-6A20-62641, eq. 8),
  with what gets through the glass, `G'`;
- AC power of the inverter (the same, eq. 11), with `P_dc0 = rated_kva / eta` and `z = P_dc / P_dc0`,
  `P_ac = P_dc0 (eta / 0.9637) (-0.0162 z^2 + 0.9858 z - 0.0059)`, between 0 and the rating: this is `p_available_kw`.
  What the array could give beyond the rating is clipped.

Then the limit `p_limit_kw` (where the fleet is curtailable), the reactive function, and the rating.
Below `q_full_above_p_pu` of its rating a system's reactive capability falls in proportion to its active power
(IEEE 1547-2018, 5.2, asks for full capability from 20 % of rated power; to be confirmed against the standard):
at night there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import Bundle, FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, Terminal
from derloop.memory import remembers
from federates.der import Stepped
from federates.der.cell import Cell
from federates.der.inverter import Inverters, Smart
from federates.der.placement import At, Size, Spot, draw, place
from federates.der.plane import Plane, Planes
from federates.der.smart.settings import REACTIVE
from federates.der.sunlight import Sunlight, light_ports

ETA_REFERENCE = 0.9637
"""Efficiency of the inverter whose part-load curve PVWatts uses."""
LINEAR, SQUARE, STANDING = 0.9858, 0.0162, 0.0059
"""That curve."""
REFERENCE_C = 25.0
"""Temperature of the cells at which the power of an array is stated, degC."""


class PvSpot(Spot):
    """One PV system."""

    dc_kw: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="Power of the array at 1000 W/m2 and 25 degC, kW. Without it, the fleet's dc_ac_ratio.",
        examples=[7.2],
    )
    tilt_deg: float | None = Field(
        default=None,
        ge=0.0,
        le=90.0,
        description="Tilt of its array, degrees from the horizontal. Without it, the fleet's plane.",
        examples=[30.0],
    )
    azimuth_deg: float | None = Field(
        default=None,
        ge=-360.0,
        le=360.0,
        description="Where its array faces, degrees clockwise from north. Without it, the fleet's plane.",
        examples=[90.0],
    )


class PvSettings(Stepped):
    """A fleet of PV systems."""

    at: At[PvSpot] = Field(
        description="Where the systems stand: a list of places, or a spread.",
        examples=[{"count": 40, "on": "loads"}, [{"bus": "645.2", "rated_kva": 6.0}]],
    )
    rated_kva: Size | None = Field(
        default=None,
        description="Rated apparent power of each inverter, kVA: a number, or [min, max] to draw from.",
        examples=[6.0, [4.0, 8.0]],
    )
    dc_ac_ratio: Size = Field(
        default=(1.2, 1.2),
        description="Power of the array at standard conditions over rated kVA: a number, or [min, max] to draw from.",
        examples=[1.2, [1.0, 1.4]],
    )
    losses_pu: float = Field(
        default=0.14,
        ge=0.0,
        lt=1.0,
        description="Losses before the inverter, pu: soiling, shading, mismatch, wiring (PVWatts: 0.14).",
        examples=[0.14],
    )
    inverter_efficiency_pu: float = Field(
        default=0.96, gt=0.5, le=1.0, description="Efficiency of the inverter at rated power, pu.", examples=[0.96]
    )
    temperature_coefficient_per_k: float = Field(
        default=-0.0035,
        ge=-0.02,
        le=0.0,
        description="Change of DC power with cell temperature, pu per K; 0 leaves temperature out.",
        examples=[-0.0035],
    )
    plane: Plane | None = Field(
        default=None,
        description="How the arrays are mounted, where sun and sky light them. "
        "Without it, the irradiance in their plane is an input.",
        examples=[{"tilt_deg": 25}, {"tilt_deg": [10, 40], "azimuth_deg": [90, 270]}],
    )
    cell: Cell | None = Field(
        default=None,
        description="How warm the cells get. Without it, by noct_c, which knows no wind.",
        examples=[{"model": "sapm", "mounting": "close-mount-glass-glass"}],
    )
    ambient_c: float = Field(
        default=25.0, ge=-60.0, le=60.0, description="Air temperature without plane, degC.", examples=[25.0]
    )
    noct_c: float = Field(
        default=45.0,
        ge=20.0,
        le=80.0,
        description="Nominal operating cell temperature, degC: at 800 W/m2 and 20 degC of air.",
        examples=[45.0],
    )
    q_full_above_p_pu: float = Field(
        default=0.2,
        ge=0.0,
        le=1.0,
        description="Active power from which on the reactive capability is full, pu of rated kVA; "
        "0 makes it full at all times, also at night.",
        examples=[0.2],
    )
    curtailable: bool = Field(
        default=False, description="Whether the fleet takes a limit of active power, p_limit_kw.", examples=[True]
    )
    q_commanded: bool = Field(
        default=False,
        description="Whether the fleet takes a constant reactive power, q_set_pu, in the place of a reactive function.",
        examples=[True],
    )
    smart: Smart = Field(
        default=Smart(), description="Smart-inverter functions.", examples=[{"volt_var": "category-b"}]
    )

    @property
    def takes(self) -> tuple[str, ...]:
        """Inputs that a control may drive."""
        return ("p_limit_kw",) * self.curtailable + ("q_set_pu",) * self.q_commanded

    @property
    def faces_by_default(self) -> bool:
        """Whether nobody says where some arrays face that do not lie flat: then they face south."""
        if self.plane is None or "azimuth_deg" in self.plane.model_fields_set:
            return False
        most_deg = self.plane.tilt_deg[1]
        tilts_deg = [most_deg if s.tilt_deg is None else s.tilt_deg for s in _spots(self) if s.azimuth_deg is None]
        return any(tilts_deg if _spots(self) else [most_deg])

    @model_validator(mode="after")
    def _fits_its_light(self) -> PvSettings:
        own = [spot.tilt_deg is not None or spot.azimuth_deg is not None for spot in _spots(self)]
        if self.plane is None and any(own):
            raise ValueError(
                f"plane is missing: place {own.index(True)} of at has a tilt_deg or azimuth_deg of its own"
            )
        if self.plane is not None and "ambient_c" in self.model_fields_set:
            raise ValueError("ambient_c is only without plane: with it the air's temperature is an input")
        if self.cell is not None and "noct_c" in self.model_fields_set:
            raise ValueError("noct_c is only without cell, which says itself how warm cells get")
        if self.q_commanded and (own_q := [name for name in REACTIVE if getattr(self.smart, name) is not None]):
            raise ValueError(f"q_commanded takes the place of smart.{own_q[0]}: one of them")
        if self.plane is None and self.cell is not None:
            raise ValueError("cell needs plane: without it neither air nor wind is known")
        return self


@remembers()
class PvFleet:
    """n PV systems. Their only state is the lag of their reactive function."""

    def __init__(self, settings: PvSettings, context: Context) -> None:
        systems = context.terminals.get(context.name) or terminals(settings, context)
        labels = tuple(system.label for system in systems)
        self._settings = settings
        rated_kva = np.array([system.rated_kva for system in systems])
        self.inverters = Inverters(
            settings.smart, rated_kva, seed=context.seed, q_full_above_p_pu=settings.q_full_above_p_pu
        )
        self._conversion = Conversion(settings, _dc_kw(settings, context, rated_kva), rated_kva)
        self._light = _FromSky(settings, context, labels) if settings.plane else _InPlane(settings, labels)
        inputs = self.inverters.ports(labels) | self._light.inputs
        if settings.curtailable:
            inputs["p_limit_kw"] = Port("kW", labels)
        if settings.q_commanded:
            inputs["q_set_pu"] = Port("pu", labels)
        outputs = {"p_kw": Port("kW", labels), "q_kvar": Port("kvar", labels), "p_available_kw": Port("kW", labels)}
        self._interface = Interface(settings.step_ns(context), inputs, {**outputs, **self._light.outputs})
        self.cautions = settings.smart.cautions(context.name, self._interface.step_ns)
        self._lit_by, self._available_kw = b"", np.zeros(rated_kva.shape)
        self._shown: tuple[FloatArray, ...] = ()
        self._told = Bundle(self._interface.outputs)

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return {name: np.zeros(port.size) for name, port in self._interface.outputs.items()}

    def step(self, now_ns: int, inputs: Values) -> Values:
        self._be_lit(inputs)
        if "q_set_pu" in inputs:  # not where registers say it
            self.inverters.tell_q(inputs["q_set_pu"])
        wanted_kw = self.inverters.left_by_pf_kw(self._available_kw)
        limit_kw = inputs["p_limit_kw"] if self._settings.curtailable else None
        p_kw, q_kvar = self.inverters.step(now_ns, self.inverters.seen(inputs), wanted_kw, None, limit_kw)
        np.concatenate((p_kw, q_kvar, self._available_kw, *self._shown), out=self._told.vector)
        return self._told

    def _be_lit(self, inputs: Values) -> None:
        """Compute what the light gives, unless it is to the bit that of the last call, as within a converged step."""
        lit_by = self._light.bytes_of(inputs)
        if lit_by != self._lit_by:
            light = self._light.at(inputs)
            self._available_kw = self._conversion.available_kw(light.effective_wm2, light.derating_pu)
            self._lit_by, self._shown = lit_by, light.shown

    def stop(self) -> None:
        pass


class _Lit(NamedTuple):
    """The cells of n arrays in the sun."""

    effective_wm2: FloatArray
    derating_pu: FloatArray
    """What the cells' temperature leaves of the power."""
    shown: tuple[FloatArray, ...]
    """What of it are outputs of the fleet, in their order."""


class _InPlane:
    """Irradiance in the plane is an input, and the air is always the same."""

    outputs: Mapping[str, Port] = MappingProxyType({})

    def __init__(self, settings: PvSettings, labels: tuple[str, ...]) -> None:
        self.inputs = {"irradiance_wm2": Port("W/m2", labels)}
        derating = Derating(settings)
        self._per_wm2 = np.array(derating.per_k * _rise_by_noct(settings))
        self._unlit_pu = np.array(derating.at_0_c_pu + derating.per_k * settings.ambient_c)
        self._dark = np.zeros(len(labels))

    def bytes_of(self, inputs: Values) -> bytes:
        return inputs["irradiance_wm2"].tobytes()

    def at(self, inputs: Values) -> _Lit:
        sun = np.maximum(inputs["irradiance_wm2"], self._dark)
        derating_pu = sun * self._per_wm2
        return _Lit(sun, np.add(derating_pu, self._unlit_pu, derating_pu), ())


class _FromSky:
    """Sun and sky light the planes, and there are air and wind."""

    def __init__(self, settings: PvSettings, context: Context, labels: tuple[str, ...]) -> None:
        assert settings.plane
        self.inputs = light_ports(labels)
        self.outputs = {"poa_wm2": Port("W/m2", labels), "cell_c": Port("degC", labels)}
        own = [(spot.tilt_deg, spot.azimuth_deg) for spot in _spots(settings)] or [(None, None)] * len(labels)
        tilt, azimuth = np.array(own, dtype=np.float64).T
        self._planes = Planes.drawn(settings.plane, context, tilt, azimuth)
        self._cell, self._noct_rise = settings.cell, _rise_by_noct(settings)
        self._derating = Derating(settings)

    def bytes_of(self, inputs: Values) -> bytes:
        return b"".join([inputs[name].tobytes() for name in self.inputs])

    def at(self, inputs: Values) -> _Lit:
        light = self._planes.light(Sunlight.of(inputs))
        wind = float(inputs["wind_m_per_s"][0])
        rise = self._cell.rise_k_m2_per_w(wind) if self._cell else self._noct_rise
        cell_c = inputs["air_c"][0] + light.poa_wm2 * rise
        return _Lit(light.effective_wm2, self._derating.derating_pu(cell_c), (light.poa_wm2, cell_c))


def _rise_by_noct(settings: PvSettings) -> float:
    return (settings.noct_c - 20.0) / 800.0


class Derating:
    """What the temperature of cells leaves of their power, `1 + gamma (T - 25)`, as `at_0_c_pu + per_k T`."""

    def __init__(self, settings: PvSettings) -> None:
        self.per_k = settings.temperature_coefficient_per_k
        self.at_0_c_pu = 1.0 - self.per_k * REFERENCE_C

    def derating_pu(self, cell_c: FloatArray) -> FloatArray:
        return cell_c * self.per_k + self.at_0_c_pu


class Conversion:
    """From light to DC to AC, of n systems with arrays of `dc_kw` (n,) and inverters of `rated_kva` (n,).

    The equations above with their constants multiplied out.
    """

    def __init__(self, settings: PvSettings, dc_kw: FloatArray, rated_kva: FloatArray) -> None:
        efficiency_pu = settings.inverter_efficiency_pu
        limit_kw = rated_kva / efficiency_pu
        ac_kw = limit_kw * (efficiency_pu / ETA_REFERENCE)
        self._rated_kva = rated_kva
        self._z_per_wm2 = dc_kw * ((1.0 - settings.losses_pu) / 1000.0) / limit_kw
        self._linear_kw, self._square_kw, self._standing_kw = LINEAR * ac_kw, SQUARE * ac_kw, STANDING * ac_kw
        self._nothing, self._whole = np.zeros(rated_kva.shape), np.ones(rated_kva.shape)

    def available_kw(self, effective_wm2: FloatArray, derating_pu: FloatArray) -> FloatArray:
        """Return the AC power (n,), kW: a new array. `derating_pu` (n,) counts as no less than nothing."""
        z = np.maximum(derating_pu, self._nothing)
        np.multiply(z, effective_wm2, z)
        np.multiply(z, self._z_per_wm2, z)
        np.minimum(z, self._whole, out=z)
        ac_kw: FloatArray = z * self._square_kw
        np.subtract(self._linear_kw, ac_kw, ac_kw)
        np.multiply(ac_kw, z, ac_kw)
        np.subtract(ac_kw, self._standing_kw, ac_kw)
        np.maximum(ac_kw, self._nothing, out=ac_kw)
        return np.minimum(ac_kw, self._rated_kva, out=ac_kw)


def _dc_kw(settings: PvSettings, context: Context, rated_kva: FloatArray) -> FloatArray:
    dc_kw = rated_kva * draw(settings.dc_ac_ratio, rated_kva.size, context, "dc_ac_ratio")
    if own := _spots(settings):
        listed = np.array([spot.dc_kw for spot in own], dtype=np.float64)
        dc_kw = np.where(np.isnan(listed), dc_kw, listed)
    return dc_kw


def _spots(settings: PvSettings) -> tuple[PvSpot, ...]:
    """Return the places that are listed; none of a spread."""
    return settings.at if isinstance(settings.at, tuple) else ()


def terminals(settings: PvSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the systems meet the feeder."""
    return settings.smart.seeing(place(settings.at, settings.rated_kva, context))


KIND = Kind("pv", "Solar PV systems with smart inverters", PvSettings, PvFleet, terminals, is_der=True)
