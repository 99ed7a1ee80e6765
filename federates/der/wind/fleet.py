"""Wind turbines: which of them run, and the power that the wind at their hubs gives."""

from __future__ import annotations

from collections.abc import Callable
from math import exp

import numpy as np

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, Terminal
from derloop.memory import remembers
from federates.der.hysteresis import BoolArray, hysteresis
from federates.der.instants import Instants
from federates.der.inverter import Inverters
from federates.der.placement import place
from federates.der.wind.settings import WindSettings
from federates.der.wind.speed import Wind

STANDARD_DENSITY = 1.225
"""kg/m3, at sea level and 15 degC: what power curves are published for."""


@remembers("_v_m_per_s", "_mean", "_runs", "_storms")
class WindFleet:
    """n turbines. State: which run, which rest for a storm, their mean wind; and the lag of the reactive function."""

    def __init__(self, settings: WindSettings, context: Context) -> None:
        turbines = context.terminals.get(context.name) or terminals(settings, context)
        labels = tuple(turbine.label for turbine in turbines)
        self._settings = settings
        self.inverters = Inverters(
            settings.smart, np.array([turbine.rated_kva for turbine in turbines]), seed=context.seed
        )
        self._interface = _interface(settings, context, self.inverters, labels)
        self.cautions = settings.smart.cautions(context.name, self._interface.step_ns)
        self._wind = Wind(settings, context, labels)
        self._power_pu = power_curve(settings)
        self._denser = (air_density(settings.altitude_m, settings.ambient_c) / STANDARD_DENSITY) ** (1.0 / 3.0)
        self._instants = Instants()
        self._v_m_per_s = self._mean = np.zeros(0)
        self._runs = self._storms = np.zeros(len(labels), dtype=bool)

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        zeros = np.zeros(len(self._runs))
        return dict.fromkeys(self._interface.outputs, zeros)

    def step(self, now_ns: int, inputs: Values) -> Values:
        self._blow(now_ns)
        available = self._available_kw()
        wanted = np.minimum(available, self.inverters.p_most_kw)
        limit_kw = inputs["p_limit_kw"] if self._settings.curtailable else None
        band = (np.zeros(wanted.shape), wanted)
        p_kw, q_kvar = self.inverters.step(now_ns, self.inverters.seen(inputs), wanted, band, limit_kw)
        seen = {"wind_m_per_s": self._v_m_per_s, "running": self._running.astype(float)}
        return {"p_kw": p_kw, "q_kvar": q_kvar, "p_available_kw": available, **seen}

    def stop(self) -> None:
        pass

    @property
    def _running(self) -> BoolArray:
        return self._runs & ~self._storms

    def _blow(self, now_ns: int) -> None:
        """Take the wind of this instant, which depends on time alone, and let it start and stop the turbines once."""
        passed_s = self._instants.passed_ns(now_ns) / 1e9
        is_first = self._v_m_per_s.size == 0
        if passed_s == 0.0 and not is_first:
            return
        last, self._v_m_per_s = self._v_m_per_s, self._wind.at(now_ns)
        self._mean = self._v_m_per_s if is_first else self._lagged(last, passed_s)
        s = self._settings
        self._runs = hysteresis(self._v_m_per_s, s.stop_m_per_s, s.cut_in_m_per_s, self._runs)
        self._storms = hysteresis(self._mean, s.restart_m_per_s, s.cut_out_m_per_s, self._storms)

    def _lagged(self, v_m_per_s: FloatArray, passed_s: float) -> FloatArray:
        if self._settings.averaging_s == 0.0:
            return self._v_m_per_s
        return v_m_per_s + (self._mean - v_m_per_s) * exp(-passed_s / self._settings.averaging_s)

    def _available_kw(self) -> FloatArray:
        power_pu = self._power_pu(self._v_m_per_s * self._denser)
        return self.inverters.rated_kva * np.where(self._running, power_pu, 0.0)


def power_curve(settings: WindSettings) -> Callable[[FloatArray], FloatArray]:
    """Return the power (n,), pu, at a wind speed (n,), m/s."""
    if settings.curve is not None:
        v_points, p_points = np.array(settings.curve.v_m_per_s), np.array(settings.curve.p_pu)
        return lambda v: np.interp(v, v_points, p_points)
    low, high = settings.stop_m_per_s**3, settings.rated_m_per_s**3
    return lambda v: np.clip((v**3 - low) / (high - low), 0.0, 1.0)


def air_density(altitude_m: float, ambient_c: float) -> float:
    """Return the density of dry air, kg/m3, at the standard atmosphere's pressure."""
    pressure_pa: float = 101325.0 * (1.0 - 2.25577e-5 * altitude_m) ** 5.25588
    return pressure_pa / (287.05 * (ambient_c + 273.15))


def _interface(settings: WindSettings, context: Context, inverters: Inverters, labels: tuple[str, ...]) -> Interface:
    inputs = inverters.ports(labels)
    if settings.curtailable:
        inputs["p_limit_kw"] = Port("kW", labels)
    units = {"p_kw": "kW", "q_kvar": "kvar", "p_available_kw": "kW", "wind_m_per_s": "m/s", "running": "1"}
    return Interface(settings.step_ns(context), inputs, {name: Port(unit, labels) for name, unit in units.items()})


def terminals(settings: WindSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the turbines meet the feeder."""
    return settings.smart.seeing(place(settings.at, settings.rated_kva, context))


KIND = Kind("wind", "Wind turbines with smart inverters", WindSettings, WindFleet, terminals, is_der=True)
