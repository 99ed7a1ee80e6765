"""Grid-forming inverters with droop and a store: they hold the voltage and frequency of an island.

Powers are positive when injected. With the active power `P` and the reactive power `Q` that a unit gives, low-pass
filtered with the time constant `tau`, its set points, and its rating `S`,

    tau dP_f/dt = P - P_f        f = f_0 - m_p (P_f - P_0)        m_p = p_droop_pu f_0 / S
    tau dQ_f/dt = Q - Q_f        v = v_0 - m_q (Q_f - Q_0)        m_q = q_droop_pu / S

(M. C. Chandorkar, D. M. Divan, R. Adapa, "Control of Parallel Connected Inverters in Standalone AC Supply Systems",
IEEE Trans. Ind. Appl. 29 (1993) 136-143). The filter makes the droop a virtual inertia (S. D'Arco, J. A. Suul,
"Equivalence of Virtual Synchronous Machines and Frequency-Droops", IEEE Trans. Smart Grid 5 (2014) 394-395). For powers
that hold since the last instant, a step `h` ago, with `e = exp(-h / tau)`,

    f = [f_0 + m_p (P_0 - e P_f(t - h))] - m_p (1 - e) P        and alike for v

which is exact at any step. These lines go to the feeder, which finds at each instant the one frequency of an island at
which all of its units give what it draws, and the voltages, together with the power flow. So units share in proportion
to `1 / m_p`, at rest and on the way there. How the angles of units swing against each other, within tenths of a second,
is not modelled. Where the feeder's head is there, the frequency is its own, and a unit gives P_0.

Limits. A unit trips where it would have to give, until the next step, more than its rating (`overload_pu` of it for
`overload_s`), or more energy than it stores, or take more than it can. `fault` of the feeder and `trip_cause` here say
why: 1 overload, 2 energy, 3 no solution of the feeder. The others go on, if they can. A unit that has tripped stays
out, unless a control supervises it: with `run` 0 it is cleared, and with `run` 1 it comes back. Energy is kept as by a
battery: constant efficiencies, standby, a window of the state of charge. What was given and lost, `given_kw` and
`loss_kw`, are means over the step that has just passed, for what is given is found by the feeder:

    stored(t) - stored(t - h) = -(given(t) + loss(t)) h

The frequency that it measured at the last instant goes to the fleets in `over`, as `<fleet>.f_hz`, so that their
frequency droop helps. It is 0 where nothing holds the island.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import Balance, FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, Terminal
from derloop.memory import remembers
from federates.der import Stepped
from federates.der.battery.cells import Cells, Window
from federates.der.battery.losses import Conversion, constant
from federates.der.battery.settings import BatterySpot
from federates.der.droop import LINES, Droop, Forming, Reach, Told, forming, frequencies, frequency_ports, input_ports
from federates.der.instants import Instants
from federates.der.placement import Size, draw, place

PASSED = ("given_kw", "loss_kw")
ENERGY = Balance("energy", leaves=PASSED[:1], lost=PASSED[1:], stored=("stored_kwh",), passed=PASSED)
_OUTPUTS = LINES | {"soc_pu": "pu", "stored_kwh": "kWh", "given_kw": "kW", "loss_kw": "kW"}


class GridFormingSettings(Forming, Stepped):
    """Grid-forming inverters."""

    at: tuple[BatterySpot, ...] = Field(
        min_length=1,
        max_length=50,
        description="Where the units stand: buses with three phases.",
        examples=[[{"bus": "671", "rated_kva": 4000.0, "energy_kwh": 8000.0}]],
    )
    rated_kva: Size | None = Field(
        default=None,
        description="Rated apparent power of each unit, kVA: a number, or [min, max] to draw from.",
        examples=[4000.0],
    )
    energy_kwh: Size = Field(
        default=(1000.0, 1000.0),
        description="Energy from empty to full, kWh: a number, or [min, max] to draw from.",
        examples=[8000.0],
    )
    charge_efficiency_pu: float = Field(
        default=0.95, gt=0.0, le=1.0, description="Energy stored for energy taken, pu.", examples=[0.95]
    )
    discharge_efficiency_pu: float = Field(
        default=0.95, gt=0.0, le=1.0, description="Energy given for energy taken from store, pu.", examples=[0.95]
    )
    standby_kw: float = Field(
        default=0.0, ge=0.0, le=1e6, description="Own consumption of each unit, from its store, kW.", examples=[2.0]
    )
    soc_min_pu: float = Field(default=0.0, ge=0.0, lt=1.0, description="Least state of charge, pu.", examples=[0.05])
    soc_max_pu: float = Field(default=1.0, gt=0.0, le=1.0, description="Most state of charge, pu.", examples=[0.95])
    soc_initial_pu: float = Field(
        default=0.8, ge=0.0, le=1.0, description="State of charge at the start, pu.", examples=[0.8]
    )

    @model_validator(mode="after")
    def _starts_in_its_window(self) -> Self:
        if not self.soc_min_pu <= self.soc_initial_pu <= self.soc_max_pu:
            window = f"{self.soc_min_pu:g} to {self.soc_max_pu:g}"
            raise ValueError(f"soc_initial_pu {self.soc_initial_pu:g} is outside the window, {window}")
        return self


@remembers("_given_kw", "_loss_kw")
class GridForming:
    """n units. State: their droop, the stores, and what was given and lost since the last instant but one."""

    def __init__(self, settings: GridFormingSettings, context: Context) -> None:
        units = context.terminals.get(context.name) or terminals(settings, context)
        self._settings = settings
        self._rated_kva = np.array([unit.rated_kva for unit in units])
        self._others = frequency_ports(settings, context)
        labels = tuple(unit.label for unit in units)
        outputs = {name: Port(unit, labels) for name, unit in _OUTPUTS.items()} | self._others
        inputs = input_ports(settings, labels)
        self._interface = Interface(settings.step_ns(context), inputs, outputs, balances=(ENERGY,))
        self._step_s = self._interface.step_ns / 1e9
        self._droop = Droop(settings, self._rated_kva, self._step_s)
        self._cells = _cells(settings, context, self._rated_kva)
        self._given_kw = self._loss_kw = np.zeros(len(units))
        self._instants = Instants()

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        """Before the first step, units are out of service."""
        none, s = np.zeros(self._rated_kva.shape), self._settings
        return self._outputs(Told(none, none + s.v_set_pu, none), float(s.f_nominal_hz))

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Return the lines that hold at this instant, from what was measured at the last one."""
        passed_s = self._instants.passed_ns(now_ns) / 1e9
        if passed_s > 0.0:
            self._pass(inputs, passed_s)
        return self._outputs(Told.of(self._settings, self._rated_kva, inputs), float(inputs["f_hz"][0]))

    def stop(self) -> None:
        pass

    def statistics(self) -> dict[str, float]:
        """Return how many units have tripped."""
        return {"tripped": float((self._droop.trip_cause > 0.0).sum())}

    def _pass(self, inputs: Values, passed_s: float) -> None:
        """Let what was given since the last instant take its energy and move the filters."""
        self._given_kw = inputs["p_kw"].copy()
        self._cells.stored_kwh, self._loss_kw = self._cells.after(self._given_kw, passed_s / 3600.0)
        self._droop.go_on(inputs, passed_s)

    def _outputs(self, told: Told, f_hz: float) -> Values:
        reach = Reach(*self._cells.p_range_kw(self._step_s / 3600.0))
        within = told._replace(p_set_kw=np.clip(told.p_set_kw, reach.least_kw, reach.most_kw))
        return {
            **self._droop.lines(within, 1.0, reach),
            **{"soc_pu": self._cells.soc_pu, "stored_kwh": self._cells.stored_kwh},
            **{"given_kw": self._given_kw, "loss_kw": self._loss_kw},
            **frequencies(self._others, f_hz),
        }


def _cells(settings: GridFormingSettings, context: Context, rated_kva: FloatArray) -> Cells:
    drawn = draw(settings.energy_kwh, rated_kva.size, context, "energy_kwh")
    own = [np.nan if spot.energy_kwh is None else spot.energy_kwh for spot in settings.at]
    energy_kwh = np.where(np.isnan(own), drawn, own)
    losses = constant(settings.charge_efficiency_pu, settings.discharge_efficiency_pu)
    window = Window(settings.soc_min_pu, settings.soc_min_pu, settings.soc_max_pu)
    cells = Cells(Conversion(losses, rated_kva), energy_kwh, window, settings.standby_kw, 0.0)
    cells.stored_kwh = settings.soc_initial_pu * energy_kwh
    return cells


def terminals(settings: GridFormingSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the units meet the feeder. Raises PlaceError for a place without three phases."""
    return forming(place(settings.at, settings.rated_kva, context))


KIND = Kind(
    "grid-forming", "Grid-forming inverters with droop, for islands", GridFormingSettings, GridForming, terminals
)
