"""Plain loads at places of their own, with ZIP coefficients and a profile.

Powers are positive when drawn. With the voltage `v` (pu of nominal) that the feeder shows and the course `share(t)`,

    P = rated_kva pf share(t) (z_p v^2 + i_p v + p_p)
    Q = rated_kva sqrt(1 - pf^2) share(t) (z_q v^2 + i_q v + p_q)

constant impedance, current and power, each set of three adding up to 1 (IEEE Task Force on Load Representation, "Load
representation for dynamic performance analysis", IEEE Trans. Power Syst. 8, 1993; measured coefficients: A. Bokhari et
al., IEEE Trans. Power Deliv. 29, 2014). Below `cutoff_v_pu` nothing is drawn. As the voltage depends on the load and
the load on the voltage, both agree with `"coupling": {"mode": "converged"}`, and are a step apart without it.
Loads of the feeder file are driven by kind `load` and keep their own voltage model. Loads that are `sheddable` can be
taken off, as those of kind `load`; what they ask for without voltage, or below `cutoff_v_pu`, is what they draw at
nominal voltage.
"""

from __future__ import annotations

from math import sqrt
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, Terminal
from derloop.memory import remembers
from federates.der import Stepped
from federates.der.course import Allowed, Course, read_course
from federates.der.placement import At, Size, Spot
from federates.der.plain import place_drawing
from federates.der.shedding import Sheddable, Shedding, all_on


def _adds_up(zip_pu: tuple[float, float, float]) -> tuple[float, float, float]:
    if abs(sum(zip_pu) - 1.0) > 1e-6:
        raise ValueError(f"impedance, current and power add up to {sum(zip_pu):g}; they must add up to 1")
    return zip_pu


_Part = Annotated[float, Field(ge=-20.0, le=20.0)]
Zip = Annotated[tuple[_Part, _Part, _Part], AfterValidator(_adds_up)]


class ZipLoadSettings(Sheddable, Stepped):
    """A group of loads."""

    at: At[Spot] = Field(
        description="Where the loads stand: a list of places, or a spread.",
        examples=[{"count": 40, "on": "loads"}, [{"bus": "645.2", "rated_kva": 5.0}]],
    )
    rated_kva: Size | None = Field(
        default=None,
        description="Apparent power of each load at nominal voltage, kVA: a number, or [min, max] to draw from.",
        examples=[5.0],
    )
    pf: float = Field(default=0.95, gt=0.0, le=1.0, description="Power factor, lagging.", examples=[0.95])
    share: Course = Field(
        default=1.0,
        description="Share of rated power over time: a number, or a column of a profile.",
        examples=[{"file": "profiles/load_shapes_summer.csv", "column": "residential_pu"}],
    )
    p_zip_pu: Zip = Field(
        default=(0.0, 0.0, 1.0),
        description="Shares of constant impedance, current and power in P.",
        examples=[[0.5, 0.2, 0.3]],
    )
    q_zip_pu: Zip = Field(
        default=(0.0, 0.0, 1.0),
        description="Shares of constant impedance, current and power in Q.",
        examples=[[4.0, -5.0, 2.0]],
    )
    cutoff_v_pu: float = Field(
        default=0.0, ge=0.0, le=0.95, description="Below this voltage nothing is drawn, pu.", examples=[0.7]
    )


@remembers()
class ZipLoadGroup:
    """n loads. They have no state, unless they can be taken off."""

    def __init__(self, settings: ZipLoadSettings, context: Context) -> None:
        loads = context.terminals.get(context.name) or terminals(settings, context)
        labels = tuple(load.label for load in loads)
        self._shedding = Shedding(settings, len(labels))
        outputs = {"p_kw": Port("kW", labels), "q_kvar": Port("kvar", labels)} | self._shedding.outputs(labels)
        inputs = {"v_pu": Port("pu", labels, "coupled")} | self._shedding.inputs(labels)
        self._interface = Interface(settings.step_ns(context), inputs, outputs)
        self._share = read_course(
            settings.share, ("share",), Allowed(0.0, 1000.0, "pu"), context, self._interface.step_ns
        )
        rated_kva = np.array([load.rated_kva for load in loads])
        self._p_kw, self._q_kvar = rated_kva * settings.pf, rated_kva * sqrt(1.0 - settings.pf**2)
        self._settings = settings

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self.step(0, {"v_pu": np.ones(self._p_kw.shape), **all_on(self._p_kw.size)})

    def step(self, now_ns: int, inputs: Values) -> Values:
        v_pu, s = inputs["v_pu"], self._settings
        whole, is_cut_off = self._share.at(now_ns), v_pu < s.cutoff_v_pu
        share = np.where(is_cut_off, 0.0, whole)
        p_kw = self._p_kw * share * at_voltage(s.p_zip_pu, v_pu)
        q_kvar = self._q_kvar * share * at_voltage(s.q_zip_pu, v_pu)
        asked_kw = np.where(is_cut_off | (v_pu <= 0.0), self._p_kw * whole, p_kw)
        return self._shedding.drawn(now_ns, p_kw, q_kvar, inputs, asked_kw)

    def stop(self) -> None:
        pass


def at_voltage(zip_pu: tuple[float, float, float], v_pu: FloatArray) -> FloatArray:
    """Return the power (n,) at a voltage (n,), pu of that at nominal voltage."""
    impedance, current, power = zip_pu
    return (impedance * v_pu + current) * v_pu + power


def terminals(settings: ZipLoadSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the loads meet the feeder."""
    return place_drawing(settings.at, settings.rated_kva, context)


KIND = Kind(
    "zip-load", "Loads with ZIP coefficients and a profile", ZipLoadSettings, ZipLoadGroup, terminals, draws=True
)
