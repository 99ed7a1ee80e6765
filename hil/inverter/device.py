"""One device behind a link: discovered, commanded, verified."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np

from derloop.errors import Rejected
from hil.inverter.commands import REFERENCES, Order, VoltVarCurve
from hil.modbus.link import Link
from hil.sunspec.codec import Encoded, encode
from hil.sunspec.discovery import walk
from hil.sunspec.errors import SunSpecError, SunSpecMapError
from hil.sunspec.points import RegisterArray, Value
from hil.sunspec.reads import READ_LIMIT, ReadPlan, Request, runs
from hil.sunspec.register_map import RegisterMap

ADOPTION_S = 5.0
"""How long a device may take to adopt a curve."""


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
                resume = partial(step.send, await self.link.read(request.address, request.registers))
            except Rejected as refusal:
                resume = partial(step.throw, refusal)
        self._connects = self.link.opened

    async def command(self, order: Order, now_s: float) -> None:
        """Make the device do what is ordered; `now_s` is the time in which its reversion timers count."""
        with self._rejecting_misfits():
            await self._notice_reconnection()
            await self._settle(await self._command_704(order, now_s))
            if order.volt_var_off:
                await self._settle(await self._turn_off("705.Ena"))
            elif order.volt_var is not None:
                await self._follow(order.volt_var)

    async def _notice_reconnection(self) -> None:
        """Read the settings again when the connection was lost: the device may have restarted."""
        if self._connects != self.link.opened or not self.link.connected:
            await self._refresh("704")
            await self._refresh("705")
            self._connects = self.link.opened

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

    async def read(self, names: Sequence[str]) -> dict[str, Value]:
        """Return what the device holds now at these points: "711.Ctl.0.DbOf" ...; None where not implemented."""
        for request in ReadPlan(self._map, names).requests:
            await self._read_into_image(request.address, request.registers)
        return {name: self._map.value(name, self._image) for name in names}

    async def write(self, values: Mapping[str, float | str]) -> None:
        """Write points by name, what enables a function last, and verify that the device holds them."""
        with self._rejecting_misfits():
            wanted = self._encode(values)
            await self.read(list(wanted))
            await self._write(self._changed(wanted))
            await self._settle(wanted)

    async def adopt(self, model: str, values: Mapping[str, float | str]) -> None:
        """Make a curve (of 711 a control) the active one, unless it is: to a spare place, handed over, verified.

        values: points of the curve by their path in it: "RspTms", "Pt.0.V", "MustTrip.Pt.1.Tms" ...
        """
        with self._rejecting_misfits():
            group = "Ctl" if f"{model}.AdptCtlReq" in self._map else "Crv"
            active = self._encode({f"{model}.{group}.0.{path}": value for path, value in values.items()})
            await self.read(list(active))
            if not self._changed(active):
                return
            slot = self._spare(model, group)
            spare = self._encode({f"{model}.{group}.{slot}.{path}": value for path, value in values.items()})
            await self.read(list(spare))
            await self._write(self._changed(spare))
            await self._settle(spare)
            await self._hand_over(model, group, slot)
            await self._settle(active)

    @contextmanager
    def _rejecting_misfits(self) -> Iterator[None]:
        """Turn what does not fit the device's map into `Rejected`."""
        try:
            yield
        except SunSpecError as misfit:
            raise Rejected(self.name, str(misfit)) from misfit

    async def _follow(self, curve: VoltVarCurve) -> None:
        """Make a volt-var curve the device's, and enable it."""
        values: dict[str, float | str] = {"ActPt": len(curve.v_pu), "DeptRef": REFERENCES[curve.reference]}
        if self._implemented("705.Crv.0.RspTms"):
            values["RspTms"] = curve.response_s
        for index, (v_pu, q_pu) in enumerate(zip(curve.v_pu, curve.q_pu, strict=True)):
            values |= {f"Pt.{index}.V": 100.0 * v_pu, f"Pt.{index}.Var": 100.0 * q_pu}
        await self.adopt("705", values)
        await self.write({"705.Ena": 1.0})

    def _spare(self, model: str, group: str) -> int:
        """Return the first place for a curve, counted from 0, that may be written."""
        for slot in range(1, self._map.group_size(model, group)):
            if self._map.value(f"{model}.{group}.{slot}.ReadOnly", self._image) == 0:
                return slot
        raise Rejected(self.name, f"has no curve that may be written ({model} {group}.ReadOnly)")

    async def _hand_over(self, model: str, group: str, slot: int) -> None:
        """Ask for a curve (SunSpec counts from 1) and wait until the device has adopted it."""
        what, result_name = f"{model} {group} {slot + 1}", f"{model}.Adpt{group}Rslt"
        await self._write(self._encode({f"{model}.Adpt{group}Req": slot + 1.0}))
        end_s, pause_s = time.monotonic() + ADOPTION_S, 0.002
        while (result := await self._read_value(result_name)) == 0:
            if time.monotonic() > end_s:
                raise Rejected(self.name, f"has not adopted {what} within {ADOPTION_S:g} s")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.5)
        if result != 1:
            raise Rejected(self.name, f"did not adopt {what}: {result_name} is {result}")

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
            await self._read_into_image(request.address, request.registers)
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
        parts = [await self.link.read(request.address, request.registers) for request in plan.requests]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint16)
