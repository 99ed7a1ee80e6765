"""Devices are known to draw what they are given: what is told of them is what OpenDSS tells of each element."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from derloop.contract import FloatArray
from derloop.kind import Context, Terminal
from federates.grid.feeder import Feeder
from federates.grid.opendss import OpenDssFeeder
from federates.grid.powers import Summed
from federates.grid.settings import OpenDssSettings

SCENARIOS = Path(__file__).parents[2] / "scenarios"
S = 1_000_000_000
TOLERANCE = 1e-9
PV = (
    Terminal("three", "675", (1, 2, 3), 300.0),
    Terminal("two", "671", (2, 3), 200.0),
    Terminal("one", "645", (2,), 100.0),
    Terminal("beside", "645", (2,), 50.0),
)
DEMAND = (Terminal("heater", "652", (1,), 30.0, draws=True),)
HOMES = (Terminal("634a", "634", (1,), 0.0, True, "634a"),)


@pytest.fixture(autouse=True)
def every_feeder_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("federates.grid.powers.MANY", 0)


@pytest.fixture
def grid() -> OpenDssFeeder:
    said = OpenDssSettings.model_validate(
        {"feeder": "feeders/ieee13/ieee13.dss", "tolerance": TOLERANCE, "regulators": "locked", "sane_v_pu": [0.0, 2.0]}
    )
    terminals = {"pv": PV, "demand": DEMAND, "homes": HOMES}
    context = Context("grid", SCENARIOS, datetime(2025, 7, 15, tzinfo=UTC), S, 3600 * S, 1, terminals=terminals)
    built = OpenDssFeeder(said, context, Feeder(said, context))
    built.start()
    return built


def given(k: int) -> dict[str, FloatArray]:
    kw = np.array([300.0, 200.0, 100.0, 50.0])
    drawn = {"demand.p_kw": np.array([30.0 - k]), "demand.q_kvar": np.array([5.0])}
    drawn |= {"homes.p_kw": np.array([160.0]), "homes.q_kvar": np.array([110.0])}
    return {"pv.p_kw": kw / (k + 1), "pv.q_kvar": kw * (0.2 - 0.1 * k), **drawn}


def drawn_by_devices(grid: OpenDssFeeder) -> tuple[list[complex], list[complex]]:
    """Return what is told of each element of a device's, and what OpenDSS tells of it."""
    elements = np.concatenate([group.elements for group in grid._drives])
    told = grid._drawn()[elements].tolist()
    return told, grid._solver.elements.powers()[elements].tolist()


def test_devices_draw_what_they_are_given(grid: OpenDssFeeder) -> None:
    assert isinstance(grid._powers, Summed)
    for k in range(4):
        grid.step(k * S, given(k))
        told, asked = drawn_by_devices(grid)
        assert told == pytest.approx(asked, abs=1e-5)
        kva = given(k)["pv.p_kw"] + 1j * given(k)["pv.q_kvar"]
        assert told == [-kva[0], -kva[1], -kva[2] - kva[3], 30.0 - k + 5j, *told[4:]]


@pytest.mark.parametrize("v_pu", [0.2, 2.3])
def test_outside_of_their_band_they_are_asked(grid: OpenDssFeeder, v_pu: float) -> None:
    grid.step(0, given(0))
    grid._solver.dss.Vsources.First()
    grid._solver.dss.Vsources.PU(v_pu)
    grid._solver.solve()
    np.copyto(grid._v_pu, np.abs(grid._solver.voltages()) / grid._bases_v)
    told, asked = drawn_by_devices(grid)
    assert told == asked
    assert abs(told[0] + 300) > 30
    grid._solver.dss.Vsources.PU(1.0)
    grid.step(S, given(0))
    assert drawn_by_devices(grid)[0][0] == -300 - 60j


def test_loads_of_the_file_that_are_driven_are_asked(grid: OpenDssFeeder) -> None:
    assert [group.given_power(grid._solver) is None for group in grid._drives] == [False, False, True]
