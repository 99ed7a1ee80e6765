"""Hundreds of kills, starts and stops: no hang, no orphan, no false success."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from real_runs import PATIENCE_S, RealRun, counters, environment, rows_on_disk, started

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

AT_ONCE = 2
STEPS = 60
ENDS_WITHIN_S = 6.0
SLACK = 2
SCENARIO = counters(STEPS, a={"slow_s": 0.01}, b={"reads": "a"}, c={"reads": "b", "blocking": True})
OPTIONS = ("--placement", "apart", "--no-report")


def many(count: int, trial: Callable[[int], str]) -> Counter[str]:
    """Return how often each outcome of `trial` came about; a few trials go on at the same time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return Counter(pool.map(trial, range(count)))


def assert_true_success(run: RealRun) -> None:
    """It says that it has completed, and has."""
    assert run.results.run["outcome"] == "completed"
    assert [len(rows_on_disk(run.out, name)) for name in "abc"] == [STEPS] * 3


def victim(run: RealRun, rng: random.Random) -> psutil.Process | None:
    """Return one of the run's processes, each as likely as any other; the supervisor only once in five."""
    children = run.children()
    if rng.random() < 0.2 or not children:
        return next((p for p in run.tree() if p.pid == run.pid), None)
    return rng.choice(children)


@pytest.mark.long(about_s=50)
@pytest.mark.parametrize("batch", range(10))
def test_twenty_kills_at_random_moments_leave_no_hang_no_orphan_and_no_false_success(
    tmp_path: Path, batch: int
) -> None:
    def trial(number: int) -> str:
        rng = random.Random(1000 * batch + number)
        with started(tmp_path / str(number), SCENARIO, *OPTIONS) as run:
            if number % 2:
                run.wait_until(run.children, "no federate was started")
            time.sleep(rng.uniform(0.0, 5.0))
            process = victim(run, rng)
            if process is not None:
                process.send_signal(signal.SIGKILL)
            since = time.monotonic()
            status, took_s = run.wait(), run.gone_after(since)
            assert took_s < ENDS_WITHIN_S * SLACK or status == 0  # a kill of a child that had done all changes nothing
            assert "Traceback" not in run.said(), run.said()
            run.assert_nothing_left()
            if status == 0:
                assert_true_success(run)
                return "completed before"
            if status == -signal.SIGKILL:
                return "supervisor killed"
            assert status == 3, run.said()
            assert run.results.run["outcome"] == "failed"
            assert run.failure["federate"] in ("a", "b", "c"), run.failure
            assert "SIGKILL" in run.failure["why"], run.failure
            return "child killed"

    found = many(20, trial)
    assert found["child killed"] >= 2, found


@pytest.mark.long(about_s=450)
def test_a_hundred_starts_and_stops_leave_nothing(tmp_path: Path) -> None:
    def trial(number: int) -> str:
        rng = random.Random(number)
        with started(tmp_path / str(number), SCENARIO, *OPTIONS) as run:
            if number % 2:
                run.wait_until((run.out / "logs").exists, "never started")
                time.sleep(rng.uniform(0.0, 3.0))
                if run.process.poll() is None:
                    run.interrupt(rng.choice([signal.SIGINT, signal.SIGTERM]), group=rng.random() < 0.5)
            status = run.wait()
            assert "Traceback" not in run.said(), run.said()
            run.assert_nothing_left()
            if status == 0:
                assert_true_success(run)
            else:
                assert (number % 2, status) == (1, 130), run.said()
                assert run.results.run["outcome"] == "interrupted"
            return str(status)

    found = many(100, trial)
    assert found["0"] >= 50
    assert found["130"] >= 10


AGAIN = """
import gc, json, os, sys
from pathlib import Path
from derloop.options import Options
from derloop.running import run
found = []
for number in range(100):
    result = run(sys.argv[1], [], Options(out=Path(sys.argv[2]) / str(number), report=False))
    assert (result.outcome, result.is_stuck) == ("completed", False), result
    if number in (9, 99):
        gc.collect()
        rss = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        found.append([len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), rss])
print(json.dumps(found), flush=True)
os._exit(0)
"""


@pytest.mark.long(about_s=60)
def test_a_hundred_runs_in_one_process_hold_no_thread_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "scenario.json"
    path.write_text(json.dumps(counters(STEPS, a={}, b={"reads": "a"}, c={"reads": "b", "blocking": True})))
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, str(path), str(tmp_path)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=10 * PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    (threads, files, rss), (threads_later, files_later, rss_later) = json.loads(done.stdout)
    assert threads_later <= threads + 2
    assert files_later <= files + 2
    assert rss_later < rss + 50e6
