"""A feeder with a house and a battery, and a control of the user's beside its scenario."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import derloop
from derloop.result import Result

FEEDER = """clear
new circuit.study basekv=0.4 pu=1.0 phases=3 bus1=source
new line.one bus1=source bus2=load length=0.1 units=km
new load.house bus1=load.1.2.3 phases=3 kv=0.4 kw=30 pf=0.98
set voltagebases=[0.4]
calcvoltagebases
"""
SHAVE = """class Shave:
    def __init__(self, parameters, site):
        self.limit_kw = parameters["limit_kw"]
        self.share = 1 / len(site.labels["batteries.p_set_kw"])
        self.given_kw = 0.0

    def step(self, now_s, measured):
        self.given_kw = max(0.0, measured["grid.head_kw"][0] + self.given_kw - self.limit_kw)
        return {"batteries.p_set_kw": self.given_kw * self.share}
"""
CONTROL = {
    "kind": "own-control",
    "file": "shave.py",
    "class": "Shave",
    "members": ["batteries"],
    "reads": ["grid.head_kw", "soc_pu"],
    "writes": ["p_set_kw"],
    "parameters": {"limit_kw": 20.0},
}
PEAK = {"kind": "peak", "signal": "grid.head_kw", "limit_kw": 20.5, "window_s": 0, "from_s": 180}


def scenario(**control: Any) -> dict[str, Any]:
    """Return an hour of one-minute steps, in which the control keeps what the feeder draws at 20 kW of 30."""
    batteries = {"kind": "battery", "at": [{"bus": "load.1.2.3"}] * 2, "rated_kva": 10, "energy_kwh": 40}
    given = {"mode": "commanded", "soc_initial_pu": 0.9}
    return {
        **{"name": "study", "start": "2025-07-15T12:00:00Z", "duration_s": 3600, "step_s": 60},
        "federates": {
            "grid": {"kind": "opendss", "feeder": "feeder.dss"},
            "batteries": {**batteries, **given},
            "own": {**CONTROL, **control},
        },
        "checks": [{"name": "peak", **PEAK}],
    }


def written(folder: Path, code: str = SHAVE, **control: Any) -> Path:
    """Write the scenario, its feeder and the control into `folder`."""
    (folder / "feeder.dss").write_text(FEEDER)
    (folder / "shave.py").write_text(code)
    (folder / "study.json").write_text(json.dumps(scenario(**control)))
    return folder / "study.json"


def run(path: Path, name: str = "run", overrides: tuple[str, ...] = (), **options: Any) -> Result:
    given = {"engine": "local", "trust_control": True, "report": False, **options}
    return derloop.run(path, overrides, out=path.parent / name, **given)
