"""The bulk system's frequency and the devices that bear on it, from one end to the other: through feeder and engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import derloop
from derloop.result import Result

SCENARIO = Path(__file__).parents[2] / "scenarios/kind_frequency.json"
STEADY = ["federates.system.model.agc_per_s=0", "federates.turbines.turbulence=null"]
IDLE = ["federates.storage.smart={}", 'federates.system.over=["turbines"]']
BASE_MW, LOST_MW, FEEDERS, DROOP, DAMPING, DEAD_HZ = 40_000.0, 2_000.0, 1_000.0, 0.05, 1.0, 0.036


def run(out: Path, *overrides: str) -> Result:
    return derloop.run(SCENARIO, [*STEADY, *overrides], engine="local", out=out, report=False)


@pytest.fixture(scope="module")
def droops(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(tmp_path_factory.mktemp("droops") / "run")


def test_batteries_with_droop_lift_the_frequency_that_they_see(droops: Result, tmp_path: Path) -> None:
    rests = run(tmp_path / "run", *IDLE)
    with_them, without = droops["system.f_hz"][:, 0], rests["system.f_hz"][:, 0]
    assert (with_them[:11] == without[:11]).all()  # before the loss
    assert (with_them[60:] > without[60:] + 0.007).all()
    assert np.ptp(rests["storage.p_kw"]) == 0.0


def test_all_settle_where_governors_damping_and_batteries_agree(droops: Result) -> None:
    f_hz, head_kw = droops["system.f_hz"][-1, 0], droops["grid.head_kw"][:, 0]
    # each battery, 500 kW, on its droop of 2 % beyond its dead band
    assert droops["storage.p_kw"][-1] == pytest.approx(500.0 * (60.0 - DEAD_HZ - f_hz) / (60.0 * 0.02), abs=0.5)
    # Kundur, eq. 11.7, with what the feeders draw less than at first
    missing = (LOST_MW + FEEDERS * (head_kw[-1] - head_kw[0]) / 1000.0) / BASE_MW
    fallen = (missing + DEAD_HZ / 60.0 / DROOP) / (1.0 / DROOP + DAMPING)
    assert f_hz == pytest.approx(60.0 * (1.0 - fallen), abs=5e-4)


def test_what_is_lost_and_drawn_is_supplied_or_slows_the_machines(droops: Result) -> None:
    mws = {port: droops[f"system.{port}_mws"][:, 0] for port in ("kinetic", "supplied", "damped", "imbalance")}
    scale = np.abs(mws["imbalance"]).max()
    rest = mws["kinetic"] - (mws["supplied"] - mws["damped"] - mws["imbalance"])
    assert np.abs(rest).max() < 1e-9 * scale
