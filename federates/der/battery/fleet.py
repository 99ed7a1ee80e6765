"""n batteries as a federate: the mode asks, the cells and the inverter say what can be, and time passes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from derloop.contract import Balance, FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, Terminal
from derloop.memory import remembers
from federates.der.battery.ageing import Ageing
from federates.der.battery.cells import Cells, Window
from federates.der.battery.losses import Conversion
from federates.der.battery.modes import Mode, Now, mode_of
from federates.der.battery.settings import BatterySettings
from federates.der.battery.warmth import Warmth
from federates.der.inverter import Inverters
from federates.der.placement import draw, place

NS_PER_H = 3.6e12
ENERGY = Balance("energy", leaves=("p_kw",), lost=("loss_kw",), stored=("stored_kwh",))
CHARGE = Balance("charge", enters=("stored_kwh",), leaves=("soc_pu",))
"""The state of charge is what is stored, and so follows the integral; not of cells that age, whose capacity falls."""
_OUTPUTS = {
    **{"p_kw": "kW", "q_kvar": "kvar", "soc_pu": "pu", "p_max_kw": "kW", "p_min_kw": "kW"},
    **{"loss_kw": "kW", "stored_kwh": "kWh"},
}


@dataclass(frozen=True, slots=True)
class Storage:
    """What n batteries can hold."""

    energy_kwh: FloatArray
    """From empty to full when new (n,)."""
    charge_kw: FloatArray
    """With how much they can be charged (n,)."""
    discharge_kw: FloatArray
    """With how much they can be discharged (n,)."""
    soc_min_pu: float
    """Down to which they may be discharged."""
    soc_max_pu: float


class _Outcome(NamedTuple):
    """What a step with this power leads to."""

    on: tuple[FloatArray, FloatArray, FloatArray]
    """Power, what is stored, and what can be: arrays that are replaced, and never written into."""
    hours: float
    found: tuple[FloatArray, FloatArray]


@remembers("_p_kw", "_p_then_kw", "_now_ns", "_health_pu")
class BatteryFleet:
    """n batteries. State: of the cells at the last instant, and the power that holds since then."""

    def __init__(self, settings: BatterySettings, context: Context) -> None:
        units = context.terminals.get(context.name) or terminals(settings, context)
        labels, step_ns = tuple(unit.label for unit in units), settings.step_ns(context)
        self._settings = settings
        self.inverters = Inverters(settings.smart, np.array([unit.rated_kva for unit in units]), seed=context.seed)
        self._power_kw = _power_kw(settings, context, self.inverters)
        self._cells = _cells(settings, context, self._power_kw)
        heats, ages = settings.temperature, settings.ageing
        self._warmth = None if heats is None else Warmth(heats, len(units), context, step_ns)
        self._ageing = None if ages is None else Ageing(ages, self._cells.soc_pu)
        self._mode = mode_of(settings, context, labels, self._power_kw, step_ns)
        self._interface = _interface(settings, self._mode, self.inverters, labels, step_ns, self._cells.nominal_kwh)
        self.cautions = settings.smart.cautions(context.name, self._interface.step_ns)
        self._step_h = step_ns / NS_PER_H
        self._now_ns: int | None = None
        self._p_kw = self._p_then_kw = np.zeros(len(units))
        self._health_pu = np.ones(len(units))
        self._told_after: _Outcome | None = None

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        zeros = np.zeros(self._power_kw.shape)
        return self._outputs(zeros, zeros, self.inverters.p_room_kw(zeros))

    def step(self, now_ns: int, inputs: Values) -> Values:
        self._pass_until(now_ns)
        band = self._p_range_kw(self.inverters.p_most_kw)
        wanted = self._mode.wanted_kw(Now(now_ns, inputs, self._p_then_kw, self._cells))
        wanted = np.minimum(np.maximum(wanted, band[0]), band[1])
        if "q_set_pu" in inputs:  # not where registers say it
            self.inverters.adjust("constant_q", q_pu=np.clip(inputs["q_set_pu"], -1.0, 1.0))
        p_kw, q_kvar = self.inverters.step(now_ns, self.inverters.seen(inputs), wanted, band)
        room_kw = self.inverters.p_room_kw(q_kvar)
        self._p_kw, q_kvar, room_kw = self.inverters.where_alive(inputs["v_pu"], p_kw, q_kvar, room_kw)
        return self._outputs(self._p_kw, q_kvar, room_kw)

    def stop(self) -> None:
        pass

    @property
    def storage(self) -> Storage:
        """What its batteries hold."""
        s = self._settings
        return Storage(self._cells.nominal_kwh, self._power_kw, self._power_kw, s.reserve_pu, s.soc_max_pu)

    def _pass_until(self, now_ns: int) -> None:
        """Let the power that holds since the last instant take its energy; nothing if `now_ns` is that instant."""
        then_ns, self._now_ns = self._now_ns, now_ns
        if then_ns is None or then_ns == now_ns:
            return
        hours = (now_ns - then_ns) / NS_PER_H
        self._p_then_kw = self._p_kw
        self._cells.stored_kwh, loss_kw = self._after(self._p_kw, hours)
        if self._warmth is not None:
            self._warmth.pass_by(loss_kw, then_ns, hours)
        if self._ageing is not None:
            warm_c = None if self._warmth is None else self._warmth.cells_c
            self._health_pu = self._ageing.pass_by(self._cells.soc_pu, hours, warm_c)
            self._cells.shrink(self._health_pu)

    def _p_range_kw(self, room_kw: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the least and the most active power (n,) that can hold for one step in this room of the inverter."""
        power = np.minimum(self._power_kw, room_kw)
        charge, discharge = (1.0, 1.0) if self._warmth is None else self._warmth.shares()
        lowest, highest = -power * charge, power * discharge
        least, most = self._cells.p_range_kw(self._step_h)
        least, most = np.maximum(least, lowest), np.maximum(most, lowest)
        return np.minimum(least, highest, out=least), np.minimum(most, highest, out=most)

    def _after(self, p_kw: FloatArray, hours: float) -> tuple[FloatArray, FloatArray]:
        """Return what `Cells.after` does: what an instant has told of its step, the next one finds."""
        cells, known = self._cells, self._told_after
        on = p_kw, cells.stored_kwh, cells.capacity_kwh
        if known is None or known.hours != hours or any(a is not b for a, b in zip(on, known.on, strict=True)):
            self._told_after = known = _Outcome(on, hours, cells.after(p_kw, hours))
        return known.found

    def _outputs(self, p_kw: FloatArray, q_kvar: FloatArray, room_kw: FloatArray) -> Values:
        p_min_kw, p_max_kw = self._p_range_kw(room_kw)
        p_max_kw = np.maximum(self.inverters.below_caps_kw(p_max_kw), p_min_kw)
        cells = self._cells
        told = {
            **{"p_kw": p_kw, "q_kvar": q_kvar, "soc_pu": cells.soc_pu, "p_max_kw": p_max_kw, "p_min_kw": p_min_kw},
            **{"loss_kw": self._after(p_kw, self._step_h)[1], "stored_kwh": cells.stored_kwh},
        }
        if self._warmth is not None:
            told["cells_c"] = self._warmth.cells_c
        if self._ageing is not None:
            told["health_pu"] = self._health_pu
        return told


def _interface(
    settings: BatterySettings,
    mode: Mode,
    inverters: Inverters,
    labels: tuple[str, ...],
    step_ns: int,
    nominal_kwh: FloatArray,
) -> Interface:
    units = dict(_OUTPUTS)
    balances: tuple[Balance, ...] = (ENERGY,)
    if settings.ageing is None:
        balances += (replace(CHARGE, times={"soc_pu": tuple(nominal_kwh.tolist())}),)
    if settings.temperature is not None:
        units["cells_c"] = "degC"
    if settings.ageing is not None:
        units["health_pu"] = "pu"
    inputs = mode.ports | inverters.ports(labels)
    if settings.q_commanded:
        inputs["q_set_pu"] = Port("pu", labels)
    outputs = {name: Port(unit, labels) for name, unit in units.items()}
    return Interface(step_ns, inputs, outputs, balances=balances)


def _cells(settings: BatterySettings, context: Context, power_kw: FloatArray) -> Cells:
    energy_kwh = draw(settings.energy_kwh, power_kw.size, context, "energy_kwh")
    if isinstance(settings.at, tuple):
        own = [np.nan if spot.energy_kwh is None else spot.energy_kwh for spot in settings.at]
        energy_kwh = np.where(np.isnan(own), energy_kwh, own)
    window = Window(settings.soc_min_pu, settings.reserve_pu, settings.soc_max_pu)
    conversion = Conversion(settings.all_losses, power_kw)
    cells = Cells(conversion, energy_kwh, window, settings.standby_kw, settings.self_discharge_pu_per_h)
    cells.stored_kwh = settings.soc_initial_pu * energy_kwh
    return cells


def _power_kw(settings: BatterySettings, context: Context, inverters: Inverters) -> FloatArray:
    if settings.power_kw is None:
        return inverters.rated_kva
    drawn = draw(settings.power_kw, inverters.rated_kva.size, context, "power_kw")
    return np.minimum(drawn, inverters.rated_kva)


def terminals(settings: BatterySettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the batteries meet the feeder."""
    return settings.smart.seeing(place(settings.at, settings.rated_kva, context))


KIND = Kind("battery", "Batteries with smart inverters", BatterySettings, BatteryFleet, terminals, is_der=True)
