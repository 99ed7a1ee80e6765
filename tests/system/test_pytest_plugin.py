"""Scenario files as tests, in a pytest of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLUGIN = Path(__file__).parents[1] / "support" / "plugin"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return tmp_path


def said_in(folder: Path, *words: str, status: int = 0) -> str:
    """Return what a pytest in `folder` said; it knows the kind `counter`."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PLUGIN), "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def write(path: Path, **changes: Any) -> Path:
    """Write a scenario of one counter: its output `count` is 1, 2, ... 10."""
    data = {
        "$schema": "scenario.schema.json",
        "name": "counting",
        "start": "2025-07-15T00:00:00Z",
        "duration_s": 10,
        "step_s": 1,
        "engine": "local",
        "federates": {"a": {"kind": "counter"}},
        "checks": [{"kind": "stays-within", "signal": "a.count", "max": 20}],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**data, **changes}))
    return path


def test_scenario_files_are_collected_and_other_json_is_not(suite: Path) -> None:
    write(suite / "one.json")
    write(suite / "deep" / "two.json", **{"$schema": "https://example.org/v1/scenario.schema.json"})
    others: dict[str, Any] = {
        "empty": "",
        "list": [],
        "package": {"name": "x"},
        "schema": {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "scenario.schema.json"},
        "other": {"$schema": "other-scenario.schema.json"},
        "run": {"name": "a run", "scenario": {"$schema": "scenario.schema.json"}},
    }
    for name, data in others.items():
        (suite / f"{name}.json").write_text(data if isinstance(data, str) else json.dumps(data))
    (suite / "binary.json").write_bytes(bytes(range(256)))
    (suite / "gone.json").symlink_to("nowhere")
    said = said_in(suite, "--collect-only", "-q")
    assert [line for line in said.splitlines() if "::" in line] == ["deep/two.json::two", "one.json::one"]


def test_a_scenario_that_holds_passes(suite: Path) -> None:
    write(suite / "one.json")
    assert "1 passed" in said_in(suite)
    assert sorted(path.name for path in suite.iterdir()) == ["one.json", "pytest.ini"]


def test_a_check_that_fails_fails_the_test_with_its_text(suite: Path) -> None:
    write(suite / "one.json", checks=[{"kind": "stays-within", "name": "few", "signal": "a.count", "max": 5}])
    said = said_in(suite, status=1)
    assert "FAIL few: " in said
    assert "not within at most 5" in said
    assert "Traceback" not in said
    assert "pytest_plugin.py" not in said


def test_a_wrong_scenario_fails_with_every_problem(suite: Path) -> None:
    write(suite / "one.json", sead=1, step_s=0)
    write(suite / "two.json").write_text('{"$schema": "scenario.schema.json", ')
    said = said_in(suite, status=1)
    assert "/sead: unknown; did you mean 'seed'?" in said
    assert "/step_s: must be greater than or equal to 0.001, not 0" in said
    assert "not JSON" in said
    assert "2 failed" in said


def test_a_federate_that_fails_fails_the_test_in_its_name(suite: Path) -> None:
    write(suite / "one.json", federates={"a": {"kind": "counter", "fault": "raise", "at_s": 3}})
    said = said_in(suite, status=1)
    assert "federate 'a' at 3 s" in said
    assert "the flux capacitor is empty" in said


def test_golden_results_are_recorded_kept_and_compared(suite: Path) -> None:
    write(suite / "one.json")
    assert "1 passed" in said_in(suite, "--golden-update")
    assert (suite / "golden" / "one" / "golden.json").is_file()
    assert "1 passed" in said_in(suite)

    recorded = suite / "golden" / "one" / "a.csv"
    before = recorded.read_bytes()
    write(suite / "one.json", federates={"b": {"kind": "counter"}, "a": {"kind": "counter", "reads": "b"}})
    said = said_in(suite, status=1)
    assert "golden results (" in said
    assert "first difference at 00:00:01 (1 s): a.count at 'n0': 2 against 2.5" in said
    assert recorded.read_bytes() == before, "a comparison changes nothing"

    assert "1 passed" in said_in(suite, "--golden-update")
    assert recorded.read_bytes() != before
    assert "1 passed" in said_in(suite)


def test_runs_can_be_kept_and_the_engine_chosen(suite: Path) -> None:
    (suite / "north").mkdir()
    write(suite / "one.json")
    write(suite / "north" / "one.json")
    said_in(suite, "--derloop-runs", "kept", "--derloop-engine", "helics")
    assert (suite / "kept" / "north" / "one" / "run.json").is_file()
    said = json.loads((suite / "kept" / "one" / "run.json").read_text())
    assert (said["engine"], said["outcome"]) == ("helics", "completed")
    assert (suite / "kept" / "one" / "report.html").is_file()


def test_a_project_without_scenarios_is_not_disturbed(suite: Path) -> None:
    (suite / "data.json").write_text('{"$schema": "https://json-schema.org/draft/2020-12/schema"}')
    (suite / "test_light.py").write_text(
        "import sys\n\n"
        "def test_light():\n"
        "    assert 'derloop.pytest_plugin' in sys.modules\n"
        "    heavy = {'numpy', 'helics', 'pyarrow', 'pydantic', 'opendssdirect', 'rich', 'typer', 'derloop.running'}\n"
        "    assert heavy.isdisjoint(sys.modules)\n"
    )
    assert "1 passed" in said_in(suite, "-p", "no:hypothesispytest")
