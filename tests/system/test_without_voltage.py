"""What draws at a bus of a feeder draws nothing while it is dead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import derloop

RESTORATION = Path(__file__).parents[2] / "scenarios" / "feeder_restoration.json"
FLEETS = {
    "heaters": {"kind": "water-heater", "at": {"count": 60, "on": "loads"}, "rated_kva": 4.5, "loss_kw_per_k": 0.05},
    "dishes": {
        "kind": "appliance",
        "at": {"count": 60, "on": "loads"},
        "rated_kva": 2.0,
        "ready_h": [18.0, 18.0],
        "deadline_h": 24,
    },
}


@pytest.mark.parametrize("engine", ["local", "helics"])
def test_fleets_that_only_draw_notice_a_step_later_that_their_feeder_is_dead(tmp_path: Path, engine: str) -> None:
    told = [f"federates.{name}={json.dumps(fleet)}" for name, fleet in FLEETS.items()]
    result = derloop.run(RESTORATION, [*told, "checks=[]"], engine=engine, out=tmp_path / "run", report=False)
    assert result.outcome == "completed", result.failure
    for name in FLEETS:
        is_dead, p_kw = result[f"grid.{name}.v_pu"][:-1] == 0.0, result[f"{name}.p_kw"][1:]
        assert is_dead.any()
        assert not is_dead.all()
        assert not p_kw[is_dead].any()
        assert p_kw[~is_dead].any()
