"""What a microgrid's control hears and says: its ports, and their values as one picture of the last instant."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray, Port, Values
from derloop.kind import Context
from federates.control.microgrid.dispatch import Rated, Sources
from federates.control.microgrid.settings import LoadGroup, MicrogridSettings
from federates.control.microgrid.synchronism import Difference

BoolArray = NDArray[np.bool_]
LIVE_PU = 0.5
"""A side of the switch with more is live."""
_OF_FEEDER = {"p_kw": "kW", "q_kvar": "kvar", "f_hz": "Hz", "v_pu": "pu"}
_OF_SOURCE = {"p_least_kw": "kW", "p_most_kw": "kW", "trip_cause": "1", "forms": "1"}
_OF_STORE = {"soc_pu": "pu", "stored_kwh": "kWh"}
_OF_ENGINE = {"stored_pu": "pu", "stored_kwh": "kWh", "p_heat_kw": "kW"}
_OF_SWITCH = {
    "switch": Port("1", ("closed",), "before"),
    "switch_kw": Port("kW", ("switch",), "before"),
    "sides_pu": Port("pu", ("grid", "island"), "before"),
    "sides_hz": Port("Hz", ("grid", "island"), "before"),
    "angle_deg": Port("deg", ("switch",), "before"),
}
SET = {"p_set_kw": "kW", "v_set_pu": "pu", "run": "1"}


class Seen(NamedTuple):
    """What was heard of the last instant."""

    closed: bool
    switch_kw: float
    grid_live: bool
    island_live: bool
    difference: Difference
    grid_hz: float
    grid_pu: float
    island_pu: float
    sources: Sources
    demand_kw: FloatArray
    """Of all loads (n,), group after group, as is the next."""
    solved_kw: FloatArray
    price: float
    age_s: float
    """The oldest of what was heard of sources and the feeder."""


class Hearing:
    """The ports of a control, its sources one after the other, and its loads."""

    def __init__(self, settings: MicrogridSettings, context: Context) -> None:
        self._settings, self._silent_after_s = settings, settings.silent_s(settings.step_ns(context))
        self._sources = {name: context.labels[name] for name in settings.formers}
        self._loads = {group.fleet: context.labels[group.fleet] for group in settings.loads}
        self._demand_port = {group.fleet: demand_port(group, context) for group in settings.loads}
        self.can_go = [port == "demand_kw" for port in self._demand_port.values()]
        """Which groups (g,) can be taken off."""
        self._edges = np.cumsum([len(labels) for labels in self._sources.values()])[:-1]
        self.group_of = np.repeat(np.arange(len(self._loads)), [len(labels) for labels in self._loads.values()])
        """The group (n,) of each load."""
        self.rated = _rated(settings, context)

    @property
    def inputs(self) -> dict[str, Port]:
        s, ports = self._settings, dict[str, Port]()
        for name, labels in self._sources.items():
            own = _OF_SOURCE | (_OF_STORE if name in s.storage else _OF_ENGINE)
            ports |= {f"{s.feeder}.{name}.{port}": Port(u, labels, "before") for port, u in _OF_FEEDER.items()}
            ports |= {f"{name}.{port}": Port(unit, labels, "before") for port, unit in own.items()}
            ports[f"{name}.age_s"] = Port("s", labels, "before", 0.0)
        for name, labels in self._loads.items():
            ports[f"{name}.{self._demand_port[name]}"] = Port("kW", labels, "before")
            ports[f"{s.feeder}.{name}.solved_kw"] = Port("kW", labels, "before")
        ports |= {f"{s.feeder}.{port}": spec for port, spec in _OF_SWITCH.items()}
        ports[f"{s.feeder}.age_s"] = Port("s", ("switch",), "before", 0.0)
        if s.economics.reads:
            ports[s.economics.reads] = Port(f"{s.economics.currency}/kWh", (s.economics.reads,), "before")
            ports[_age_of(s.economics.reads)] = Port("s", (s.economics.reads,), "before", 0.0)
        return ports

    @property
    def outputs(self) -> dict[str, Port]:
        ports = {f"{self._settings.feeder}.closed": Port("1", ("switch",))}
        for name, labels in self._sources.items():
            ports |= {f"{name}.{port}": Port(unit, labels) for port, unit in SET.items()}
        if banks := self._settings.capacitors:
            ports[f"{self._settings.feeder}.capacitor_set"] = Port("1", banks)
        able = zip(self._loads.items(), self.can_go, strict=True)
        return ports | {f"{name}.connected": Port("1", labels) for (name, labels), can_go in able if can_go}

    def seen(self, inputs: Values) -> Seen:
        """Return what was heard."""
        grid = {port: inputs[f"{self._settings.feeder}.{port}"] for port in _OF_SWITCH}
        sources, (grid_pu, island_pu), (grid_hz, island_hz) = self._heard(inputs), grid["sides_pu"], grid["sides_hz"]
        ages = [inputs[f"{name}.age_s"] for name in (*self._sources, self._settings.feeder)]
        return Seen(
            closed=bool(grid["switch"][0] >= 0.5),
            switch_kw=float(grid["switch_kw"][0]),
            grid_live=bool(grid_pu > LIVE_PU),
            island_live=bool(sources.f_hz.max() > 0.0),
            difference=Difference(float(island_hz - grid_hz), float(island_pu - grid_pu), float(grid["angle_deg"][0])),
            grid_hz=float(grid_hz),
            grid_pu=float(grid_pu),
            island_pu=float(island_pu),
            sources=sources,
            demand_kw=np.concatenate([inputs[f"{name}.{port}"] for name, port in self._demand_port.items()]),
            solved_kw=np.concatenate([inputs[f"{self._settings.feeder}.{name}.solved_kw"] for name in self._loads]),
            price=self._price(inputs),
            age_s=float(np.concatenate(ages).max()),
        )

    def _price(self, inputs: Values) -> float:
        """Return the price that holds; not a number where none is told, or what was heard is too old."""
        reads = self._settings.economics.reads
        if reads is None or float(inputs[_age_of(reads)].max()) > self._silent_after_s:
            return float("nan")
        return float(inputs[reads][0])

    def _heard(self, inputs: Values) -> Sources:
        feeder, s = self._settings.feeder, self._settings
        of_feeder = [
            np.concatenate([inputs[f"{feeder}.{name}.{port}"] for name in self._sources]) for port in _OF_FEEDER
        ]
        own = [np.concatenate([inputs[f"{name}.{port}"] for name in self._sources]) for port in _OF_SOURCE]
        stores = [*self._of(s.storage, "soc_pu", inputs), *self._ones(s.engines)]
        stored_kwh = self._of(self._settings.formers, "stored_kwh", inputs)
        heat = [*self._ones(s.storage), *self._of(s.engines, "stored_pu", inputs)]
        for_heat = [*(0.0 * ones for ones in self._ones(s.storage)), *self._of(s.engines, "p_heat_kw", inputs)]
        return Sources(*of_feeder, *own, *map(np.concatenate, (stores, stored_kwh, heat, for_heat)))

    def _of(self, names: tuple[str, ...], port: str, inputs: Values) -> list[FloatArray]:
        return [inputs[f"{name}.{port}"] for name in names]

    def _ones(self, names: tuple[str, ...]) -> list[FloatArray]:
        return [np.ones(len(self._sources[name])) for name in names]

    def said(
        self, closed: bool, told: tuple[FloatArray, FloatArray, FloatArray], on: BoolArray, banks_in: bool
    ) -> dict[str, FloatArray]:
        """Return the outputs. told: P_0, v_0 and run of each source (m,). on: groups (g,)."""
        found = {f"{self._settings.feeder}.closed": np.array([float(closed)])}
        for port, values in zip(SET, told, strict=True):
            parts = np.split(np.asarray(values, float), self._edges)
            found |= {f"{name}.{port}": part for name, part in zip(self._sources, parts, strict=True)}
        for (name, labels), can_go, is_on in zip(self._loads.items(), self.can_go, on, strict=True):
            if can_go:
                found[f"{name}.connected"] = np.full(len(labels), float(is_on))
        if banks := self._settings.capacitors:
            found[f"{self._settings.feeder}.capacitor_set"] = np.full(len(banks), float(banks_in))
        return found


def _age_of(signal: str) -> str:
    """Return the input that says how old is what was heard of a signal's federate."""
    return f"{signal.partition('.')[0]}.age_s"


def demand_port(group: LoadGroup, context: Context) -> str:
    """Return the port that says what a fleet asks for: of one that cannot be taken off, what it draws."""
    return "demand_kw" if "connected" in getattr(context.settings.get(group.fleet), "takes", ()) else "p_kw"


def _rated(settings: MicrogridSettings, context: Context) -> Rated:
    kva, hz_per_kw, v_pu, is_store = [], [], [], []
    for name in settings.formers:
        own = context.settings[name]
        rated = np.array([unit.rated_kva for unit in context.terminals[name]])
        kva.append(rated)
        hz_per_kw.append(getattr(own, "p_droop_pu", 0.01) * getattr(own, "f_nominal_hz", 60) / rated)
        v_pu.append(np.full(rated.size, getattr(own, "v_set_pu", 1.0)))
        is_store.append(np.full(rated.size, name in settings.storage))
    return Rated(*map(np.concatenate, (kva, hz_per_kw, v_pu, is_store)))
