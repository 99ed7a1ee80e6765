"""Kind `zip-load` against OpenDSS's own load of model 8, which has the same coefficients."""

import json
from pathlib import Path
from typing import Any

import pytest

import derloop
from derloop.results.store import RunFolder

FEEDER = Path(__file__).parents[2] / "scenarios" / "feeders" / "ieee13" / "ieee13.dss"
P_ZIP, Q_ZIP = [0.6, 0.3, 0.1], [1.5, -1.0, 0.5]
P_KW, Q_KVAR = 300.0, 225.0


def solved(folder: Path, feeder: str, federates: dict[str, Any]) -> RunFolder:
    folder.mkdir()
    (folder / "feeder.dss").write_text(feeder)
    scenario = {
        "$schema": "scenario.schema.json",
        "name": "zip",
        "start": "2025-07-15T00:00:00Z",
        "duration_s": 1,
        "step_s": 1,
        "engine": "local",
        "coupling": {"mode": "converged", "tolerance": 1e-9},
        "federates": {
            "grid": {"kind": "opendss", "feeder": "feeder.dss", "regulators": "locked", "tolerance": 1e-10},
            **federates,
        },
    }
    (folder / "zip.json").write_text(json.dumps(scenario))
    result = derloop.run(folder / "zip.json", out=folder / "run", report=False)
    assert result.outcome == "completed", result.failure
    return result.folder


@pytest.mark.parametrize("bus", ["675.1", "652.1", "611.3"])
def test_voltages_are_those_of_opendss_with_a_load_of_model_8(bus: str, tmp_path: Path) -> None:
    text = FEEDER.read_text()
    zipv = ", ".join(map(str, [*P_ZIP, *Q_ZIP, 0.5]))
    load = f"New Load.z phases=1 bus1={bus} conn=wye model=8 kv=2.401777 kw={P_KW} kvar={Q_KVAR}"
    load = f"{load} zipv=({zipv}) vminpu=0.5 vmaxpu=1.5"
    where = text.index("New Load.634a")
    theirs = solved(tmp_path / "a", f"{text[:where]}{load}\n{text[where:]}", {})
    group = {
        "kind": "zip-load",
        "at": [{"bus": bus}],
        "rated_kva": 375.0,
        "pf": 0.8,
        "p_zip_pu": P_ZIP,
        "q_zip_pu": Q_ZIP,
    }
    ours = solved(tmp_path / "b", text, {"loads": group})
    bare = solved(tmp_path / "c", text, {})
    a, b, c = (run.frame("grid.v_pu") for run in (theirs, ours, bare))
    assert abs(a.to_numpy() - b[a.columns].to_numpy()).max() < 1e-7
    assert abs(a.to_numpy() - c[a.columns].to_numpy()).max() > 1e-3
