"""A distributed energy resource as a SunSpec device: a real Modbus server in front of any model.

`RegisterBank` is what the devices hold and how they answer: access, ranges, curve adoption, reversion timers.
It knows no physics and no clock: timers move when told to (`advance`), so identical runs give identical
registers.
`EmulatorServer` puts every device of a bank on a TCP port of its own.

Power is positive when injected into the grid, active and reactive.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from hil.inverter import MEASURED, Measurements
from hil.modbus import Address, LoopThread, quiet_pymodbus
from hil.sunspec import Description, Point, PointTable, RegisterMap, Value, build_image, decode, encode

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
RegisterArray = NDArray[np.uint16]


# --- what a device says of itself --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ratings:
    """What an emulated device is rated for (models 1, 702 and 713)."""

    name: str
    """Its serial number in model 1."""
    p_max_w: float
    s_max_va: float
    q_max_injected_var: float
    q_max_absorbed_var: float
    v_ln_nominal_v: float
    phases: int = 3
    p_max_charge_w: float | None = None
    energy_wh: float | None = None
    """Storage capacity; with it the device has model 713."""

    @property
    def v_nominal_v(self) -> float:
        """702 VNom: line to line for three phases, else line to neutral."""
        return self.v_ln_nominal_v * (math.sqrt(3) if self.phases == 3 else 1.0)


def describe(ratings: Ratings, *, curves: int = 3, curve_points: int = 8) -> Description:
    """Return models 1, 701-705, and 713 for a storage, of a device in which every function is off.

    Scale factors leave room for 1.2 times the rated power and 1.5 times the nominal voltage.
    """
    models: dict[int, Mapping[str, Any]] = {
        1: {"Mn": "derloop", "Md": "emulated DER", "Vr": "1", "SN": ratings.name[:32], "DA": 1},
        701: _measured_model(ratings),
        702: _capacity_model(ratings),
        703: _ENTER_SERVICE,
        704: _controls_model(ratings),
        705: _volt_var_model(curves, curve_points),
    }
    if ratings.energy_wh is not None:
        scale = scale_for(ratings.energy_wh, signed=False)
        models[713] = {"WHRtg": ratings.energy_wh, "WH_SF": scale, "Pct_SF": -2, "Sta": "OK"}
    return models


def scale_for(most: float, *, signed: bool = True) -> int:
    """Return the scale factor of the finest steps with which a 16-bit register still holds `most`."""
    return max(-10, math.ceil(math.log10(most / (32000 if signed else 65000)))) if most > 0 else 0


def _measured_model(ratings: Ratings) -> dict[str, Any]:
    power = scale_for(1.2 * ratings.s_max_va)
    return {
        "ACType": "THREE_PHASE" if ratings.phases == 3 else "SINGLE_PHASE",
        "W_SF": power,
        "VA_SF": power,
        "Var_SF": power,
        "A_SF": scale_for(1.2 * ratings.s_max_va / ratings.v_ln_nominal_v / ratings.phases),
        "V_SF": scale_for(1.5 * math.sqrt(3) * ratings.v_ln_nominal_v, signed=False),
        "Hz_SF": -3,
    }


def _capacity_model(ratings: Ratings) -> dict[str, Any]:
    charge = ratings.p_max_charge_w
    limits = {
        "WMax": ratings.p_max_w,
        "VAMax": ratings.s_max_va,
        "VarMaxInj": ratings.q_max_injected_var,
        "VarMaxAbs": ratings.q_max_absorbed_var,
        "WChaRteMax": charge,
        "WDisChaRteMax": None if charge is None else ratings.p_max_w,
        "VNom": ratings.v_nominal_v,
    }
    power = max(ratings.p_max_w, ratings.s_max_va, charge or 0.0)
    reactive = max(ratings.q_max_injected_var, ratings.q_max_absorbed_var)
    scales = {
        "W_SF": scale_for(power, signed=False),
        "VA_SF": scale_for(power, signed=False),
        "Var_SF": scale_for(reactive, signed=False),
        "V_SF": scale_for(1.5 * ratings.v_nominal_v, signed=False),
    }
    return {**limits, **{f"{name}Rtg": value for name, value in limits.items()}, **scales}


_ENTER_SERVICE: Mapping[str, Any] = {
    **{"ES": "ENABLED", "ESVHi": 105.0, "ESVLo": 91.7, "ESHzHi": 60.1, "ESHzLo": 59.5},
    **{"ESDlyTms": 300, "ESRndTms": 0, "ESRmpTms": 300, "V_SF": -2, "Hz_SF": -3},
}
"""IEEE 1547-2018 table 4, default settings."""


def _controls_model(ratings: Ratings) -> dict[str, Any]:
    power = scale_for(1.2 * ratings.s_max_va)
    functions: Mapping[str, Mapping[str, Any]] = {
        "WMaxLimPct": {"WMaxLimPct": 100.0, "WMaxLimPctRvrt": 100.0},
        "WSet": {"WSetMod": "WATTS", "WSet": 0, "WSetRvrt": 0, "WSetPct": 0, "WSetPctRvrt": 0},
        "VarSet": {"VarSetMod": "VARS", "VarSet": 0, "VarSetRvrt": 0, "VarSetPct": 0, "VarSetPctRvrt": 0},
        "PFWInj": {"PFWInj": {"PF": 1.0, "Ext": 0}, "PFWInjRvrt": {"PF": 1.0, "Ext": 0}},
    }
    scales = {"PF_SF": -4, "WMaxLimPct_SF": -2, "WSetPct_SF": -2, "VarSetPct_SF": -2}
    model: dict[str, Any] = {**scales, "WSet_SF": power, "VarSet_SF": power}
    for name, settings in functions.items():
        timer = {f"{name}{suffix}": 0 for suffix in ("Ena", "EnaRvrt", "RvrtTms", "RvrtRem")}
        model |= {**settings, **timer}
    return model


def _volt_var_model(curves: int, points: int) -> dict[str, Any]:
    """Return model 705 with the default curve of IEEE 1547-2018 table 8, category B, in every place."""
    shape = [{"V": v, "Var": q} for v, q in ((92, 44), (98, 0), (102, 0), (108, -44))]
    spare = [{"V": 108, "Var": -44}] * (points - len(shape))
    curve = {"ActPt": 4, "DeptRef": "VA_MAX_PCT", "VRef": 100, "RspTms": 5, "Pt": shape + spare}
    listed = [{**curve, "ReadOnly": "R" if index == 0 else "RW"} for index in range(curves)]
    state = {"Ena": 0, "AdptCrvReq": 1, "AdptCrvRslt": "COMPLETED", "RvrtTms": 0, "RvrtRem": 0, "RvrtCrv": 0}
    return {**state, "NPt": points, "V_SF": -2, "DeptRef_SF": -2, "RspTms_SF": -2, "Crv": listed}


# --- what a device is set to -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settings:
    """What n devices are set to do at this moment, as their registers say; reversion is applied.

    All fields are (n,), curves (n, k). Source: models 702-705, named with each field.
    """

    in_service: BoolArray
    """703 ES: permitted to enter service; true where a device has no model 703."""
    p_max_w: FloatArray
    """702 WMax."""
    limit_fraction: FloatArray
    """704 WMaxLimPct as a fraction of WMax; 1 where it is off."""
    p_w: FloatArray
    """704 WSet or WSetPct, in watts; NaN where it is off."""
    q_var: FloatArray
    """704 VarSet or VarSetPct, in vars; NaN where it is off."""
    pf: FloatArray
    """704 PFWInj.PF, a magnitude; NaN where it is off."""
    pf_injects: BoolArray
    """704 PFWInj.Ext: over-excited, that is reactive power is injected."""
    volt_var_on: BoolArray
    """705 Ena."""
    volt_var_v_pu: FloatArray
    """Voltages (n, k) of 705 Crv 1 per unit of VNom; the last active point repeated to the end."""
    volt_var_q_var: FloatArray
    """Reactive powers (n, k) at these voltages, in vars."""
    volt_var_response_s: FloatArray
    """705 Crv 1 RspTms: open-loop response time."""


_SETTINGS = (
    *("703.ES", "702.WMax", "702.VAMax", "702.VarMaxInj", "702.VarMaxAbs"),
    *("704.WMaxLimPctEna", "704.WMaxLimPct", "704.WSetEna", "704.WSetMod", "704.WSet", "704.WSetPct"),
    *("704.VarSetEna", "704.VarSetMod", "704.VarSet", "704.VarSetPct"),
    *("704.PFWInjEna", "704.PFWInj.PF", "704.PFWInj.Ext"),
    *("705.Ena", "705.Crv.0.ActPt", "705.Crv.0.DeptRef", "705.Crv.0.RspTms"),
)


class _SettingsReader:
    """Decodes `Settings` from the images of n devices."""

    def __init__(self, maps: Sequence[RegisterMap]) -> None:
        self._most = max(device.group_size("705", "Crv.0.Pt") for device in maps)
        curve = [f"705.Crv.0.Pt.{index}.{axis}" for axis in ("V", "Var") for index in range(self._most)]
        self._table = PointTable.of_image(maps, (*_SETTINGS, *curve))

    def read(self, images: RegisterArray) -> Settings:
        values = self._table.decode(images)
        at = dict(zip(_SETTINGS, values.T, strict=False))
        v_pct, q_pct = np.split(values[:, len(_SETTINGS) :], 2, axis=1)
        last = _last_active(at["705.Crv.0.ActPt"], self._most)
        return Settings(
            in_service=at["703.ES"] != 0,
            p_max_w=at["702.WMax"],
            limit_fraction=np.where(at["704.WMaxLimPctEna"] == 1, at["704.WMaxLimPct"] / 100.0, 1.0),
            p_w=np.where(at["704.WSetEna"] == 1, _p_setpoint(at), np.nan),
            q_var=np.where(at["704.VarSetEna"] == 1, _q_setpoint(at), np.nan),
            pf=np.where(at["704.PFWInjEna"] == 1, at["704.PFWInj.PF"], np.nan),
            pf_injects=at["704.PFWInj.Ext"] == 0,
            volt_var_on=at["705.Ena"] == 1,
            volt_var_v_pu=np.take_along_axis(v_pct, last, axis=1) / 100.0,
            volt_var_q_var=_curve_vars(at, np.take_along_axis(q_pct, last, axis=1)),
            volt_var_response_s=at["705.Crv.0.RspTms"],
        )


def _last_active(active: FloatArray, most: int) -> NDArray[np.intp]:
    """Return indices (n, k) of curve points, staying at the last active one."""
    count = np.nan_to_num(active, nan=1.0).astype(np.intp)
    last: NDArray[np.intp] = np.minimum(np.arange(most)[None, :], np.maximum(count, 1)[:, None] - 1)
    return last


def _p_setpoint(at: Mapping[str, FloatArray]) -> FloatArray:
    fraction = at["704.WSetPct"] / 100.0
    return np.where(at["704.WSetMod"] == 1, at["704.WSet"], fraction * at["702.WMax"])


def _q_setpoint(at: Mapping[str, FloatArray]) -> FloatArray:
    fraction, mode = at["704.VarSetPct"] / 100.0, at["704.VarSetMod"]
    of_reference = _reference_va(at, mode, fraction)
    return np.where(mode == 4, at["704.VarSet"], fraction * of_reference)


def _curve_vars(at: Mapping[str, FloatArray], q_pct: FloatArray) -> FloatArray:
    fraction = q_pct.T / 100.0
    vars_by_point: FloatArray = fraction * _reference_va(at, at["705.Crv.0.DeptRef"], fraction)
    return vars_by_point.T


def _reference_va(at: Mapping[str, FloatArray], reference: FloatArray, fraction: FloatArray) -> FloatArray:
    """Return what 100 % stands for; of VarMax it may differ between injecting and absorbing.

    `reference` has the codes that 704 VarSetMod and 705 DeptRef share: 0 WMax, 1 VarMax, 3 VAMax.
    """
    most_vars = np.where(fraction >= 0, at["702.VarMaxInj"], at["702.VarMaxAbs"])
    known = np.where(reference == 3, at["702.VAMax"], np.nan)
    return np.where(reference == 0, at["702.WMax"], np.where(reference == 1, most_vars, known))


# --- how registers behave ----------------------------------------------------------------------------


class Refusal(Enum):
    """Why a request is refused; the values are Modbus exception codes."""

    FUNCTION = 1
    ADDRESS = 2
    """Outside of the map, read-only, not implemented, or part of a point."""
    VALUE = 3
    """Out of range, no such symbol, or 'not implemented'."""
    BUSY = 6
    """A curve is being adopted."""


class _Timer(NamedTuple):
    """A function that ends when its reversion time has passed while it was enabled."""

    enable: str
    time: str
    remaining: str
    reverts: Mapping[str, str]
    """What is set to what when the time has passed. Writing any of these starts the time again."""
    model: str | None = None
    """The model whose `RvrtCrv` is adopted instead."""

    def started_by(self, names: set[str]) -> bool:
        """Return whether a write to these points starts the time, or ends it."""
        return not names.isdisjoint({self.enable, self.time, *self.reverts})


def _setpoint_timer(name: str, *settings: str) -> _Timer:
    ours = {f"704.{setting}": f"704.{setting}Rvrt" for setting in (*settings, f"{name}Ena")}
    return _Timer(f"704.{name}Ena", f"704.{name}RvrtTms", f"704.{name}RvrtRem", ours)


def _curve_timer(model: str) -> _Timer:
    return _Timer(f"{model}.Ena", f"{model}.RvrtTms", f"{model}.RvrtRem", {f"{model}.AdptCrvReq": ""}, model)


_POWER_FACTOR = {f"704.PFWInj.{part}": f"704.PFWInjRvrt.{part}" for part in ("PF", "Ext")}
_TIMERS = (
    _setpoint_timer("WMaxLimPct", "WMaxLimPct"),
    _setpoint_timer("WSet", "WSet", "WSetPct"),
    _setpoint_timer("VarSet", "VarSet", "VarSetPct"),
    _setpoint_timer("PFWInj")._replace(reverts={**_POWER_FACTOR, "704.PFWInjEna": "704.PFWInjEnaRvrt"}),
    *(_curve_timer(model) for model in ("705", "706", "712")),
)

_PERCENT, _SIGNED_PERCENT, _UNIT = (0.0, 100.0), (-100.0, 100.0), (0.0, 1.0)
_P_RANGE, _Q_RANGE = ("-702.WChaRteMax", "702.WMax"), ("-702.VarMaxAbs", "702.VarMaxInj")
_RANGES: Mapping[str, tuple[float | str, float | str]] = {
    **{f"704.WMaxLimPct{suffix}": _PERCENT for suffix in ("", "Rvrt")},
    **{f"704.{name}Pct{suffix}": _SIGNED_PERCENT for name in ("WSet", "VarSet") for suffix in ("", "Rvrt")},
    **{f"704.WSet{suffix}": _P_RANGE for suffix in ("", "Rvrt")},
    **{f"704.VarSet{suffix}": _Q_RANGE for suffix in ("", "Rvrt")},
    **{f"704.PFWInj{suffix}.PF": _UNIT for suffix in ("", "Rvrt")},
    **{f"702.{name}": (0.0, f"702.{name}Rtg") for name in ("WMax", "VAMax", "VarMaxInj", "VarMaxAbs")},
    **{f"702.{name}": (0.0, f"702.{name}Rtg") for name in ("WChaRteMax", "WDisChaRteMax")},
}
"""What may be written: numbers, or points that hold them, some with their sign turned."""
_UNSUPPORTED_MODE = ("704.VarSetMod", 2.0)
"""Percent of available vars: what is available is not known to registers."""


class _Adoption(NamedTuple):
    """The names with which a model hands a curve over."""

    request: str
    result: str
    group: str


_ADOPTIONS = {
    **{m: _Adoption("AdptCrvReq", "AdptCrvRslt", "Crv") for m in ("705", "706", "707", "708", "709", "710")},
    "711": _Adoption("AdptCtlReq", "AdptCtlRslt", "Ctl"),
    "712": _Adoption("AdptCrvReq", "AdptCrvRslt", "Crv"),
}
_IN_PROGRESS, _COMPLETED, _FAILED = 0.0, 1.0, 2.0


class _Pending(NamedTuple):
    """A curve, counted from 0, that a device is adopting."""

    slot: int
    readings: int
    """Of the result, that still answer 'in progress'."""


class RegisterBank:
    """The registers of n SunSpec devices and their behaviour; safe to use from several threads.

    A curve is adopted after `adoption_readings` readings of the result have said that it is in progress, or
    when time is advanced, whichever comes first.
    """

    def __init__(self, descriptions: Sequence[Description], adoption_readings: int = 1) -> None:
        built = [build_image(description) for description in descriptions]
        self.maps = tuple(device for device, _ in built)
        self._images = np.zeros((len(built), max(len(image) for _, image in built)), dtype=np.uint16)
        for row, (_, image) in zip(self._images, built, strict=True):
            row[: len(image)] = image
        self._starts = [{point.address: point for point in device.points.values()} for device in self.maps]
        self._settings = _SettingsReader(self.maps)
        types = PointTable.of_image(self.maps, ["701.ACType"]).decode(self._images)
        self._three_phase: BoolArray = types[:, 0] == 2
        self._measured = PointTable.of_image(self.maps, (*MEASURED, *_DERIVED))
        self._remaining = PointTable.of_image(self.maps, [timer.remaining for timer in _TIMERS])
        self._has_remaining = ~np.isnan(self._remaining.decode(self._images))
        self._left_ns = np.zeros((len(built), len(_TIMERS)), dtype=np.int64)
        self._pending: dict[tuple[int, str], _Pending] = {}
        self._adoption_readings = adoption_readings
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self.maps)

    # what the model behind the devices sees

    def set_measurements(self, measured: Measurements) -> None:
        """Hold measurements (n,) until the next ones; VA, A, St, ConnSt and LLV are derived from them.

        Raises SunSpecValueError if a value does not fit its register.
        """
        with self._lock:
            parts = (f(measured, self._three_phase) for f in (_measured_values, _derived_values))
            self._measured.encode(np.hstack(list(parts)), self._images)

    def settings(self) -> Settings:
        """Return what the devices are set to do now."""
        with self._lock:
            return self._settings.read(self._images)

    def advance(self, dt_s: float) -> None:
        """Let time pass (rounded to nanoseconds): adopt what is pending, count reversion times, revert."""
        with self._lock:
            for device, model in list(self._pending):
                self._adopt(device, model)
            running = self._left_ns > 0
            if running.any():
                self._left_ns = np.maximum(self._left_ns - round(dt_s * 1e9), 0)
                for device, timer in np.argwhere(running & (self._left_ns == 0)):
                    self._revert(int(device), _TIMERS[timer])
                self._show_remaining()

    def image(self, device: int) -> RegisterArray:
        """Return a copy of all registers of a device."""
        with self._lock:
            return self._images[device, : self.maps[device].end - self.maps[device].base].copy()

    # what the wire sees

    def read(self, device: int, address: int, count: int) -> list[int] | Refusal:
        """Return registers of a device."""
        with self._lock:
            start = address - self.maps[device].base
            if start < 0 or address + count > self.maps[device].end:
                return Refusal.ADDRESS
            self._count_readings(device, address, count)
            registers: list[int] = self._images[device, start : start + count].tolist()
            return registers

    def write(self, device: int, address: int, registers: Sequence[int]) -> Refusal | None:
        """Write registers of a device, all or none; returns why they are refused."""
        with self._lock:
            written = self._points_in(device, address, registers)
            if written is None:
                return Refusal.ADDRESS
            changed = [(p, value) for p, value, now in written if not (value is None and now is None)]
            refusal = self._refusal(device, changed)
            if refusal is None:
                start = address - self.maps[device].base
                self._images[device, start : start + len(registers)] = registers
                self._react(device, {point.name: value for point, value in changed})
            return refusal

    def _value(self, device: int, name: str) -> float | None:
        """Return a number that a device holds; None if not implemented, or not there."""
        if name not in self.maps[device]:
            return None
        value = self.maps[device].value(name, self._images[device])
        return value if isinstance(value, int | float) else None

    def _put(self, device: int, name: str, value: float) -> None:
        point = self.maps[device][name]
        start = point.address - self.maps[device].base
        self._images[device, start : start + point.length] = encode(point, value).registers

    def _points_in(
        self, device: int, address: int, registers: Sequence[int]
    ) -> list[tuple[Point, Value, Value]] | None:
        """Return each point written, its new and its present value; None unless they are whole points."""
        found: list[tuple[Point, Value, Value]] = []
        at, end = address, address + len(registers)
        while at < end:
            point = self._starts[device].get(at)
            if point is None or point.end > end:
                return None
            value = decode(point, registers[at - address : point.end - address])
            found.append((point, value, self.maps[device].value(point.name, self._images[device])))
            at = point.end
        return found

    def _refusal(self, device: int, changed: Sequence[tuple[Point, Value]]) -> Refusal | None:
        if not all(self._is_writable(device, point) for point, _ in changed):
            return Refusal.ADDRESS
        if not all(self._is_allowed(device, point, value) for point, value in changed):
            return Refusal.VALUE
        for point, _ in changed:
            model, _, name = point.name.partition(".")
            if (device, model) in self._pending and name == _ADOPTIONS[model].request:
                return Refusal.BUSY
        return None

    def _is_writable(self, device: int, point: Point) -> bool:
        if not point.writable or self.maps[device].value(point.name, self._images[device]) is None:
            return False
        model, _, path = point.name.partition(".")
        adoption = _ADOPTIONS.get(model)
        if adoption is None or not path.startswith(adoption.group + "."):
            return True
        slot = path.split(".")[1]
        return self._value(device, f"{model}.{adoption.group}.{slot}.ReadOnly") != 1

    def _is_allowed(self, device: int, point: Point, value: Value) -> bool:
        if not isinstance(value, int | float):
            return False
        if point.kind.family == "enum":
            return value in point.symbols.values() and (point.name, value) != _UNSUPPORTED_MODE
        low, high = self._range(device, point.name)
        return low <= value <= high

    def _range(self, device: int, name: str) -> tuple[float, float]:
        model, _, path = name.partition(".")
        adoption = _ADOPTIONS.get(model)
        if adoption is not None and path == adoption.request:
            return 1.0, float(self.maps[device].group_size(model, adoption.group))
        if path.endswith("ActPt"):
            return 0.0, self._value(device, f"{model}.NPt") or 0.0
        low, high = _RANGES.get(name, (-math.inf, math.inf))
        return self._bound(device, low), self._bound(device, high)

    def _bound(self, device: int, bound: float | str) -> float:
        if isinstance(bound, float):
            return bound
        held = self._value(device, bound.removeprefix("-")) or 0.0
        return -held if bound.startswith("-") else held

    def _react(self, device: int, changed: Mapping[str, Value]) -> None:
        """Start and end what a write starts and ends: reversion times and the adoption of a curve."""
        for name, value in changed.items():
            model, _, path = name.partition(".")
            if model in _ADOPTIONS and path == _ADOPTIONS[model].request and isinstance(value, int | float):
                self._pending[device, model] = _Pending(int(value) - 1, self._adoption_readings)
                self._put(device, f"{model}.{_ADOPTIONS[model].result}", _IN_PROGRESS)
        for index, timer in enumerate(_TIMERS):
            if timer.started_by(set(changed)):
                enabled = self._value(device, timer.enable) == 1
                time_s = self._value(device, timer.time) or 0.0
                left_ns = round(time_s * 1e9) if enabled else 0
                if left_ns != self._left_ns[device, index]:
                    self._left_ns[device, index] = left_ns
                    self._show_remaining()

    def _show_remaining(self) -> None:
        seconds = np.ceil(self._left_ns / 1e9)
        self._remaining.encode(np.where(self._has_remaining, seconds, np.nan), self._images)

    def _revert(self, device: int, timer: _Timer) -> None:
        if timer.model is not None:
            self._revert_curve(device, timer.model)
            return
        for name, reversion in timer.reverts.items():
            value = self._value(device, reversion)
            if value is not None:
                self._put(device, name, value)

    def _revert_curve(self, device: int, model: str) -> None:
        """Adopt the curve that a model reverts to, or end its function if it names none."""
        curve = self._value(device, f"{model}.RvrtCrv") or 0.0
        if 1 <= curve <= self.maps[device].group_size(model, "Crv"):
            self._pending[device, model] = _Pending(int(curve) - 1, 0)
            self._adopt(device, model)
        else:
            self._put(device, f"{model}.Ena", 0.0)

    def _count_readings(self, device: int, address: int, count: int) -> None:
        for (owner, model), pending in list(self._pending.items()):
            result = self.maps[device][f"{model}.{_ADOPTIONS[model].result}"] if owner == device else None
            if result is None or not address <= result.address < address + count:
                continue
            if pending.readings > 0:
                self._pending[device, model] = pending._replace(readings=pending.readings - 1)
            else:
                self._adopt(device, model)

    def _adopt(self, device: int, model: str) -> None:
        """Make curve 1 the copy of the pending one, all but its 'read-only', if that is a valid curve."""
        pending, names = self._pending.pop((device, model)), _ADOPTIONS[model]
        source, target = (f"{model}.{names.group}.{slot}." for slot in (pending.slot, 0))
        valid = self._is_valid_curve(device, model, source)
        if valid:
            self._copy(device, source, target)
        self._put(device, f"{model}.{names.result}", _COMPLETED if valid else _FAILED)

    def _copy(self, device: int, source: str, target: str) -> None:
        base, row = self.maps[device].base, self._images[device]
        for name, point in self.maps[device].points.items():
            if name.startswith(source) and not name.endswith(".ReadOnly"):
                to = self.maps[device][target + name.removeprefix(source)]
                row[to.address - base : to.end - base] = row[point.address - base : point.end - base]

    def _is_valid_curve(self, device: int, model: str, start: str) -> bool:
        """Return whether a volt-var curve can be followed; curves of other models are taken as they are."""
        if model != "705":
            return True
        count = int(self._value(device, start + "ActPt") or 0)
        volts = [self._value(device, f"{start}Pt.{index}.V") for index in range(count)]
        known = [volt for volt in volts if volt is not None]
        rising = all(before <= after for before, after in pairwise(known))
        supported = self._value(device, start + "DeptRef") in (0, 1, 3)
        return count >= 2 and len(known) == count and rising and supported


_DERIVED = ("701.VA", "701.A", "701.St", "701.ConnSt")


def _measured_values(measured: Measurements, three_phase: BoolArray) -> FloatArray:
    """Return the values of `MEASURED` (n, p), with line-to-line voltages of balanced phases if not given."""
    values = measured.table()
    column = MEASURED.index("701.LLV")
    balanced = np.where(three_phase, np.sqrt(3.0) * measured.v_ln_v, np.nan)
    values[:, column] = np.where(np.isnan(measured.v_ll_v), balanced, measured.v_ll_v)
    return values


def _derived_values(measured: Measurements, three_phase: BoolArray) -> FloatArray:
    apparent = np.hypot(measured.p_w, measured.q_var)
    volts = np.where(measured.v_ln_v > 0, measured.v_ln_v, np.nan) * np.where(three_phase, 3.0, 1.0)
    on, connected = np.isin(measured.state, (2, 3, 4, 5)), np.isin(measured.state, (3, 4))
    return np.stack([apparent, apparent / volts, on.astype(np.float64), connected.astype(np.float64)], axis=1)


# --- on the wire -------------------------------------------------------------------------------------


class EmulatorServer:
    """Serves every device of a bank on a free TCP port of its own, on the loopback interface.

    It runs in one thread; given a `thread`, it runs in that and leaves closing it to its owner.
    In lock-step a simulated step is: a client writes commands; `settings`; the model steps;
    `set_measurements`; the client polls; `advance`.
    """

    def __init__(
        self,
        bank: RegisterBank,
        *,
        host: str = "127.0.0.1",
        unit: int = 1,
        thread: LoopThread | None = None,
    ) -> None:
        quiet_pymodbus()
        self.bank, self._given_thread = bank, thread
        self._host, self._unit = host, unit
        self._servers: list[ModbusTcpServer] = []
        self._addresses: tuple[Address, ...] = ()
        self._thread: LoopThread | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where each device listens, once started."""
        return self._addresses

    def start(self) -> None:
        """Listen; nothing is left open if that fails."""
        self._thread = self._given_thread or LoopThread("emulator")
        try:
            self._addresses = self._thread.run(self._listen())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close every connection and port and join the thread; once or more often."""
        if self._thread is not None and not self._thread.closed:
            self._thread.run(self._shut_down())
            if self._given_thread is None:
                self._thread.close()

    def set_measurements(self, measured: Measurements) -> None:
        """See `RegisterBank.set_measurements`."""
        self.bank.set_measurements(measured)

    def settings(self) -> Settings:
        """See `RegisterBank.settings`."""
        return self.bank.settings()

    def advance(self, dt_s: float) -> None:
        """See `RegisterBank.advance`."""
        self.bank.advance(dt_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _listen(self) -> tuple[Address, ...]:
        return tuple([await self._listen_for(device) for device in range(len(self.bank))])

    async def _listen_for(self, device: int) -> Address:
        registers = SimData(
            self.bank.maps[device].base,
            values=[int(word) for word in self.bank.image(device)],
            datatype=DataType.REGISTERS,
        )
        served = SimDevice(self._unit, [registers], action=_action(self.bank, device))
        server = ModbusTcpServer(served, address=(self._host, 0))
        self._servers.append(server)
        await server.serve_forever(background=True)
        listener: Any = server.transport
        return Address(self._host, listener.sockets[0].getsockname()[1], self._unit)

    async def _shut_down(self) -> None:
        """Accept no more, let connections finish that are just being accepted, then close all.

        Closed in the midst of accepting one, asyncio's server (Python 3.11) would lose that socket.
        """
        served, self._servers = self._servers, []
        loop = asyncio.get_running_loop()
        for listener in (server.transport for server in served):
            for listening in getattr(listener, "sockets", ()):
                loop.remove_reader(listening.fileno())
        await _some_turns()
        for server in served:
            await server.shutdown()  # type: ignore[no-untyped-call]
        await _some_turns()


async def _some_turns() -> None:
    """Let the loop do what is scheduled, and what that schedules."""
    for _ in range(5):
        await asyncio.sleep(0)


_Action = Callable[
    [int, int, int, int, list[int], list[int] | list[bool] | None], Coroutine[None, None, ExcCodes | None]
]


def _action(bank: RegisterBank, device: int) -> _Action:
    """Return what pymodbus calls for each request of a device; the bank decides and holds the registers."""

    async def action(
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        new: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        if function not in (3, 6, 16):
            return ExcCodes.ILLEGAL_FUNCTION
        if new is not None:
            refusal = bank.write(device, address, [int(word) for word in new])
            return None if refusal is None else ExcCodes(refusal.value)
        answer = bank.read(device, address, count)
        if isinstance(answer, Refusal):
            return ExcCodes(answer.value)
        registers[address - start : address - start + count] = answer
        return None

    return action
