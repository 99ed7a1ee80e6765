"""The registers that a device begins with: models 703 to 712 filled with what its functions are set to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from hil.emulator.functions import MOMENTARY, offered
from hil.emulator.nameplate import Ratings, controls_model
from hil.sunspec.image import Description
from hil.sunspec.points import FloatArray

CURVES: Final = 3
"""Places for curves in each model; the first is the one that is followed."""
V_REF_PCT: Final = 100.0
"""The VRef (705) for which the points of a curve stand; another one moves them."""
_LEAST_POINTS: Final = 8
"""Of a volt-var curve."""


class Points(Protocol):
    """A volt-var curve."""

    @property
    def v_pu(self) -> Sequence[float]: ...
    @property
    def q_pu(self) -> Sequence[float]: ...
    @property
    def response_s(self) -> float: ...


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    """What the functions of n devices are set to."""

    numbers: Mapping[str, Mapping[str, FloatArray]]
    """By function and number, (n,)."""
    on: frozenset[str]
    """Functions that are on."""
    volt_var: Points
    sees_frequency: bool
    permit_service: bool = True


def function_models(ratings: Ratings, settings: FunctionSettings, device: int) -> Description:
    """Return the models of one of n devices; those that look at the frequency only where it sees one."""
    found: dict[str, dict[str, Any]] = {
        "704": controls_model(ratings),
        **{model: dict(_BARE[model]) for model in ("706", "707", "708", "712")},
    }
    if settings.sees_frequency:
        found |= {model: dict(_BARE[model]) for model in ("703", "709", "710", "711")}
    for function in offered(settings.sees_frequency):
        for place in function.places:
            model, _, path = place.point.partition(".")
            number = float(settings.numbers[function.name][place.number][device])
            found[model][path] = place.factor * number + place.offset
        if function.enable is not None:
            model, _, path = function.enable.partition(".")
            found[model][path] = int(function.name in settings.on)
    _set_the_rest(found, ratings, settings, device)
    models = {int(model): _with_curves(values) for model, values in found.items()}
    return models | {705: volt_var_model(settings.volt_var, on="volt_var" in settings.on)}


def _set_the_rest(found: dict[str, dict[str, Any]], ratings: Ratings, settings: FunctionSettings, device: int) -> None:
    """Set what is no number of one place."""
    numbers = settings.numbers
    found["704"]["VarSet"] = float(numbers["constant_q"]["q_pu"][device]) * ratings.s_max_va
    found["704"]["WMaxLimPct"] = max(0.0, 100.0 * float(numbers["active_power_limit"]["p_max_pu"][device]))
    for path in MOMENTARY.values():
        model, _, group = path.partition(".")
        found[model][f"{group}.ActPt"] = int("ride_through" in settings.on)
    for low, high in (("707", "708"), ("709", "710")):
        if high in found:
            found[high]["Ena"] = found[low]["Ena"]
    if ratings.p_max_charge_w is not None:
        for part in ("Ena", ".PF", ".Ext"):
            found["704"][f"PFWAbs{part}"] = found["704"][f"PFWInj{part}"]
    if "703" in found:
        found["703"]["ES"] = int(settings.permit_service)


def volt_var_model(curve: Points, *, on: bool = False) -> dict[str, Any]:
    """Return model 705 with this curve in every place."""
    count = max(_LEAST_POINTS, len(curve.v_pu))
    state = {**_STATE, **_REVERSION, "RvrtCrv": 0, "Ena": int(on), "NPt": count, "NCrv": CURVES}
    scales = {"V_SF": -2, "DeptRef_SF": -2, "RspTms_SF": -2}
    model = {**state, **scales, "Crv.0.ActPt": len(curve.v_pu), "Crv.0.DeptRef": "VA_MAX_PCT"}
    model["Crv.0.VRef"] = V_REF_PCT
    model["Crv.0.RspTms"] = curve.response_s
    for index in range(count):
        at = min(index, len(curve.v_pu) - 1)
        model |= {f"Crv.0.Pt.{index}.V": 100.0 * curve.v_pu[at], f"Crv.0.Pt.{index}.Var": 100.0 * curve.q_pu[at]}
    return _with_curves(model)


def _with_curves(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's values with the first curve copied to the others, which may be written."""
    found = dict(values)
    for group in ("Crv", "Ctl"):
        first = {path: value for path, value in values.items() if path.startswith(f"{group}.0.")}
        for index in range(CURVES if first else 0):
            found |= {f"{group}.{index}.{path.split('.', 2)[2]}": value for path, value in first.items()}
            found[f"{group}.{index}.ReadOnly"] = "RW" if index else "R"
    return found


_STATE: Final[Mapping[str, Any]] = {"Ena": 0, "AdptCrvReq": 1, "AdptCrvRslt": "COMPLETED"}
_REVERSION: Final[Mapping[str, Any]] = {"RvrtTms": 0, "RvrtRem": 0}
_TRIP: Final[Mapping[str, Any]] = {**_STATE, "NPt": 2, "NCrvSet": CURVES, "Tms_SF": -3, "Crv.0.MustTrip.ActPt": 2}
_BARE: Final[Mapping[str, Mapping[str, Any]]] = {
    "703": {"ES": 1, "V_SF": -2, "Hz_SF": -3},
    "706": {
        **{**_STATE, **_REVERSION, "RvrtCrv": 0, "NPt": 2, "NCrv": CURVES},
        **{"V_SF": -2, "DeptRef_SF": -2, "RspTms_SF": -2, "Crv.0.ActPt": 2, "Crv.0.DeptRef": "W_MAX_PCT"},
    },
    **{model: {**_TRIP, "V_SF": -2} for model in ("707", "708")},
    **{model: {**_TRIP, "Hz_SF": -3} for model in ("709", "710")},
    "711": {
        **{"Ena": 0, "AdptCtlReq": 1, "AdptCtlRslt": "COMPLETED", **_REVERSION, "RvrtCtl": 0, "NCtl": CURVES},
        **{"Db_SF": -4, "K_SF": -4, "RspTms_SF": -2},
    },
    "712": {
        **{**_STATE, **_REVERSION, "RvrtCrv": 0, "NPt": 6, "NCrv": CURVES, "W_SF": -2, "DeptRef_SF": -2},
        **{"Crv.0.ActPt": 6, "Crv.0.DeptRef": "VA_MAX_PCT"},
    },
}
"""What the models hold besides the numbers of functions. Scale factors are the resolution of what is written."""
