"""A SunSpec device as a distributed energy resource: commanded, verified, measured.

Power is positive when injected into the grid, active and reactive, as SunSpec's models 701-713 have it. Used
are models 701 and 713 (measured), 702 (nameplate), 704 (limit and setpoints) and 705 (volt-var).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from derloop.errors import Rejected
from hil.modbus import Address, Link, LoopThread, Traffic
from hil.sunspec import (
    READ_LIMIT,
    Encoded,
    PointTable,
    ReadPlan,
    RegisterMap,
    Request,
    SunSpecError,
    SunSpecMapError,
    encode,
    runs,
    walk,
)

FloatArray = NDArray[np.float64]
RegisterArray = NDArray[np.uint16]
T = TypeVar("T")

ADOPTION_S = 5.0
"""How long a device may take to adopt a curve."""


# --- what is said and heard --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measurements:
    """What n devices measure, each field (n,); NaN where a device does not implement it.

    Source: model 701 (W, Var, LNV, LLV, Hz, InvSt, Alrm) and model 713 (SoC).
    """

    p_w: FloatArray
    q_var: FloatArray
    v_ln_v: FloatArray
    v_ll_v: FloatArray
    f_hz: FloatArray
    state: FloatArray
    """701 InvSt: 0 off, 1 sleeping, 2 starting, 3 running, 4 throttled, 5 stopping, 6 fault, 7 standby."""
    alarms: FloatArray
    """701 Alrm: a bit field."""
    soc_pct: FloatArray

    @classmethod
    def of(
        cls,
        p_w: FloatArray,
        q_var: FloatArray,
        v_ln_v: FloatArray,
        *,
        f_hz: FloatArray | float = math.nan,
        v_ll_v: FloatArray | float = math.nan,
        state: FloatArray | float = 3.0,
        alarms: FloatArray | float = 0.0,
        soc_pct: FloatArray | float = math.nan,
    ) -> Measurements:
        """Return measurements of running devices, with one value for all where a float is given."""
        given = (p_w, q_var, v_ln_v, v_ll_v, f_hz, state, alarms, soc_pct)
        zeros = np.zeros(p_w.shape)
        return cls(*(zeros + value for value in given))

    @classmethod
    def from_table(cls, values: FloatArray) -> Measurements:
        """Return measurements from values (n, p) in the order of `MEASURED`."""
        return cls(*values.T)

    def table(self) -> FloatArray:
        """Return values (n, p) in the order of `MEASURED`."""
        return np.stack([getattr(self, field.name) for field in fields(self)], axis=1)


MEASURED = ("701.W", "701.Var", "701.LNV", "701.LLV", "701.Hz", "701.InvSt", "701.Alrm", "713.SoC")
"""The points of `Measurements`, field by field."""

Reference = Literal["w_max", "var_max", "va_max"]
REFERENCES: Mapping[Reference, str] = {
    "w_max": "W_MAX_PCT",
    "var_max": "VAR_MAX_PCT",
    "va_max": "VA_MAX_PCT",
}
"""Symbols of 705 Crv.DeptRef."""


@dataclass(frozen=True, slots=True)
class VoltVarCurve:
    """Reactive power against voltage (IEEE 1547-2018, 5.3.3; SunSpec model 705).

    `v_pu` is per unit of the nominal voltage (702 VNom), `q_pu` per unit of `reference` and positive when
    injected.
    """

    v_pu: tuple[float, ...]
    q_pu: tuple[float, ...]
    reference: Reference = "va_max"
    response_s: float = 5.0
    """Open-loop response time."""

    def __post_init__(self) -> None:
        if len(self.v_pu) != len(self.q_pu) or len(self.v_pu) < 2:
            raise ValueError("a volt-var curve needs two points or more, each with a voltage and a power")
        if any(after < before for before, after in pairwise(self.v_pu)):
            raise ValueError(f"the voltages of a volt-var curve must not fall: {self.v_pu}")


@dataclass(frozen=True, slots=True)
class Commands:
    """What n devices are to do. A field that is None is left as it is; NaN (or no curve) is 'off'."""

    limit_fraction: FloatArray | None = None
    """Most active power (n,), as a fraction of 702 WMax: 704 WMaxLimPct."""
    p_w: FloatArray | None = None
    """Active power setpoint (n,): 704 WSet; negative charges a storage."""
    q_var: FloatArray | None = None
    """Reactive power setpoint (n,): 704 VarSet."""
    volt_var: Sequence[VoltVarCurve | None] | None = None
    """n curves: 705."""

    def order(self, index: int) -> Order:
        """Return what one device is to do."""
        limit, p, q = (_element(array, index) for array in (self.limit_fraction, self.p_w, self.q_var))
        curve = None if self.volt_var is None else self.volt_var[index]
        return Order(limit, p, q, curve, volt_var_off=self.volt_var is not None and curve is None)


class Order(NamedTuple):
    """`Commands` for one device; None leaves a function as it is."""

    limit_fraction: float | None = None
    p_w: float | None = None
    q_var: float | None = None
    volt_var: VoltVarCurve | None = None
    volt_var_off: bool = False


def _element(array: FloatArray | None, index: int) -> float | None:
    return None if array is None else float(array[index])


@dataclass(frozen=True, slots=True)
class Nameplates:
    """What n devices say of themselves, each field (n,), NaN where not implemented.

    Source: the settings of model 702 (not its ratings), and WHRtg of model 713.
    """

    p_max_w: FloatArray
    s_max_va: FloatArray
    q_max_injected_var: FloatArray
    q_max_absorbed_var: FloatArray
    p_max_charge_w: FloatArray
    v_nominal_v: FloatArray
    energy_wh: FloatArray


NAMEPLATE = (
    *("702.WMax", "702.VAMax", "702.VarMaxInj", "702.VarMaxAbs", "702.WChaRteMax", "702.VNom"),
    "713.WHRtg",
)
"""The points of `Nameplates`, field by field."""


# --- one device --------------------------------------------------------------------------------------


class _Function(NamedTuple):
    """The points of a function of model 704 that a command touches."""

    enable: str
    reversion_time: str
    reversion_enable: str


_LIMIT = _Function("704.WMaxLimPctEna", "704.WMaxLimPctRvrtTms", "704.WMaxLimPctEnaRvrt")
_P_SET = _Function("704.WSetEna", "704.WSetRvrtTms", "704.WSetEnaRvrt")
_Q_SET = _Function("704.VarSetEna", "704.VarSetRvrtTms", "704.VarSetEnaRvrt")


class SunSpecDevice:
    """One device behind a link, for use inside an event loop; `DeviceGroup` is for synchronous callers.

    What the device holds is known from its last reading, so that only what changes is written: setpoints wear
    flash. Every write is read back, and `Rejected` if the device holds anything else.

    With `lease_s` the device returns to its own behaviour when it is not commanded for that long (its
    reversion timer, armed before the function is enabled); commands are asserted again at half that time.
    """

    def __init__(self, link: Link, lease_s: int = 0) -> None:
        self.link, self.lease_s = link, lease_s
        self.applied: dict[str, float] = {}
        """Points and values last commanded, as the device holds them: rounded to its steps."""
        self._map = RegisterMap(0, (), ())
        self._image: RegisterArray = np.empty(0, dtype=np.uint16)
        self._asserted_s: dict[str, float] = {}
        self._connects = 0

    @property
    def name(self) -> str:
        """What the device is called in messages."""
        return self.link.device

    @property
    def map(self) -> RegisterMap:
        """The points of the device, once discovered."""
        return self._map

    @property
    def image(self) -> RegisterArray:
        """All registers of the map as last read: nameplate and settings are current, measurements are not."""
        return self._image

    async def discover(self) -> None:
        """Find the device's map and read all of it."""
        step = walk()
        resume: Callable[[], Request] = partial(next, step)
        while True:
            try:
                request = resume()
            except StopIteration as found:
                self._map, self._image = found.value
                break
            except SunSpecMapError as none:
                raise Rejected(self.name, f"{self.link.address}: {none}") from none
            try:
                resume = partial(step.send, await self.link.read(*request))
            except Rejected as refusal:
                resume = partial(step.throw, refusal)
        self._connects = self.link.traffic.connects

    async def command(self, order: Order, now_s: float) -> None:
        """Make the device do what is ordered; `now_s` is the time in which its reversion timers count."""
        try:
            await self._notice_reconnection()
            await self._settle(await self._command_704(order, now_s))
            if order.volt_var_off:
                await self._settle(await self._turn_off("705.Ena"))
            elif order.volt_var is not None:
                await self._adopt(order.volt_var)
        except SunSpecError as misfit:
            raise Rejected(self.name, str(misfit)) from misfit

    async def _notice_reconnection(self) -> None:
        """Read the settings again when the connection was lost: the device may have restarted."""
        if self._connects != self.link.traffic.connects or not self.link.connected:
            await self._refresh("704")
            await self._refresh("705")
            self._connects = self.link.traffic.connects

    async def _command_704(self, order: Order, now_s: float) -> dict[str, Encoded]:
        """Write changed settings of model 704 and return what it must hold, empty if nothing was written."""
        wanted: dict[str, Encoded] = {}
        if order.limit_fraction is not None:
            wanted |= await self._function(_LIMIT, order.limit_fraction, self._limit_settings, now_s)
        if order.p_w is not None:
            wanted |= await self._function(_P_SET, order.p_w, self._p_settings, now_s)
        if order.q_var is not None:
            wanted |= await self._function(_Q_SET, order.q_var, self._q_settings, now_s)
        return wanted

    async def _function(
        self,
        function: _Function,
        value: float,
        settings: Callable[[float], dict[str, float]],
        now_s: float,
    ) -> dict[str, Encoded]:
        if math.isnan(value):
            return await self._turn_off(function.enable)
        arming = self._encode(self._reversion(function))
        setting = self._encode({**settings(value), function.enable: 1.0})
        due = self._is_due(function, now_s)
        if not due and not self._changed(arming | setting):
            return {}
        await self._write(self._changed(arming))
        await self._write(setting if due else self._changed(setting) | self._encode({function.enable: 1.0}))
        self._asserted_s[function.enable] = now_s
        self.applied |= {name: float(each.value or 0.0) for name, each in setting.items()}
        return arming | setting

    def _reversion(self, function: _Function) -> dict[str, float]:
        """Return the settings that end a function when its lease does; no more than the device implements."""
        wanted = {function.reversion_time: float(self.lease_s), function.reversion_enable: 0.0}
        there = {name: value for name, value in wanted.items() if self._implemented(name)}
        if self.lease_s and len(there) < len(wanted):
            raise Rejected(self.name, f"has no reversion timer {function.reversion_time}, so no lease")
        return there

    def _limit_settings(self, fraction: float) -> dict[str, float]:
        return {"704.WMaxLimPct": 100.0 * fraction}

    def _p_settings(self, p_w: float) -> dict[str, float]:
        if self._implemented("704.WSet"):
            return {"704.WSetMod": 1.0, "704.WSet": p_w}
        return {"704.WSetMod": 0.0, "704.WSetPct": 100.0 * p_w / self._number("702.WMax")}

    def _q_settings(self, q_var: float) -> dict[str, float]:
        if self._implemented("704.VarSet"):
            return {"704.VarSetMod": 4.0, "704.VarSet": q_var}
        most = self._number("702.VarMaxInj" if q_var >= 0 else "702.VarMaxAbs")
        return {"704.VarSetMod": 1.0, "704.VarSetPct": 100.0 * q_var / most}

    async def _turn_off(self, enable: str) -> dict[str, Encoded]:
        """Disable a function unless it is disabled, or not there."""
        self._asserted_s.pop(enable, None)
        if enable not in self._map or not self._map.value(enable, self._image):
            return {}
        off = self._encode({enable: 0.0})
        await self._write(off)
        return off

    def _is_due(self, function: _Function, now_s: float) -> bool:
        asserted_s = self._asserted_s.get(function.enable, -math.inf)
        return self.lease_s > 0 and now_s - asserted_s >= self.lease_s / 2

    async def _adopt(self, curve: VoltVarCurve) -> None:
        """Make a volt-var curve the device's, and enable it: write it to a spare curve, hand over, verify."""
        active, enable = self._curve(0, curve), self._encode({"705.Ena": 1.0})
        if self._changed(active):
            slot = self._spare_curve()
            spare = self._curve(slot, curve)
            await self._write(self._changed(spare))
            await self._settle(spare)
            await self._hand_over(slot)
            await self._settle(active)
        if self._changed(enable):
            await self._write(enable)
            await self._settle(enable)

    def _curve(self, slot: int, curve: VoltVarCurve) -> dict[str, Encoded]:
        start = f"705.Crv.{slot}."
        values: dict[str, float | str] = {
            start + "ActPt": float(len(curve.v_pu)),
            start + "DeptRef": REFERENCES[curve.reference],
        }
        if self._implemented(start + "RspTms"):
            values[start + "RspTms"] = curve.response_s
        for index, (v_pu, q_pu) in enumerate(zip(curve.v_pu, curve.q_pu, strict=True)):
            values |= {f"{start}Pt.{index}.V": 100.0 * v_pu, f"{start}Pt.{index}.Var": 100.0 * q_pu}
        return self._encode(values)

    def _spare_curve(self) -> int:
        """Return the first curve, counted from 0, that may be written."""
        for slot in range(1, self._map.group_size("705", "Crv")):
            if self._map.value(f"705.Crv.{slot}.ReadOnly", self._image) == 0:
                return slot
        raise Rejected(self.name, "has no volt-var curve that may be written (705 Crv.ReadOnly)")

    async def _hand_over(self, slot: int) -> None:
        """Ask for a curve (SunSpec counts from 1) and wait until the device has adopted it."""
        await self._write(self._encode({"705.AdptCrvReq": slot + 1.0}))
        end_s, pause_s = time.monotonic() + ADOPTION_S, 0.002
        while (result := await self._read_value("705.AdptCrvRslt")) == 0:
            if time.monotonic() > end_s:
                raise Rejected(self.name, f"has not adopted volt-var curve {slot + 1} within {ADOPTION_S:g} s")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.5)
        if result != 1:
            raise Rejected(self.name, f"did not adopt volt-var curve {slot + 1}: AdptCrvRslt is {result}")

    def _implemented(self, name: str) -> bool:
        return name in self._map and self._map.value(name, self._image) is not None

    def _number(self, name: str) -> float:
        value = self._map.value(name, self._image)
        if not isinstance(value, int | float):
            raise Rejected(self.name, f"does not implement {name}")
        return value

    def _encode(self, values: Mapping[str, float | str]) -> dict[str, Encoded]:
        return {name: encode(self._map[name], value) for name, value in values.items()}

    def _changed(self, wanted: Mapping[str, Encoded]) -> dict[str, Encoded]:
        """Return what the device does not hold already, as far as is known."""
        return {name: each for name, each in wanted.items() if self._held(name) != each.registers}

    def _held(self, name: str) -> tuple[int, ...]:
        point = self._map[name]
        return tuple(map(int, self._image[point.address - self._map.base : point.end - self._map.base]))

    async def _write(self, encoded: Mapping[str, Encoded]) -> None:
        """Write points, neighbours in one request, and what enables a function last."""
        order = runs(self._map[name] for name in encoded)
        for run in sorted(order, key=lambda run: any(point.name.endswith("Ena") for point in run)):
            await self.link.write(run[0].address, [word for p in run for word in encoded[p.name].registers])

    async def _settle(self, wanted: Mapping[str, Encoded]) -> None:
        """Read back what was written; `Rejected` unless the device holds it."""
        for request in ReadPlan(self._map, list(wanted)).requests:
            await self._read_into_image(*request)
        for name, each in self._changed(wanted).items():
            holds = self._map.value(name, self._image)
            raise Rejected(self.name, f"{name} was written {each.value!r} and reads {holds!r}")

    async def _refresh(self, key: str) -> None:
        """Read a model's registers again, if the device has it."""
        for block in self._map.blocks:
            if block.key == key:
                await self._read_into_image(block.address, block.length)

    async def _read_into_image(self, address: int, length: int) -> None:
        for start in range(address, address + length, READ_LIMIT):
            count = min(READ_LIMIT, address + length - start)
            at = start - self._map.base
            self._image[at : at + count] = await self.link.read(start, count)

    async def _read_value(self, name: str) -> float | str | None:
        point = self._map[name]
        await self._read_into_image(point.address, point.length)
        return self._map.value(name, self._image)

    async def poll(self, plan: ReadPlan) -> RegisterArray:
        """Return the registers of a plan's requests, one after the other."""
        parts = [await self.link.read(*request) for request in plan.requests]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint16)


# --- many devices ------------------------------------------------------------------------------------


class DeviceGroup:
    """n devices, exchanged with at the same time, for synchronous callers: vectors in, vectors out.

    `start` connects and discovers; `close` ends all connections, and the thread. Given a `thread`, the group
    runs in that and leaves closing it to its owner: beside an emulator in the same process that saves a third
    of the time, which two threads spend on handing each other the interpreter.
    If devices fail, the error of the first is raised once all have come to an end, with a note on the others.
    """

    def __init__(
        self,
        devices: Mapping[str, Address],
        *,
        lease_s: int = 0,
        deadline_s: float = 2.0,
        attempts: int = 2,
        thread: LoopThread | None = None,
    ) -> None:
        self._given_thread = thread
        links = [Link(name, address, deadline_s, attempts) for name, address in devices.items()]
        self.devices = tuple(SunSpecDevice(link, lease_s) for link in links)
        self._plans: list[ReadPlan] = []
        self._table: PointTable | None = None
        self._thread: LoopThread | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What the devices are called, in the order of every vector."""
        return tuple(device.name for device in self.devices)

    @property
    def traffic(self) -> Traffic:
        """What all connections together have carried."""
        each = [device.link.traffic for device in self.devices]
        totals = {f.name: sum(getattr(traffic, f.name) for traffic in each) for f in fields(Traffic)}
        return Traffic(**totals)

    def start(self) -> None:
        """Connect to every device and discover its points."""
        self._thread = self._given_thread or LoopThread("modbus devices")
        try:
            self._together(lambda device: device.discover())
        except BaseException:
            self.close()
            raise
        self._plans = [ReadPlan(device.map, MEASURED) for device in self.devices]
        self._table = PointTable.of_plans(self._plans)

    def nameplates(self) -> Nameplates:
        """Return the settings of model 702 and 713, as discovered."""
        maps = [device.map for device in self.devices]
        images = _rows([device.image for device in self.devices])
        return Nameplates(*PointTable.of_image(maps, NAMEPLATE).decode(images).T)

    def identities(self) -> list[str]:
        """Return manufacturer, model, version and serial number of each device (model 1)."""
        parts = ("1.Mn", "1.Md", "1.Vr", "1.SN")
        texts = [[d.map.value(name, d.image) for name in parts if name in d.map] for d in self.devices]
        return [" ".join(str(text) for text in each if text) for each in texts]

    def command(self, commands: Commands, now_s: float) -> None:
        """Give every device its commands and verify that it holds them.

        `now_s` is the time in which the devices' reversion timers count: simulated in lock-step, else wall time.
        Returns when all have done what they were told; raises Rejected or Unreachable if one has not.
        """
        self._refuse_wrong_length(commands)
        orders = {device.name: commands.order(index) for index, device in enumerate(self.devices)}
        self._together(lambda device: device.command(orders[device.name], now_s))

    def _refuse_wrong_length(self, commands: Commands) -> None:
        for field in fields(commands):
            given = getattr(commands, field.name)
            if given is not None and len(given) != len(self.devices):
                raise ValueError(f"commands: {field.name!r} has {len(given)} values for {len(self.devices)} devices")

    def poll(self) -> Measurements:
        """Return what every device measures now."""
        if self._table is None:
            raise RuntimeError("the group is not started")
        plans = {device.name: plan for device, plan in zip(self.devices, self._plans, strict=True)}
        rows = self._together(lambda device: device.poll(plans[device.name]))
        return Measurements.from_table(self._table.decode(_rows(rows)))

    def exchange(self, commands: Commands, now_s: float) -> Measurements:
        """Command every device, then poll it."""
        self.command(commands, now_s)
        return self.poll()

    def close(self) -> None:
        """Close every connection and join the thread; once or more often."""
        if self._thread is not None and not self._thread.closed:
            self._together(lambda device: device.link.close())
            if self._given_thread is None:
                self._thread.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _together(self, work: Callable[[SunSpecDevice], Coroutine[Any, Any, T]]) -> list[T]:
        if self._thread is None:
            raise RuntimeError("the group is not started")
        return self._thread.run(_gather([partial(work, device) for device in self.devices]))


async def _gather(work: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """Run all to their ends; return their results or raise the first error, with a note on the others."""
    results = await asyncio.gather(*(each() for each in work), return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    if not errors:
        return [result for result in results if not isinstance(result, BaseException)]
    for other in errors[1:]:
        errors[0].add_note(f"also: {other}")
    raise errors[0]


def _rows(rows: Sequence[RegisterArray]) -> RegisterArray:
    """Stack rows of registers, short ones filled with zeros that no point refers to."""
    stacked = np.zeros((len(rows), max(len(row) for row in rows) or 1), dtype=np.uint16)
    for index, row in enumerate(rows):
        stacked[index, : len(row)] = row
    return stacked
