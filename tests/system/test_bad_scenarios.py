"""Wrong scenarios: every problem at once, each with its JSON pointer and what is possible.

A case is two files in `bad_scenarios/`: `<what is wrong>.json`, and `<what is wrong>.problems.txt` with a line for
each problem that is to be found, no more and no less. It is judged in a copy of `bad_scenarios/site/`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from shutil import copy, copytree

import pytest

from derloop.errors import ScenarioError
from derloop.kind import Permissions
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load

HERE = Path(__file__).parent / "bad_scenarios"
CASES = sorted(path.stem for path in HERE.glob("*.json"))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A scenario's folder, with a link that leaves it and a link to itself."""
    folder = tmp_path / "project"
    copytree(HERE / "site", folder)
    (tmp_path / "outside.dss").write_text("New Circuit.outside basekv=12.47\n")
    (folder / "link.dss").symlink_to(tmp_path / "outside.dss")
    (folder / "ring.dss").symlink_to("ring.dss")
    return folder


def problems_of(scenario: Path) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        assemble(load(scenario))
    return [plain(str(problem), scenario.parent) for problem in error.value.problems]


def plain(text: str, folder: Path) -> str:
    return text.replace(str(folder), "{folder}").encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize("case", CASES)
def test_every_problem_is_named_at_its_place_and_nothing_else(case: str, site: Path) -> None:
    scenario = Path(copy(HERE / f"{case}.json", site / "scenario.json"))
    expected = (HERE / f"{case}.problems.txt").read_text("utf-8")
    assert "\n".join(problems_of(scenario)) + "\n" == expected


def test_the_corpus_has_both_files_of_each_case() -> None:
    assert len(CASES) > 60
    assert sorted(path.name.removesuffix(".problems.txt") for path in HERE.glob("*.problems.txt")) == CASES


def test_what_the_cases_are_changed_from_has_no_problem(site: Path) -> None:
    scenario = (HERE / "numbers_that_are_none.json").read_text()
    mended = re.sub(r"NaN|1e999|9{5000}", "1", scenario).replace("-Infinity", "7200")
    (site / "scenario.json").write_text(mended)
    assert len(assemble(load(site / "scenario.json")).federates) == 6


@pytest.mark.parametrize("command", ["check", "run"])
def test_the_commands_print_every_problem_without_a_traceback_and_exit_with_2(command: str, site: Path) -> None:
    case = "a_wrong_setting_does_not_hide_the_others"
    copy(HERE / f"{case}.json", site / "scenario.json")
    done = subprocess.run(
        [sys.executable, "-m", "derloop.cli", command, "scenario.json"], cwd=site, capture_output=True, text=True
    )
    expected = (HERE / f"{case}.problems.txt").read_text("utf-8").splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    said = plain(done.stderr, site).splitlines()
    assert said == [f"derloop: scenario.json: {len(expected)} problems", *(f"  {line}" for line in expected)]
    assert not (site / "runs").exists()


def test_a_feeder_that_is_trusted_does_not_hide_what_else_is_wrong(site: Path) -> None:
    copy(HERE / "feeder_through_a_link.json", site / "scenario.json")
    with pytest.raises(ScenarioError) as error:
        load(site / "scenario.json", ["sead=1"], Permissions(trust_feeder=True))
    assert "--trust-feeder" not in str(error.value)
    assert "/sead" in str(error.value)
