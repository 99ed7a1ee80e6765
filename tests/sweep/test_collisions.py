"""A setting that a sweep says in two places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from derloop.errors import ScenarioError
from derloop.kind import NONE_GRANTED
from derloop.sweep.asked import asked
from derloop.sweep.models import SweepFile
from derloop.sweep.plan import plan

SCENARIO = Path(__file__).parents[2] / "scenarios" / "kind_battery.json"
ENERGY, AT = "federates.storage.energy_kwh", "federates.storage.at.0"
SAME, WITHIN, HOLDS = "is the same setting as", "lies within", "holds"
ONE = "a run can follow only one of the two"


def told(sweep: SweepFile, *also: str) -> list[tuple[str, str]]:
    """Return the problems of a sweep: the place of each, and what it is."""
    try:
        plan(SCENARIO, sweep, also, NONE_GRANTED)
    except ScenarioError as error:
        return [(problem.pointer, problem.what) for problem in error.problems]
    return []


def sweep(*vary: tuple[Any, list[Any]], **more: Any) -> SweepFile:
    parameters = [{"path": path, "values": values, "name": f"p{n}"} for n, (path, values) in enumerate(vary)]
    return SweepFile.model_validate({"name": "s", "scenario": SCENARIO.name, "vary": parameters, **more})


def test_one_setting_under_two_names_is_refused_with_both() -> None:
    varied = [f"{ENERGY}=500,600", "/federates/storage/energy_kwh=700,800"]
    assert told(asked(SCENARIO, varied, "", False, None)) == [
        ("/vary/1/path", f"'/federates/storage/energy_kwh' {SAME} '{ENERGY}' of /vary/0/path: {ONE}")
    ]
    kva = [(f"{AT}.rated_kva", [1]), ("federates.storage.at.00.rated_kva", [2])]
    assert [where for where, _ in told(sweep(*kva))] == ["/vary/1/path"]
    assert [where for where, _ in told(sweep((ENERGY, [1])), f"checks.{'9' * 5000}=1")] == ["/set"]


def test_a_parameter_that_is_set_as_well_is_refused_wherever_it_is_set() -> None:
    same = f"'{ENERGY}' {SAME} '/federates/storage/energy_kwh'"
    assert told(sweep((ENERGY, [1, 2])), "/federates/storage/energy_kwh=700") == [
        ("/vary/0/path", f"{same} of the command line: {ONE}")
    ]
    assert told(sweep((ENERGY, [1, 2]), set={"/federates/storage/energy_kwh": 700})) == [
        ("/vary/0/path", f"{same} of /set: {ONE}")
    ]
    assert [where for where, _ in told(sweep(("engine", ["local"])), 'engine="local"')] == ["/vary/0/path"]


def test_seeds_beside_a_parameter_that_is_the_seed_are_refused() -> None:
    assert told(sweep(("/seed", [1, 2]), seeds=[3])) == [("/seeds", f"'seed' {SAME} '/seed' of /vary/0/path: {ONE}")]


def test_a_setting_within_another_one_is_refused_whichever_comes_first() -> None:
    spot, kva = (AT, [{"bus": "675.1.2.3", "rated_kva": 1}]), (f"{AT}.rated_kva", [2])
    assert told(sweep(spot, kva)) == [("/vary/1/path", f"'{AT}.rated_kva' {WITHIN} '{AT}' of /vary/0/path: {ONE}")]
    assert told(sweep(kva, spot)) == [("/vary/0/path", f"'{AT}.rated_kva' {WITHIN} '{AT}' of /vary/1/path: {ONE}")]
    assert told(sweep(spot), f"{AT}.rated_kva=2") == [
        ("/vary/0/path", f"'{AT}' {HOLDS} '{AT}.rated_kva' of the command line: {ONE}")
    ]


def test_a_path_that_stands_twice_in_one_parameter_is_refused() -> None:
    assert told(sweep(([ENERGY, ENERGY], [1, 2]))) == [
        ("/vary/0/path/1", f"'{ENERGY}' {SAME} '{ENERGY}' of /vary/0/path/0: {ONE}")
    ]


def test_all_settings_that_meet_are_told_at_once_with_paths_that_lead_nowhere() -> None:
    meeting = sweep((ENERGY, [1]), ("step_s", [900]), ("chekcs.0", [1]), set={"step_s": 900, "/step_s": 1800})
    assert [where for where, _ in told(meeting, f"{ENERGY}=700")] == [
        "/set",
        "/vary/0/path",
        "/vary/1/path",
        "/vary/2/path",
    ]


@pytest.mark.parametrize("also", [["step_s=900"], ["step_s=900", "step_s=1800"], ["coupling.max_passes=3"]])
def test_the_command_line_may_change_what_the_file_sets(also: list[str]) -> None:
    assert told(sweep((ENERGY, [500]), set={"step_s": 450, "engine": "local"}), *also) == []
