"""The models that came before 701 to 715, as a device begins with them: nameplate, settings, controls.

| model | holds | is a view of |
|---|---|---|
| 120 | ratings | 702 |
| 121 | WMax, VAMax, VArMax, VRef | 702 |
| 123 | Conn, WMaxLimPct, OutPFSet, VArPct | 703, 704 |
| 124 | WChaMax; limits of charging and discharging | 702; its own |
| 126 | volt-var curves: see `old_curves` | 705 |
| 802 | rating, state of charge, connection, heartbeats, alarm reset | 713, 703, 715 |

Points that would do nothing are not implemented. Reactive power of quadrants 3 and 4 is negative
(github.com/sunspec/models/issues/204). Which point says the same as which: `links`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hil.emulator.nameplate import Ratings, scale_for
from hil.emulator.ranges import LEAST_PF

Model = dict[str, Any]
_FULL_PCT: Final = 100.0


def legacy_models(
    ratings: Ratings, controls: Mapping[str, Any], *, permit_service: bool | None, v_dc_v: float
) -> dict[int, Model]:
    """Return models 120, 121, 123, and of a storage 124 and 802.

    controls: model 704 of the same device. permit_service: 703 ES; None where the device has none.
    """
    found = {120: _nameplate(ratings), 121: _settings(ratings), 123: _controls(controls, permit_service)}
    if ratings.p_max_charge_w is not None:
        found[124] = _storage(ratings.p_max_charge_w, has_energy=ratings.energy_wh is not None, v_dc_v=v_dc_v)
    if ratings.energy_wh is not None:
        found[802] = _battery(ratings, ratings.energy_wh, permit_service=permit_service, v_dc_v=v_dc_v)
    return found


def _quadrants(ratings: Ratings, name: str) -> Model:
    """Return the reactive power of quadrants 1 and 4, and of 2 and 3 for what can absorb active power."""
    injected, absorbed = ratings.q_max_injected_var, -ratings.q_max_absorbed_var
    both = {"Q1": injected, "Q4": absorbed}
    if ratings.p_max_charge_w is not None:
        both |= {"Q2": injected, "Q3": absorbed}
    return {f"{name}{quadrant}": value for quadrant, value in both.items()}


def _nameplate(ratings: Ratings) -> Model:
    storage = ratings.p_max_charge_w is not None
    signs = {"Q1": -1, "Q4": 1, **({"Q2": 1, "Q3": -1} if storage else {})}
    current = ratings.s_max_va / ratings.v_ln_nominal_v
    reactive = max(ratings.q_max_injected_var, ratings.q_max_absorbed_var)
    model = {
        **{"DERTyp": "PV_STOR" if storage else "PV", **_quadrants(ratings, "VArRtg")},
        **{"WRtg": ratings.p_max_w, "WRtg_SF": scale_for(ratings.p_max_w, signed=False)},
        **{"VARtg": ratings.s_max_va, "VARtg_SF": scale_for(ratings.s_max_va, signed=False)},
        **{"VArRtg_SF": scale_for(reactive), "ARtg": current, "ARtg_SF": scale_for(current, signed=False)},
        **{f"PFRtg{quadrant}": sign * LEAST_PF for quadrant, sign in signs.items()},
        "PFRtg_SF": -3,
    }
    if ratings.energy_wh is not None:
        model |= {"WHRtg": ratings.energy_wh, "WHRtg_SF": scale_for(ratings.energy_wh, signed=False)}
    if ratings.p_max_charge_w is not None:
        most = {"MaxChaRte": ratings.p_max_charge_w, "MaxDisChaRte": ratings.discharge_w}
        model |= most | {f"{name}_SF": scale_for(value, signed=False) for name, value in most.items()}
    return model


def _settings(ratings: Ratings) -> Model:
    power = scale_for(max(ratings.p_max_w, ratings.s_max_va, ratings.p_max_charge_w or 0.0), signed=False)
    return {
        **{"WMax": ratings.p_max_w, "WMax_SF": power, "VAMax": ratings.s_max_va, "VAMax_SF": power},
        **{"VRef": ratings.v_nominal_v, "VRef_SF": scale_for(1.5 * ratings.v_nominal_v, signed=False)},
        **{"VRefOfs": 0, "VRefOfs_SF": 0, **_quadrants(ratings, "VArMax")},
        "VArMax_SF": scale_for(max(ratings.q_max_injected_var, ratings.q_max_absorbed_var)),
    }


def _controls(controls: Mapping[str, Any], permit_service: bool | None) -> Model:
    times = ("WinTms", "RvrtTms", "RmpTms")
    timed = {f"{name}_{time}": 0 for name in ("WMaxLimPct", "VArPct") for time in times}
    connection = {} if permit_service is None else {"Conn_WinTms": 0, "Conn_RvrtTms": 0}
    return {
        **timed,
        **connection,
        **{"Conn": int(permit_service is not False), "WMaxLimPct": _FULL_PCT, "WMaxLim_Ena": 0},
        **{"OutPFSet": 1.0, "OutPFSet_Ena": 0, "OutPFSet_WinTms": 0, "OutPFSet_RvrtTms": 0},
        **{"VArWMaxPct": 0, "VArMaxPct": 0, "VArPct_Mod": "NONE", "VArPct_Ena": 0},
        **{"WMaxLimPct_SF": controls["WMaxLimPct_SF"], "OutPFSet_SF": controls["PF_SF"]},
        "VArPct_SF": controls["VarSetPct_SF"],
    }


def _storage(p_max_charge_w: float, *, has_energy: bool, v_dc_v: float) -> Model:
    model = {
        **{"WChaMax": p_max_charge_w, "WChaMax_SF": scale_for(p_max_charge_w, signed=False)},
        **{"WChaGra": _FULL_PCT, "WDisChaGra": _FULL_PCT, "WChaDisChaGra_SF": 0, "StorCtl_Mod": 0},
        **{"OutWRte": _FULL_PCT, "InWRte": _FULL_PCT, "InOutWRte_SF": -2, "InOutWRte_RvrtTms": 0},
        **{"InBatV": v_dc_v, "InBatV_SF": -1},
    }
    return model | ({"ChaState_SF": -2} if has_energy else {})


def _battery(ratings: Ratings, energy_wh: float, *, permit_service: bool | None, v_dc_v: float) -> Model:
    charge, discharge = ratings.p_max_charge_w or 0.0, ratings.discharge_w
    most = max(charge, discharge)
    current = 1.2 * most / v_dc_v
    service = (
        {} if permit_service is None else {"SetOp": "CONNECT" if permit_service else "DISCONNECT", "SetInvState": 3}
    )
    return {
        **{"AHRtg": energy_wh / v_dc_v, "AHRtg_SF": scale_for(energy_wh / v_dc_v, signed=False)},
        **{"WHRtg": energy_wh, "WHRtg_SF": scale_for(energy_wh, signed=False)},
        **{"WChaRteMax": charge, "WDisChaRteMax": discharge, "WChaDisChaMax_SF": scale_for(most, signed=False)},
        **{"SoC_SF": -2, "SoH": _FULL_PCT, "SoH_SF": -2, "LocRemCtl": "REMOTE", "Hb": 0, "CtrlHb": 0, "AlmRst": 0},
        **{"Typ": "LITHIUM_ION", "State": "CONNECTED", "Evt1": 0, "Evt2": 0, "EvtVnd1": 0, "EvtVnd2": 0},
        **{
            "V": v_dc_v,
            "V_SF": -1,
            "CellV_SF": -3,
            "AMax_SF": 0,
            "A_SF": scale_for(current),
            "W_SF": scale_for(1.2 * most),
        },
        **service,
    }
