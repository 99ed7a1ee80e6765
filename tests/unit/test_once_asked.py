"""Values by name, worked out once they are asked for; and a process that reads the feeders that it needs alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from derloop.engines.child import _assembled
from derloop.errors import FederateError, ScenarioError
from derloop.kind import NONE_GRANTED, permissions_to_json
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load
from derloop.scenario.once_asked import OnceAsked
from federates.grid.solver import Solver

FEEDER = Path(__file__).parents[2] / "scenarios" / "feeders" / "ieee13" / "ieee13.dss"


def test_a_value_is_worked_out_once_and_not_before_it_is_asked_for() -> None:
    asked: list[str] = []

    def worked_out(name: str) -> str:
        asked.append(name)
        return name.upper()

    values = OnceAsked(["a", "b"], worked_out)
    assert ([*values], len(values), "a" in values, "c" in values, values.get("c", "none")) == (
        ["a", "b"],
        2,
        True,
        False,
        "none",
    )
    assert asked == []
    assert (values["b"], values.get("b"), values["b"]) == ("B", "B", "B")
    assert asked == ["b"]
    with pytest.raises(KeyError):
        values["c"]


def test_what_goes_wrong_in_working_out_is_not_taken_for_a_name_that_is_not_there() -> None:
    def worked_out(name: str) -> str:
        raise KeyError(f"in {name}")

    with pytest.raises(KeyError, match="in a"):
        OnceAsked(["a"], worked_out).get("a")


def scenario(folder: Path) -> Path:
    """Three feeders with a fleet and a sky each, and a plant over two of the fleets."""
    (folder / "ieee13.dss").write_text(FEEDER.read_text("utf-8"))
    (folder / "light.csv").write_text("time_s,wm2\n0,500\n86400,500\n")
    federates: dict[str, Any] = {}
    for k in range(3):
        federates[f"grid{k}"] = {"kind": "opendss", "feeder": "ieee13.dss"}
        light = {"file": "light.csv", "column": "wm2"}
        federates[f"sky{k}"] = {"kind": "sky", "over": [f"roofs{k}"], "clear_sky": light}
        stands = {"feeder": f"grid{k}", "at": [{"bus": "645.2", "rated_kva": 5}]}
        federates[f"roofs{k}"] = {"kind": "pv", **stands}
        if k < 2:
            federates[f"cells{k}"] = {"kind": "battery", **stands, "energy_kwh": 10, "mode": "commanded"}
    services = [{"kind": "peak-shaving", "reads": "grid0.head_kw", "limit_kw": 3000}]
    federates["plant"] = {"kind": "vpp", "members": ["cells0", "cells1"], "services": services}
    said = {"name": "three", "start": "2025-07-15T00:00:00Z", "duration_s": 60, "step_s": 60, "federates": federates}
    (folder / "three.json").write_text(json.dumps(said))
    return folder / "three.json"


@pytest.mark.parametrize(
    ("own", "read"), [(["grid1"], 1), (["roofs2"], 1), (["grid0", "sky0", "cells0"], 1), (["sky1"], 1), (["plant"], 2)]
)
def test_a_process_reads_the_feeders_that_its_own_federates_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: list[str], read: int
) -> None:
    loaded = load(scenario(tmp_path))
    whole, solvers = assemble(loaded), list[Path]()

    def counted(path: Path) -> Any:
        solvers.append(path)
        return Solver(path)

    monkeypatch.setattr("federates.grid.feeder.Solver", counted)
    part = assemble(loaded, only=own, known=whole.interfaces)
    assert len(solvers) == read
    assert part.interfaces == whole.interfaces
    assert [unit.members for unit in part.units] == [unit.members for unit in whole.units]


@pytest.mark.parametrize("own", ["grid1", "roofs1", "sky1", "plant"])
def test_a_feeder_that_its_process_cannot_read_is_named_whoever_needs_it(tmp_path: Path, own: str) -> None:
    """As where its file is written anew meanwhile."""
    path = scenario(tmp_path)
    (tmp_path / "other.dss").write_text(FEEDER.read_text("utf-8"))
    loaded = load(path, ["federates.grid1.feeder=other.dss"])
    whole = assemble(loaded)
    (tmp_path / "other.dss").unlink()
    with pytest.raises(ScenarioError) as refused:
        assemble(loaded, only=[own], known=whole.interfaces)
    assert [problem.pointer for problem in refused.value.problems] == ["/federates/grid1/feeder"]


def test_who_cannot_be_built_is_named_and_not_all_that_its_process_has(tmp_path: Path) -> None:
    loaded = load(scenario(tmp_path))
    known = assemble(loaded).interfaces
    (tmp_path / "light.csv").unlink()
    job = {"document": loaded.document, "path": str(loaded.path), "members": ["grid1", "roofs1", "sky1", "cells1"]}
    with pytest.raises(FederateError) as failed:
        _assembled(job | {"permissions": permissions_to_json(NONE_GRANTED)}, known)
    assert failed.value.federate == "sky1"


def test_a_federation_that_is_left_to_others_has_its_interfaces_alone(tmp_path: Path) -> None:
    whole = assemble(load(scenario(tmp_path)))
    before = whole.interfaces["grid0"]
    whole.leave_to_others()
    assert whole.federates["grid0"].interface == before
    with pytest.raises(Exception, match="runs in another process"):
        whole.federates["grid0"].start()
