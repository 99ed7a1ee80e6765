"""`derloop sweep` as it is typed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from derloop.commands.sweep import app
from derloop.errors import DerloopError, ScenarioError
from derloop.results.store import RunFolder
from derloop.sweep.asked import asked
from derloop.sweep.design import combinations

SCENARIO = Path(__file__).parents[2] / "scenarios" / "kind_opendss.json"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ("5,10,13.5", [5, 10, 13.5]),
        ("a,b", ["a", "b"]),
        ('["a,b", null, {"c": 1}]', ["a,b", None, {"c": 1}]),
        ("a,1", ["a", 1]),
        ("[500,600],[700,800]", [[500, 600], [700, 800]]),
        ("5,[1,2]", [5, [1, 2]]),
        ('{"a":1,"b":2},{"a":3}', [{"a": 1, "b": 2}, {"a": 3}]),
        ("[[1,2]]", [[1, 2]]),
        ('"",a', ["", "a"]),
        ("1..4", [1, 2, 3, 4]),
        ("0..1:3", [0.0, 0.5, 1.0]),
    ],
)
def test_values_are_listed_or_a_range(values: str, found: list[object]) -> None:
    assert [v for (v,) in combinations(asked(SCENARIO, [f"step_s={values}"], "", False, None))] == found


def test_a_text_in_the_place_of_a_number_is_answered_with_what_is_possible(tmp_path: Path) -> None:
    words = [str(SCENARIO.with_name("kind_battery.json")), "--vary", "federates.storage.energy_kwh=a,b"]
    error = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")]).exception
    assert "/federates/storage/energy_kwh: must be a number, or a list [min, max], not 'a'" in str(error)


def test_seeds_and_samples_are_asked_for_by_options() -> None:
    assert asked(SCENARIO, [], "3..5", False, None).seeds == (3, 4, 5)
    sampled = asked(SCENARIO, ["a=0.5..2"], "7", False, 4)
    assert (sampled.design, sampled.samples, len(combinations(sampled))) == ("latin-hypercube", 4, 4)


@pytest.mark.parametrize(
    ("varied", "seeds", "why"),
    [
        (["step_s"], "", "must be PATH=V1,V2"),
        (["step_s=2..1"], "", "low 2 is not below high 1"),
        (["step_s=0.5..1.5"], "", "needs a count of values"),
        (["step_s=500,,700"], "", "'step_s=500,,700': a value is empty"),
        (["step_s=500,"], "", "'step_s=500,': a value is empty"),
        (["step_s=[a,b],[c]"], "", "[a' is no JSON"),
        (["step_s=x,{1,2}"], "", "{1' is no JSON"),
        ([], "5..1", "--seeds 5..1: 5 is above 1"),
        ([], "x", "--seeds 'x': must be 1..10 or 1,2,3"),
        ([], "1..99999999999", "more than 100,000 runs, the most that a sweep has"),
    ],
)
def test_options_that_say_nothing_sensible_are_refused(varied: list[str], seeds: str, why: str) -> None:
    with pytest.raises((DerloopError, ScenarioError), match=re.escape(why)):
        asked(SCENARIO, varied, seeds, False, None)


def test_runs_are_those_of_derloop_run_in_folders_below_the_sweeps(tmp_path: Path) -> None:
    words = [str(SCENARIO), "--vary", "step_s=3600,-1", "--set", "duration_s=3600", "--engine", "local"]
    ended = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert ended.exit_code == 3, ended.output
    assert "2 runs: 1 PASS, 1 refused" in ended.output
    (folder,) = (path for path in (tmp_path / "out" / "runs").iterdir() if path.is_dir())
    run = RunFolder(folder)
    assert (run.run["outcome"], run.run["step_s"], run.run["engine"]) == ("completed", 3600, "local")
    assert run.read("grid.head_kw")[1].size == 1


def test_a_report_that_is_asked_for_later_is_written_of_runs_that_are_there(tmp_path: Path) -> None:
    words = [str(SCENARIO), "--vary", "step_s=3600", "--set", "duration_s=3600", "--engine", "local"]
    words += ["--out", str(tmp_path / "out")]
    assert CliRunner().invoke(app, words).exit_code == 0
    (folder,) = (path for path in (tmp_path / "out" / "runs").iterdir() if path.is_dir())
    assert not (folder / "report.html").exists()
    before = (folder / "run.json").read_bytes()
    again = CliRunner().invoke(app, [*words, "--report"])
    assert (again.exit_code, "1 of them there before" in again.output) == (0, True)
    assert SCENARIO.stem in (folder / "report.html").read_text()
    assert (folder / "run.json").read_bytes() == before
    assert not list(folder.glob("*.part"))


def test_a_scenario_without_anything_to_vary_is_refused_and_a_sweep_file_with_a_mistake_by_its_place(
    tmp_path: Path,
) -> None:
    assert "--vary or --seeds" in CliRunner().invoke(app, [str(SCENARIO)]).output
    file = tmp_path / "sweep.json"
    file.write_text(json.dumps({"name": "s", "scenario": str(SCENARIO), "varry": []}))
    error = CliRunner().invoke(app, [str(file)]).exception
    assert isinstance(error, ScenarioError)
    assert "/varry: unknown; did you mean 'vary'?" in str(error)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--vary", "a=1"], "is a sweep file, which has parameters and seeds of its own"),
        (["--seeds", "1,2"], "is a sweep file, which has parameters and seeds of its own"),
        (["--sample", "3"], "a sweep file has a design of its own"),
        (["--list", "--sample", "3"], "values are either taken together or sampled"),
    ],
)
def test_options_that_do_not_go_with_a_sweep_file_are_refused_as_such(
    tmp_path: Path, words: list[str], why: str
) -> None:
    file = tmp_path / "sweep.json"
    file.write_text(json.dumps({"name": "s", "scenario": str(SCENARIO), "seeds": [1]}))
    ended = CliRunner().invoke(app, [str(file), *words])
    assert ended.exit_code == 2
    assert why in " ".join(ended.output.split())


def test_values_that_are_listed_together_are_not_sampled() -> None:
    ended = CliRunner().invoke(app, [str(SCENARIO), "--vary", "step_s=900,1800", "--list", "--sample", "3"])
    assert (ended.exit_code, "either taken together or sampled" in ended.output) == (2, True)


def test_the_schema_of_sweep_files_is_printed() -> None:
    schema = json.loads(CliRunner().invoke(app, ["--schema"]).output)
    assert {"scenario", "vary", "seeds", "design"} <= schema["properties"].keys()
