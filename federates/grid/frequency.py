"""The bulk system's frequency: a trace, or a model that feels what the feeder draws.

Model (P. Kundur, "Power System Stability and Control", 1994, 11.1; A. J. Wood and B. F. Wollenberg, "Power Generation,
Operation, and Control", 2nd ed., 9): deviations from the steady state at the start, pu of `base_mw` and of nominal
frequency,

    2 H df/dt = p_m - (lost + drawn) - D f
    T_t dp_m/dt = p_v - p_m
    T_g dp_v/dt = clip(-dead(f) / R + a, -reserve, reserve) - p_v
    da/dt = -k (1 / R + D) f,   |a| <= reserve

with the inertia constant `H`, load damping `D`, droop `R` with a dead band, governor and turbine time constants, and
the integral of automatic generation control `a`. `lost` is generation that is lost (or load that comes) by the
scenario's events; `drawn` is how much more the ports in `draws`, and less those in `injects`, draw than at the first
instant, times `stands_for`: how many such feeders the system has. What is measured at an instant holds until the next.

Devices close the loop: each fleet in `over` has the frequency at its input `f_hz`, within the instant; by its droop it
draws or injects otherwise, the feeder's head follows, and the system feels that in the next step.

They are those of small deviations: where the frequency leaves 0.8 to 1.2 of nominal, which no system survives, it has
collapsed and the run ends.

The equations are solved by the Runge-Kutta method of fourth order, with steps of at most a tenth of the shortest time
constant, which begin anew at each event. Energies are integrated with the same weights, so that to rounding

    kinetic = supplied - damped - imbalance        (MW s, kinetic = 2 H base f)
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, StringConstraints, model_validator

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, PlaceError, Settings
from derloop.memory import remembers
from derloop.texts import PORT
from federates.der import Stepped
from federates.der.course import Allowed, Course, read_course
from federates.der.instants import Instants
from federates.der.profile import Profile
from federates.der.smart.settings import IN_HZ, Smart
from federates.fleets import mistuned, named
from federates.grid.engine import SolverError

PortName = Annotated[str, StringConstraints(max_length=120), PORT]
State = tuple[float, ...]
"""f, p_m, p_v, a, and three energies: few numbers in many short steps, for which tuples are faster than arrays."""
HOLDS_PU = 0.8, 1.2
"""Of nominal frequency: what a trace may have, and within which the model holds."""
_F, _M, _V, _A, _SUPPLIED, _DAMPED, _IMBALANCE = range(7)
_OUTPUTS = {
    **{"f_hz": "Hz", "rocof_hz_per_s": "Hz/s", "governed_mw": "MW", "agc_mw": "MW", "imbalance_mw": "MW"},
    **{"kinetic_mws": "MWs", "supplied_mws": "MWs", "damped_mws": "MWs", "imbalance_mws": "MWs"},
}


class Loss(Settings):
    """Generation that is lost at a time, or comes back."""

    at_s: float = Field(ge=0.0, le=1e10, description="When, s since the scenario's start.", examples=[10.0])
    lost_mw: float = Field(
        ge=-1e6,
        le=1e6,
        description="Lost from then on, MW; negative: generation comes, or load is lost.",
        examples=[100.0],
    )


class SystemModel(Settings):
    """A bulk system as one machine."""

    base_mw: float = Field(gt=0.0, le=1e7, description="Power on which pu are based, MW.", examples=[1000.0])
    inertia_s: float = Field(
        default=4.0, gt=0.0, le=50.0, description="Inertia constant H, s, on base_mw.", examples=[4.0]
    )
    damping_pu: float = Field(
        default=1.0, ge=0.0, le=10.0, description="Change of load with frequency, pu for each pu.", examples=[1.0]
    )
    droop_pu: float = Field(
        default=0.05,
        gt=0.0,
        le=1.0,
        description="Droop of the governors, pu of frequency for 1 pu of power.",
        examples=[0.05],
    )
    deadband_hz: float = Field(
        default=0.0, ge=0.0, le=1.0, description="Governors rest within this of nominal, Hz.", examples=[0.036]
    )
    governor_s: float = Field(
        default=0.2, ge=0.01, le=100.0, description="Time constant of the governors, s.", examples=[0.2]
    )
    turbine_s: float = Field(
        default=0.5, ge=0.01, le=100.0, description="Time constant of the turbines, s.", examples=[0.5]
    )
    agc_per_s: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Gain of automatic generation control, 1/s: the share of an error that is made up for in a second.",
        examples=[0.02],
    )
    reserve_pu: float = Field(
        default=0.1, gt=0.0, le=1.0, description="Most that governors add or take away, pu of base_mw.", examples=[0.1]
    )
    losses: tuple[Loss, ...] = Field(
        default=(), max_length=10_000, description="Events.", examples=[[{"at_s": 10, "lost_mw": 100}]]
    )
    draws: tuple[PortName, ...] = Field(
        default=(),
        description="Ports of powers that the system feeds, as federate.port, kW.",
        examples=[["grid.head_kw"]],
    )
    injects: tuple[PortName, ...] = Field(
        default=(),
        description="Ports of powers that feed the system, as federate.port, kW.",
        examples=[["storage.p_kw"]],
    )
    stands_for: float = Field(
        default=1.0, gt=0.0, le=1e6, description="How many such feeders the system has.", examples=[100.0]
    )


class FrequencySettings(Stepped):
    """The frequency of the bulk system."""

    nominal_hz: Literal[50, 60] = Field(default=60, description="Nominal frequency, Hz.", examples=[60])
    trace: Course | None = Field(
        default=None,
        description="The frequency, Hz: a number, or a column of a profile.",
        examples=[{"file": "profiles/frequency.csv", "column": "f_hz"}],
    )
    model: SystemModel | None = Field(
        default=None, description="A model of the system.", examples=[{"base_mw": 1000, "draws": ["grid.head_kw"]}]
    )
    over: tuple[str, ...] = Field(
        default=(),
        description="Fleets whose devices see the frequency: an output `<fleet>.f_hz` for each.",
        examples=[["storage"]],
    )

    @model_validator(mode="after")
    def _is_a_trace_or_a_model(self) -> FrequencySettings:
        if (self.trace is None) == (self.model is None):
            raise ValueError("needs one of trace and model, and not both")
        return self


@remembers("_latest", "_held", "_before_ns", "_now_ns", "_number", "_drawn_at_first_mw")
class Frequency:
    """The frequency. State of the model: deviations and energies at the last instant, and at this one."""

    def __init__(self, settings: FrequencySettings, context: Context) -> None:
        _check_fleets(settings, context)
        self._nominal_hz, self._model = float(settings.nominal_hz), settings.model
        step_ns = settings.step_ns(context)
        self._trace = None if settings.trace is None else _trace(settings, context, step_ns)
        self._system = None if settings.model is None else System(settings.model, self._nominal_hz)
        self._over = {f"{fleet}.f_hz": len(context.labels[fleet]) for fleet in settings.over}
        self._interface = _interface(settings, context, step_ns)
        self._drawn_at_first_mw, self._number = 0.0, 0
        self._instants, self._before_ns, self._now_ns = Instants(), 0, 0
        self._held: State = (0.0,) * 7
        self._latest: State = (0.0,) * 7

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self._outputs(0.0) if self._trace is None else self._spread(self._trace.at(0), {})

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Return the frequency, Hz, and what moves it. Raises SolverError where it collapses."""
        if self._trace is not None:
            return self._spread(self._trace.at(now_ns), {})
        passed_ns = self._instants.passed_ns(now_ns)
        if passed_ns > 0:
            self._held, self._before_ns, self._now_ns = self._latest, now_ns - passed_ns, now_ns
            self._number += 1
        drawn_mw = self._drawn_mw(inputs)
        assert self._system
        self._latest = self._system.after(self._held, self._before_ns / 1e9, self._now_ns / 1e9, drawn_mw)
        self._refuse_collapse(drawn_mw)
        return self._outputs(drawn_mw)

    def stop(self) -> None:
        pass

    def _refuse_collapse(self, drawn_mw: float) -> None:
        f_pu, (least, most) = 1.0 + self._latest[_F], HOLDS_PU
        if not least <= f_pu <= most:
            f0 = self._nominal_hz
            assert self._system
            off_mw = self._system.told(self._latest, self._now_ns / 1e9, drawn_mw)["imbalance_mw"]
            what = f"{f_pu * f0:.4g} Hz, with {off_mw:.4g} MW that are lost and drawn"
            raise SolverError(f"frequency collapse: {what}; the model holds from {least * f0:g} to {most * f0:g} Hz")

    def _drawn_mw(self, inputs: Values) -> float:
        """Return how much more is drawn than at the first instant, MW. What that was is known at the second one."""
        assert self._model
        drawn = sum(float(inputs[p].sum()) for p in self._model.draws)
        injected = sum(float(inputs[p].sum()) for p in self._model.injects)
        drawn_mw = (drawn - injected) * self._model.stands_for / 1000.0
        if self._number <= 1:
            self._drawn_at_first_mw = drawn_mw
        return drawn_mw - self._drawn_at_first_mw

    def _outputs(self, drawn_mw: float) -> Values:
        assert self._system
        told = self._system.told(self._latest, self._now_ns / 1e9, drawn_mw)
        return self._spread(told.pop("f_hz"), told)

    def _spread(self, f_hz: float, others: dict[str, float]) -> Values:
        values: dict[str, FloatArray] = {port: np.array([x]) for port, x in others.items()}
        return values | {port: np.full(count, f_hz) for port, count in {"f_hz": 1, **self._over}.items()}


class System:
    """The model as a function: from one state to the next."""

    def __init__(self, model: SystemModel, nominal_hz: float) -> None:
        self._model, self._nominal_hz = model, nominal_hz
        self._longest_s = min(model.governor_s, model.turbine_s, 2.0 * model.inertia_s) / 10.0

    def after(self, state: State, begin_s: float, end_s: float, drawn_mw: float) -> State:
        """Return the state at `end_s`; `drawn_mw` holds from `begin_s` on."""
        events = [loss.at_s for loss in self._model.losses if begin_s < loss.at_s < end_s]
        edges = sorted({begin_s, *events, end_s})
        for low, high in pairwise(edges):
            count = ceil((high - low) / self._longest_s - 1e-9)
            imbalance = self.imbalance_pu(low, drawn_mw)
            for _ in range(count):
                state = self._stepped(state, imbalance, (high - low) / count)
        return state

    def imbalance_pu(self, time_s: float, drawn_mw: float) -> float:
        """Return what is lost and drawn from `time_s` on, pu."""
        lost = sum(loss.lost_mw for loss in self._model.losses if loss.at_s <= time_s)
        return (lost + drawn_mw) / self._model.base_mw

    def told(self, state: State, time_s: float, drawn_mw: float) -> dict[str, float]:
        """Return the outputs."""
        base, f0 = self._model.base_mw, self._nominal_hz
        imbalance = self.imbalance_pu(time_s, drawn_mw)
        rocof = self._slope(state, imbalance)[_F] * f0
        return {
            **{"f_hz": f0 * (1.0 + state[_F]), "rocof_hz_per_s": rocof, "governed_mw": base * state[_M]},
            **{"agc_mw": base * state[_A], "imbalance_mw": base * imbalance},
            **{"kinetic_mws": 2.0 * self._model.inertia_s * base * state[_F], "supplied_mws": base * state[_SUPPLIED]},
            **{"damped_mws": base * state[_DAMPED], "imbalance_mws": base * state[_IMBALANCE]},
        }

    def _stepped(self, x: State, imbalance: float, h: float) -> State:
        a = self._slope(x, imbalance)
        b = self._slope(_moved(x, a, 0.5 * h), imbalance)
        c = self._slope(_moved(x, b, 0.5 * h), imbalance)
        d = self._slope(_moved(x, c, h), imbalance)
        mean = tuple((p + 2.0 * (q + r) + s) / 6.0 for p, q, r, s in zip(a, b, c, d, strict=True))
        f, p_m, p_v, agc, *energies = _moved(x, mean, h)
        return (f, p_m, p_v, min(max(agc, -self._model.reserve_pu), self._model.reserve_pu), *energies)

    def _slope(self, x: State, imbalance: float) -> State:
        m = self._model
        f, p_m, p_v, agc = x[:4]
        dead = m.deadband_hz / self._nominal_hz
        beyond = f - min(max(f, -dead), dead)
        asked = min(max(agc - beyond / m.droop_pu, -m.reserve_pu), m.reserve_pu)
        damped = m.damping_pu * f
        return (
            (p_m - imbalance - damped) / (2.0 * m.inertia_s),
            (p_v - p_m) / m.turbine_s,
            (asked - p_v) / m.governor_s,
            -m.agc_per_s * (1.0 / m.droop_pu + m.damping_pu) * f,
            p_m,
            damped,
            imbalance,
        )


def _moved(x: State, slope: State, h: float) -> State:
    return tuple(value + h * change for value, change in zip(x, slope, strict=True))


def _trace(settings: FrequencySettings, context: Context, step_ns: int) -> Profile:
    least, most = HOLDS_PU
    allowed = Allowed(least * settings.nominal_hz, most * settings.nominal_hz, "Hz")
    return read_course(settings.trace or 0.0, ("trace",), allowed, context, step_ns)


def _interface(settings: FrequencySettings, context: Context, step_ns: int) -> Interface:
    units = {"f_hz": "Hz"} if settings.model is None else _OUTPUTS
    outputs = {name: Port(unit, (context.name,)) for name, unit in units.items()}
    outputs |= {f"{fleet}.f_hz": Port("Hz", context.labels[fleet]) for fleet in settings.over}
    read = (*settings.model.draws, *settings.model.injects) if settings.model else ()
    inputs = {port: Port("kW", context.labels.get(port.partition(".")[0], (port,)), "before") for port in read}
    return Interface(step_ns, inputs, outputs)


def _check_fleets(settings: FrequencySettings, context: Context) -> None:
    problems = named(settings.over, ("over",), context)
    problems += [(("over", i), _unseeing(fleet)) for i, fleet in enumerate(settings.over) if not _sees(fleet, context)]
    problems += mistuned(settings.over, settings.nominal_hz, ("over",), context)
    read = (*settings.model.draws, *settings.model.injects) if settings.model else ()
    if len(set(read)) < len(read):
        problems.append((("model",), "a port is named twice in draws and injects"))
    if problems:
        raise PlaceError(problems)


def _sees(fleet: str, context: Context) -> bool:
    """Return whether the fleet looks at the frequency, as far as its settings tell."""
    settings = context.settings.get(fleet)
    smart, regulation = getattr(settings, "smart", None), getattr(settings, "regulation", None)
    return not isinstance(smart, Smart) or smart.needs_frequency or getattr(regulation, "needs_frequency", False)


def _unseeing(fleet: str) -> str:
    functions = ", ".join(IN_HZ)
    return f"no device of {fleet!r} looks at the frequency: its `smart` has none of {functions}"


KIND = Kind("frequency", "The bulk system's frequency, from a trace or a model", FrequencySettings, Frequency)
