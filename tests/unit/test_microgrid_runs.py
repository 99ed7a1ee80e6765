"""Microgrids on feeders: an island that cannot hold collapses and is started again; a section of IEEE 123."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import derloop
from derloop.errors import ScenarioError
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load

SCENARIOS = Path(__file__).parents[2] / "scenarios"
KIND = SCENARIOS / "kind_microgrid.json"


def changed(changes: dict[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in changes.items()]


def run(folder: Path, changes: dict[str, Any]) -> Any:
    return derloop.run(KIND, changed({"checks": [], **changes}), engine="local", out=folder / "run", report=False)


def outage(begins_s: float, lasts_s: float, switch: str = "sw_671_692") -> dict[str, Any]:
    return {"switch": switch, "outages": {"events": [{"begins_s": begins_s, "lasts_s": lasts_s}]}}


def column(result: Any, signal: str) -> np.ndarray:
    """Return the sum over all elements."""
    return np.asarray(result[signal]).sum(axis=1)


def test_island_that_cannot_hold_collapses_and_is_started_again_by_priority(tmp_path: Path) -> None:
    """700 kVA for 800: overload (1) at the instant of the outage, and all is dead. The clinic's 232 kW come first.

    The bank of 600 kvar would overload the source of an island that draws nothing: it is out then.
    """
    result = run(
        tmp_path,
        {
            "duration_s": 1800,
            "step_s": 60,
            "federates.grid.island": outage(300, 1e6),
            "federates.grid.operated": {"capacitors": ["675"]},
            "federates.microgrid.capacitors": ["675"],
            "federates.storage.at": [{"bus": "675", "rated_kva": 700, "energy_kwh": 2000}],
            "federates.microgrid.black_start": {"after_s": 120},
            "federates.microgrid.shedding": {"every_s": 300, "rest_s": 300, "cold_load_pu": 0.2},
            "federates.engine.start_s": 7200,
        },
    )
    mode, fault = column(result, "microgrid.mode"), column(result, "grid.storage.fault")
    served_kw = {name: column(result, f"grid.{name}.solved_kw") for name in ("clinic", "shops", "plant")}
    assert fault[5] == 1.0
    assert np.count_nonzero(fault) == 1
    assert mode[6] == 3.0
    dead = np.flatnonzero(served_kw["clinic"] == 0.0)
    assert dead[0] == 5
    back = {name: int(np.flatnonzero(kw[6:] > 0.0)[0]) + 6 for name, kw in served_kw.items() if (kw[6:] > 0.0).any()}
    assert back["clinic"] < back["shops"]
    assert "plant" not in back  # 340 kW and a fifth more are more than is left of 0.9 times 700 kVA
    assert served_kw["clinic"][back["clinic"] :].min() > 200.0
    assert column(result, "grid.storage.f_hz")[back["clinic"] :].min() > 59.3
    assert {verdict.outcome for verdict in result.verdicts} == {"PASS"}


def test_section_of_ieee_123_goes_alone_and_comes_back(tmp_path: Path) -> None:
    """Behind the switch 97-197 are 320 kW in ten loads; what is in front of it is dead for an hour and a quarter."""
    result = run(
        tmp_path,
        {
            "duration_s": 7200,
            "federates.grid.feeder": "feeders/ieee123/ieee123.dss",
            "federates.grid.island": outage(1200, 4500, "sw_97_197"),
            "federates.clinic.loads": ["109a", "111a", "112a", "113a", "114a"],
            "federates.shops.loads": ["106b", "107b"],
            "federates.plant.loads": ["102c", "103c", "104c"],
            "federates.storage.at": [{"bus": "101", "rated_kva": 500, "energy_kwh": 1000}],
            "federates.engine.at": [{"bus": "105", "rated_kva": 150}],
        },
    )
    switch, head_kw = column(result, "grid.switch"), column(result, "grid.head_kw")
    assert switch.tolist()[:5] == [1.0] * 4 + [0.0]
    assert head_kw[3] > 3000.0
    assert head_kw[4:19].tolist() == [0.0] * 15
    assert column(result, "grid.clinic.solved_kw").min() > 100.0  # 140 kW at 0.8, and constant impedances
    assert np.asarray(result["grid.sides_pu"])[10].tolist() == pytest.approx([0.0, 1.0], abs=0.05)
    assert switch[-1] == 1.0
    assert column(result, "microgrid.mode")[-1] == 0.0
    assert column(result, "microgrid.critical_unserved_kwh")[-1] == 0.0
    assert head_kw[-1] > 3000.0
    assert {verdict.outcome for verdict in result.verdicts} == {"PASS"}


def refused(changes: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ScenarioError) as error:
        assemble(load(KIND, changed(changes)))
    return {problem.pointer: problem.what for problem in error.value.problems}


def test_critical_load_outside_of_the_island_is_refused_with_its_pointer() -> None:
    found = refused({"federates.clinic.loads": ["671", "675c"]})
    assert found == {
        "/federates/microgrid/loads/0/fleet": "outside of the island, which begins at 'sw_671_692': '671' at bus 671"
    }


def test_source_outside_of_the_island_is_refused_with_its_pointer() -> None:
    found = refused({"federates.storage.at": [{"bus": "632", "rated_kva": 1000}]})
    assert list(found) == ["/federates/microgrid/storage/0"]
    assert "outside of the island" in found["/federates/microgrid/storage/0"]


def test_microgrid_without_a_source_is_refused_with_its_pointer() -> None:
    found = refused({"federates.microgrid.storage": [], "federates.microgrid.engines": []})
    assert "it needs a grid-forming source" in found["/federates/microgrid"]


def test_island_whose_control_hears_nothing_keeps_what_is_critical_and_shares_by_droop(tmp_path: Path) -> None:
    """Over a network that is silent from 1 h 40 min on; ten minutes later nothing that was heard is acted on.

    P_0 is 0, and the least load of the engine half of 300 kW: 1 % of 60 Hz at 1000 kVA, and 4 % at 300 kVA, from there.
    """
    silence = {"begins_s": 6000, "lasts_s": 1e5, "to": "microgrid"}
    links = [{"to": "microgrid"}, {"from": "microgrid"}]
    result = run(
        tmp_path,
        {
            "duration_s": 9000,
            "federates.network": {"kind": "network", "step_s": 60, "links": links, "events": [silence]},
            "federates.microgrid.silent_after_s": 600,
        },
    )
    silent = column(result, "microgrid.silent")
    first = int(np.flatnonzero(silent)[0])
    assert (silent[first:] == 1.0).all()
    assert 600.0 <= first * 300.0 - 6000.0 <= 1200.0
    off_hz = 60.0 - column(result, "grid.storage.f_hz")[first + 2 :]
    assert column(result, "grid.storage.p_kw")[first + 2 :] == pytest.approx(off_hz / 0.0006, rel=1e-4)
    assert column(result, "grid.engine.p_kw")[first + 2 :] == pytest.approx(150.0 + off_hz / 0.008, rel=1e-4)
    assert (column(result, "grid.shops.solved_kw")[first + 1 :] == 0.0).all()
    assert column(result, "grid.clinic.solved_kw").min() == pytest.approx(232.0, rel=0.02)
    assert column(result, "grid.switch")[first:].max() == 0.0
    assert column(result, "storage.trip_cause").max() == 0.0
