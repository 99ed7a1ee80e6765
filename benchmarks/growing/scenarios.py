"""The scenarios of the sweeps: feeders with rooftops, and federations whose federates do nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import pi, sin
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent), str(ROOT / "tests" / "support")]

import ieee9500  # noqa: E402
from large_feeder import large_feeder  # noqa: E402

STEP_S = 60
KW_A_NODE = 0.4
"""Load, and rooftops in kVA, of a made-up feeder, for each of its nodes."""
SHIPPED = {"ieee13": 1000.0, "ieee34": 500.0, "ieee123": 1000.0}
"""Their rooftops, kVA in all."""
GRID = {"tolerance": 1e-6, "powers": "head", "sane_v_pu": [0.0, 2.0]}
CLEAR_SKY = {"file": "light.csv", "column": "poa_wm2"}
Said = dict[str, Any]


def rooftops(folder: Path, feeder: str | int, devices: int, fleets: int, steps: int) -> Path:
    """Write a scenario of rooftops with volt-var from ten in the morning on; return its path.

    `feeder`: the name of one of IEEE's, or the number of nodes of a made-up one. Where there is one fleet, it and the
    sky are watched.
    """
    file, kva = _feeder(folder, feeder)
    (folder / "light.csv").write_text("\n".join(_light()), encoding="utf-8")
    watched = "watched-" if fleets == 1 else ""
    names = [f"pv{i}" for i in range(fleets)]
    sizes = [devices // fleets + (i < devices % fleets) for i in range(fleets)]
    grid = {"kind": "watched-opendss", "feeder": file, **GRID}
    federates: Said = {"grid": grid, "sky": {"kind": f"{watched}sky", "over": names, "clear_sky": CLEAR_SKY}}
    for name, size in zip(names, sizes, strict=True):
        federates[name] = {"kind": f"{watched}pv", **_fleet(size, kva / devices)}
    return _written(folder, {"step_s": STEP_S, "duration_s": STEP_S * steps, "federates": federates})


def several(folder: Path, nodes: int, devices: int, feeders: int, steps: int) -> Path:
    """Write a scenario of made-up feeders on one bus, a fleet on each, and one sky; the first is watched."""
    file, kva = _feeder(folder, nodes)
    (folder / "light.csv").write_text("\n".join(_light()), encoding="utf-8")
    grids, fleets = ([f"{what}{i}" for i in range(feeders)] for what in ("grid", "pv"))
    federates: Said = {
        "bulk": {"kind": "transmission-bus", "feeders": grids, "short_circuit_mva": 100.0 * feeders},
        "sky": {"kind": "sky", "over": fleets, "clear_sky": CLEAR_SKY},
    }
    for number, (grid, fleet) in enumerate(zip(grids, fleets, strict=True)):
        watched = "" if number else "watched-"
        federates[grid] = {"kind": f"{watched}opendss", "feeder": file, **GRID}
        federates[fleet] = {"kind": "pv", "feeder": grid, **_fleet(devices, kva / devices)}
    return _written(folder, {"step_s": STEP_S, "duration_s": STEP_S * steps, "federates": federates})


def _fleet(size: int, kva: float) -> Said:
    places, smart = {"count": size, "on": "loads"}, {"volt_var": "category-b"}
    return {"at": places, "rated_kva": [0.5 * kva, 1.5 * kva], "smart": smart}


def _feeder(folder: Path, feeder: str | int) -> tuple[str, float]:
    """Put the feeder into the folder; return its file, and the rooftops that it bears in kVA."""
    if isinstance(feeder, int):
        kw = KW_A_NODE * feeder
        large_feeder(folder / "feeder.dss", max(round(feeder / 3), 4), load_kw=kw)
        return "feeder.dss", kw
    if feeder == "ieee9500":
        ieee9500.scenario()
        (folder / "feeder.dss").write_text((ieee9500.FOLDER / "feeder.dss").read_text("utf-8"), encoding="utf-8")
        return "feeder.dss", 450.0
    for path in (ROOT / "scenarios" / "feeders" / feeder).iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    return f"{feeder}.dss", SHIPPED[feeder]


def _light() -> Iterator[str]:
    yield "time_s,poa_wm2"
    for t in range(0, 86_401, 300):
        yield f"{t},{max(0.0, 950 * sin(pi * (t - 21_600) / 43_200)):.2f}"


def star(folder: Path, federates: int, steps: int) -> Path:
    """Write a scenario of one relay in the middle, and the others as arms that answer within the instant."""
    arms = [f"arm{i}" for i in range(federates - 1)]
    said: Said = {"middle": {"kind": "watched-relay", "late": arms}}
    said |= {arm: {"kind": "relay", "reads": ["middle"]} for arm in arms}
    return _written(folder, {"step_s": 1, "duration_s": steps, "federates": said})


def chain(folder: Path, federates: int, steps: int) -> Path:
    """Write a scenario of relays of which each hears the one before within the instant, and the first the last."""
    names = ["middle", *(f"link{i}" for i in range(1, federates))]
    said: Said = {"middle": {"kind": "watched-relay", "late": names[-1:]}}
    said |= {name: {"kind": "relay", "reads": [before]} for before, name in pairwise(names)}
    return _written(folder, {"step_s": 1, "duration_s": steps, "federates": said})


def _written(folder: Path, said: Mapping[str, Any]) -> Path:
    head = {"name": "growth", "start": "2025-07-15T10:00:00-07:00", "seed": 1, "checks": []}
    path = folder / "scenario.json"
    path.write_text(json.dumps({**head, "deadlines": {"join_s": 300, "step_s": 300}, **said}), encoding="utf-8")
    return path
