"""Machines that are far from each other: network namespaces with delay and loss, killed and cut off."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from namespaces import Machines, machines, reason_to_skip
from real_runs import counters
from spread import Loopback, Machine, Spread, spread

import derloop
from derloop import plugins
from derloop.results.compare import compare

NAMED_WITHIN_S = 5.0
SLACK = 3
"""How many times slower a busy machine may be in ending what it has named."""
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
WHY_NOT = reason_to_skip()
far_away = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
HOSTS = {"feeder": ["b"], "fleets": ["c", "d"]}


def scenario(duration_s: float = 60, **a: Any) -> dict[str, Any]:
    """Four federates in a row, and d acts on c within the instant."""
    federates = {"a": a, "b": {"reads": "a"}, "c": {"reads": "b"}, "d": {"reads": "c", "arrival": "now"}}
    return {**counters(duration_s, **federates), "deadlines": {"join_s": 150, "step_s": 150}}


@far_away
def test_results_over_a_slow_and_lossy_network_are_those_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with machines("run", *HOSTS, delay_ms=5, loss=0.02) as where, spread(tmp_path, scenario(), HOSTS, where) as run:
        listening = set[str]()
        while run.run.process.poll() is None:
            listening |= {f"{name} {address}" for name in where.addresses for address in where.listeners(name)}
            time.sleep(1)
        assert [machine.wait() for machine in run.all] == [0, 0, 0], [machine.said() for machine in run.all]
        assert listening <= {f"{name} {address}" for name, address in where.addresses.items()}
        assert {line.split()[0] for line in listening} >= {"run", "fleets"}
        assert "b" in run.results.run["hosts"]["feeder"]["units"]
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "support" / "plugin"))
    plugins._offered.cache_clear()
    alone = derloop.run(tmp_path / "scenario.json", engine="local", out=tmp_path / "alone", report=False)
    plugins._offered.cache_clear()
    found = compare(alone.folder, run.results)
    assert found.same, str(found)


@far_away
@pytest.mark.parametrize("how", ["killed", "cut off"])
def test_the_death_of_a_host_is_named_and_leaves_nothing_on_the_others(tmp_path: Path, how: str) -> None:
    going_on = scenario(3000, slow_s=0.02)
    with machines("run", *HOSTS, delay_ms=1) as where, spread(tmp_path, going_on, HOSTS, where) as run:
        run.wait_for_rows("d")
        since = lose(run, where, "fleets", how)
        assert run.said_after(since, "host 'fleets' is lost") < NAMED_WITHIN_S
        assert run.run.wait() == 3, run.run.said()
        print(f"seconds from the loss until the run has ended: {time.monotonic() - since:.2f}")
        assert "FAILED host 'fleets' is lost: " in run.run.said()
        assert ("nothing was heard of it for 4." if how == "cut off" else "its connection ended") in run.run.said()
        assert run.results.run["outcome"] == "failed"
        assert run.hosts["feeder"].wait() == 0, run.hosts["feeder"].said()
        if how == "cut off":
            assert run.hosts["fleets"].wait() == 3
            assert "host 'fleets' has lost the run: nothing was heard of it for 4." in run.hosts["fleets"].said()
        assert run.gone_after(since) < NAMED_WITHIN_S * SLACK
        assert run.results.read("d.count")[0].size > 0


def lose(run: Spread, where: Machines, name: str, how: str) -> float:
    """Kill a host, or cut it off; return when."""
    if how == "killed":
        run.hosts[name].process.kill()
    else:
        where.cut(name)
    return time.monotonic()


def test_a_run_that_is_told_to_end_just_after_its_hosts_was_interrupted_and_lost_none(tmp_path: Path) -> None:
    with spread(tmp_path, scenario(3000, slow_s=0.02), HOSTS, Loopback()) as run:
        run.wait_for_rows("d")
        for machine in (*run.hosts.values(), run.run):
            machine.process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert run.run.wait() == 130, run.run.said()
        assert run.results.run["outcome"] == "interrupted"


@pytest.mark.parametrize("also_the_run", [True, False])
def test_a_host_that_is_told_to_end_is_not_lost_and_the_run_is_interrupted_if_it_is_told_so_too(
    tmp_path: Path, also_the_run: bool
) -> None:
    with spread(tmp_path, scenario(3000, slow_s=0.02), HOSTS, Loopback()) as run:
        run.wait_for_rows("d")
        run.hosts["fleets"].process.send_signal(signal.SIGTERM)
        since = time.monotonic()
        time.sleep(1.5)
        assert len(run.hosts["feeder"].tree()) == 1  # its processes do not wait for whoever may end the run
        if also_the_run:
            run.run.process.send_signal(signal.SIGTERM)
        assert run.run.wait() == (130 if also_the_run else 3), run.run.said()
        assert run.results.run["outcome"] == ("interrupted" if also_the_run else "failed")
        assert "host 'fleets' was told to end, and has left; the run ends" in run.run.said()
        assert ("FAILED host 'fleets' was told to end" in run.run.said()) is not also_the_run
        assert "lost" not in run.run.said()
        assert [run.hosts[name].wait() for name in HOSTS] == [0, 130]
        assert run.gone_after(since) < NAMED_WITHIN_S * SLACK


def test_a_run_that_is_told_to_end_after_a_host_while_it_waits_for_another_was_interrupted(tmp_path: Path) -> None:
    with spread(tmp_path, scenario(3000, slow_s=0.02), HOSTS, Loopback()) as run:
        run.hosts["feeder"].destroy()
        deadline = time.monotonic() + 60
        while "fleets has joined the run" not in run.hosts["fleets"].said():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for machine in (run.hosts["fleets"], run.run):
            machine.process.send_signal(signal.SIGTERM)
            time.sleep(1.0)
        assert run.run.wait() == 130, run.run.said()


def test_a_host_that_comes_while_the_run_goes_on_is_turned_away(tmp_path: Path) -> None:
    with spread(tmp_path, scenario(3000, slow_s=0.02), HOSTS, Loopback()) as run:
        run.wait_for_rows("d")
        late = {name: run.joined(name) for name in ("nobody", "feeder")}
        try:
            assert [machine.wait() for machine in late.values()] == [3, 3]
            assert "was refused: the run has no federates for a host 'nobody'" in late["nobody"].said()
            assert "was refused: a host 'feeder' has joined already" in late["feeder"].said()
            assert run.run.process.poll() is None
        finally:
            for machine in late.values():
                machine.destroy()


def test_a_host_that_is_lost_before_its_last_results_have_come_fails_the_run(tmp_path: Path) -> None:
    outcomes = [lost_at_the_end(tmp_path / str(number), after_s=0.02 * number) for number in range(4)]
    assert 3 in outcomes, "each time the results were there already"


def lost_at_the_end(folder: Path, after_s: float) -> int:
    """Stop a host so long after its processes have gone; check that the run has all results, or names the host."""
    folder.mkdir()
    with spread(folder, scenario(400), HOSTS, Loopback()) as run:
        run.wait_for_rows("d")
        host = run.hosts["fleets"]
        while len(host.tree()) > 1:
            time.sleep(0.001)
        time.sleep(after_s)
        host.process.send_signal(signal.SIGSTOP)
        status = run.run.wait()
        rows = run.results.read("d.count")[0].size
        host.process.send_signal(signal.SIGCONT)
        if status == 0:
            assert (rows, run.results.run["outcome"]) == (400, "completed")
        else:
            assert (status, run.results.run["outcome"]) == (3, "failed"), run.run.said()
            assert "FAILED host 'fleets' is lost: nothing was heard of it for 4." in run.run.said()
        return status


def test_a_run_whose_ports_of_helics_are_disturbed_ends_all_the_same(tmp_path: Path) -> None:
    rng = random.Random(3)
    with spread(tmp_path, scenario(3000, slow_s=0.02), HOSTS, Loopback(), silence_s=60) as run:
        run.wait_for_rows("d")
        listening = psutil.Process(run.run.process.pid).net_connections("tcp")
        ports = {each.laddr.port for each in listening if each.status == psutil.CONN_LISTEN} - {run.port}
        assert ports
        for _ in range(40):
            for port in ports:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as sock:
                    sock.sendall(rng.randbytes(200))
            time.sleep(0.05)
        run.run.process.send_signal(signal.SIGINT)
        assert run.run.wait() in (3, 130), run.run.said()
        assert run.results.run["outcome"] in ("failed", "interrupted")


def test_hosts_end_when_the_run_is_killed(tmp_path: Path) -> None:
    with spread(tmp_path, scenario(3000, slow_s=0.02), HOSTS, Loopback()) as run:
        run.wait_for_rows("d")
        run.run.process.kill()
        since = time.monotonic()
        assert [machine.wait() for machine in run.hosts.values()] == [3, 3]
        assert "host 'fleets' has lost the run: its connection ended" in run.hosts["fleets"].said()
        assert run.gone_after(since) < NAMED_WITHIN_S * SLACK


def test_a_run_that_was_stopped_says_that_its_hosts_heard_nothing_of_it(tmp_path: Path) -> None:
    with spread(tmp_path, scenario(3000, slow_s=0.02), HOSTS, Loopback()) as run:
        run.wait_for_rows("d")
        run.run.process.send_signal(signal.SIGSTOP)
        try:
            assert [machine.wait() for machine in run.hosts.values()] == [3, 3]
        finally:
            run.run.process.send_signal(signal.SIGCONT)
        assert run.run.wait() == 3, run.run.said()
        assert re.search(r"FAILED host '\w+' has left: it heard nothing of this run for \d", run.run.said())


SSH = """#!/bin/sh
for word; do command=$word; done
PATH={path}:$PATH exec sh -c "$command"
"""


def test_a_host_is_started_by_ssh_and_a_federate_that_dies_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = counters(20, a={}, b={"reads": "a", "fault": "kill", "at_s": 5})
    (tmp_path / "scenario.json").write_text(json.dumps({**failing, "deadlines": {"join_s": 150}}))
    (tmp_path / "hosts.json").write_text('{"hosts": {"lab": {"ssh": "lab", "federates": ["b"]}}}')
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(SSH.format(path=Path(sys.executable).parent))
    (tmp_path / "bin" / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    run = Machine(tmp_path, "run", [], "run", "scenario.json", "--hosts", "hosts.json", "--out", "out", "--no-report")
    try:
        assert run.wait() == 3, run.said()
        said = r"FAILED federate 'b' at 5 s: its process \(pid \d+\) on host 'lab' was killed by SIGKILL"
        assert re.search(said, run.said())
        assert "lab has joined the run" in (tmp_path / "out" / "logs" / "host-lab.log").read_text()
        assert (tmp_path / "out" / "logs" / "b.log").exists()
        assert not run.tree()
    finally:
        run.destroy()
