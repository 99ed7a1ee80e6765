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
out. Energy is kept as by a battery: constant efficiencies, standby, a window of the state of charge. What was given and
lost, `given_kw` and `loss_kw`, are means over the step that has just passed, for what is given is found by the feeder:

    stored(t) - stored(t - h) = -(given(t) + loss(t)) h

The frequency that it measured at the last instant goes to the fleets in `over`, as `<fleet>.f_hz`, so that their
frequency droop helps. It is 0 where nothing holds the island.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import Balance, FloatArray, Interface, Port, Values
from derloop.errors import did_you_mean
from derloop.kind import Context, Kind, PlaceError, Terminal
from federates.der import Stepped
from federates.der.battery.cells import Cells, Window
from federates.der.battery.losses import Conversion, constant
from federates.der.battery.settings import BatterySpot
from federates.der.instants import Instants
from federates.der.placement import Size, draw, place

PASSED = ("given_kw", "loss_kw")
ENERGY = Balance("energy", leaves=PASSED[:1], lost=PASSED[1:], stored=("stored_kwh",), passed=PASSED)
_MEASURED = {"p_kw": "kW", "q_kvar": "kvar", "f_hz": "Hz", "v_pu": "pu", "fault": "1"}
_OUTPUTS = {
    **{"forms": "1", "f_free_hz": "Hz", "hz_per_kw": "Hz/kW", "v_free_pu": "pu", "pu_per_kvar": "pu/kvar"},
    **{"p_least_kw": "kW", "p_most_kw": "kW", "s_most_kva": "kVA"},
    **{"soc_pu": "pu", "stored_kwh": "kWh", "given_kw": "kW", "loss_kw": "kW", "trip_cause": "1"},
}


class GridFormingSettings(Stepped):
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
    f_nominal_hz: Literal[50, 60] = Field(default=60, description="Frequency at P_0, Hz.", examples=[60])
    v_set_pu: float = Field(default=1.0, ge=0.8, le=1.2, description="Voltage at Q_0, pu.", examples=[1.02])
    p_droop_pu: float = Field(
        default=0.01, gt=0.0, le=0.1, description="Fall of the frequency at rated power, pu.", examples=[0.01]
    )
    q_droop_pu: float = Field(
        default=0.05, ge=0.0, le=0.2, description="Fall of the voltage at rated power, all of it reactive, pu.",
        examples=[0.05],
    )  # fmt: skip
    filter_s: float = Field(
        default=0.1, ge=0.0, le=100.0, description="Time constant of the power filters, s.", examples=[0.1]
    )
    p_set_pu: float = Field(default=0.0, ge=-1.0, le=1.0, description="P_0, pu of the rating.", examples=[0.2])
    q_set_pu: float = Field(default=0.0, ge=-1.0, le=1.0, description="Q_0, pu of the rating.", examples=[0.1])
    commanded: bool = Field(default=False, description="P_0 is the input p_set_kw of a control, kW.", examples=[True])
    overload_pu: float = Field(
        default=1.2,
        ge=1.0,
        le=10.0,
        description="Most that is given for a short time, pu of the rating.",
        examples=[1.2],
    )
    overload_s: float = Field(
        default=10.0, ge=0.0, le=86400.0, description="For how long it may be more than the rating, s.", examples=[10.0]
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
    over: tuple[str, ...] = Field(
        default=(),
        description="Fleets whose devices see the frequency: an output `<fleet>.f_hz` for each.",
        examples=[["rooftops"]],
    )

    @model_validator(mode="after")
    def _starts_in_its_window(self) -> Self:
        if not self.soc_min_pu <= self.soc_initial_pu <= self.soc_max_pu:
            window = f"{self.soc_min_pu:g} to {self.soc_max_pu:g}"
            raise ValueError(f"soc_initial_pu {self.soc_initial_pu:g} is outside the window, {window}")
        return self

    @model_validator(mode="after")
    def _sets_its_power_once(self) -> Self:
        if self.commanded and "p_set_pu" in self.model_fields_set:
            raise ValueError("p_set_pu and commanded both say what P_0 is: leave one of them out")
        return self


class _State(NamedTuple):
    """What the last instant leaves, each (n,)."""

    p_filtered_kw: FloatArray
    q_filtered_kvar: FloatArray
    over_s: FloatArray
    """For how long it has given more than its rating, without a break."""
    trip_cause: FloatArray
    given_kw: FloatArray
    """Mean since the last instant but one, as is the next."""
    loss_kw: FloatArray


class GridForming:
    """n units. State: the filters, the clocks of overload, who has tripped, and the stores."""

    def __init__(self, settings: GridFormingSettings, context: Context) -> None:
        units = context.terminals.get(context.name) or terminals(settings, context)
        _check_fleets(settings, context)
        self._settings = settings
        self._rated_kva = np.array([unit.rated_kva for unit in units])
        zeros = np.zeros(len(units))
        self._hz_per_kw = settings.p_droop_pu * settings.f_nominal_hz / self._rated_kva
        self._pu_per_kvar = settings.q_droop_pu / self._rated_kva
        self._cells = _cells(settings, context, self._rated_kva)
        self._state = _State(zeros, zeros, zeros, zeros, zeros, zeros)
        self._left = 0.0
        """What the filters keep of the last instant."""
        self._first = True
        self._interface = _interface(settings, context, tuple(unit.label for unit in units))
        self._step_s = self._interface.step_ns / 1e9
        self._instants = Instants()

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        """Before the first step, units are out of service."""
        none = np.zeros(self._rated_kva.shape)
        return self._outputs(none, none, float(self._settings.f_nominal_hz))

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Return the lines that hold at this instant, from what was measured at the last one."""
        passed_s = self._instants.passed_ns(now_ns) / 1e9
        if passed_s > 0.0:
            self._pass(inputs, passed_s)
        p_set_kw = inputs["p_set_kw"] if self._settings.commanded else self._settings.p_set_pu * self._rated_kva
        return self._outputs(np.where(self._state.trip_cause > 0.0, 0.0, 1.0), p_set_kw, float(inputs["f_hz"][0]))

    def stop(self) -> None:
        pass

    def statistics(self) -> dict[str, float]:
        """Return how many units have tripped."""
        return {"tripped": float((self._state.trip_cause > 0.0).sum())}

    def _pass(self, inputs: Values, passed_s: float) -> None:
        """Let what was given since the last instant take its energy and move the filters."""
        then, hours = self._state, passed_s / 3600.0
        p_kw, q_kvar = inputs["p_kw"], inputs["q_kvar"]
        self._cells.stored_kwh, loss_kw = self._cells.after(p_kw, hours)
        over = np.hypot(p_kw, q_kvar) > self._rated_kva * (1.0 + 1e-9)
        self._state = _State(
            p_kw + self._left * (then.p_filtered_kw - p_kw),
            q_kvar + self._left * (then.q_filtered_kvar - q_kvar),
            np.where(over, then.over_s + passed_s, 0.0),
            np.where(then.trip_cause > 0.0, then.trip_cause, inputs["fault"]),
            p_kw.copy(),
            loss_kw,
        )
        tau = self._settings.filter_s
        self._left = float(np.exp(-passed_s / tau)) if tau > 0.0 else 0.0

    def _outputs(self, forms: FloatArray, p_set_kw: FloatArray, f_hz: float) -> Values:
        s, state, left = self._settings, self._state, self._left
        least_kw, most_kw = self._cells.p_range_kw(self._step_s / 3600.0)
        p_set_kw = np.clip(p_set_kw, least_kw, most_kw)
        q_set_kvar = s.q_set_pu * self._rated_kva
        free_hz = s.f_nominal_hz + self._hz_per_kw * (p_set_kw - left * state.p_filtered_kw)
        free_pu = s.v_set_pu + self._pu_per_kvar * (q_set_kvar - left * state.q_filtered_kvar)
        may = state.over_s + self._step_s <= s.overload_s + 1e-9
        told = {
            **{"forms": forms, "f_free_hz": free_hz, "hz_per_kw": (1.0 - left) * self._hz_per_kw},
            **{"v_free_pu": free_pu, "pu_per_kvar": (1.0 - left) * self._pu_per_kvar},
            **{"p_least_kw": least_kw, "p_most_kw": most_kw},
            **{"s_most_kva": np.where(may, s.overload_pu, 1.0) * self._rated_kva},
            **{"soc_pu": self._cells.soc_pu, "stored_kwh": self._cells.stored_kwh},
            **{"given_kw": state.given_kw, "loss_kw": state.loss_kw, "trip_cause": state.trip_cause},
        }
        fleets = {port: np.full(p.size, f_hz) for port, p in self._interface.outputs.items() if port.endswith(".f_hz")}
        return told | fleets


def _cells(settings: GridFormingSettings, context: Context, rated_kva: FloatArray) -> Cells:
    drawn = draw(settings.energy_kwh, rated_kva.size, context, "energy_kwh")
    own = [np.nan if spot.energy_kwh is None else spot.energy_kwh for spot in settings.at]
    energy_kwh = np.where(np.isnan(own), drawn, own)
    losses = constant(settings.charge_efficiency_pu, settings.discharge_efficiency_pu)
    window = Window(settings.soc_min_pu, settings.soc_min_pu, settings.soc_max_pu)
    cells = Cells(Conversion(losses, rated_kva), energy_kwh, window, settings.standby_kw, 0.0)
    cells.stored_kwh = settings.soc_initial_pu * energy_kwh
    return cells


def _interface(settings: GridFormingSettings, context: Context, labels: tuple[str, ...]) -> Interface:
    inputs = {name: Port(unit, labels, "before") for name, unit in _MEASURED.items()}
    if settings.commanded:
        inputs["p_set_kw"] = Port("kW", labels)
    outputs = {name: Port(unit, labels) for name, unit in _OUTPUTS.items()}
    outputs |= {f"{fleet}.f_hz": Port("Hz", context.labels[fleet]) for fleet in settings.over}
    return Interface(settings.step_ns(context), inputs, outputs, balances=(ENERGY,))


def _check_fleets(settings: GridFormingSettings, context: Context) -> None:
    problems: list[tuple[tuple[str | int, ...], str]] = [
        (("over", i), f"no fleet is called {fleet!r}" + did_you_mean(fleet, [*context.labels]))
        for i, fleet in enumerate(settings.over)
        if fleet not in context.labels
    ]
    if problems:
        raise PlaceError(problems)


def terminals(settings: GridFormingSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the units meet the feeder. Raises PlaceError for a place without three phases."""
    found = place(settings.at, settings.rated_kva, context)
    problems: list[tuple[tuple[str | int, ...], str]] = [
        (("at", i, "bus"), f"a grid-forming unit has three phases; {unit.bus} is given {len(unit.phases)}")
        for i, unit in enumerate(found)
        if set(unit.phases) != {1, 2, 3}
    ]
    if problems:
        raise PlaceError(problems)
    return tuple(replace(unit, forms=True) for unit in found)


KIND = Kind(
    "grid-forming", "Grid-forming inverters with droop, for islands", GridFormingSettings, GridForming, terminals
)
