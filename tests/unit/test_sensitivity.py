"""What a feeder knows beforehand of how voltages answer powers, beside solutions with a little more power."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from coupled import Fixed, feeder_at, pair, places, settings_of, smart_of, write_tree

from derloop.contract import FloatArray
from derloop.kind import Terminal
from federates.grid.opendss import OpenDssFeeder
from federates.grid.sensitivity import RANK

FEEDERS = Path(__file__).parents[2] / "scenarios" / "feeders"
INPUTS, OUTPUTS = ["pv.p_kw", "pv.q_kvar"], ["pv.v_pu"]


def grid_of(file: Path, count: int) -> OpenDssFeeder:
    terminals = places(feeder_at(file)[1], count, 20.0)
    grid = pair(file, Fixed(smart_of(None, True), terminals, 1.0), terminals).federates["grid"]
    assert isinstance(grid, OpenDssFeeder)
    grid.start()
    return grid


def known(grid: OpenDssFeeder) -> FloatArray:
    """Return d v_pu / d (kW, kvar), shape (n, 2 n), as the feeder says."""
    said = grid.answers(INPUTS, OUTPUTS)
    return said.left["pv.v_pu"] @ np.concatenate([said.right[port] for port in INPUTS], axis=1)


def solved(grid: OpenDssFeeder, step: float = 1.0) -> FloatArray:
    """Return the same from a solution for each power of each device."""
    n = grid.interface.inputs["pv.p_kw"].size

    def v_pu(powers: FloatArray) -> FloatArray:
        return grid.step(0, {"pv.p_kw": powers[:n], "pv.q_kvar": powers[n:]})["pv.v_pu"].copy()

    without = v_pu(np.zeros(2 * n))
    return np.array([(v_pu(step * unit) - without) / step for unit in np.eye(2 * n)]).T


def tree(folder: Path, buses: int) -> Path:
    """Return a feeder whose loads are constant impedances."""
    file = folder / "tree.dss"
    write_tree(file, buses)
    file.write_text(file.read_text().replace("model=1", "model=2"))
    return file


@pytest.mark.parametrize(("name", "count"), [("ieee13", 10), ("ieee34", 20), ("ieee123", 40)])
def test_known_answers_are_near_those_of_solutions(name: str, count: int) -> None:
    """Loads count as admittances: that is what the 11 to 15 % are."""
    grid = grid_of(FEEDERS / name / f"{name}.dss", count)
    expected = solved(grid)
    assert np.linalg.norm(known(grid) - expected) <= 0.16 * np.linalg.norm(expected)


def test_with_loads_of_constant_impedance_they_are_exact_to_first_order(tmp_path: Path) -> None:
    grid = grid_of(tree(tmp_path, 60), 8)
    expected = solved(grid)
    assert np.linalg.norm(known(grid) - expected) <= 2e-3 * np.linalg.norm(expected)


def test_of_many_devices_the_directions_that_count_are_known(tmp_path: Path) -> None:
    grid = grid_of(tree(tmp_path, 600), 100)
    expected = solved(grid)
    assert grid.answers(INPUTS, OUTPUTS).rank == RANK
    assert np.linalg.norm(known(grid) - expected) <= 0.05 * np.linalg.norm(expected)


def test_asking_for_them_leaves_the_solution_as_it_is() -> None:
    grid = grid_of(FEEDERS / "ieee13" / "ieee13.dss", 10)
    before = grid._solver.voltages().copy()
    grid.answers(INPUTS, OUTPUTS)
    assert np.array_equal(grid._solver.voltages(), before)


def test_they_are_the_same_each_time() -> None:
    said = [known(grid_of(FEEDERS / "ieee13" / "ieee13.dss", 10)) for _ in range(2)]
    assert np.array_equal(said[0], said[1])


def test_what_is_drawn_lowers_voltages_also_those_that_others_see(tmp_path: Path) -> None:
    """Two federates, of which one draws and one looks at its extremes too; beside solutions with 20 kW or kvar."""
    context, feeder = feeder_at(tree(tmp_path, 60))
    pv = Terminal("pv_0", "b8", (1, 2, 3), 20.0, extremes=True)
    load = Terminal("load_0", "b5", (2,), 20.0, draws=True)
    context = replace(context, terminals={"pv": (pv,), "loads": (load,)}, feeder=feeder)
    grid = OpenDssFeeder(settings_of(feeder.path), context, feeder)
    grid.start()
    inputs = ["pv.p_kw", "pv.q_kvar", "loads.p_kw", "loads.q_kvar"]
    outputs = ["pv.v_pu", "pv.v_low_pu", "pv.v_high_pu", "loads.v_pu"]
    said = grid.answers(inputs, outputs)
    assert set(said.left) == set(outputs)
    zero = dict.fromkeys(inputs, np.zeros(1))
    before = {port: value.copy() for port, value in grid.step(0, zero).items()}
    for port in inputs:
        after = grid.step(0, {**zero, port: np.full(1, 20.0)})
        for output in ("pv.v_pu", "loads.v_pu"):
            known_pu = 20.0 * (said.left[output] @ said.right[port]).item()
            moved_pu = (after[output] - before[output]).item()
            assert np.sign(known_pu) == (-1.0 if port.startswith("loads") else 1.0)
            assert known_pu == pytest.approx(moved_pu, rel=0.02)
