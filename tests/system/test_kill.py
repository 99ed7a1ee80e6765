"""What is killed or stopped from outside: the run ends by name, keeps its results and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from real_runs import PATIENCE_S, RealRun, counters, environment, rows_on_disk, started

ENDS_WITHIN_S = 2.0
SLACK = 3
"""How many times slower a busy machine may be."""
APART = ("--placement", "apart")
KILLED = {"kill": "was killed by SIGKILL", "stop": "was stopped (SIGSTOP)", "exit": "left before the end of the run"}


def failing(fault: str, phase: str, blocking: bool) -> dict[str, Any]:
    settings = {"fault": fault, "phase": phase, "at_s": 5, "blocking": blocking}
    return counters(20, a={}, b={"reads": "a", **settings}, c={"reads": "b", "blocking": blocking})


def going_on(**federates: Any) -> dict[str, Any]:
    """Return a scenario that takes a minute: each step of its federates 20 ms and more."""
    return counters(3000, **(federates or {"a": {"slow_s": 0.02}, "b": {"reads": "a", "blocking": True}}))


@pytest.mark.parametrize("phase", ["join", "start", "step", "stop"])
@pytest.mark.parametrize("fault", KILLED)
def test_a_process_that_goes_ends_the_run_by_name(tmp_path: Path, fault: str, phase: str) -> None:
    assert_lost(tmp_path, fault, phase, blocking=False)


@pytest.mark.parametrize("fault", KILLED)
def test_a_process_that_holds_equipment_and_goes_ends_the_run_by_name(tmp_path: Path, fault: str) -> None:
    assert_lost(tmp_path, fault, "step", blocking=True)


def assert_lost(folder: Path, fault: str, phase: str, blocking: bool) -> None:
    with started(folder, failing(fault, phase, blocking), *APART) as run:
        status = run.wait()
        took_s = time.monotonic() - run.fault_at()
        print(f"seconds from fault to exit: {took_s:.2f}")
        said, when = run.said(), {"step": 5.0, "stop": 19.0}.get(phase)
        assert status == 3, said
        if fault == "stop" and when is not None:
            when = run.failure["time_s"]  # its thread may get a few steps further before the whole process stands
            assert 5 <= when <= 19
        assert "FAILED federate 'b' " + ("before the first step" if when is None else f"at {when:g} s") in said
        assert KILLED[fault] in said
        assert "Traceback" not in said
        assert (run.failure["federate"], run.failure["time_s"]) == ("b", when)
        run.assert_kept("a", {"step": 5.0, "stop": 19.0}.get(phase))
        assert took_s < ENDS_WITHIN_S * SLACK
        run.assert_nothing_left()


def test_a_child_killed_from_outside_is_named(tmp_path: Path) -> None:
    with started(tmp_path, going_on(), *APART) as run:
        run.wait_for_rows()
        run.child("b").kill()
        since = time.monotonic()
        assert run.wait() == 3
        assert time.monotonic() - since < ENDS_WITHIN_S * SLACK
        assert "FAILED federate 'b' at " in run.said()
        assert 1 < len(rows_on_disk(run.out, "a")) < 3000
        run.assert_nothing_left()


@pytest.mark.parametrize("placement", ["threads", "apart"])
def test_two_crews_are_at_work_at_the_same_time(tmp_path: Path, placement: str) -> None:
    """The crew with what both hear is granted its time before the other has heard that it may begin."""
    meeting = tmp_path / "out-of-sight"
    meeting.mkdir()
    both = {"reads": "a", "arrival": "now", "meets": ["b", "c"], "meets_in": str(meeting)}
    side_by_side = ("--placement", placement, "--workers", "2")
    with started(tmp_path / "run", counters(50, a={}, b=both, c=both), *side_by_side) as run:
        assert run.wait() == 0, run.said()
        assert len(rows_on_disk(run.out, "c")) == 50


def test_of_several_federates_in_a_process_that_is_killed_the_one_at_work_is_named(tmp_path: Path) -> None:
    with started(tmp_path, failing("kill", "step", blocking=False), *APART, "--workers", "1") as run:
        assert run.wait() == 3
        assert (run.failure["federate"], run.failure["time_s"]) == ("b", 5.0)
        assert "was killed by SIGKILL" in run.said()
        assert "it was the last at work there, beside a, c" in run.said()
        run.assert_nothing_left()


def test_children_end_with_their_supervisor_whatever_they_do(tmp_path: Path) -> None:
    federates = {
        "waits": {"reads": "hangs"},
        "hangs": {"fault": "hang", "at_s": 3},
        "hangs_holding": {"fault": "hang", "at_s": 3, "blocking": True},
        "stopped": {"reads": "hangs"},
        "stopped_holding": {"reads": "hangs", "blocking": True},
    }
    with started(tmp_path, counters(60, **federates), *APART) as run:
        run.wait_until((tmp_path / "fault.txt").exists, "nobody hangs")
        stopped = [run.child("stopped"), run.child("stopped_holding")]
        os.kill(run.pid, signal.SIGSTOP)  # or it would end the run because of the others
        for child in stopped:
            child.suspend()
        os.kill(run.pid, signal.SIGKILL)
        took_s = run.ended_after(time.monotonic())
        print(f"seconds from kill until all have gone: {took_s:.2f}")
        assert took_s < ENDS_WITHIN_S * SLACK
        run.assert_nothing_left()


@pytest.mark.parametrize("blocking", [False, True])
def test_a_child_that_hangs_before_it_has_joined_ends_with_its_supervisor(tmp_path: Path, blocking: bool) -> None:
    scenario = counters(60, a={}, b={"reads": "a", "fault": "hang", "phase": "join", "blocking": blocking})
    with started(tmp_path, scenario, *APART) as run:
        run.wait_until((tmp_path / "fault.txt").exists, "nobody hangs")
        os.kill(run.pid, signal.SIGKILL)
        took_s = run.ended_after(time.monotonic())
        print(f"seconds from kill until all have gone: {took_s:.2f}")
        assert took_s < ENDS_WITHIN_S * SLACK


INTERRUPTIONS = {
    "ctrl-c in a terminal": (signal.SIGINT, True),
    "SIGINT to the command alone": (signal.SIGINT, False),
    "SIGTERM": (signal.SIGTERM, False),
}


@pytest.mark.parametrize("placement", ["together", "apart"])
@pytest.mark.parametrize("how", INTERRUPTIONS)
def test_an_interruption_keeps_the_results(tmp_path: Path, how: str, placement: str) -> None:
    with started(tmp_path, going_on(), "--placement", placement) as run:
        run.wait_for_rows()
        since = run.interrupt(*INTERRUPTIONS[how])
        assert run.wait() == 130, run.said()
        took_s = time.monotonic() - since
        print(f"seconds from signal to exit: {took_s:.2f}")
        assert took_s < ENDS_WITHIN_S * SLACK
        assert "INTERRUPTED" in run.said()
        assert "Traceback" not in run.said()
        assert run.results.run["outcome"] == "interrupted"
        assert 1 < len(rows_on_disk(run.out, "a")) < 3000
        assert (run.out / "report.html").exists()
        run.assert_nothing_left()


def test_a_second_ctrl_c_does_not_spoil_the_first(tmp_path: Path) -> None:
    with started(tmp_path, going_on()) as run:
        run.wait_for_rows()
        for _ in range(5):
            run.interrupt()
            time.sleep(0.05)
        assert run.wait() == 130, run.said()
        assert run.results.run["outcome"] == "interrupted"
        assert "Traceback" not in run.said()


LATE = """
import atexit, os, signal, sys
from derloop import cli, console

def interrupt():
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(os.getpid(), sign)

shown = console.show_result
console.show_result = lambda *given: (interrupt(), shown(*given))
atexit.register(interrupt)
sys.argv[0] = "derloop"
cli.main()
"""


def test_an_interruption_that_comes_when_all_is_done_does_not_change_the_status(tmp_path: Path) -> None:
    path, env = tmp_path / "scenario.json", environment(tmp_path)
    path.write_text(json.dumps(counters(3, a={})))
    command = [sys.executable, "-c", LATE, "run", str(path), "--out", str(tmp_path / "out"), "--no-report"]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (run.returncode, run.stderr) == (0, "")
    assert "results" in run.stdout


def test_results_up_to_the_last_second_survive_a_kill_of_the_whole_run(tmp_path: Path) -> None:
    slow_s, at_s = 0.02, 200
    federates = {"a": {"slow_s": slow_s}, "b": {"reads": "a", "fault": "kill", "at_s": at_s}}
    with started(tmp_path, counters(1000, **federates)) as run:
        assert run.wait() == -signal.SIGKILL
        assert run.results.run["outcome"] == "running"
        lost = at_s - len(rows_on_disk(run.out, "a"))
        assert lost * slow_s < 1.0 * SLACK


def test_two_runs_at_once_do_not_meet_and_leave_a_foreign_broker_alone(tmp_path: Path) -> None:
    scenario = counters(200, a={}, b={"reads": "a"}, c={"reads": "b"})
    with ForeignBroker() as foreign:
        with started(tmp_path / "one", scenario, *APART) as one, started(tmp_path / "two", scenario, *APART) as two:
            assert (one.wait(), two.wait()) == (0, 0), one.said() + two.said()
        with started(tmp_path / "alone", scenario, "--engine", "local") as alone:
            assert alone.wait() == 0
        assert foreign.is_untouched()
    assert counts(one) == counts(two) == counts(alone)


def counts(run: RealRun) -> dict[str, bytes]:
    return {name: run.results.read(f"{name}.count")[1].tobytes() for name in "abc"}


BROKER = """
import json, sys, helics
broker = helics.helicsCreateBroker("zmq", "foreign", "-f 2 --loglevel=no_print")
print(helics.helicsBrokerIsConnected(broker), flush=True)
sys.stdin.readline()
query = helics.helicsCreateQuery("foreign", "counts")
print(json.dumps([helics.helicsBrokerIsConnected(broker), helics.helicsQueryBrokerExecute(query, broker)]))
helics.helicsBrokerDisconnect(broker)
"""


class ForeignBroker:
    """Somebody else's broker on HELICS's default port, which waits for its own federates."""

    def __enter__(self) -> ForeignBroker:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen([sys.executable, "-c", BROKER], text=True, **pipes)
        assert self._process.stdout
        if self._process.stdout.readline().strip() != "True":
            pytest.skip("the default port of HELICS is taken by another program")
        return self

    def is_untouched(self) -> bool:
        """It is still connected, and nobody has joined it."""
        said, _ = self._process.communicate("\n", timeout=PATIENCE_S)
        connected, found = json.loads(said)
        return bool(connected) and found["federates"] == 0

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
