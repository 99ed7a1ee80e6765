"""Sources are locked by their addresses, all of a fleet's or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from derloop.errors import Interlocked
from hil.bench.file import Bench, read_bench
from hil.bench.sources import SourceLocks, held_by
from hil.safety.folder import Run


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Two devices, each at a source of its own: at two ports of one host, that others of this machine may test too."""
    monkeypatch.setattr("hil.safety.folder.MACHINE", ())
    devices: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    for number in (1, 2):
        at = {"transport": "tcp", "port": 5024 + number}
        sources[f"grid-{number}"] = {"kind": "ac-source", "at": at, "commands": "scpi-99-ac-source"}
        sources[f"grid-{number}"]["v_ln_v"] = {"low": 0, "high": 300}
        power = {"ac_source": f"grid-{number}", "nominal_v": 240}
        devices[f"inv-{number}"] = {"endpoint": {"transport": "tcp", "port": number}, "power": power}
    path = tmp_path / "lab.json"
    path.write_text(json.dumps({"name": "lab", "devices": devices, "instruments": sources}), encoding="utf-8")
    return read_bench(path)


def locks(lab: Bench, run: str, *devices: str) -> SourceLocks:
    powers = [power for name in devices if (power := lab.device(name).power) is not None]
    return SourceLocks(lab, powers, Run(Path("/runs") / run, lab.path))


def test_a_source_is_held_and_its_neighbour_at_another_port_is_not(lab: Bench) -> None:
    first, asking = locks(lab, "first", "inv-1"), Run(Path("/runs/second"), lab.path)
    first.acquire()
    assert "run /runs/first" in held_by(lab, "grid-1", asking)
    assert held_by(lab, "grid-2", asking) == ""
    first.release()
    assert held_by(lab, "grid-1", asking) == ""


def test_no_source_is_held_where_another_one_cannot_be(lab: Bench) -> None:
    first, second = locks(lab, "first", "inv-2"), locks(lab, "second", "inv-1", "inv-2")
    first.acquire()
    with pytest.raises(Interlocked, match="'grid-2': is held by process"):
        second.acquire()
    assert held_by(lab, "grid-1", Run(Path("/runs/third"), lab.path)) == ""
    first.release()


def test_a_source_feeds_others_only_while_another_fleet_of_the_run_says_so(lab: Bench) -> None:
    fleets = [locks(lab, "first", "inv-1") for _ in range(3)]
    for each in fleets:
        each.acquire()
    assert fleets[0].shared() == frozenset()
    fleets[0].feed()
    fleets[1].feed()
    assert fleets[2].shared() == {"grid-1"}
    assert fleets[0].give_up() == {"grid-1"}
    assert fleets[1].give_up() == frozenset()
    for each in fleets:
        each.release()
