"""Which point holds which number of a function: the functions of IEEE 1547-2018 in models 703 to 712.

| model | function | note |
|---|---|---|
| 703 | `enter_service` | `ES` is permit service |
| 704 | `constant_pf`, `constant_q`, `active_power_limit` | `PFWAbs` says the same as `PFWInj` |
| 706 | `volt_watt` | two points, percent of 702 WMax |
| 707, 708 | `voltage_trip`: must-trip points UV1, UV2 and OV1, OV2, with clearing times | one `Ena` |
| 707, 708 | `ride_through`: point 1 of momentary cessation, off without an active point | without a time |
| 709, 710 | `frequency_trip`: must-trip points UF1, UF2 and OF1, OF2 | one `Ena` |
| 711 | `frequency_droop` | |
| 712 | `watt_var` | six points from P'3 to P3 |

Volt-var (705) is a curve of any number of points and is no part of this table. Functions and numbers are named as the
models of `InverterModel` name them; numbers in pu are of nominal voltage, rated kW and rated kVA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple


class Place(NamedTuple):
    """Where a number stands: point = factor * number + offset."""

    number: str
    point: str
    factor: float = 1.0
    offset: float = 0.0
    reference: Literal["", "w_max", "dept"] = ""
    """What 100 % is, where that can be set: 702 WMax, or what the curve's DeptRef says."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function, the point that switches it on (none: it is always on), and where its numbers stand."""

    name: str
    enable: str | None
    places: tuple[Place, ...]
    in_hz: bool = False
    """Looks at the frequency."""


def _volts(number: str, point: str) -> Place:
    return Place(number, point, 100.0)


def _trips(prefix: str, model: str, unit: str) -> tuple[Place, ...]:
    """Return must-trip points 1 and 2 of a model: level and clearing time."""
    path, factor, axis = f"{model}.Crv.0.MustTrip.Pt", *((100.0, "V") if unit == "pu" else (1.0, "Hz"))
    levels = (Place(f"{prefix}{i}_{unit}", f"{path}.{i - 1}.{axis}", factor) for i in (1, 2))
    return (*levels, *(Place(f"{prefix}{i}_s", f"{path}.{i - 1}.Tms") for i in (1, 2)))


_WATT_VAR_POINTS = ("3_drawn_pu", "2_drawn_pu", "1_drawn_pu", "1_pu", "2_pu", "3_pu")
MOMENTARY: Final = {"momentary_low_pu": "707.Crv.0.MomCess", "momentary_high_pu": "708.Crv.0.MomCess"}

FUNCTIONS: Final = (
    Function(
        "enter_service",
        None,
        (
            *(_volts("v_low_pu", "703.ESVLo"), _volts("v_high_pu", "703.ESVHi")),
            *(Place("f_low_hz", "703.ESHzLo"), Place("f_high_hz", "703.ESHzHi")),
            *(Place("delay_s", "703.ESDlyTms"), Place("ramp_s", "703.ESRmpTms")),
            Place("random_delay_s", "703.ESRndTms"),
        ),
        in_hz=True,
    ),
    Function(
        "constant_pf",
        "704.PFWInjEna",
        (Place("pf", "704.PFWInj.PF"), Place("injects", "704.PFWInj.Ext", -1.0, 1.0)),
    ),
    Function("constant_q", "704.VarSetEna", ()),
    Function("active_power_limit", "704.WMaxLimPctEna", ()),
    Function(
        "volt_watt",
        "706.Ena",
        (
            *(_volts(f"v{i}_pu", f"706.Crv.0.Pt.{i - 1}.V") for i in (1, 2)),
            *(Place(f"p{i}_pu", f"706.Crv.0.Pt.{i - 1}.W", 100.0, reference="w_max") for i in (1, 2)),
            Place("response_s", "706.Crv.0.RspTms"),
        ),
    ),
    Function("voltage_trip", "707.Ena", (*_trips("uv", "707", "pu"), *_trips("ov", "708", "pu"))),
    Function("ride_through", None, tuple(_volts(name, f"{path}.Pt.0.V") for name, path in MOMENTARY.items())),
    Function("frequency_trip", "709.Ena", (*_trips("uf", "709", "hz"), *_trips("of", "710", "hz")), in_hz=True),
    Function(
        "frequency_droop",
        "711.Ena",
        (
            *(Place("db_over_hz", "711.Ctl.0.DbOf"), Place("db_under_hz", "711.Ctl.0.DbUf")),
            *(Place("k_over", "711.Ctl.0.KOf"), Place("k_under", "711.Ctl.0.KUf")),
            Place("response_s", "711.Ctl.0.RspTms"),
        ),
        in_hz=True,
    ),
    Function(
        "watt_var",
        "712.Ena",
        (
            *(Place(f"p{p}", f"712.Crv.0.Pt.{i}.W", 100.0, 0.0, "w_max") for i, p in enumerate(_WATT_VAR_POINTS)),
            *(Place(f"q{p}", f"712.Crv.0.Pt.{i}.Var", 100.0, 0.0, "dept") for i, p in enumerate(_WATT_VAR_POINTS)),
        ),
    ),
)


def offered(sees_frequency: bool) -> tuple[Function, ...]:
    """Return the functions of a device that sees, or does not see, the frequency."""
    return tuple(f for f in FUNCTIONS if sees_frequency or not f.in_hz)
