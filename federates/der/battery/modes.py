"""Who decides on the power of a battery: the mode, from what it sees to what it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from derloop.contract import FloatArray, Port, Values
from derloop.kind import Context
from federates.der.battery.cells import Cells
from federates.der.battery.regulation import Regulator
from federates.der.battery.settings import BatterySettings
from federates.der.battery.site import Meter
from federates.der.battery.time_of_use import Schedule


@dataclass(frozen=True, slots=True)
class Now:
    """What a mode may know at an instant."""

    time_ns: int
    inputs: Values
    p_then_kw: FloatArray
    """What the batteries injected since the last instant (n,)."""
    cells: Cells


class Mode(Protocol):
    """Asks for powers. The battery gives what it can of them."""

    @property
    def ports(self) -> dict[str, Port]:
        """The inputs that it needs."""
        ...

    def wanted_kw(self, now: Now) -> FloatArray:
        """Return the power (n,) that is asked for, positive when injected."""
        ...


class Idle:
    """Asks for nothing."""

    ports: dict[str, Port] = {}  # noqa: RUF012 - never written

    def wanted_kw(self, now: Now) -> FloatArray:
        return np.zeros(now.p_then_kw.shape)


class Commanded:
    """Asks for what a control says."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.ports = {"p_set_kw": Port("kW", labels)}

    def wanted_kw(self, now: Now) -> FloatArray:
        return now.inputs["p_set_kw"]


class SelfConsumption:
    """Covers what the site draws, and takes its surplus."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.ports = meter.ports

    def wanted_kw(self, now: Now) -> FloatArray:
        return self._meter.net_kw(now.inputs, now.p_then_kw)


class ByTime:
    """Time of use."""

    def __init__(self, schedule: Schedule, exports: bool, meter: Meter | None, power_kw: FloatArray) -> None:
        self._schedule, self._exports, self._meter, self._power_kw = schedule, exports, meter, power_kw
        self.ports = {} if meter is None else meter.ports

    def wanted_kw(self, now: Now) -> FloatArray:
        action, share = self._schedule.at(now.time_ns)
        most = share * self._power_kw
        if action is None:
            return np.zeros(most.shape)
        if action == "charge":
            return -most
        net = None if self._meter is None else self._meter.net_kw(now.inputs, now.p_then_kw)
        if action == "self-consumption" and net is not None:
            return np.clip(net, -most, most)
        return most if net is None or self._exports else np.clip(net, 0.0, most)


class Regulating:
    """Frequency regulation."""

    def __init__(
        self, regulator: Regulator, target_soc_pu: float, labels: tuple[str, ...], power_kw: FloatArray
    ) -> None:
        self._regulator, self._target_soc_pu, self._power_kw = regulator, target_soc_pu, power_kw
        self.ports = {"f_hz": Port("Hz", labels)} if regulator.settings.needs_frequency else {}

    def wanted_kw(self, now: Now) -> FloatArray:
        above_kwh = (now.cells.soc_pu - self._target_soc_pu) * now.cells.capacity_kwh
        f_hz = now.inputs["f_hz"] if self._regulator.settings.needs_frequency else np.zeros(1)
        return self._regulator.power_kw(now.time_ns, f_hz, self._power_kw, above_kwh)


def mode_of(
    settings: BatterySettings, context: Context, labels: tuple[str, ...], power_kw: FloatArray, step_ns: int
) -> Mode:
    """Return the mode of the settings. Raises PlaceError for a site that is not."""
    meter = None if settings.site is None else Meter(settings.site, labels, context)
    if settings.mode == "commanded":
        return Commanded(labels)
    if settings.mode == "self-consumption" and meter is not None:
        return SelfConsumption(meter)
    if settings.mode == "time-of-use" and settings.time_of_use is not None:
        return ByTime(Schedule(settings.time_of_use, context, step_ns), settings.time_of_use.exports, meter, power_kw)
    if settings.mode == "regulation" and settings.regulation is not None:
        regulator = Regulator(settings.regulation, context, step_ns)
        return Regulating(regulator, settings.regulation.target_soc_pu, labels, power_kw)
    return Idle()
