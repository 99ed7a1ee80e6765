"""Customers pay for what the feeder delivers, where it tells that."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import derloop

RESTORATION = Path(__file__).parents[2] / "scenarios" / "feeder_restoration.json"
RETAIL = {
    "kind": "tariff",
    "tariff": "tariffs/example_home_time_of_use.json",
    "customers": {"loads": ["homes"], "by": "all"},
}


@pytest.mark.parametrize("powers", ["everywhere", "head"])
def test_in_a_blackout_nobody_is_billed_for_what_does_not_come(tmp_path: Path, powers: str) -> None:
    """Where only the head's power is told, nobody knows what comes, and what is asked for counts."""
    told = [f"federates.retail={json.dumps(RETAIL)}", f'federates.grid.powers="{powers}"', "checks=[]"]
    told += ["federates.grid.accounts=null"]
    result = derloop.run(RESTORATION, told, engine="local", out=tmp_path / "run", report=False)
    assert result.outcome == "completed", result.failure
    asked_kw = result["homes.p_kw"].sum(axis=1)
    came_kw = result["grid.homes.solved_kw"].sum(axis=1) if powers == "everywhere" else asked_kw
    np.testing.assert_allclose(result["retail.net_kw"][:, 0], came_kw, rtol=1e-9)
    hours = 10 / 3600
    assert result["retail.imported_kwh"][-1, 0] == pytest.approx(came_kw.sum() * hours, rel=1e-9)
    assert (came_kw.min() < 0.5 * asked_kw.min()) == (powers == "everywhere")
