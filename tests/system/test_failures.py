"""A federate that fails ends the run at once, by name, whatever moves the federation."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from real_runs import RealRun, counters, environment, started

ENDS_WITHIN_S = 2.0
HANG_S = 1.0
"""How much longer than its deadline a federate that hangs may hold up the run."""
STOP_S = 5.0
"""How long federates may take to stop."""
SLACK = 6
"""How many times slower a busy machine may be."""
DEADLINE_S = 1.0

WHY = {
    "raise": "RuntimeError: the flux capacitor is empty",
    "quit": "SystemExit: 0",
    "exit": "SystemExit: os._exit(0)",
    "hang": "hangs",
    "spin": "hangs",
    "nan": "output 'count' is not finite at 'n1'",
    "shape": "output 'count' has shape (1,), declared (2,)",
    "missing": "did not return its output 'count'",
}


def failing(fault: str, phase: str, blocking: bool = False, **limits: float) -> dict[str, Any]:
    """Return a scenario in which `b`, that reads `a` and is read by `c`, fails at 5 s of 20 s."""
    settings = {"fault": fault, "phase": phase, "at_s": 5, "blocking": blocking}
    scenario = counters(20, a={}, b={"reads": "a", **settings}, c={"reads": "b"})
    return {**scenario, "deadlines": {"join_s": 30, "step_s": 30, **limits}}


def limit_s(fault: str, phase: str) -> float:
    if fault not in ("hang", "spin"):
        return ENDS_WITHIN_S * SLACK
    return ((STOP_S if phase == "stop" else DEADLINE_S) + HANG_S) * SLACK


def assert_failed(run: RealRun, fault: str, phase: str) -> None:
    """The run says who, when and why on its screen and in its folder, and keeps what there is."""
    status = run.wait()
    took_s = time.monotonic() - run.fault_at()
    print(f"seconds from fault to exit: {took_s:.2f}")
    said, when = run.said(), {"start": None, "step": 5.0}.get(phase, 19.0)
    assert status == 3, said
    assert "FAILED federate 'b' " + ("before the first step" if when is None else f"at {when:g} s") in said
    assert WHY[fault] in said
    assert "Traceback" not in said
    assert run.results.run["outcome"] == "failed"
    assert (run.failure["federate"], run.failure["time_s"]) == ("b", when)
    assert WHY[fault] in run.failure["why"]
    assert [event["what"] for event in run.results.events] == ["started", "failed"]
    run.assert_kept("a", when)
    assert (run.out / "report.html").exists()
    assert took_s < limit_s(fault, phase)
    run.assert_nothing_left()


TOGETHER = [
    *(("start", fault) for fault in ("raise", "quit", "exit", "hang")),
    *(("step", fault) for fault in WHY),
    *(("stop", fault) for fault in ("raise", "quit", "hang")),
]


@pytest.mark.parametrize(("phase", "fault"), TOGETHER)
def test_a_failure_in_one_process_ends_the_run_by_name(tmp_path: Path, phase: str, fault: str) -> None:
    scenario = failing(fault, phase, join_s=DEADLINE_S, step_s=DEADLINE_S)
    with started(tmp_path, scenario) as run:
        assert_failed(run, fault, phase)


@pytest.mark.parametrize(("phase", "fault"), [("start", "hang"), ("step", "raise"), ("step", "hang"), ("step", "nan")])
def test_a_federate_in_a_thread_of_its_own_fails_by_name_too(tmp_path: Path, phase: str, fault: str) -> None:
    scenario = failing(fault, phase, blocking=True, join_s=DEADLINE_S, step_s=DEADLINE_S)
    with started(tmp_path, scenario) as run:
        assert_failed(run, fault, phase)


@pytest.mark.parametrize("engine", ["mosaik", "local"])
@pytest.mark.parametrize("fault", ["raise", "hang"])
def test_a_failure_under_another_engine_ends_the_run_by_name(tmp_path: Path, engine: str, fault: str) -> None:
    scenario = failing(fault, "step", join_s=10, step_s=DEADLINE_S)
    with started(tmp_path, scenario, "--engine", engine) as run:
        assert_failed(run, fault, "step")


def test_the_last_inputs_are_told(tmp_path: Path) -> None:
    with started(tmp_path, failing("raise", "step")) as run:
        run.wait()
        assert run.failure["inputs"] == {"a.count": [5.0, 5.0]}


def test_where_in_a_federate_it_failed_is_told_and_its_traceback_kept(tmp_path: Path) -> None:
    with started(tmp_path, failing("raise", "step")) as run:
        run.wait()
        assert re.search(r"at 5 s: RuntimeError: .* \(derloop_test_kinds\.py, line \d+\)", run.said())
        *_, raised, said = run.failure["traceback"].splitlines()
        assert raised.strip().startswith("raise RuntimeError(")
        assert said == "RuntimeError: the flux capacitor is empty"


def test_statistics_that_fail_are_a_failure(tmp_path: Path) -> None:
    with started(tmp_path, failing("raise", "statistics")) as run:
        assert run.wait() == 3
        assert "FAILED federate 'b' at 19 s: has no statistics: RuntimeError" in run.said()
        assert "Traceback" not in run.said()


@pytest.mark.parametrize("fault", ["raise", "quit", "exit"])
def test_a_kind_that_raises_while_it_is_built_is_a_problem_of_the_scenario(tmp_path: Path, fault: str) -> None:
    with started(tmp_path, failing(fault, "build")) as run:
        assert run.wait() == 2
        assert f"/federates/b: {WHY[fault]}" in run.said()
        assert "Traceback" not in run.said()


def test_an_input_that_nothing_is_wired_to_is_refused_before_the_start(tmp_path: Path) -> None:
    scenario = counters(a={"reads": "nobody"})
    with started(tmp_path, scenario) as run:
        assert run.wait() == 2
        assert "/federates/a: no wire ends at a.nobody.count" in run.said()
        assert not (run.out / "series").exists()


APART = [("start", "raise"), ("step", "raise"), ("step", "quit"), ("step", "nan"), ("stop", "raise")]


@pytest.mark.parametrize(("phase", "fault"), APART)
def test_a_failure_in_a_process_of_its_own_ends_the_run_by_name(tmp_path: Path, phase: str, fault: str) -> None:
    with started(tmp_path, failing(fault, phase), "--placement", "apart") as run:
        assert_failed(run, fault, phase)


@pytest.mark.parametrize(("phase", "fault"), [("start", "raise"), ("step", "raise"), ("stop", "raise")])
def test_a_failure_in_a_process_with_a_thread_ends_the_run_by_name(tmp_path: Path, phase: str, fault: str) -> None:
    with started(tmp_path, failing(fault, phase, blocking=True), "--placement", "apart") as run:
        assert_failed(run, fault, phase)


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("fault", ["hang", "spin"])
def test_a_hang_in_a_process_of_its_own_ends_at_its_deadline(tmp_path: Path, fault: str, blocking: bool) -> None:
    with started(tmp_path, failing(fault, "step", blocking, step_s=DEADLINE_S), "--placement", "apart") as run:
        assert_failed(run, fault, "step")


def test_a_hang_while_stopping_in_a_process_of_its_own_ends_the_run(tmp_path: Path) -> None:
    with started(tmp_path, failing("hang", "stop"), "--placement", "apart") as run:
        assert_failed(run, "hang", "stop")


@pytest.mark.parametrize("phase", ["join", pytest.param("start", marks=pytest.mark.long(about_s=25))])
def test_a_federate_that_never_joins_ends_the_run(tmp_path: Path, phase: str) -> None:
    join_s = 20.0
    with started(tmp_path, failing("hang", phase, join_s=join_s), "--placement", "apart") as run:
        assert run.wait() == 3
        assert "FAILED federate 'b' before the first step: ha" in run.said()  # hangs, or has not joined
        assert time.monotonic() - run.began < 3 * join_s
        assert run.failure["federate"] == "b"
        run.assert_nothing_left()


@pytest.mark.long(about_s=45)
@pytest.mark.parametrize("placement", ["together", "apart"])
def test_a_step_may_take_longer_than_helics_waits_for_anybody(tmp_path: Path, placement: str) -> None:
    """HELICS takes a federate that has said nothing for 24 s for lost, and went on without it."""
    scenario = counters(1, a={"slow_s": 31}, b={"reads": "a"})
    with started(tmp_path, {**scenario, "deadlines": {"step_s": 50}}, "--placement", placement) as run:
        assert run.wait() == 0, run.said()
        assert run.results.run["outcome"] == "completed"


@pytest.mark.parametrize("files", [30, 36, 38, 40, 48])
def test_a_run_that_may_not_open_enough_files_fails_and_says_so(tmp_path: Path, files: int) -> None:
    """With fewer, the hub cannot open its pipes, then HELICS not what it needs, or a process cannot be started."""
    many = counters(5, **{f"n{i}": {} for i in range(8)})
    (tmp_path / "scenario.json").write_text(json.dumps(many), encoding="utf-8")
    command = [sys.executable, "-m", "derloop.cli", "run", "scenario.json", "--placement", "apart", "--out", "out"]
    limited = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command, "--no-report"]
    ran = subprocess.run(
        limited, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 3, ran.stderr
    assert "Too many open files" in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))["outcome"] == "failed"


def test_a_federate_whose_labels_have_another_order_in_its_own_process_ends_the_run(tmp_path: Path) -> None:
    with started(tmp_path, failing("reorder", "step"), "--placement", "apart") as run:
        assert run.wait() == 3
        assert "FAILED federate 'b' before the first step: could not be built: /federates/b: its input 'a.count'" in (
            said := run.said()
        )
        assert "is another one in its own process than where the run was started; what it has must follow" in said
