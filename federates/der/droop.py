"""Droop of grid-forming units: the two lines that they offer at an instant, their filters, overload and trips.

With the powers `P` and `Q` that a unit gives, low-pass filtered with `tau`, its set points, and its rating `S`,

    tau dP_f/dt = P - P_f        f = f_0 - m_p (P_f - P_0)        m_p = p_droop_pu f_0 / S
    tau dQ_f/dt = Q - Q_f        v = v_0 - m_q (Q_f - Q_0)        m_q = q_droop_pu / S

and for powers that hold since the last instant, a step `h` ago, with `e = exp(-h / tau)`,

    f = [f_0 + m_p (P_0 - e P_f(t - h))] - m_p (1 - e) P        and alike for v
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray, Port, Values
from derloop.kind import Context, PlaceError, Settings, Terminal
from derloop.memory import remembers
from federates.fleets import Path, Problems, mistuned, named

MEASURED = {"p_kw": "kW", "q_kvar": "kvar", "f_hz": "Hz", "v_pu": "pu", "fault": "1"}
"""What a unit learns of what it gave at the last instant."""
LINES = {
    **{"forms": "1", "f_free_hz": "Hz", "hz_per_kw": "Hz/kW", "v_free_pu": "pu", "pu_per_kvar": "pu/kvar"},
    **{"p_least_kw": "kW", "p_most_kw": "kW", "s_most_kva": "kVA", "trip_cause": "1"},
}
SET = {"p_set_kw": "kW", "v_set_pu": "pu", "run": "1"}
"""What a control tells a unit that it supervises."""


class Forming(Settings):
    """Settings of grid-forming units."""

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
    supervised: bool = Field(
        default=False,
        description="A control tells P_0, v_0 and whether the unit runs: inputs p_set_kw, v_set_pu, run. "
        "A unit that has tripped is cleared by run 0, and comes back with run 1.",
        examples=[True],
    )
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
    over: tuple[str, ...] = Field(
        default=(),
        description="Fleets whose devices see the frequency: an output `<fleet>.f_hz` for each.",
        examples=[["rooftops"]],
    )

    @property
    def takes(self) -> tuple[str, ...]:
        """Inputs that a control may drive."""
        return tuple(SET) if self.supervised else ("p_set_kw",) if self.commanded else ()

    @model_validator(mode="after")
    def _sets_its_power_once(self) -> Self:
        if (self.commanded or self.supervised) and "p_set_pu" in self.model_fields_set:
            how = "commanded" if self.commanded else "supervised"
            raise ValueError(f"p_set_pu and {how} both say what P_0 is: leave one of them out")
        return self


class Told(NamedTuple):
    """What a unit is told at an instant, each (n,)."""

    p_set_kw: FloatArray
    v_set_pu: FloatArray
    run: FloatArray

    @classmethod
    def of(cls, settings: Forming, rated_kva: FloatArray, inputs: Values) -> Told:
        """Return what the inputs say, or where a control says nothing, the settings."""
        stated = {
            "p_set_kw": settings.p_set_pu * rated_kva,
            "v_set_pu": np.full(rated_kva.shape, settings.v_set_pu),
            "run": np.ones(rated_kva.shape),
        }
        return cls(**{name: inputs[name] if name in settings.takes else value for name, value in stated.items()})


class Reach(NamedTuple):
    """What units can give until the next step, kW, each (n,)."""

    least_kw: FloatArray
    most_kw: FloatArray


class _State(NamedTuple):
    """What the last instant leaves, each (n,)."""

    p_filtered_kw: FloatArray
    q_filtered_kvar: FloatArray
    over_s: FloatArray
    """For how long it has given more than its rating, without a break."""
    trip_cause: FloatArray


@remembers("_state", "_left", "_run")
class Droop:
    """n units. State: the filters, the clocks of overload, who has tripped, and who was told to run."""

    def __init__(self, settings: Forming, rated_kva: FloatArray, step_s: float) -> None:
        zeros = np.zeros(rated_kva.shape)
        self._settings, self._rated_kva, self._step_s = settings, rated_kva, step_s
        self._hz_per_kw = settings.p_droop_pu * settings.f_nominal_hz / rated_kva
        self._pu_per_kvar = settings.q_droop_pu / rated_kva
        self._state, self._run = _State(zeros, zeros, zeros, zeros), np.ones(rated_kva.shape)
        self._left = 0.0
        """What the filters keep of the last instant."""

    @property
    def trip_cause(self) -> FloatArray:
        return self._state.trip_cause

    def go_on(self, inputs: Values, passed_s: float) -> None:
        """Let what was given since the last instant move the filters, and take in who has tripped."""
        then, p_kw, q_kvar = self._state, inputs["p_kw"], inputs["q_kvar"]
        over = np.hypot(p_kw, q_kvar) > self._rated_kva * (1.0 + 1e-9)
        tripped = np.where(then.trip_cause > 0.0, then.trip_cause, inputs["fault"])
        self._state = _State(
            p_kw + self._left * (then.p_filtered_kw - p_kw),
            q_kvar + self._left * (then.q_filtered_kvar - q_kvar),
            np.where(over, then.over_s + passed_s, 0.0),
            np.where(self._run >= 0.5, tripped, 0.0),
        )
        tau = self._settings.filter_s
        self._left = float(np.exp(-passed_s / tau)) if tau > 0.0 else 0.0

    def lines(self, told: Told, ready: FloatArray | float, reach: Reach) -> dict[str, FloatArray]:
        """Return the lines of this instant: see `LINES`. ready: 1 for a unit (n,) that can be in service."""
        s, state, left = self._settings, self._state, self._left
        self._run = told.run.copy()
        q_set_kvar = s.q_set_pu * self._rated_kva
        may = state.over_s + self._step_s <= s.overload_s + 1e-9
        free_hz = s.f_nominal_hz + self._hz_per_kw * (told.p_set_kw - left * state.p_filtered_kw)
        return {
            "forms": np.where((state.trip_cause > 0.0) | (told.run < 0.5), 0.0, ready),
            "f_free_hz": free_hz,
            "hz_per_kw": (1.0 - left) * self._hz_per_kw,
            "v_free_pu": told.v_set_pu + self._pu_per_kvar * (q_set_kvar - left * state.q_filtered_kvar),
            "pu_per_kvar": (1.0 - left) * self._pu_per_kvar,
            **{"p_least_kw": reach.least_kw, "p_most_kw": reach.most_kw},
            "s_most_kva": np.where(may, s.overload_pu, 1.0) * self._rated_kva,
            "trip_cause": state.trip_cause,
        }


def forming(found: tuple[Terminal, ...]) -> tuple[Terminal, ...]:
    """Return terminals as those of units that form the grid. Raises PlaceError for one without three phases."""
    problems: Problems = [
        (("at", i, "bus"), f"a grid-forming unit has three phases; {unit.bus} is given {len(unit.phases)}")
        for i, unit in enumerate(found)
        if set(unit.phases) != {1, 2, 3}
    ]
    if problems:
        raise PlaceError(problems)
    return tuple(replace(unit, forms=True) for unit in found)


def input_ports(settings: Forming, labels: tuple[str, ...]) -> dict[str, Port]:
    """Return what units measure, and what a control tells them."""
    measured = {name: Port(unit, labels, "before") for name, unit in MEASURED.items()}
    return measured | {name: Port(SET[name], labels) for name in settings.takes}


def frequency_ports(settings: Forming, context: Context) -> dict[str, Port]:
    """Return the outputs of the frequency that other fleets see.

    Raises PlaceError for fleets that are not there, or have another nominal frequency.
    """
    path: Path = ("over",)
    problems = named(settings.over, path, context) + mistuned(settings.over, settings.f_nominal_hz, path, context)
    if problems:
        raise PlaceError(problems)
    return {f"{fleet}.f_hz": Port("Hz", context.labels[fleet]) for fleet in settings.over}


def frequencies(ports: dict[str, Port], f_hz: float) -> dict[str, FloatArray]:
    """Return what other fleets see: see `frequency_ports`."""
    return {name: np.full(port.size, f_hz) for name, port in ports.items()}
