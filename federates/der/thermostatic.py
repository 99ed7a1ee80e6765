"""Fleets whose thermostats switch machines that warm or cool: what buildings and water tanks share.

A machine draws its rated power or nothing, and nothing while its feeder has no voltage; when that comes back, all whose
bodies have drifted away start together. What is told at an instant holds until the next; the temperatures at the
next instant are computed with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Protocol

import numpy as np

from derloop.contract import Balance, FloatArray, Interface, Port, Values
from derloop.kind import Context, Terminal
from derloop.memory import remembers
from federates.der.hysteresis import BoolArray
from federates.der.instants import Instants
from federates.der.plain import are_powered, tan_phi, voltage_ports
from federates.der.thermostat import Thermostat, Thermostatic
from federates.spells import refuse_unseen


class Bodies(Protocol):
    """n bodies whose temperatures matter. State: temperatures at this instant, and at the next."""

    @property
    def heats(self) -> bool:
        """Whether their machines warm them, and do not cool them."""
        ...

    @property
    def units(self) -> Mapping[str, str]:
        """What `hold` returns, with its units."""
        ...

    @property
    def balance(self) -> Balance:
        """Of the heat that `hold` returns."""
        ...

    @property
    def felt_c(self) -> FloatArray:
        """What the thermostats feel (n,), degC."""
        ...

    def go_on(self) -> None:
        """Go on to the next instant."""
        ...

    def hold(self, now_ns: int, p_kw: FloatArray) -> Values:
        """Let the machines draw `p_kw` (n,) from now until the next instant; return what then flows (n,)."""
        ...


@remembers()
class ThermostaticFleet:
    """n machines and what they warm or cool. State: the thermostats', and the temperatures of the bodies."""

    def __init__(
        self,
        settings: Thermostatic,
        context: Context,
        machines: tuple[Terminal, ...],
        bodies: Bodies,
        setpoint_c: FloatArray,
        on: BoolArray,
        most_c: float = inf,
    ) -> None:
        """setpoint_c (n,), degC. on (n,): which are on when the run begins. most_c: to which a control may shift.

        Raises PlaceError for events that nobody would see.
        """
        refuse_unseen(settings.events, ("events",), settings.step_ns(context), context.name)
        self._settings, self._bodies, self._setpoint_c, self._most_c = settings, bodies, setpoint_c, most_c
        self._p_on_kw = settings.pf * np.array([machine.rated_kva for machine in machines])
        self._thermostat = Thermostat(settings, bodies.heats, on)
        self._instants = Instants()
        labels = tuple(machine.label for machine in machines)
        units = {"p_kw": "kW", "q_kvar": "kvar", "on": "1", **bodies.units}
        inputs = voltage_ports(labels) | ({"shift_k": Port("K", labels)} if settings.responds else {})
        outputs = {name: Port(unit, labels) for name, unit in units.items()}
        self._interface = Interface(settings.step_ns(context), inputs, outputs, balances=(bodies.balance,))

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self._outputs(0, np.zeros(self._p_on_kw.shape, dtype=bool))

    def step(self, now_ns: int, inputs: Values) -> Values:
        if passed_ns := self._instants.passed_ns(now_ns):
            self._bodies.go_on()
            self._thermostat.keep(passed_ns / 1e9)
        target_c = self._setpoint_c + self._settings.planned_shift_k(now_ns)
        if self._settings.responds:
            target_c = np.minimum(target_c + inputs["shift_k"], self._most_c)
        return self._outputs(now_ns, self._thermostat.switch(self._bodies.felt_c, target_c, are_powered(inputs)))

    def stop(self) -> None:
        pass

    def _outputs(self, now_ns: int, on: BoolArray) -> Values:
        p_kw = np.where(on, self._p_on_kw, 0.0)
        told = {"p_kw": p_kw, "q_kvar": p_kw * tan_phi(self._settings.pf), "on": on.astype(float)}
        return {**told, **self._bodies.hold(now_ns, p_kw)}
