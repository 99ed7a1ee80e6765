"""Cars and engines behind real Modbus servers do what their models do, to within what registers resolve."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import derloop
from derloop.result import Result

SCENARIOS = Path(__file__).parents[2] / "scenarios"
VIAS = ("model", "emulator")


def run(name: str, out: Path, *overrides: str) -> Result:
    result = derloop.run(SCENARIOS / f"{name}.json", overrides, engine="local", out=out, report=False)
    assert result.outcome == "completed", result.failure
    return result


def test_an_engine_follows_its_dispatch_over_modbus(tmp_path: Path) -> None:
    begun = ["duration_s=43200", "checks=[]"]
    model = run("kind_chp_commanded", tmp_path / "model", *begun)
    wired = run("kind_chp_commanded", tmp_path / "wired", *begun, "federates.plant.via=emulator")
    assert wired["plant.p_kw"].max() > 200.0
    # the dispatch goes through a register of 0.01 kW; the engine's power factor through none
    assert np.abs(wired["plant.p_kw"] - model["plant.p_kw"]).max() < 0.02
    assert np.abs(wired["plant.q_kvar"] - model["plant.q_kvar"]).max() < 0.02


def test_cars_discharge_as_they_are_told_over_modbus_and_keep_their_reserve(tmp_path: Path) -> None:
    wired = run("kind_ev", tmp_path / "wired", "duration_s=28800", "federates.depot.via=emulator")
    p_kw, asked_kw, soc = (wired[f"{signal}"] for signal in ("depot.p_kw", "vpp.depot.p_set_kw", "depot.soc_pu"))
    assert p_kw.max() == pytest.approx(22.0, abs=0.01)
    assert soc.min() >= 0.3 - 1e-4
    discharging = p_kw > 0.01
    assert discharging.any()
    assert (p_kw[discharging] <= asked_kw[discharging] + 0.01).all()


def test_a_plan_buys_and_sells_with_batteries_over_modbus(tmp_path: Path) -> None:
    """It has to know what they hold: 1200 kWh, nearly full at midnight."""
    price = {"file": "profiles/prices_july.csv", "column": "per_kwh"}
    arbitrage = [{"kind": "arbitrage", "price": price, "horizon": {"ahead_h": 12}}]
    vpp = {"kind": "vpp", "members": ["inverter"], "services": arbitrage}
    sets = ["start=2025-07-15T00:00:00-07:00", "duration_s=86400", "step_s=900", "checks=[]"]
    sets.append(f"federates.vpp={json.dumps(vpp)}")
    model, wired = (run("kind_emulator", tmp_path / via, *sets, f"federates.inverter.via={via}") for via in VIAS)
    for sign, least_kwh in ((1.0, 1000.0), (-1.0, 200.0)):
        moved_kwh = [0.25 * float(np.maximum(sign * told["inverter.p_kw"], 0.0).sum()) for told in (model, wired)]
        assert moved_kwh[0] > least_kwh
        assert moved_kwh[1] == pytest.approx(moved_kwh[0], rel=0.02)


@pytest.mark.parametrize("via", VIAS)
def test_a_battery_with_less_power_than_its_inverter_says_so_itself(via: str, tmp_path: Path) -> None:
    """Its inverter is one of 300 kVA."""
    sets = [
        "duration_s=3600",
        "step_s=300",
        "checks=[]",
        "federates.inverter.power_kw=30",
        f"federates.inverter.via={via}",
    ]
    found = run("kind_emulator", tmp_path / "run", *sets)
    most, least = found["inverter.p_max_kw"], found["inverter.p_min_kw"]
    assert most.max() == pytest.approx(30.0, abs=0.01)
    assert least.min() == pytest.approx(-30.0, abs=0.01)


def test_an_old_device_does_in_a_run_what_a_new_one_does(tmp_path: Path) -> None:
    """The first is commanded through 123, 124 and 126 and measured by 103 and 802, the second through 704 and 705."""
    for part in ("feeders/ieee13", "profiles"):
        shutil.copytree(SCENARIOS / part, tmp_path / part)
    scenario = shutil.copy(SCENARIOS / "kind_emulator.json", tmp_path)
    found = {}
    for models in ("der", "legacy"):
        entry = {"fleets": {"inverter": {"profile": {"models": models}}}}
        (tmp_path / f"{models}.json").write_text(json.dumps(entry), encoding="utf-8")
        overrides = ["duration_s=8400", "checks=[]", f"federates.inverter.via=emulator:{models}.json"]
        found[models] = derloop.run(scenario, overrides, engine="local", out=tmp_path / f"run_{models}", report=False)
        assert found[models].outcome == "completed", found[models].failure
    old, new = found["legacy"], found["der"]
    assert new["inverter.p_kw"].max() > 90.0
    for signal, step in (("inverter.p_kw", 0.11), ("inverter.q_kvar", 0.11), ("inverter.soc_pu", 1.1e-4)):
        assert np.abs(old[signal] - new[signal]).max() < step, signal
