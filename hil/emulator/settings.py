"""What emulated devices are set to, as their registers say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.emulator.initial import V_REF_PCT
from hil.sunspec.points import BoolArray, FloatArray, RegisterArray
from hil.sunspec.register_map import RegisterMap
from hil.sunspec.table import PointTable


@dataclass(frozen=True, slots=True)
class Settings:
    """What n devices are set to do at this moment, as their registers say; reversion is applied.

    All fields are (n,), curves (n, k). Source: models 702-705, named with each field.
    """

    in_service: BoolArray
    """703 ES and 715 OpCtl: permitted to enter service; true where a device has neither."""
    p_max_w: FloatArray
    """702 WMax."""
    s_max_va: FloatArray
    """702 VAMax."""
    q_max_injected_var: FloatArray
    """702 VarMaxInj."""
    q_max_absorbed_var: FloatArray
    """702 VarMaxAbs."""
    limit_fraction: FloatArray
    """704 WMaxLimPct as a fraction of WMax; 1 where it is off."""
    p_w: FloatArray
    """704 WSet or WSetPct, in watts, within the limits of 124 and the rates of 702; NaN where both are off."""
    q_var: FloatArray
    """704 VarSet or VarSetPct, in vars; NaN where it is off."""
    pf: FloatArray
    """704 PFWInj.PF, a magnitude; NaN where it is off."""
    pf_injects: BoolArray
    """704 PFWInj.Ext: over-excited, that is reactive power is injected."""
    volt_var_on: BoolArray
    """705 Ena, and no setpoint of reactive power (704) that goes before it."""
    volt_var_v_pu: FloatArray
    """Voltages (n, k) of 705 Crv 1 per unit of VNom, moved by VRef; the last active point repeated to the end."""
    volt_var_q_var: FloatArray
    """Reactive powers (n, k) at these voltages, in vars."""
    volt_var_response_s: FloatArray
    """705 Crv 1 RspTms: open-loop response time."""


_SETTINGS = (
    *("703.ES", "702.WMax", "702.VAMax", "702.VarMaxInj", "702.VarMaxAbs"),
    *("704.WMaxLimPctEna", "704.WMaxLimPct", "704.WSetEna", "704.WSetMod", "704.WSet", "704.WSetPct"),
    *("704.VarSetEna", "704.VarSetMod", "704.VarSet", "704.VarSetPct"),
    *("704.PFWInjEna", "704.PFWInj.PF", "704.PFWInj.Ext"),
    *("705.Ena", "705.Crv.0.ActPt", "705.Crv.0.DeptRef", "705.Crv.0.RspTms", "705.Crv.0.VRef", "715.OpCtl"),
)
STORAGE_LIMITS: Final = (
    *("124.StorCtl_Mod", "124.OutWRte", "124.InWRte"),
    *("702.WChaRteMax", "702.WDisChaRteMax", "702.WChaRteMaxRtg", "702.WDisChaRteMaxRtg"),
)
_ALL: Final = (*_SETTINGS, *STORAGE_LIMITS)
_OPERATES: Final = (1.0, 3.0)
"""715 OpCtl: start, exit standby."""


class SettingsReader:
    """Decodes `Settings` from the images of n devices."""

    def __init__(self, maps: Sequence[RegisterMap]) -> None:
        self._most = max(_points_of_curve(device) for device in maps)
        curve = [f"705.Crv.0.Pt.{index}.{axis}" for axis in ("V", "Var") for index in range(self._most)]
        self._table = PointTable.of_image(maps, (*_ALL, *curve))

    def read(self, images: RegisterArray) -> Settings:
        values = self._table.decode(images)
        at = dict(zip(_ALL, values.T, strict=False))
        v_pct, q_pct = np.split(values[:, len(_ALL) :], 2, axis=1)
        v_pct = v_pct + (np.nan_to_num(at["705.Crv.0.VRef"], nan=V_REF_PCT) - V_REF_PCT)[:, None]
        last = _last_active(at["705.Crv.0.ActPt"], self._most)
        return Settings(
            in_service=(at["703.ES"] != 0) & (np.isnan(at["715.OpCtl"]) | np.isin(at["715.OpCtl"], _OPERATES)),
            p_max_w=at["702.WMax"],
            s_max_va=at["702.VAMax"],
            q_max_injected_var=at["702.VarMaxInj"],
            q_max_absorbed_var=at["702.VarMaxAbs"],
            limit_fraction=limit_fraction(at),
            p_w=within_storage_limits(np.where(at["704.WSetEna"] == 1, p_setpoint(at), np.nan), at),
            q_var=np.where(at["704.VarSetEna"] == 1, q_setpoint(at), np.nan),
            pf=np.where(at["704.PFWInjEna"] == 1, at["704.PFWInj.PF"], np.nan),
            pf_injects=at["704.PFWInj.Ext"] == 0,
            volt_var_on=(at["705.Ena"] == 1) & (at["704.VarSetEna"] != 1) & (at["704.PFWInjEna"] != 1),
            volt_var_v_pu=np.take_along_axis(v_pct, last, axis=1) / 100.0,
            volt_var_q_var=_curve_vars(at, np.take_along_axis(q_pct, last, axis=1)),
            volt_var_response_s=at["705.Crv.0.RspTms"],
        )


def _points_of_curve(device: RegisterMap) -> int:
    """Return how many points curve 1 of 705 has room for."""
    return next(i for i in count() if f"705.Crv.0.Pt.{i}.V" not in device)


def _last_active(active: FloatArray, most: int) -> NDArray[np.intp]:
    """Return indices (n, k) of curve points, staying at the last active one."""
    active_points = np.nan_to_num(active, nan=1.0).astype(np.intp)
    last: NDArray[np.intp] = np.minimum(np.arange(most)[None, :], np.maximum(active_points, 1)[:, None] - 1)
    return last


def limit_fraction(at: Mapping[str, FloatArray]) -> FloatArray:
    """Return 704 WMaxLimPct (n,) as a fraction of WMax; 1 where it is off."""
    return np.where(at["704.WMaxLimPctEna"] == 1, at["704.WMaxLimPct"] / 100.0, 1.0)


def p_setpoint(at: Mapping[str, FloatArray]) -> FloatArray:
    """Return 704 WSet or WSetPct (n,), W, whether it is on or not."""
    fraction = at["704.WSetPct"] / 100.0
    return np.where(at["704.WSetMod"] == 1, at["704.WSet"], fraction * at["702.WMax"])


def storage_limits_w(at: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Return the least and the most active power (n,) that 124 lets a storage have; without bounds where it is off.

    StorCtl_Mod bit 0 limits charging to InWRte percent of WChaMax, bit 1 discharging to OutWRte percent of the most; a
    negative percentage turns a limit into a duty of the other direction.
    """
    mode = np.nan_to_num(at["124.StorCtl_Mod"]).astype(np.int64)
    charge_w = at["124.InWRte"] / 100.0 * at["702.WChaRteMax"]
    discharge_w = at["124.OutWRte"] / 100.0 * at["702.WDisChaRteMax"]
    return np.where(mode & 1 > 0, -charge_w, -np.inf), np.where(mode & 2 > 0, discharge_w, np.inf)


def storage_rates_w(at: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Return the least and the most active power (n,) that 702 leaves a storage; without bounds where it is rated so.

    What a device is rated for its model knows, and more exactly than registers do.
    """
    charge_w, discharge_w = at["702.WChaRteMax"], at["702.WDisChaRteMax"]
    least_w = np.where(charge_w < at["702.WChaRteMaxRtg"], -charge_w, -np.inf)
    return least_w, np.where(discharge_w < at["702.WDisChaRteMaxRtg"], discharge_w, np.inf)


def within_storage_limits(p_w: FloatArray, at: Mapping[str, FloatArray]) -> FloatArray:
    """Return setpoints (n,) within the limits of 124, and the rates of 702 which these do not exceed.

    Where there is a limit of 124 and no setpoint (NaN), it is zero's.
    """
    low_w, high_w = storage_limits_w(at)
    least_w, most_w = storage_rates_w(at)
    limited = np.isfinite(low_w) | np.isfinite(high_w)
    asked_w = np.where(limited, np.nan_to_num(p_w), p_w)
    return np.minimum(np.maximum(np.minimum(np.maximum(asked_w, low_w), high_w), least_w), most_w)


def q_setpoint(at: Mapping[str, FloatArray]) -> FloatArray:
    """Return 704 VarSet or VarSetPct (n,), var, whether it is on or not."""
    fraction, mode = at["704.VarSetPct"] / 100.0, at["704.VarSetMod"]
    of_reference = reference_va(at, mode, fraction)
    return np.where(mode == 4, at["704.VarSet"], fraction * of_reference)


def _curve_vars(at: Mapping[str, FloatArray], q_pct: FloatArray) -> FloatArray:
    fraction = q_pct.T / 100.0
    vars_by_point: FloatArray = fraction * reference_va(at, at["705.Crv.0.DeptRef"], fraction)
    return vars_by_point.T


def reference_va(at: Mapping[str, FloatArray], reference: FloatArray, fraction: FloatArray) -> FloatArray:
    """Return what 100 % stands for; of VarMax it may differ between injecting and absorbing.

    `reference` has the codes that 704 VarSetMod and 705 DeptRef share: 0 WMax, 1 VarMax, 3 VAMax.
    """
    most_vars = np.where(fraction >= 0, at["702.VarMaxInj"], at["702.VarMaxAbs"])
    known = np.where(reference == 3, at["702.VAMax"], np.nan)
    return np.where(reference == 0, at["702.WMax"], np.where(reference == 1, most_vars, known))
