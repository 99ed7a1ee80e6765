"""The command line as its users meet it: real processes, their words, and their exit status."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import derloop
from derloop.cli import app
from derloop.starter import write_starter

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "scenarios" / "quickstart.json"
COMMANDS = ("run", "check", "schema", "kinds", "new", "report", "doctor")
HEAVY = ("numpy", "helics", "pyarrow", "pydantic", "opendssdirect", "pymodbus", "plotly", "mosaik", "rich", "pandas")
BROUGHT = (
    "bench",
    "bill",
    "compare",
    "emulate",
    "export",
    "fork",
    "frames",
    "hosting-capacity",
    "join",
    "resume",
    "sweep",
    "tariff",
    "value",
)
"""Commands that come in by entry points."""
GROUPS = ("bench", "export", "frames", "tariff")
"""Those that have commands of their own."""
MOVING = ("helics", "pyarrow", "pymodbus", "plotly", "mosaik", "pandas")
"""What a run needs, and judging a scenario does not."""


def said_by(*words: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "derloop.cli", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", "LC_ALL": "C.UTF-8", **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=100,
    )


def status_unheard(*words: str | Path, cwd: Path | None = None) -> int:
    """Return how a command ends whose stdout nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-m", "derloop.cli", *map(str, words)],
        cwd=cwd,
        stdout=writes,
        stderr=subprocess.PIPE,
        timeout=100,
    )
    os.close(writes)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    return done.returncode


def succeeded(*words: str | Path, cwd: Path | None = None, **environment: str) -> str:
    done = said_by(*words, cwd=cwd, **environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def refused(*words: str | Path, cwd: Path | None = None, status: int = 2, **environment: str) -> str:
    done = said_by(*words, cwd=cwd, **environment)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A starter project, with two runs of an hour: runs/a, and runs/b with a smaller battery."""
    folder = tmp_path_factory.mktemp("work") / "project"
    write_starter(folder)
    for name, change in (("a", "seed=1"), ("b", "federates.battery.soc_initial_pu=0.4")):
        words = ("run", "scenario.json", "--engine", "local", "--set", "duration_s=3600", "--set", change)
        succeeded(*words, "--out", f"runs/{name}", "--quiet", cwd=folder)
    return folder


# --- help --------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from derloop.cli import app; app(['--help'], standalone_mode=False); print([*sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    assert "typer" in loaded
    assert [name for name in HEAVY if f"'{name}'" in loaded] == []


def test_checking_a_scenario_imports_no_middleware_and_no_transport() -> None:
    words = ["check", str(QUICKSTART)]
    code = f"import sys; from derloop.cli import app; app({words}, standalone_mode=False); print([*sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    assert "opendssdirect" in loaded
    assert [name for name in MOVING if f"'{name}'" in loaded] == []


def test_help_lists_every_command_with_a_whole_sentence() -> None:
    listed = succeeded("--help").partition("Commands:")[2]
    assert re.findall(r"^  ([\w-]+)  .*\.$", listed, re.MULTILINE) == [*COMMANDS, *BROUGHT]
    assert "..." not in listed
    assert "Example: derloop new" in listed


@pytest.mark.parametrize("command", sorted({*COMMANDS, *BROUGHT} - {*GROUPS}))
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_help_with_an_example_within_80_columns(command: str, flag: str) -> None:
    done = CliRunner().invoke(app, [command, flag], terminal_width=80)
    assert done.exit_code == 0
    assert re.search(rf"Examples?: derloop {command}", done.stdout)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_without_a_command_help_is_shown() -> None:
    assert "Commands:" in refused() + said_by().stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_printed(shell: str) -> None:
    script = succeeded("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "_COMPLETE" in script


def test_shell_completion_completes_commands() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("derloop")],
        env={**os.environ, "_DERLOOP_COMPLETE": "complete_bash", "COMP_WORDS": "derloop co", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["compare"]


def test_a_wrong_option_or_command_exits_with_2() -> None:
    assert "No such command" in refused("rum")
    assert "No such option" in refused("check", QUICKSTART, "--sett", "x=1")
    assert "magic" in refused("run", QUICKSTART, "--engine", "magic")
    assert "Missing argument" in refused("check")


# --- check, kinds, schema ----------------------------------------------------------------------------


def test_check_says_who_takes_part_in_which_order_and_writes_nothing(tmp_path: Path) -> None:
    lines = succeeded("check", QUICKSTART, cwd=tmp_path).splitlines()
    assert re.fullmatch(r"quickstart: 8 federates, \d+ wires; no problem", lines[0])
    assert lines[1].split() == ["order", "federate", "kind", "via", "step", "reads", "from"]
    assert [line.split()[1] for line in lines[2:]] == [
        *("homes", "shops", "sky", "rooftops", "vpp", "batteries", "inverters", "grid")
    ]
    assert [line for line in lines if line != line.rstrip()] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("none.json", "none.json: 1 problem\n  /: cannot be read: No such file or directory"),
        (".", ".: 1 problem\n  /: is a folder"),
        ("empty.json", "empty.json: 1 problem\n  /: is empty"),
        ("latin.json", "latin.json: 1 problem\n  /: is not UTF-8 text"),
    ],
)
def test_what_is_no_scenario_file_is_refused(path: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty.json").touch()
    (tmp_path / "latin.json").write_bytes(b'{"name": "\xe9"}')
    for command in ("check", "run"):
        assert refused(command, path, cwd=tmp_path).startswith(f"derloop: {said}")


def test_a_wrong_set_is_refused_beside_the_other_problems(project: Path) -> None:
    words = ("--set", "sead=1", "--set", "federates.batery.rated_kva=1", "--set", "nonsense")
    assert refused("check", "scenario.json", *words, cwd=project) == (
        "derloop: scenario.json: 3 problems\n"
        "  /federates: --set federates.batery.rated_kva: no 'batery'; did you mean 'battery'?\n"
        "  /: --set 'nonsense': must be path=value, as in --set federates.battery.energy_kwh=13.5\n"
        "  /sead: unknown; did you mean 'seed'?\n"
    )


def test_what_steers_a_terminal_is_shown_and_not_done(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"\x1b[2J": 1, "name": "\x1b]0;x\x07", "\u202e": 1}))
    said = refused("check", "x.json", cwd=tmp_path)
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "/\\x1b[2J: unknown" in said


def test_a_terminal_that_lacks_a_character_is_served(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"\u03a9nknown": 1, "\\ud800": 1}')
    said = refused("check", "x.json", cwd=tmp_path, PYTHONIOENCODING="iso8859-1")
    assert "/\\u03a9nknown: unknown" in said


def test_kinds_lists_what_is_installed() -> None:
    said = succeeded("kinds")
    for name in ("battery", "load", "opendss", "pv", "sky", "vpp", "peak", "stays-within", "tracking", "voltage"):
        assert re.search(rf"^  {name} +\S", said, re.MULTILINE)
    assert "model, bench, emulator, replay, served" in said


def test_kinds_shows_settings_with_types_ranges_defaults_and_units_also_within() -> None:
    said = succeeded("kinds", "battery")
    for line in (
        "  via  model | bench | emulator | replay | served; default model",
        "  soc_initial_pu  number; >= 0, <= 1; default 0.5",
        "  rated_kva  number | [number, number]; > 0; default none",
        "  mode  idle | commanded | self-consumption | time-of-use | regulation; default idle",
        "  at[].bus  string; required",
        "  at.count  whole number; >= 1, <= 1e+06; required",
        "  smart.volt_var.response_s  number; >= 1, <= 90; default 5.0",
    ):
        assert line in said.splitlines()
    assert "Rated apparent power of each inverter, kVA" in said
    assert "  limit_kw  number;" in succeeded("kinds", "peak")


def test_an_unknown_kind_gets_a_near_miss() -> None:
    assert refused("kinds", "batery") == "derloop: no kind 'batery' is installed; did you mean 'battery'?\n"
    assert "did you mean 'voltage'?" in refused("kinds", "voltages")


def test_a_pipe_that_closes_early_is_no_error() -> None:
    script = f'"{sys.executable}" -m derloop.cli schema | head -n 1'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr


def test_schema_prints_the_json_schema_that_is_shipped() -> None:
    assert succeeded("schema") == (ROOT / "scenarios" / "scenario.schema.json").read_text("utf-8")


# --- new ---------------------------------------------------------------------------------------------


@pytest.mark.timeout(400)
def test_new_gives_a_project_that_checks_runs_and_passes_its_tests(tmp_path: Path) -> None:
    said = succeeded("new", "my-study", cwd=tmp_path)
    assert said == "my-study is ready: derloop run my-study/scenario.json\n"
    assert "no problem" in succeeded("check", "my-study/scenario.json", cwd=tmp_path)
    done = said_by("run", "my-study/scenario.json", "--set", "duration_s=3600", cwd=tmp_path)  # pytest runs the day
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^PASS ", done.stdout, re.MULTILINE)) == 3
    (run,) = (tmp_path / "runs").iterdir()
    assert {"run.json", "verdicts.json", "report.html", "junit.xml"} <= {path.name for path in run.iterdir()}
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "1 passed" in tested.stdout, tested.stdout


def test_what_new_says_to_do_next_can_be_done_as_it_stands(tmp_path: Path) -> None:
    assert succeeded("new", "my study", cwd=tmp_path) == "my study is ready: derloop run 'my study/scenario.json'\n"


def test_new_leaves_what_is_there_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for name in ("file", "full", "file/below"):
        assert "derloop: " in refused("new", name, cwd=tmp_path)
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["x"]


# --- run, report, compare ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("checks", "status", "word"),
    [
        ([], 0, "results "),
        ([{"kind": "peak", "signal": "grid.head_kw", "limit_kw": 1e6}], 0, "PASS "),
        ([{"kind": "peak", "signal": "grid.head_kw", "limit_kw": 1}], 1, "FAIL "),
        ([{"kind": "peak", "signal": "grid.head_kw", "limit_kw": 1, "from_s": 7200}], 3, "INCONCLUSIVE "),
    ],
)
def test_the_exit_status_of_a_run_is_its_verdict(
    checks: list[Any], status: int, word: str, project: Path, tmp_path: Path
) -> None:
    words = ("--engine", "local", "--set", "duration_s=1800", "--set", f"checks={json.dumps(checks)}")
    done = said_by("run", "scenario.json", *words, "--out", tmp_path / "run", "--no-report", cwd=project)
    assert done.returncode == status, done.stderr
    assert re.search(f"^{word}", done.stdout, re.MULTILINE)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == status


def test_a_run_prints_what_a_person_wants_to_know(project: Path, tmp_path: Path) -> None:
    words = ("--engine", "local", "--set", "duration_s=3600")
    done = said_by("run", "scenario.json", *words, "--out", tmp_path / "run", cwd=project)
    assert f"report   {tmp_path / 'run' / 'report.html'}" in done.stdout.splitlines()
    assert "\x1b" not in done.stdout + done.stderr
    quiet = said_by("run", "scenario.json", *words, "--out", tmp_path / "quiet", "--quiet", cwd=project)
    assert [line.split()[0] for line in quiet.stdout.splitlines()] == ["PASS", "PASS", "PASS"]


def test_a_run_does_not_mix_with_what_is_there(project: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    assert "holds something already" in refused("run", "scenario.json", "--out", tmp_path, cwd=project)
    assert "Not a directory" in refused("run", "scenario.json", "--out", tmp_path / "x" / "y", cwd=project)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_report_says_what_is_in_a_run_and_writes_its_page(project: Path, tmp_path: Path) -> None:
    copytree(project / "runs" / "a", tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink(missing_ok=True)
    said = succeeded("report", "run", cwd=tmp_path)
    assert said.startswith("street: completed\n")
    assert re.search(r"^  grid\.head_kw +1 x kW$", said, re.MULTILINE)
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000


def test_compare_exits_with_0_for_equal_runs_and_1_with_where_they_part(project: Path) -> None:
    assert said_by("compare", "runs/a", "runs/a", cwd=project).returncode == 0
    done = said_by("compare", "runs/a", "runs/b", cwd=project)
    assert done.returncode == 1
    assert "battery.soc_pu" in done.stdout
    assert said_by("compare", "runs/a", "runs/b", "--abs", "1e6", cwd=project).returncode == 0


@pytest.mark.parametrize("command", ["report", "compare"])
@pytest.mark.parametrize("what", ["none", "scenario.json", "."])
def test_what_is_no_run_is_refused(command: str, what: str, project: Path) -> None:
    other = [str(project / "runs" / "a")] if command == "compare" else []
    done = CliRunner().invoke(app, [command, *other, str(project / what)])
    assert done.exit_code == 2
    assert "is no folder of a run" in done.stderr


@pytest.mark.parametrize("spoilt", ["", "{", "[]", "\x00"])
@pytest.mark.parametrize("command", ["report", "compare"])
def test_a_run_whose_facts_are_spoilt_ends_in_words(command: str, spoilt: str, project: Path, tmp_path: Path) -> None:
    copytree(project / "runs" / "a", tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(spoilt)
    other = [str(project / "runs" / "a")] if command == "compare" else []
    done = CliRunner().invoke(app, [command, str(tmp_path / "run"), *other])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception


def test_it_says_which_derloop_it_is() -> None:
    assert succeeded("--version").strip() == f"derloop {version('derloop')}"


def test_doctor_finds_everything_in_order_here() -> None:
    said = succeeded("doctor")
    assert "BROKEN" not in said
    assert re.search(rf"^  derloop +{re.escape(version('derloop'))}$", said, re.MULTILINE)
    for what in ("kind battery", "a run under helics", "a run in processes", "an emulated inverter", "disk"):
        assert re.search(rf"^ok +.*{what}", said, re.MULTILINE)


# --- from Python -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    out = tmp_path_factory.mktemp("out") / "run"
    return derloop.run(project / "scenario.json", ["duration_s=600"], engine="local", out=out, report=False)


def test_a_run_from_python_gives_numpy_arrays(result: Any) -> None:
    v_pu, time_s = result["grid.v_pu"], result.time_s("grid.v_pu")
    assert isinstance(v_pu, np.ndarray)
    assert v_pu.dtype == np.float64
    assert v_pu.shape[0] == time_s.size
    assert time_s[:3].tolist() == [0.0, 60.0, 120.0]
    assert 0.9 < v_pu.min() < v_pu.max() < 1.1
    assert result.outcome == "completed"
    asked_for = [verdict.outcome for verdict in result.verdicts if verdict.kind != "balance"]
    assert asked_for == ["PASS", "INCONCLUSIVE"], "600 s are less than 900"
    assert {verdict.outcome for verdict in result.verdicts if verdict.kind == "balance"} == {"PASS"}
    assert result.status == 3


def test_a_run_from_python_gives_pandas_frames(result: Any) -> None:
    pytest.importorskip("pandas")
    one, all_ = result.frame("battery.soc_pu"), result.frame("battery")
    assert one.shape == (len(result.time_s("battery.soc_pu")), 1)
    assert any("soc_pu" in str(column) for column in all_.columns)


def test_a_folder_of_a_run_opens_from_python(result: Any) -> None:
    again = derloop.open_run(result.folder.path)
    assert np.array_equal(again.read("grid.v_pu")[1], result["grid.v_pu"])


def test_a_wrong_scenario_from_python_raises_every_problem(project: Path) -> None:
    from derloop.errors import ScenarioError

    with pytest.raises(ScenarioError) as error:
        derloop.run(project / "scenario.json", ["sead=1", "engine=helix"])
    assert [problem.pointer for problem in error.value.problems] == ["/engine", "/sead"]


@pytest.mark.parametrize("words", [["kinds"], ["kinds", "battery"], ["--help"], ["check", QUICKSTART]])
def test_a_command_whose_reader_has_gone_says_so_and_not_that_a_check_failed(words: list[str | Path]) -> None:
    assert status_unheard(*words) == 141


@pytest.mark.parametrize(("limit_kw", "status"), [(1e6, 0), (1.0, 1)])
def test_a_run_whose_reader_has_gone_has_its_own_status(project: Path, limit_kw: float, status: int) -> None:
    peak = f'checks=[{{"kind": "peak", "signal": "grid.head_kw", "limit_kw": {limit_kw}}}]'
    words = ["run", "scenario.json", "--set", "duration_s=900", "--set", peak, "--no-report"]
    assert status_unheard(*words, cwd=project) == status


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_run_whose_streams_are_closed_has_its_own_status(project: Path, closed: str) -> None:
    peak = 'checks=[{"kind": "peak", "signal": "grid.head_kw", "limit_kw": 1e6}]'
    words = [sys.executable, "-m", "derloop.cli", "run", "scenario.json", "--set", "duration_s=900", "--set", peak]
    short = [*words, "--no-report", "--placement", "apart", "--workers", "2"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *short], cwd=project, capture_output=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_mistake_that_cannot_be_told_is_a_mistake_all_the_same() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "derloop.cli", "run", "nowhere.json"], stderr=full, timeout=100)
    assert done.returncode == 2


def test_a_bench_file_that_is_not_there_is_refused_also_where_nothing_needs_it() -> None:
    done = said_by("check", QUICKSTART, "--bench", "nope.json")
    assert (done.returncode, done.stderr) == (2, "derloop: --bench nope.json: there is no such file\n")


@pytest.mark.parametrize("moved", ["--placement together", "--placement apart --workers 2", "--engine mosaik"])
def test_a_disk_that_is_full_is_what_the_run_failed_of_wherever_it_is_noticed(tmp_path: Path, moved: str) -> None:
    """A limit to the size of a file stands for it, which a process inherits."""
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from derloop.cli import main\n"
        f"sys.argv = ['derloop', 'run', {str(QUICKSTART)!r}, '--no-report', *{moved.split()!r}, '--quiet',"
        f" '--out', {str(tmp_path / 'run')!r}, '--set', 'step_s=30', '--set', 'federates.inverters.via=model']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (3, "")
    assert re.search(r"FAILED .*cannot record federate '\w+' in .*\.arrows: File too large", done.stdout), done.stdout


def test_runs_that_start_at_different_times_are_compared_and_said_to_be(project: Path) -> None:
    later = ("--set", "start=2025-07-16T00:00:00-07:00", "--set", "duration_s=3600", "--engine", "local", "--quiet")
    succeeded("run", "scenario.json", *later, "--out", "runs/later", cwd=project)
    done = said_by("compare", "runs/a", "runs/later", cwd=project)
    said = re.match(r"they start at (.*) and at (.*): compared is the same time since the start\n", done.stdout)
    assert said, done.stdout
    assert said[2] == "2025-07-16 00:00:00-07:00"
