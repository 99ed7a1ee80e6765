"""A network between a fleet's client and its devices: what is not reached, and what others hear of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import derloop

SCENARIO = Path(__file__).parents[2] / "scenarios" / "kind_emulator.json"
NETWORK = {
    "kind": "network",
    "links": [{"to": "inverter.reached"}, {"from": "inverter", "to": "vpp"}],
    "events": [{"begins_s": 300, "lasts_s": 300, "to": "inverter.reached"}],
}
OVERRIDES = [
    "duration_s=900",
    "federates.vpp.services.0.limit_kw=2050",
    "federates.vpp.services.0.recharge_below_kw=1500",
    "federates.vpp.silent_after_s=200",
    f"federates.network={json.dumps(NETWORK)}",
]


def test_a_device_out_of_reach_grows_silent_lets_go_and_is_told_again(tmp_path: Path) -> None:
    """Out of reach from 300 s to 600 s of one-minute steps: a lease of three steps, from 240 s, ends at 420 s."""
    done = derloop.run(SCENARIO, OVERRIDES, out=tmp_path / "run", report=False)
    assert done.outcome == "completed", done.failure
    step, run = np.arange(15), done.folder
    reached, measured_s, heard_s, p_kw, solved_kw, silent = (
        run.read(name)[1][:, 0]
        for name in (
            *("network.inverter.reached", "inverter.age_s", "network.vpp.inverter.age_s"),
            *("inverter.p_kw", "grid.inverter.solved_kw", "vpp.silent"),
        )
    )
    out = (step >= 5) & (step <= 10)
    assert reached.tolist() == (~out).astype(float).tolist()
    assert measured_s.tolist() == np.where(out, 60.0 * (step - 4), 0.0).tolist()
    assert heard_s[1:].tolist() == (60.0 + np.where(out, 60.0 * (step - 4), 0.0)[:-1]).tolist()
    assert (p_kw[4:7] > 10.0).all()
    assert p_kw[7:11] == pytest.approx([0.0] * 4, abs=0.05)
    assert p_kw[-1] > 10.0
    assert solved_kw == pytest.approx(p_kw, abs=1e-6)
    assert silent[step[heard_s > 200.0]].all()
