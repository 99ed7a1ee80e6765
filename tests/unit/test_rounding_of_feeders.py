"""How far the powers of a solved feeder add up to nothing: to OpenDSS's tolerance, or to what rounding leaves."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from large_feeder import large_feeder

import derloop
from derloop.verdict import Verdict
from federates.grid import opendss
from federates.grid.elements import Elements
from federates.grid.powers import rounding_kw
from federates.grid.solver import Solver

FEEDER = Path(__file__).parents[2] / "scenarios" / "feeders" / "ieee34"
TOLERANCE = 3e-10


def left_open(feeder: Path) -> tuple[float, float, float]:
    """Return what the powers are open by, what the source gives, and what rounding can leave, kW."""
    solver = Solver(feeder)
    solver.prepare(controls=True, tolerance=TOLERANCE, max_iterations=100)
    drawn = solver.elements.powers().real
    return abs(drawn.sum()), -drawn[solver.elements.sources].sum(), rounding_kw(solver)


@pytest.mark.parametrize("buses", [350, 1350])
def test_a_feeder_of_thousands_of_nodes_closes_to_the_tolerance(tmp_path: Path, buses: int) -> None:
    """Measured over twenty loadings: at most 1.1 times the tolerance, on 1056 and on 4056 nodes."""
    opened, head, _ = left_open(large_feeder(tmp_path / "large.dss", buses))
    assert head > 9_000
    assert opened < 2 * TOLERANCE * head


def test_near_ideal_switches_leave_rounding_and_it_stays_within_the_bound(tmp_path: Path) -> None:
    """Branches of 1e-6 ohm: 1e-7 kW becomes 1.3e-4, a tenth of the bound, whatever the tolerance."""
    opened, head, rounding = left_open(large_feeder(tmp_path / "stiff.dss", 1350, with_switches=True))
    assert opened > 1e-9 * head
    assert 0.01 * rounding < opened < rounding


def feeder_balance(folder: Path) -> Verdict:
    """Return the balance of IEEE 34 with a fiftieth of its loads."""
    copytree(FEEDER, folder / "ieee34")
    grid, loads = {"kind": "opendss", "feeder": "ieee34/ieee34.dss"}, {"kind": "load", "scale": 0.02}
    times = {"start": "2025-07-15T00:00:00-07:00", "duration_s": 600, "step_s": 60}
    scenario = {"name": "small_load", **times, "federates": {"grid": grid, "loads": loads}}
    (folder / "small_load.json").write_text(json.dumps(scenario), encoding="utf-8")
    result = derloop.run(folder / "small_load.json", engine="local", out=folder / "run", report=False)
    return next(v for v in result.verdicts if v.check == "energy balance of grid")


def test_what_rounding_leaves_of_a_feeder_at_small_load_is_no_leak_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = feeder_balance(tmp_path / "a")
    assert said.outcome == "PASS"
    assert said.text.endswith("to the 1e-06 kW that its values cannot tell")
    monkeypatch.setattr(opendss, "rounding_kw", lambda _: 0.0)
    assert feeder_balance(tmp_path / "b").outcome == "FAIL"


def test_more_than_rounding_is_a_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(elements: Elements) -> Any:
        return honest(elements) * np.where(np.array(elements.names) == "load.844_846c_at_846", 1 + 1e-5, 1.0)

    honest = Elements.powers
    monkeypatch.setattr(Elements, "powers", read)
    assert feeder_balance(tmp_path).outcome == "FAIL"
