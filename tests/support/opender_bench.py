"""EPRI's OpenDER 2.2.0 beside our inverters: the same settings, the same inputs, step by step.

`bench` mends what OpenDER is known to do otherwise than the standard or than exact discretisation; each has a test of
its own in `tests/oracle/test_against_opender.py`, from the standard's numbers:

- its lag is the bilinear rule with tau = T / 2.3, and lets steps above T / 1.15 pass: put exact, tau = T / ln 10;
- the enter-service ramp is left out where volt-watt and the active-power limit are both on;
- constant reactive power is not reset by a trip, as the report's eq. 3.8.1-14 has it, and the active-power
  limit is: a device came back above its limit;
- "not defined" frequency takes precedence over ceasing to energize;
- a current limit is searched to 1e-4: put exact;
- active priority cuts Q to table 7's minimum although less would do, raises P to what then fits, and takes category B's
  minimum for category A, whose settings come after: Q goes down no further than it must.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from federates.der.inverter import Inverters, Seen, Smart
from federates.grid.seen import Phases, extremes, voltage

LN10 = math.log(10.0)
S = 10**9
RATED_KVA = 100.0
NAMES = {
    "volt_var": {f"{x}{i}_pu": f"QV_CURVE_{x.upper()}{i}" for x in "vq" for i in (1, 2, 3, 4)}
    | {"response_s": "QV_OLRT"},
    "watt_var": {
        **{f"{x}{i}_pu": f"QP_CURVE_{x.upper()}{i}_GEN" for x in "pq" for i in (1, 2, 3)},
        **{f"{x}{i}_drawn_pu": f"QP_CURVE_{x.upper()}{i}_LOAD" for x in "pq" for i in (1, 2, 3)},
        "response_s": "QP_RT",
    },
    "constant_q": {"q_pu": "CONST_Q", "response_s": "CONST_Q_RT"},
    "constant_pf": {"pf": "CONST_PF", "response_s": "CONST_PF_RT"},
    "volt_watt": {f"{x}{i}_pu": f"PV_CURVE_{x.upper()}{i}" for x in "vp" for i in (1, 2)} | {"response_s": "PV_OLRT"},
    "frequency_droop": {
        **{"db_over_hz": "PF_DBOF", "db_under_hz": "PF_DBUF", "k_over": "PF_KOF", "k_under": "PF_KUF"},
        "response_s": "PF_OLRT",
    },
    "active_power_limit": {"p_max_pu": "AP_LIMIT", "response_s": "AP_RT"},
    "voltage_trip": {
        f"{n}_{u}": f"{n.upper()}_TRIP_{x}" for n in ("uv1", "uv2", "ov1", "ov2") for u, x in (("pu", "V"), ("s", "T"))
    },
    "frequency_trip": {
        f"{n}_{u}": f"{n.upper()}_TRIP_{x}" for n in ("uf1", "uf2", "of1", "of2") for u, x in (("hz", "F"), ("s", "T"))
    },
    "ride_through": {
        **{"momentary_low_pu": "MC_LVRT_V1", "momentary_high_pu": "MC_HVRT_V1", "cessation_s": "MC_RESP_T"},
        **{"cease_s": "NP_CTE_RESP_T", "return_s": "MC_RETURN_T"},
    },
    "enter_service": {
        **{"v_low_pu": "ES_V_LOW", "v_high_pu": "ES_V_HIGH", "f_low_hz": "ES_F_LOW", "f_high_hz": "ES_F_HIGH"},
        **{"delay_s": "ES_DELAY", "ramp_s": "ES_RAMP_RATE"},
    },
}
ENABLE = {
    **{"volt_var": "QV_MODE_ENABLE", "watt_var": "QP_MODE_ENABLE", "constant_q": "CONST_Q_MODE_ENABLE"},
    **{"constant_pf": "CONST_PF_MODE_ENABLE", "volt_watt": "PV_MODE_ENABLE", "frequency_droop": "PF_MODE_ENABLE"},
    "active_power_limit": "AP_LIMIT_ENABLE",
}
NEVER = {
    **{"OV1_TRIP_V": 9.0, "OV2_TRIP_V": 9.0, "UV1_TRIP_V": -1.0, "UV2_TRIP_V": -1.0},
    **{"OF1_TRIP_F": 999.0, "OF2_TRIP_F": 999.0, "UF1_TRIP_F": 0.0, "UF2_TRIP_F": 0.0},
}
CATEGORY = {"category-i": "CAT_I", "category-ii": "CAT_II", "category-iii": "CAT_III"}


def parameters(smart: Smart, q_full_above_p_pu: float = 0.0) -> dict[str, Any]:
    """Return OpenDER's settings for ours."""
    kva = RATED_KVA * 1000
    found: dict[str, Any] = {
        **{"NP_P_MAX": kva, "NP_VA_MAX": kva, "NP_P_MAX_CHARGE": kva, "NP_APPARENT_POWER_CHARGE_MAX": kva},
        **{"NP_Q_MAX_INJ": smart.q_injected_max_pu * kva, "NP_Q_MAX_ABS": smart.q_absorbed_max_pu * kva},
        **{"NP_AC_V_NOM": 240.0, "NP_V_MEAS_UNBALANCE": "POS" if smart.voltage == "positive-sequence" else "AVG"},
        **{"NP_INV_DELAY": 0.0, "NP_REACTIVE_SUSCEPTANCE": 0.0},
        **{"NP_CURRENT_PU": smart.current_max_pu or 1e6, "NP_P_MIN_PU": smart.p_min_pu or 0.0},
        **{"NP_NORMAL_OP_CAT": "CAT_A" if smart.category == "category-a" else "CAT_B"},
        **{"NP_PRIO_OUTSIDE_MIN_Q_REQ": "REACTIVE" if smart.priority == "reactive" else "ACTIVE"},
        **NEVER,
        **dict.fromkeys(ENABLE.values(), False),
    }
    trip_category = getattr(smart.ride_through, "category", "category-iii")
    head = {"NP_ABNORMAL_OP_CAT": CATEGORY[trip_category]}
    found["MC_ENABLE"] = smart.ride_through is not None and trip_category == "category-iii"
    if smart.ride_through is None:
        found["NP_CTE_RESP_T"] = 1e9
    for name, mapping in NAMES.items():
        if (function := getattr(smart, name)) is None:
            continue
        if name in ENABLE:
            found[ENABLE[name]] = True
        found |= dict(_numbers(name, function, smart, mapping))
    found |= capability(smart, q_full_above_p_pu)
    return head | found


def _numbers(name: str, function: Any, smart: Smart, mapping: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    if name == "constant_pf":
        yield "CONST_PF", function.pf
        yield "CONST_PF_RT", function.response_s
        yield "CONST_PF_EXCITATION", "INJ" if function.reactive == "injected" else "ABS"
        return
    if name == "volt_var":
        curve = smart.curve
        assert curve is not None
        pairs = list(zip(curve.v_pu, curve.q_pu, strict=True))
        pairs = pairs if len(pairs) == 4 else [pairs[0], pairs[1], pairs[1], pairs[2]]
        for i, (v, q) in enumerate(pairs, 1):
            yield f"QV_CURVE_V{i}", v - curve.vref_pu + 1.0
            yield f"QV_CURVE_Q{i}", q
        yield "QV_OLRT", curve.response_s
        yield "QV_VREF", curve.vref_pu
        if auto := curve.autonomous_vref:
            yield "QV_VREF_AUTO_MODE", True
            yield "QV_VREF_TIME", auto.time_constant_s * LN10 / 2.3
            yield "QV_VREF_MIN", auto.v_min_pu
            yield "QV_VREF_MAX", auto.v_max_pu
        return
    for ours, value in function.points(smart.f_nominal_hz).items():
        if ours in mapping:
            yield mapping[ours], float(value[0])


def capability(smart: Smart, full: float) -> dict[str, Any]:
    inj, absorb = smart.q_injected_max_pu, smart.q_absorbed_max_pu
    p = "-1 1" if full == 0.0 else f"{-1} {-full} 0 {full} 1"

    def q(most: float) -> str:
        return f"{most} {most}" if full == 0.0 else f"{most} {most} 0 {most} {most}"

    return {"P_Q_INJ_PU": p, "P_Q_ABS_PU": p, "Q_MAX_INJ_PU": q(inj), "Q_MAX_ABS_PU": q(absorb)}


def opender(
    smart: Smart, *, storage: bool = False, step_s: float, q_full_above_p_pu: float = 0.0, phases: int = 1, **extra: Any
) -> Any:
    """Return one OpenDER device of RATED_KVA."""
    import opender as od

    logging.disable(logging.CRITICAL)
    od.DER.t_s = step_s
    device = (od.DER_BESS if storage else od.DER_PV)()
    phase = {"NP_PHASE": "SINGLE" if phases == 1 else "THREE"}
    if storage and smart.p_min_pu is None:
        extra = {"NP_P_MIN_PU": -1.0, **extra}
    for name, value in {**phase, **parameters(smart, q_full_above_p_pu), **extra}.items():
        setattr(device.der_file, name, value)
    device.der_file.initialize_NP_Q_CAPABILTY_BY_P_CURVE()
    return device


@contextmanager
def mended() -> Iterator[None]:
    """OpenDER with its known defects put right (see the module)."""
    from opender.active_power_support_funcs.active_power_limit import ActivePowerLimit
    from opender.active_power_support_funcs.p_funcs import DesiredActivePower
    from opender.active_power_support_funcs.p_funcs_bess import DesiredActivePowerBESS
    from opender.auxiliary_funcs.low_pass_filter import LowPassFilter
    from opender.capability_and_priority import CapabilityPriority
    from opender.operation_status.rt_crit import RideThroughCrit
    from opender.reactive_power_support_funcs.constant_vars import ConstantVARs
    from opender.rt_perf import RideThroughPerf

    with (
        patch.object(LowPassFilter, "low_pass_filter", _exact_lag),
        patch.object(DesiredActivePower, "calculate_p_desired_pu", _desired),
        patch.object(DesiredActivePowerBESS, "calculate_p_desired_pu", _desired_of_storage),
        patch.object(ConstantVARs, "reset", _reset_constant_q),
        patch.object(ActivePowerLimit, "reset", _reset_limit),
        patch.object(RideThroughPerf, "i_limit", _exact_limit),
        patch.object(CapabilityPriority, "calculate_limited_pq", _limited(CapabilityPriority)),
        patch.object(RideThroughCrit, "determine_ride_through_mode", _modes(RideThroughCrit)),
    ):
        yield


def _exact_lag(self: Any, lpf_in: Any, t_olrt: float) -> Any:
    from opender import der

    if self.lpf_out_prev is None or t_olrt <= 0.0:
        out = lpf_in
    else:
        out = lpf_in + (self.lpf_out_prev - lpf_in) * math.exp(-LN10 * der.DER.t_s / t_olrt)
    self.lpf_in_prev, self.lpf_out_prev = lpf_in, out
    return out


def _desired(self: Any, p_out_w: Any) -> float:
    del p_out_w
    caps = [self.der_input.p_avl_pu, 1.0]
    if self.exec_delay.pv_mode_enable_exec:
        caps.append(self.p_pv_limit_pu)
    if self.pf_of_active or self.pf_uf_active:
        caps.append(self.p_pf_pu)
    else:
        caps.append(self.p_es_pu)
        if self.exec_delay.ap_limit_enable_exec:
            caps.append(self.ap_limit_rt)
    self.p_desired_pu = min(caps)
    return self.p_desired_pu


def _desired_of_storage(self: Any, p_out_w: Any) -> float:
    del p_out_w
    caps = [1.0]
    if self.exec_delay.pv_mode_enable_exec:
        caps.append(self.p_pv_limit_pu)
    if self.pf_of_active or self.pf_uf_active:
        caps.append(self.p_pf_pu)
    else:
        caps.append(max(min(self.der_obj.bessspecific.p_dem_ramp_pu, self.p_es_pu), -self.p_es_pu))
        if self.exec_delay.ap_limit_enable_exec:
            caps.append(self.ap_limit_rt)
    self.p_desired_pu = max(-1.0, min(caps))
    return self.p_desired_pu


def _reset_constant_q(self: Any) -> None:
    self.q_const_q_lpf_pu = self.const_q_lpf.low_pass_filter(0.0, 0.0)
    self.q_const_q_desired_pu = self.const_q_delay.tdelay(0.0, 0.0)


def _reset_limit(self: Any) -> None:
    if not self.exec_delay.ap_limit_enable_exec:
        self.ap_limit_rt = 1.0
    else:
        self.calculate_ap_limit_rt()


def _exact_limit(self: Any) -> tuple[float, float, complex]:
    most, d, q = self.der_file.NP_CURRENT_PU, self.i_pos_d_ref_pu, self.i_pos_q_ref_pu
    q = max(-most, min(most, q))
    room = math.sqrt(max(most * most - q * q, 0.0))
    return max(-room, min(room, d)), q, 0j


def _limited(capability: Any) -> Callable[[Any, float, float], tuple[float, float]]:
    original = capability.calculate_limited_pq

    def limit(self: Any, p_pu: float, q_pu: float) -> tuple[float, float]:
        p, q = original(self, p_pu, q_pu)
        follows_q = self.exec_delay.const_q_mode_enable_exec or self.exec_delay.qv_mode_enable_exec
        if follows_q and self.der_file.NP_PRIO_OUTSIDE_MIN_Q_REQ == "ACTIVE":
            s, wanted = self.np_va_max_appl, self.q_limited_by_p_var
            minimum = 0.25 if wanted < 0.0 and self.der_file.NP_NORMAL_OP_CAT == "CAT_A" else 0.44
            room = max(math.sqrt(max(s * s - min(abs(self.p_desired_w), s) ** 2, 0.0)), minimum * s)
            q = math.copysign(min(abs(wanted), room), wanted)
            p = math.copysign(min(abs(self.p_desired_w), math.sqrt(s * s - q * q)), self.p_desired_w)
            self.p_limited_w, self.q_limited_var = p, q
        return p, q

    return limit


def _modes(criterion: Any) -> Callable[[Any], None]:
    original = criterion.determine_ride_through_mode

    def determine(self: Any) -> None:
        original(self)
        if self.rt_mode_f == "Not Defined":
            self.rt_mode_f = "Mandatory Operation"

    return determine


class Voltages(NamedTuple):
    """What our functions see of a series (k,), pu, and the phases (k, 1) or (k, 3) that OpenDER sees."""

    v: np.ndarray
    low: np.ndarray
    high: np.ndarray
    phases: np.ndarray


def voltages(smart: Smart, v: np.ndarray) -> Voltages:
    """v: magnitudes (k,) of one phase, or phasors (k, 3) of three, pu."""
    if v.ndim == 1:
        return Voltages(v, v, v, v[:, None])
    phases = Phases(v, np.full(len(v), 3))
    return Voltages(voltage(phases, smart.voltage), *extremes(phases), v)


def change(ours: Inverters, device: Any, after: Smart) -> None:
    """Give both the numbers of `after`, whose functions are the ones that are on."""
    for name, mapping in NAMES.items():
        if (function := getattr(after, name)) is None:
            continue
        points = function.points(after.f_nominal_hz)
        if name == "constant_pf":
            points["injects"] = np.array([function.injects])
        ours.adjust(name, **points)
        for parameter, value in _numbers(name, function, after, mapping):
            setattr(device.der_file, parameter, value)


def side_by_side(
    smart: Smart,
    series: Mapping[str, Any],
    step_s: float,
    *,
    storage: bool = False,
    q_full_above_p_pu: float = 0.0,
    changes: Mapping[int, Smart] = MappingProxyType({}),
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return ours (k, 2) and OpenDER's (k, 2), P and Q in pu of rating, for series v, f, p (k,), pu, Hz, pu.

    v: see `voltages`. p: what is available, or for a storage what is asked for. changes: settings from a step on.
    """
    at = voltages(smart, series["v"])
    n_phases = at.phases.shape[1]
    device = opender(smart, storage=storage, step_s=step_s, q_full_above_p_pu=q_full_above_p_pu, phases=n_phases)
    ours = Inverters(smart, np.array([RATED_KVA]), q_full_above_p_pu=q_full_above_p_pu)
    full = np.array([RATED_KVA])
    found, theirs, notes = [], [], []
    for k, (f, p) in enumerate(zip(series["f"], series["p"], strict=True)):
        if k in changes:
            change(ours, device, changes[k])
        asked = {"p_dem_pu": float(p)} if storage else {"p_dc_pu": float(p)}
        v_pu, theta = [float(x) for x in np.abs(at.phases[k])], [float(x) for x in np.angle(at.phases[k])]
        device.update_der_input(v_pu=v_pu, f=float(f), theta=theta, **asked)
        device.run()
        theirs.append((device.p_out_pu, device.q_out_pu))
        power = np.array([p * RATED_KVA])
        band = (-full, full) if storage else (0.0 * full, power)
        seen = Seen(at.v[k : k + 1], at.low[k : k + 1], at.high[k : k + 1], np.array([f]))
        got = ours.step(round(k * step_s * S), seen, power, band)
        found.append((got[0][0] / RATED_KVA, got[1][0] / RATED_KVA))
        funcs = device.activepowerfunc
        droop = bool(funcs.pf_uf_active or funcs.pf_of_active)
        notes.append((device.der_status == "Trip", droop, funcs.es_completed))
    tripped, droop, entered = (np.array(x) for x in zip(*notes, strict=True))
    return np.array(found), np.array(theirs), {"tripped": tripped, "droop": droop, "entered": entered}
