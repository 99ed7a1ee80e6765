"""The figures from which the pictures and the page are made: `figures.json`, which is part of the project."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from growing.points import Measured

FILE = Path(__file__).resolve().with_name("figures.json")
Figures = dict[str, Any]
"""For each sweep the `facts` of the machine and the day, and its `points`."""


def read() -> Figures:
    found: Figures = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    return found


def points(figures: Figures, sweep: str, line: str = "") -> list[Measured]:
    """Return what was measured of a sweep, of one curve or all."""
    every = [Measured.of(said) for said in figures.get(sweep, {"points": []})["points"]]
    return [each for each in every if line in ("", each.line)]


def keep(found: Sequence[Measured], facts: dict[str, Any]) -> None:
    """Put what was measured in the place of what was kept of the same sweeps."""
    figures = read()
    for sweep in dict.fromkeys(each.sweep for each in found):
        rows = [_rounded(asdict(each)) for each in found if each.sweep == sweep]
        figures[sweep] = {"facts": facts, "points": rows}
    FILE.write_text(_written(figures), encoding="utf-8")


def _rounded(said: dict[str, Any]) -> dict[str, Any]:
    """Return a point without what it does not have, to five digits."""
    return {**said, "cost": {name: float(f"{value:.5g}") for name, value in said["cost"].items() if value}}


def _written(figures: Figures) -> str:
    """Return figures as JSON with a line for each point."""
    sweeps = []
    for sweep, held in figures.items():
        rows = ",\n".join(f"  {json.dumps(point)}" for point in held["points"])
        sweeps.append(f' "{sweep}": {{"facts": {json.dumps(held["facts"])}, "points": [\n{rows}\n ]}}')
    return "{\n" + ",\n".join(sweeps) + "\n}\n"
