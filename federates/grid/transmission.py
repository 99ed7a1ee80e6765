"""Kind `transmission-bus`: the bus of the transmission system, or of a substation, that several feeders hang on.

The system behind it is a voltage `E` behind its short-circuit impedance, in positive sequence, pu of `base = S_sc`:

    Z = R + jX,   |Z| = 1,   X / R = x_r
    S = sum of stands_for (P + jQ) of the feeders' heads, and the load besides
    V^4 + (2 (R P + X Q) - E^2) V^2 + |S|^2 = 0,   of which the higher V^2 is taken

(P. Kundur, "Power System Stability and Control", 1994, 14.1: two buses). Where there is none, the voltage has collapsed
and the run ends. `S` is what the feeders draw within the instant; each feeder's source (`source_v_pu`) is at `V` at the
next one, or within the same where the coupling converges. Its own impedance, of the feeder's file, lies between this
bus and the feeder; what that takes is not in `S`, as heads are measured behind it. So the feeders bear on each other,
and nothing else of them does: over a `delayed` coupling they are solved side by side.

Unbalance and angle stay in the feeders: each sees the bus balanced, at the angle of its file.
"""

from __future__ import annotations

from math import sqrt
from typing import Annotated

import numpy as np
from pydantic import Field, StringConstraints

from derloop.contract import Balance, FloatArray, Interface, Port, Values
from derloop.errors import did_you_mean
from derloop.kind import Context, Kind, PlaceError
from derloop.memory import remembers
from derloop.texts import NAME
from federates.der import Stepped
from federates.der.course import Allowed, Course, read_course
from federates.grid.engine import SolverError
from federates.grid.head import PORT

Name = Annotated[str, StringConstraints(max_length=100), NAME]


class TransmissionBusSettings(Stepped):
    """A bus that feeds feeders."""

    feeders: tuple[Name, ...] = Field(
        min_length=1, description="Names of the feeders that hang on it.", examples=[["north", "south"]]
    )
    short_circuit_mva: float = Field(gt=0.0, le=1e6, description="Short-circuit power, MVA.", examples=[300.0])
    x_r: float = Field(
        default=10.0, ge=0.0, le=1000.0, description="Reactance over resistance of what is behind.", examples=[10.0]
    )
    v_pu: Course = Field(
        default=1.0,
        description="Voltage behind the short-circuit impedance, pu: a number, or a column of a profile.",
        examples=[1.02, {"file": "profiles/bulk.csv", "column": "v_pu"}],
    )
    load_kw: Course = Field(
        default=0.0, description="What else is drawn at the bus, kW.", examples=[{"file": "a.csv", "column": "kw"}]
    )
    load_kvar: Course = Field(default=0.0, description="The reactive power of that, kvar.", examples=[5000.0])
    stands_for: tuple[Annotated[float, Field(gt=0.0, le=1e6)], ...] | None = Field(
        default=None,
        description="How many such feeders each of `feeders` stands for. Without it, one each.",
        examples=[[1, 12]],
    )


@remembers()
class TransmissionBus:
    """A bus that feeds feeders. No state."""

    def __init__(self, settings: TransmissionBusSettings, context: Context) -> None:
        _refuse(settings, context)
        step_ns = settings.step_ns(context)
        self._feeders, self._base_kva = settings.feeders, 1000.0 * settings.short_circuit_mva
        self._r_pu = 1.0 / sqrt(1.0 + settings.x_r**2)
        self._x_pu = settings.x_r * self._r_pu
        self._times = settings.stands_for or (1.0,) * len(settings.feeders)
        self._emf = read_course(settings.v_pu, ("v_pu",), Allowed(0.5, 1.5, "pu"), context, step_ns)
        of_load = Allowed(-1e9, 1e9, "kW")
        self._load_kw = read_course(settings.load_kw, ("load_kw",), of_load, context, step_ns)
        self._load_kvar = read_course(settings.load_kvar, ("load_kvar",), of_load, context, step_ns)
        self._interface = self._made_interface(step_ns, context.name)

    @property
    def interface(self) -> Interface:
        return self._interface

    def _made_interface(self, step_ns: int, name: str) -> Interface:
        units = {"head_kw": "kW", "head_kvar": "kvar"}
        inputs = {f"{f}.{port}": Port(unit, ("head",)) for f in self._feeders for port, unit in units.items()}
        outputs = {"v_pu": Port("pu", (name,))}
        outputs |= {port: Port("kW", (name,)) for port in ("system_kw", "losses_kw", "load_kw")}
        outputs["system_kvar"] = Port("kvar", (name,))
        outputs |= {f"{feeder}.{PORT}": Port("pu", ("source",)) for feeder in self._feeders}
        heads = [f"{feeder}.head_kw" for feeder in self._feeders]
        balance = Balance(
            "energy",
            enters=("system_kw",),
            leaves=(*heads, "load_kw"),
            lost=("losses_kw",),
            whole=True,
            times={head: (times,) for head, times in zip(heads, self._times, strict=True)},
        )
        return Interface(step_ns, inputs, outputs, balances=(balance,))

    def start(self) -> Values:
        """Return what is there while nothing is drawn."""
        return self._told(self._emf.at(0), 0.0, 0.0, 0.0, 0.0)

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Return the bus's voltage, pu, and what the system gives to it, kW and kvar, positive when delivered.

        inputs: `<feeder>.head_kw` and `<feeder>.head_kvar`, positive when drawn. Raises SolverError where the voltage
        collapses.
        """
        load_kw, load_kvar = self._load_kw.at(now_ns), self._load_kvar.at(now_ns)
        p_kw, q_kvar = self._drawn(inputs, "head_kw"), self._drawn(inputs, "head_kvar")
        p, q = (p_kw + load_kw) / self._base_kva, (q_kvar + load_kvar) / self._base_kva
        emf_pu, squared = self._emf.at(now_ns), p * p + q * q
        half = emf_pu**2 / 2.0 - (self._r_pu * p + self._x_pu * q)
        if half <= 0.0 or half**2 < squared:
            raise SolverError(f"voltage collapse: {p_kw + load_kw:.0f} kW is more than the system delivers to this bus")
        v_squared = half + sqrt(half**2 - squared)
        lost = squared / v_squared
        system_kw, system_kvar = ((s + lost * z) * self._base_kva for s, z in ((p, self._r_pu), (q, self._x_pu)))
        return self._told(sqrt(v_squared), system_kw, system_kvar, lost * self._r_pu * self._base_kva, load_kw)

    def stop(self) -> None:
        pass

    def _drawn(self, inputs: Values, port: str) -> float:
        of_feeders = (float(inputs[f"{feeder}.{port}"][0]) for feeder in self._feeders)
        return sum(times * drawn for times, drawn in zip(self._times, of_feeders, strict=True))

    def _told(self, v_pu: float, system_kw: float, system_kvar: float, losses_kw: float, load_kw: float) -> Values:
        v = np.array([v_pu])
        powers = {"system_kw": system_kw, "system_kvar": system_kvar, "losses_kw": losses_kw, "load_kw": load_kw}
        values: dict[str, FloatArray] = {port: np.array([value]) for port, value in powers.items()}
        return {"v_pu": v, **values, **{f"{feeder}.{PORT}": v for feeder in self._feeders}}


def bus_of(feeder: str, context: Context) -> str | None:
    """Return the name of the bus that a feeder hangs on, if there is one."""
    buses = {name: s for name, s in context.settings.items() if isinstance(s, TransmissionBusSettings)}
    return next((name for name, settings in buses.items() if feeder in settings.feeders), None)


def _refuse(settings: TransmissionBusSettings, context: Context) -> None:
    problems: list[tuple[tuple[str | int, ...], str]] = [
        (("feeders", i), what) for i, name in enumerate(settings.feeders) if (what := _unfed(name, context))
    ]
    if len(set(settings.feeders)) < len(settings.feeders):
        problems.append((("feeders",), "a feeder is named twice"))
    if settings.stands_for is not None and len(settings.stands_for) != len(settings.feeders):
        what = f"has {len(settings.stands_for)} numbers for {len(settings.feeders)} feeders"
        problems.append((("stands_for",), what))
    if problems:
        raise PlaceError(problems)


def _unfed(name: str, context: Context) -> str:
    """Return why a feeder cannot hang on the bus; empty if it can."""
    feeder = context.feeders.get(name)
    if feeder is None:
        return f"no feeder is called {name!r}" + did_you_mean(name, [*context.feeders])
    if not getattr(feeder, "can_be_fed", False):
        has = "other sources than its circuit's, or an island that compares itself"
        return f"{name!r} takes no voltage from outside: it has {has}"
    return ""


KIND = Kind(
    "transmission-bus",
    "The bus of a transmission system or substation that several feeders hang on",
    TransmissionBusSettings,
    TransmissionBus,
)
