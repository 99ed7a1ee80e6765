"""Every shipped scenario gives equal bytes under every engine and in every placement."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import derloop
from derloop.results.compare import compare
from derloop.results.store import RunFolder

SCENARIOS = Path(__file__).parents[2] / "scenarios"
SHIPPED = sorted(p.stem for p in SCENARIOS.glob("*.json") if p.name != "scenario.schema.json")
SHORT_S = 7200
SHORT_STEPS = 600
"""Two hours, or so many steps, show what a day would; the whole days run in the golden tests."""

APART = {
    *("quickstart", "kind_transmission_bus", "kind_network", "kind_emulator", "kind_microgrid", "kind_grid_forming"),
    *("smart_functions", "battery_utility", "frequency_regulation", "vpp_stack", "feeder_restoration", "v2h_outage"),
}
"""Loops, sockets, networks, switches, states: what threads and processes could part. The others: long tests."""
EACH = {"quickstart", "kind_network", "kind_microgrid", "v2h_outage"}
"""Of these each unit has a process, as in the long tests all have. Of the others all share two: starts take longest."""
PLACED = [
    *(pytest.param(name, "threads", "null") for name in SHIPPED if name in APART),
    *(pytest.param(name, "apart", "2") for name in SHIPPED if name in APART - EACH),
    *(pytest.param(name, "apart", "null", marks=() if name in EACH else (pytest.mark.long,)) for name in SHIPPED),
]

PATIENT = ("deadlines.join_s=150", "deadlines.step_s=150")
"""A dozen processes on a busy machine of two cores need a while to meet."""

Reference = Callable[[str], RunFolder]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return cache(lambda name: run(name, tmp_path_factory.mktemp("local") / name, "local", "together"))


def run(name: str, out: Path, engine: str, placement: str, *changes: str) -> RunFolder:
    path = SCENARIOS / f"{name}.json"
    said = json.loads(path.read_text("utf-8"))
    short_s = min(said["duration_s"], SHORT_S, SHORT_STEPS * said["step_s"])
    settings = [*PATIENT, *changes, *([f"duration_s={short_s}"] if short_s < said["duration_s"] else [])]
    result = derloop.run(path, settings, engine=engine, placement=placement, out=out, report=False)
    assert result.outcome == "completed", result.failure
    return result.folder


def test_scenarios_are_shipped() -> None:
    assert "quickstart" in SHIPPED
    assert len(SHIPPED) >= 10
    assert set(SHIPPED) >= APART >= EACH


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("engine", ["helics", "mosaik"])
def test_engines_agree_to_the_bit(name: str, engine: str, reference: Reference, tmp_path: Path) -> None:
    found = compare(reference(name), run(name, tmp_path / "run", engine, "together"))
    assert found.same, str(found)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("name", "placement", "workers"), PLACED)
def test_placements_agree_to_the_bit(
    name: str, placement: str, workers: str, reference: Reference, tmp_path: Path
) -> None:
    found = compare(reference(name), run(name, tmp_path / "run", "helics", placement, f"workers={workers}"))
    assert found.same, str(found)
