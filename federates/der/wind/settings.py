"""Wind turbines: wind to power, with smart-inverter functions.

Powers are positive when injected. From the wind to the power of each turbine:

1. The slow wind `V(t)` (m/s) at the height `h_m` of the measurement is a course, or drawn: `V = F^-1(Phi(x(t)))` with
   the Weibull distribution `F` of the given mean and shape (2 is Rayleigh's; IEC 61400-1, 6.3.2.1), the normal
   distribution `Phi`, and `x` a sum of 16 cosines with periods log-uniform between half and twice `period_s`.
2. Height (IEC 61400-12-1; Burton et al., "Wind Energy Handbook", 2nd ed., 2.6.2):
   log law `V_hub = V ln(h_hub / z0) / ln(h_m / z0)`, or power law `V_hub = V (h_hub / h_m)^alpha`.
3. Turbulence, each turbine its own: `v = max(0, V_hub + sigma x_i(t))`, `sigma = I (0.75 V_hub + 5.6)` (normal
   turbulence model, IEC 61400-1, 6.3.1.3). `x_i` is a sum of M = 32 cosines of equal size whose frequencies are drawn
   from the Kaimal spectrum (IEC 61400-1, annex B) `S(f) / sigma^2 = 4 T / (1 + 6 f T)^(5/3)` with the time scale
   `T` = length scale / wind speed: its integral inverted is `f = ((1 - u)^(-3/2) - 1) / (6 T)`.
4. Air density `rho = p / (287.05 T)`, `p = 101325 (1 - 2.25577e-5 altitude)^5.25588` (ISO 2533, standard atmosphere).
   The curve is read at `v (rho / 1.225)^(1/3)` (IEC 61400-12-1, 9.1.4: turbines with active power control).
5. Power curve: points, straight between them; or, without points, `(v^3 - v_stop^3) / (v_rated^3 - v_stop^3)`, 0 to 1.
6. Whether a turbine runs: it starts when `v` reaches `cut_in_m_per_s` and stops below `stop_m_per_s`; it stops for a
   storm when its mean wind passes `cut_out_m_per_s`, and is free again when the mean is below `restart_m_per_s`.
   The mean is a lag, `m += (v - m) (1 - exp(-dt / averaging_s))`, exact for a wind that holds between two instants.

Then the smart-inverter functions, `p_limit_kw` (where the fleet is curtailable) among them, and the rating.
"""

from __future__ import annotations

from itertools import pairwise
from math import log
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from derloop.kind import Settings
from federates.der import Stepped
from federates.der.inverter import Smart
from federates.der.placement import At, Size, Spot
from federates.der.profile import ProfileColumn

_Speed = Annotated[float, Field(ge=0.0, le=100.0)]
_Share = Annotated[float, Field(ge=0.0, le=1.0)]


class PowerCurve(Settings):
    """Power against wind speed at the hub, by points, at 1.225 kg/m3."""

    v_m_per_s: tuple[_Speed, ...] = Field(
        min_length=2, max_length=200, description="Wind speeds, m/s, rising.", examples=[[3.0, 8.0, 12.0]]
    )
    p_pu: tuple[_Share, ...] = Field(
        min_length=2, max_length=200, description="Powers, pu of rated kVA, not falling.", examples=[[0.0, 0.4, 1.0]]
    )

    @model_validator(mode="after")
    def _is_a_rising_curve(self) -> Self:
        if len(self.v_m_per_s) != len(self.p_pu):
            raise ValueError(f"v_m_per_s has {len(self.v_m_per_s)} points and p_pu has {len(self.p_pu)}")
        if any(after <= before for before, after in pairwise(self.v_m_per_s)):
            raise ValueError(f"the wind speeds of a power curve must rise: {list(self.v_m_per_s)}")
        if any(after < before for before, after in pairwise(self.p_pu)):
            raise ValueError(f"the powers of a power curve must not fall: {list(self.p_pu)}")
        return self


class LogLaw(Settings):
    """Wind grows with the logarithm of height."""

    law: Literal["log"] = Field(description="Which law.", examples=["log"])
    roughness_m: float = Field(
        default=0.03,
        ge=1e-5,
        le=3.0,
        description="Roughness length, m: 0.0002 water, 0.03 grassland, 0.5 suburb.",
        examples=[0.03],
    )

    def factor(self, hub_m: float, measured_m: float) -> float:
        return log(hub_m / self.roughness_m) / log(measured_m / self.roughness_m)


class PowerLaw(Settings):
    """Wind grows with a power of height."""

    law: Literal["power"] = Field(description="Which law.", examples=["power"])
    exponent: float = Field(
        default=0.2, ge=0.0, le=1.0, description="Exponent: IEC 61400-1 has 0.2 for normal wind.", examples=[0.2]
    )

    def factor(self, hub_m: float, measured_m: float) -> float:
        return float((hub_m / measured_m) ** self.exponent)


class WindSeries(Settings):
    """A slow wind that is drawn by chance, the same in every run."""

    mean_m_per_s: float = Field(gt=0.0, le=40.0, description="Mean, m/s, where it is measured.", examples=[7.0])
    weibull_shape: float = Field(
        default=2.0, ge=1.0, le=10.0, description="Shape of the Weibull distribution; 2 is Rayleigh's.", examples=[2.0]
    )
    period_s: float = Field(
        default=14400.0, ge=60.0, le=1e7, description="Typical time from peak to peak, s.", examples=[14400.0]
    )


class Turbulence(Settings):
    """Gusts, each turbine its own."""

    intensity_pu: float = Field(
        default=0.14,
        ge=0.0,
        le=0.5,
        description="Intensity at 15 m/s: 0.16, 0.14, 0.12 are categories A, B, C of IEC 61400-1.",
        examples=[0.14],
    )
    time_scale_s: float = Field(
        default=34.0,
        ge=1.0,
        le=600.0,
        description="Length scale over wind speed, s: 340 m (hubs from 60 m up) over 10 m/s.",
        examples=[34.0],
    )


def _written(value: Any) -> str:
    return (
        "series"
        if isinstance(value, WindSeries) or (isinstance(value, dict) and "mean_m_per_s" in value)
        else ("profile" if isinstance(value, dict | ProfileColumn) else "number")
    )


class WindSettings(Stepped):
    """A fleet of wind turbines in one wind."""

    at: At[Spot] = Field(
        description="Where the turbines stand: a list of places, or a spread.",
        examples=[[{"bus": "671.1.2.3", "rated_kva": 250.0}]],
    )
    rated_kva: Size | None = Field(
        default=None,
        description="Rated apparent power of each turbine, kVA: a number, or [min, max] to draw from.",
        examples=[250.0],
    )
    wind: Annotated[
        Annotated[float, Tag("number")]
        | Annotated[ProfileColumn, Tag("profile")]
        | Annotated[WindSeries, Tag("series")],
        Discriminator(_written),
    ] = Field(
        description="Slow wind speed, m/s: a number, a column of a profile, or drawn by chance.",
        examples=[{"mean_m_per_s": 7.0}, {"file": "profiles/storm.csv", "column": "wind_m_per_s"}],
    )
    measured_at_m: float = Field(
        default=10.0, gt=0.0, le=300.0, description="Height at which `wind` holds, m.", examples=[10.0]
    )
    hub_height_m: float = Field(default=80.0, gt=0.0, le=300.0, description="Height of the hubs, m.", examples=[80.0])
    height: Annotated[LogLaw | PowerLaw, Discriminator("law")] = Field(
        default=LogLaw(law="log"),
        description="How wind grows with height.",
        examples=[{"law": "log", "roughness_m": 0.03}, {"law": "power", "exponent": 0.2}],
    )
    turbulence: Turbulence | None = Field(
        default=None, description="Gusts. Without it, there are none.", examples=[{"intensity_pu": 0.14}]
    )
    altitude_m: float = Field(
        default=0.0, ge=-500.0, le=6000.0, description="Altitude of the hubs above the sea, m.", examples=[500.0]
    )
    ambient_c: float = Field(default=15.0, ge=-60.0, le=60.0, description="Air temperature, degC.", examples=[15.0])
    curve: PowerCurve | None = Field(
        default=None,
        description="Power curve by points. Without it, a cubic from stop_m_per_s to rated_m_per_s.",
        examples=[{"v_m_per_s": [3.0, 8.0, 12.0], "p_pu": [0.0, 0.4, 1.0]}],
    )
    stop_m_per_s: _Speed = Field(default=3.0, description="A turbine stops below this wind, m/s.", examples=[3.0])
    cut_in_m_per_s: _Speed = Field(
        default=3.5, description="A turbine that stands starts from this wind on, m/s.", examples=[3.5]
    )
    rated_m_per_s: _Speed = Field(
        default=12.0, description="Wind of full power, m/s, where there is no curve.", examples=[12.0]
    )
    restart_m_per_s: _Speed = Field(
        default=22.0, description="After a storm a turbine is free again below this mean wind, m/s.", examples=[22.0]
    )
    cut_out_m_per_s: _Speed = Field(
        default=25.0, description="A turbine stops when its mean wind passes this, m/s.", examples=[25.0]
    )
    averaging_s: float = Field(
        default=600.0, ge=0.0, le=3600.0, description="Time constant of a turbine's mean wind, s.", examples=[600.0]
    )
    curtailable: bool = Field(
        default=False, description="Whether the fleet takes a limit of active power, p_limit_kw.", examples=[True]
    )
    smart: Smart = Field(
        default=Smart(), description="Smart-inverter functions.", examples=[{"volt_var": "category-b"}]
    )

    @model_validator(mode="after")
    def _speeds_are_in_order(self) -> Self:
        names = ("stop_m_per_s", "cut_in_m_per_s", "rated_m_per_s", "restart_m_per_s", "cut_out_m_per_s")
        for low, high in pairwise(names):
            if getattr(self, low) > getattr(self, high):
                values = f"{getattr(self, low):g} is more than {high} {getattr(self, high):g}"
                raise ValueError(f"{low} {values}; allowed is {' <= '.join(names)}")
        if self.stop_m_per_s >= self.rated_m_per_s:
            raise ValueError(f"stop_m_per_s {self.stop_m_per_s:g} must be less than rated_m_per_s")
        return self

    @model_validator(mode="after")
    def _stands_above_its_roughness(self) -> Self:
        for name in ("measured_at_m", "hub_height_m"):
            if isinstance(self.height, LogLaw) and getattr(self, name) <= self.height.roughness_m:
                what = f"{name} {getattr(self, name):g} must be more than roughness_m {self.height.roughness_m:g}"
                raise ValueError(what)
        return self
