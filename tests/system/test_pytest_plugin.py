"""Scenario files as tests, in a pytest within this one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import derloop.engines.helics
import derloop.report.page  # noqa: F401  (what is imported here is not imported anew by each inner pytest)
from derloop import plugins

pytest_plugins = ("pytester",)
PLUGIN = Path(__file__).parents[1] / "support" / "plugin"

Said = Callable[..., str]


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty suite, in which the kind `counter` is installed."""
    monkeypatch.syspath_prepend(PLUGIN)
    monkeypatch.setenv("COLUMNS", "200")
    (pytester.path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    _forget_plugins()
    yield pytester.path
    _forget_plugins()


def _forget_plugins() -> None:
    plugins._offered.cache_clear()
    plugins._loaded.cache_clear()


@pytest.fixture
def said_in(pytester: pytest.Pytester) -> Said:
    """What a pytest in the suite says."""

    def said(*words: str, status: int = 0) -> str:
        done = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", *words)
        assert done.ret == status
        return str(done.stdout)

    return said


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


def test_scenario_files_are_collected_and_other_json_is_not(suite: Path, said_in: Said) -> None:
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
    said = said_in("--collect-only", "-q")
    assert [line for line in said.splitlines() if "::" in line] == ["deep/two.json::two", "one.json::one"]


def test_a_scenario_that_holds_passes(suite: Path, said_in: Said) -> None:
    write(suite / "one.json")
    assert "1 passed" in said_in()
    assert sorted(path.name for path in suite.iterdir()) == ["one.json", "pytest.ini"]


def test_a_scenario_of_which_nothing_is_asked_is_skipped_and_says_so(suite: Path, said_in: Said) -> None:
    write(suite / "one.json", checks=[])
    said = said_in("-rs")
    assert "1 skipped" in said
    assert "nothing was asked of the run: its scenario has no checks, and it has no golden results" in said
    assert "1 passed" in said_in("--golden-update")
    assert "1 passed" in said_in()
    write(suite / "one.json", checks=[], federates={"a": {"kind": "counter", "fault": "raise", "at_s": 3}})
    assert "1 failed" in said_in(status=1)


def test_a_check_that_fails_fails_the_test_with_its_text(suite: Path, said_in: Said) -> None:
    write(suite / "one.json", checks=[{"kind": "stays-within", "name": "few", "signal": "a.count", "max": 5}])
    said = said_in(status=1)
    assert "FAIL few: " in said
    assert "above 5" in said
    assert "a.count at 'n0'" in said
    assert "Traceback" not in said
    assert "pytest_plugin.py" not in said


def test_a_wrong_scenario_fails_with_every_problem(suite: Path, said_in: Said) -> None:
    write(suite / "one.json", sead=1, step_s=0)
    write(suite / "two.json").write_text('{"$schema": "scenario.schema.json", ')
    said = said_in(status=1)
    assert "/sead: unknown; did you mean 'seed'?" in said
    assert "/step_s: must be greater than or equal to 0.001, not 0" in said
    assert "not JSON" in said
    assert "2 failed" in said


def test_a_federate_that_fails_fails_the_test_in_its_name(suite: Path, said_in: Said) -> None:
    write(suite / "one.json", federates={"a": {"kind": "counter", "fault": "raise", "at_s": 3}})
    said = said_in(status=1)
    assert "federate 'a' at 3 s" in said
    assert "the flux capacitor is empty" in said


def test_golden_results_are_recorded_kept_and_compared(suite: Path, said_in: Said) -> None:
    write(suite / "one.json")
    assert "1 passed" in said_in("--golden-update")
    assert (suite / "golden" / "one" / "golden.json").is_file()
    assert "1 passed" in said_in()

    recorded = suite / "golden" / "one" / "a.csv"
    before = recorded.read_bytes()
    write(suite / "one.json", federates={"b": {"kind": "counter"}, "a": {"kind": "counter", "reads": "b"}})
    said = said_in(status=1)
    assert "golden results (" in said
    assert "first difference at 00:00:01 (1 s): a.count at 'n0': 2 against 2.5" in said
    assert recorded.read_bytes() == before, "a comparison changes nothing"

    assert "1 passed" in said_in("--golden-update")
    assert recorded.read_bytes() != before
    assert "1 passed" in said_in()


def test_golden_results_are_not_recorded_of_a_scenario_that_does_not_pass(suite: Path, said_in: Said) -> None:
    write(suite / "one.json")
    said_in("--golden-update")
    recorded = suite / "golden" / "one" / "a.csv"
    before = recorded.read_bytes()
    few = [{"kind": "stays-within", "name": "few", "signal": "a.count", "max": 5}]
    reading = {"b": {"kind": "counter"}, "a": {"kind": "counter", "reads": "b"}}
    for changes in ({"checks": few}, {"federates": {**reading, "b": {"kind": "counter", "fault": "raise", "at_s": 3}}}):
        write(suite / "one.json", **{"federates": reading, **changes})
        assert "one): not recorded of a run that has not passed" in said_in("--golden-update", status=1)
        assert recorded.read_bytes() == before
    write(suite / "two.json", checks=few)
    said_in("--golden-update", status=1)
    assert not (suite / "golden" / "two").exists()


def test_runs_can_be_kept_and_the_engine_chosen(suite: Path, said_in: Said) -> None:
    (suite / "north").mkdir()
    write(suite / "one.json")
    write(suite / "north" / "one.json")
    said_in("--derloop-runs", "kept", "--derloop-engine", "helics")
    assert (suite / "kept" / "north" / "one" / "run.json").is_file()
    said = json.loads((suite / "kept" / "one" / "run.json").read_text())
    assert (said["engine"], said["outcome"]) == ("helics", "completed")
    assert (suite / "kept" / "one" / "report.html").is_file()


def test_a_project_without_scenarios_is_not_disturbed(suite: Path, pytester: pytest.Pytester) -> None:
    (suite / "data.json").write_text('{"$schema": "https://json-schema.org/draft/2020-12/schema"}')
    (suite / "test_light.py").write_text(
        "import sys\n\n"
        "def test_light():\n"
        "    assert 'derloop.pytest_plugin' in sys.modules\n"
        "    heavy = {'numpy', 'helics', 'pyarrow', 'pydantic', 'opendssdirect', 'rich', 'typer', 'derloop.running'}\n"
        "    assert heavy.isdisjoint(sys.modules)\n"
    )
    light = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:cacheprovider")
    light.assert_outcomes(passed=1)
