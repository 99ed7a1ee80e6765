"""How warm PV cells get in the sun: `T = T_air + G r(w)`, with the irradiance `G` in the plane and the wind `w`.

| model | rise `r(w)`, K per W/m2 | source |
|---|---|---|
| `noct` | `(NOCT - 20) / 800` | R. G. Ross, 14th IEEE PVSC, 1980 |
| `sapm` | `exp(a + b w) + dT / 1000` | D. L. King et al., SAND2004-3535, eqs. 11 and 12 |
| `faiman` | `1 / (u0 + u1 w)` | D. Faiman, Prog. Photovolt. 16, 2008 |
| `pvsyst` | `0.9 (1 - eta) / (u_c + u_v w)` | PVsyst 7 help, array thermal losses |

The wind is that of 10 m above ground.
"""

from __future__ import annotations

from math import exp
from typing import Annotated, Final, Literal

from pydantic import Field

from derloop.kind import Settings

ABSORBED: Final = 0.9

Mounting = Literal[
    "open-rack-glass-glass", "close-mount-glass-glass", "open-rack-glass-polymer", "insulated-back-glass-polymer"
]
SAPM: Final[dict[Mounting, tuple[float, float, float]]] = {
    "open-rack-glass-glass": (-3.47, -0.0594, 3.0),
    "close-mount-glass-glass": (-2.98, -0.0471, 1.0),
    "open-rack-glass-polymer": (-3.56, -0.075, 3.0),
    "insulated-back-glass-polymer": (-2.81, -0.0455, 0.0),
}
"""a, b and dT: SAND2004-3535, table 1."""


class SapmCell(Settings):
    """Sandia's array performance model."""

    model: Literal["sapm"] = Field(description="Which model this is.", examples=["sapm"])
    mounting: Mounting = Field(
        default="close-mount-glass-glass",
        description="How the modules are built and mounted.",
        examples=["open-rack-glass-polymer"],
    )

    def rise_k_m2_per_w(self, wind_m_per_s: float) -> float:
        a, b, dt_k = SAPM[self.mounting]
        return exp(a + b * wind_m_per_s) + dt_k / 1000.0


class FaimanCell(Settings):
    """Faiman's model (IEC 61853-2)."""

    model: Literal["faiman"] = Field(description="Which model this is.", examples=["faiman"])
    u0_w_per_m2_k: float = Field(
        default=25.0, gt=0.0, le=200.0, description="Heat loss without wind, W/(m2 K).", examples=[25.0]
    )
    u1_w_s_per_m3_k: float = Field(
        default=6.84, ge=0.0, le=100.0, description="Heat loss for each m/s of wind, W s/(m3 K).", examples=[6.84]
    )

    def rise_k_m2_per_w(self, wind_m_per_s: float) -> float:
        return 1.0 / (self.u0_w_per_m2_k + self.u1_w_s_per_m3_k * wind_m_per_s)


class PvsystCell(Settings):
    """PVsyst's model."""

    model: Literal["pvsyst"] = Field(description="Which model this is.", examples=["pvsyst"])
    u_c_w_per_m2_k: float = Field(
        default=29.0, gt=0.0, le=200.0, description="Heat loss without wind, W/(m2 K).", examples=[29.0]
    )
    u_v_w_s_per_m3_k: float = Field(
        default=0.0, ge=0.0, le=100.0, description="Heat loss for each m/s of wind, W s/(m3 K).", examples=[1.2]
    )
    module_efficiency_pu: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="Share of the light that leaves as power, pu.", examples=[0.2]
    )

    def rise_k_m2_per_w(self, wind_m_per_s: float) -> float:
        return (
            ABSORBED * (1.0 - self.module_efficiency_pu) / (self.u_c_w_per_m2_k + self.u_v_w_s_per_m3_k * wind_m_per_s)
        )


Cell = Annotated[SapmCell | FaimanCell | PvsystCell, Field(discriminator="model")]
