"""The feeder as its control has it: the same file in an engine of its own, solved for what might be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray, Values
from derloop.errors import did_you_mean
from derloop.kind import Context, PlaceError
from derloop.memory import remembers
from federates.der.smart.settings import Smart
from federates.grid import inventory
from federates.grid.apparatus import Apparatus, matching
from federates.grid.engine import SolverError
from federates.grid.feeder import Feeder
from federates.grid.head import PORT as SOURCE
from federates.grid.opendss import OpenDssFeeder
from federates.grid.settings import OpenDssSettings
from federates.grid.transmission import bus_of

BoolArray = NDArray[np.bool_]


class Commands(NamedTuple):
    """How a feeder is set: operated switches (1 closed), taps of all tap changers, steps of operated banks."""

    switches: FloatArray
    taps: FloatArray
    capacitors: FloatArray
    q_pu: FloatArray
    """Reactive power of each fleet of inverters that is commanded, pu of its rating."""


class _Fleet(NamedTuple):
    """Inverters that are commanded as one."""

    name: str
    rated_kva: FloatArray
    full_above_pu: float
    """Active power, pu, below which the reactive capability falls in proportion."""
    q_band_pu: tuple[float, float]
    """What it may absorb and inject."""

    @classmethod
    def of(cls, name: str, context: Context) -> _Fleet:
        rated_kva = np.array([unit.rated_kva for unit in context.terminals[name]])
        settings = context.settings[name]
        smart = getattr(settings, "smart", Smart())
        band_pu = -smart.q_absorbed_max_pu, smart.q_injected_max_pu
        return cls(name, rated_kva, getattr(settings, "q_full_above_p_pu", 0.0), band_pu)

    @property
    def port(self) -> str:
        return f"{self.name}.q_kvar"

    def q_kvar(self, q_pu: float, measured: Values) -> FloatArray:
        """Return what each would give (n,) beside the active power that was measured."""
        p_kw = np.abs(measured[f"{self.name}.p_kw"])
        share = np.minimum(p_kw / (self.full_above_pu * self.rated_kva), 1.0) if self.full_above_pu > 0.0 else 1.0
        room_kvar = np.sqrt(np.maximum(self.rated_kva**2 - p_kw**2, 0.0))
        q_kvar: FloatArray = np.clip(q_pu * self.rated_kva, -room_kvar, room_kvar)
        most, least = (limit_pu * share * self.rated_kva for limit_pu in self.q_band_pu[::-1])
        return np.clip(q_kvar, least, most)


class Outcome(NamedTuple):
    """What a power flow says of commands."""

    head_kw: float
    losses_kw: float
    unserved_kw: float
    v_pu: FloatArray
    loading_pu: FloatArray


@remembers("_measured", "_calls")
class GridModel:
    """The feeder with devices and loads as they were measured last. State: these powers."""

    def __init__(self, context: Context, inverters: Sequence[str] = (), feeder: str | None = None) -> None:
        """Raises PlaceError where there is no such feeder of kind opendss, or one in which nothing is operated."""
        self.name, settings = _feeder_of(context, feeder)
        known = context.feeders.get(self.name)
        there = inventory.regulators(known.solver) if isinstance(known, Feeder) else ()
        movable = {"local_after_s": None, "regulators": ("*",) if there else ()}
        own = settings.model_copy(
            update={
                "operated": settings.operated.model_copy(update=movable),
                "regulators": "locked",
                **{"faults": (), "protection": (), "indicators": None, "accounts": None, "island": None},
                "sane_v_pu": (0.0, 100.0),
                "powers": "everywhere",
                "tolerance": max(settings.tolerance, 1e-6),
            }
        )
        at_it = {name: context.terminals[name] for name in context.terminals if context.meets.get(name) == self.name}
        forming = [name for name, units in at_it.items() if units and units[0].forms]
        injecting = {name: tuple(replace(unit, forms=False) for unit in units) for name, units in at_it.items()}
        place = replace(context, name=self.name, terminals=injecting, feeder=None)
        self.feeder = Feeder(own, place)
        self.grid = OpenDssFeeder(own, place, self.feeder, in_time=False)
        self.settings = settings
        operated = matching(settings.operated.regulators, self.apparatus.regulators, "regulator", ())[0]
        self.regulators = np.isin(self.apparatus.regulators, operated)
        """Which of all tap changers (regulators,) are operated."""
        ports = self.grid.interface
        powers = [port for port in ports.inputs if port.endswith((".p_kw", ".q_kvar"))]
        self.powers = {p: f"{self.name}.{p}" if p.rpartition(".")[0] in forming else p for p in powers}
        """Of devices and loads, and what is heard of each: of what forms a grid, the feeder says what it gives."""
        self.nodes = ports.outputs["v_pu"].labels
        self.monitored = ports.outputs["loading_pu"].labels if "loading_pu" in ports.outputs else ()
        self.bus = bus_of(self.name, context)
        """The transmission bus that the feeder hangs on; None where its source is as the file has it."""
        self._fleets = [_Fleet.of(name, context) for name in inverters if name in at_it]
        self._measured: dict[str, FloatArray] = {port: np.zeros(ports.inputs[port].size) for port in self.powers}
        self._calls = 0

    @property
    def apparatus(self) -> Apparatus:
        return self.feeder.apparatus

    @property
    def solutions(self) -> int:
        """How many power flows it has been asked for."""
        return self._calls

    @property
    def unheard_banks(self) -> tuple[str, ...]:
        """The banks that the feeder's own controls move, of which it tells nothing."""
        return self.apparatus.local_capacitors() if self.settings.regulators == "active" else ()

    def in_file(self) -> Commands:
        """Return what the feeder file has."""
        a = self.apparatus
        closed = a.closed_in_file[: len(a.switches)].astype(float)
        return Commands(closed, a.taps(), a.capacitor_steps(), np.zeros(len(self._fleets)))

    def measure(self, inputs: Values) -> None:
        """Take what devices and loads were measured to give or draw, and the voltage at the head where that moves."""
        self._measured = {port: np.array(inputs[heard]) for port, heard in self.powers.items()}
        if self.bus:
            self._measured[SOURCE] = np.array(inputs[f"{self.bus}.v_pu"])

    def solved(self, commands: Commands) -> Outcome | None:
        """Return what would be with these commands; None where the power flow has no solution."""
        told = {"switch_set": commands.switches, "tap_set": commands.taps, "capacitor_set": commands.capacitors}
        wanted = {port: value for port, value in told.items() if port in self.grid.interface.inputs}
        wanted |= {
            fleet.port: fleet.q_kvar(q, self._measured) for fleet, q in zip(self._fleets, commands.q_pu, strict=True)
        }
        self._calls += 1
        try:
            found = self.grid.step(self._calls, {**self._measured, **wanted})
        except SolverError:
            return None
        loading_pu = np.array(found.get("loading_pu", ()))
        unserved_kw = float(found["unserved_kw"][0]) if "unserved_kw" in found else 0.0
        v_pu = np.array(found["v_pu"])
        return Outcome(float(found["head_kw"][0]), float(found["losses_kw"][0]), unserved_kw, v_pu, loading_pu)

    def watched(self, ignore: Sequence[str]) -> BoolArray:
        """Return which nodes (nodes,), "671.2", fit none of these globs, nor their buses; neutrals are not watched."""
        listened = np.array([not _fits(node, ignore) for node in self.nodes], np.bool_)
        return listened & inventory.are_phases(self.nodes)

    def loads_kw(self) -> Mapping[str, float]:
        """Return what is drawn at each bus, as measured, or as the file has it where nobody drives it."""
        drawn: dict[str, float] = {}
        for bus, kw in self.grid.loads_at(self._measured):
            drawn[bus] = drawn.get(bus, 0.0) + kw
        return drawn


def _fits(node: str, globs: Sequence[str]) -> bool:
    names = node, node.rpartition(".")[0]
    return any(fnmatchcase(name, glob.lower()) for name in names for glob in globs)


def _feeder_of(context: Context, feeder: str | None) -> tuple[str, OpenDssSettings]:
    """Return name and settings of the feeder that is managed: the one that is named, or the only one."""
    there = {name: s for name, s in context.settings.items() if isinstance(s, OpenDssSettings)}
    if not there:
        raise PlaceError([((), "there is no feeder of kind 'opendss' to manage")])
    if feeder is None and len(there) > 1:
        raise PlaceError([(("feeder",), f"is missing: there are several feeders, {', '.join(there)}")])
    name = feeder or next(iter(there))
    if name not in there:
        raise PlaceError([(("feeder",), f"no feeder is called {name!r}" + did_you_mean(name, [*there]))])
    operated = there[name].operated
    if not (operated.switches or operated.regulators or operated.capacitors or there[name].monitored):
        what = f"nothing could be told to {name!r}, nor heard of it: see its settings operated and monitored"
        raise PlaceError([((), what)])
    return name, there[name]
