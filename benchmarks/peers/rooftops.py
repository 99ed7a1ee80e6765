"""Rooftops with volt-var on IEEE 123: the one case that derloop and others are given, and what derloop makes of it.

Regulators rest at the published taps, loads stay as they are in the file, the light is the same everywhere. Reactive
power has priority and its full range at any power, as OpenDSS's PVSystem has it; arrays are no larger than their
inverters, so the circle of the rating is never met.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import pi, sin
from pathlib import Path
from typing import Any, Literal

import numpy as np
from timed import timed

from derloop.contract import FloatArray
from derloop.results.store import RunFolder

ROOT = Path(__file__).resolve().parents[2]
FEEDER = ROOT / "scenarios" / "feeders" / "ieee123" / "ieee123.dss"
sys.path.insert(0, str(ROOT / "tests" / "support"))

from coupled import Q_MAX, feeder_at  # noqa: E402

V_PU, Q_PU = (0.92, 0.98, 1.02, 1.08), (Q_MAX, 0.0, 0.0, -Q_MAX)
"""The volt-var curve of category B."""
WARM_UP = 0.2
"""The share of the steps that is not counted: late imports, caches."""
EXACT = ("coupling.tolerance=1e-9", "federates.grid.tolerance=1e-10")
"""What a run is told that finds the equilibrium of each step, with which the others are compared."""
IN_ALL_KVA = 2000.0
"""A little more than half of the feeder's load, however many share it."""


@dataclass(frozen=True, slots=True)
class Place:
    """One rooftop: its name, bus and phase, the nominal voltage there from phase to ground, and its rating."""

    name: str
    bus: str
    phase: int
    kv: float
    kva: float

    @property
    def node(self) -> str:
        return f"{self.bus}.{self.phase}"


@dataclass(frozen=True, slots=True)
class Rooftops:
    """The case."""

    count: int
    step_s: float
    steps: int
    begin_h: float
    """When it begins, hours after midnight."""
    coupling: Literal["converged", "delayed"] = "converged"
    tolerance_pu: float = 1e-6
    """Of a converged loop: the largest change of a voltage between two solutions."""
    response_s: float = 1.0
    solver_tolerance: float = 1e-8

    def places(self) -> tuple[Place, ...]:
        """Draw the places from the nodes that carry load; the same in every run."""
        _, feeder = feeder_at(FEEDER)
        nodes = sorted({(load.bus, phase) for load in feeder.loads.values() for phase in load.phases})
        drawn = np.random.default_rng(7).integers(len(nodes), size=self.count)
        buses = [nodes[k] for k in drawn]
        return tuple(
            Place(f"pv{k}", bus, phase, feeder.buses[bus].kv_ln, IN_ALL_KVA / self.count)
            for k, (bus, phase) in enumerate(buses)
        )

    def light_wm2(self) -> list[float]:
        """Return the light of each step: a clear day whose light goes up and down by a tenth within minutes."""
        seconds = [3600 * self.begin_h + k * self.step_s for k in range(self.steps + 1)]
        return [max(0.0, 900 * sin(pi * (t - 21_600) / 43_200)) * (1 + 0.1 * sin(t / 240)) for t in seconds]

    def write(self, folder: Path) -> Path:
        """Write the scenario with its light into `folder`; return its path."""
        (folder / FEEDER.name).write_text(FEEDER.read_text(encoding="utf-8"), encoding="utf-8")
        (folder / "light.csv").write_text("\n".join(self._rows()) + "\n", encoding="utf-8")
        path = folder / "rooftops.json"
        path.write_text(json.dumps(self._said()), encoding="utf-8")
        return path

    def _rows(self) -> Iterator[str]:
        yield "time_s,poa_wm2"
        for k, light in enumerate(self.light_wm2()):
            yield f"{3600 * self.begin_h + k * self.step_s!r},{light!r}"

    def _said(self) -> dict[str, Any]:
        hours, minutes = divmod(round(60 * self.begin_h), 60)
        curve = {"v_pu": V_PU, "q_pu": Q_PU, "response_s": self.response_s}
        convergence = {} if self.coupling == "delayed" else {"tolerance": self.tolerance_pu}
        return {
            "name": "rooftops",
            "start": f"2025-07-15T{hours:02}:{minutes:02}:00-07:00",
            "duration_s": self.steps * self.step_s,
            "step_s": self.step_s,
            "seed": 1,
            "coupling": {"mode": self.coupling, **convergence},
            "federates": {
                "grid": {
                    "kind": "timed-opendss",
                    "feeder": FEEDER.name,
                    "regulators": "locked",
                    "tolerance": self.solver_tolerance,
                },
                "sky": {"kind": "sky", "over": ["pv"], "clear_sky": {"file": "light.csv", "column": "poa_wm2"}},
                "pv": {
                    "kind": "pv",
                    "at": [{"bus": p.node, "rated_kva": p.kva, "label": p.name} for p in self.places()],
                    "dc_ac_ratio": 1.0,
                    "q_full_above_p_pu": 0.0,
                    "smart": {"volt_var": curve},
                },
            },
            "checks": [],
        }


UNEARTHED = ("xf1", "610")
"""Buses of IEEE 123."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it, by derloop or by another."""

    step_s: float
    """Wall time of a step, mean over all that count."""
    nodes: tuple[str, ...]
    v_pu: FloatArray
    """(steps, nodes)"""
    passes: float = 1.0
    """Solutions of the feeder, or loops of a control, for a step, mean."""

    def apart_pu(self, other: Found) -> FloatArray:
        """Return the largest difference of a voltage in each step that counts, of those that both have done.

        Not of those that nothing earths: derloop has these between phases.
        """
        both = [node for node in self.nodes if node.partition(".")[0] not in UNEARTHED]
        here, there = ([found.nodes.index(node) for node in both] for found in (self, other))
        steps = min(len(self.v_pu), len(other.v_pu))
        apart = np.abs(self.v_pu[:steps, here] - other.v_pu[:steps, there]).max(axis=1)
        return apart[round(WARM_UP * steps) :]


def run(scenario: Path, folder: Path, *overrides: str) -> Found:
    """Have derloop run it, under HELICS in one process, with everything recorded."""
    result = timed(scenario, overrides, "helics", "together", folder)
    loops = result.folder.select("loop@*.passes")
    return Found(
        mean_step_s(result["grid.run_s"][:, 0]),
        result.folder.signal("grid.v_pu").labels,
        result["grid.v_pu"],
        float(result[loops[0].name].mean()) if loops else 1.0,
    )


def p_pu(case: Rooftops, folder: Path) -> FloatArray:
    """Return what the light gave at each step (steps,) of the run in `folder`, pu of the rating: alike for all."""
    return RunFolder(folder).read("pv.p_available_kw")[1][:, 0] / case.places()[0].kva


def bases_v(nodes: Sequence[str]) -> FloatArray:
    """Return the nominal voltage (n,) of each node, from phase to ground, V."""
    buses = feeder_at(FEEDER)[1].buses
    return np.array([1000 * buses[node.split(".")[0]].kv_ln for node in nodes])


def mean_step_s(clock_s: FloatArray) -> float:
    """Return the mean wall time of a step from the clock at each (steps,), without the first ones."""
    counted = clock_s[round(WARM_UP * len(clock_s)) :]
    return float(counted[-1] - counted[0]) / (len(counted) - 1)
