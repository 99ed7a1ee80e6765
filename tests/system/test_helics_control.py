"""A control that is a process and joins over HELICS: it keeps the peak down, and its absence ends the run by name."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import helics as h
import psutil
import pytest
from own_site import CONTROL, run, scenario, written
from sockets import free_ports

from derloop.errors import ScenarioError
from derloop.result import Result
from federates.control.own import outside as outside_door

PORTS = 10
"""HELICS takes two for a broker, and some behind them for the cores that join."""
PROCESS = Path(__file__).parents[1] / "support" / "outside_control.py"


@contextmanager
def outside(port: int, *how: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, str(PROCESS), str(port), *how])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def site(folder: Path, port: int, **settings: float) -> Path:
    """Write the site, with a control over HELICS in place of the class."""
    path = written(folder)
    data = scenario()
    kept = {key: CONTROL[key] for key in ("members", "reads", "writes")}
    data["federates"]["own"] = {"kind": "helics-control", "port": port, **kept, **settings}
    path.write_text(json.dumps(data))
    return path


def ended_by(result: Result) -> str:
    assert (result.outcome, result.status) == ("failed", 3)
    assert "Traceback" not in result.failure
    return result.failure


def test_a_process_over_helics_controls_as_the_same_class_does(tmp_path: Path) -> None:
    port = free_ports(PORTS)[0]
    with outside(port) as process:
        result = run(site(tmp_path, port), overrides=("duration_s=900",), engine="helics")
        assert result.outcome == "completed", result.failure
        assert process.wait(20) == 0  # it was granted the end of time
    assert [v.outcome for v in result.verdicts if v.check == "peak"] == ["PASS"]
    reference = run(written(tmp_path), "class", ("duration_s=900",))
    assert result["own.batteries.p_set_kw"] == pytest.approx(reference["own.batteries.p_set_kw"], abs=1e-9)


def test_a_control_that_gives_other_units_is_refused_by_name(tmp_path: Path) -> None:
    """HELICS converts numbers from one unit to another, and no vectors."""
    port = free_ports(PORTS)[0]
    with outside(port, "1000", "leave", "W"):
        why = ended_by(run(site(tmp_path, port, join_s=10), overrides=("duration_s=60",)))
    assert f"tcp://127.0.0.1:{port}: batteries.p_set_kw is published in 'W', and must be in 'kW'" in why


def test_a_core_of_the_same_process_that_has_room_is_not_taken_for_it(tmp_path: Path) -> None:
    """HELICS joins a federate to any core of its type that still takes one, and this core belongs to nobody."""
    port, elsewhere = free_ports(PORTS)[0], free_ports(PORTS)[0]
    other = h.helicsCreateCore("zmq", "other", f"-f 1 --loglevel=no_print --brokerport={elsewhere}")
    try:
        with outside(port) as process:
            result = run(site(tmp_path, port, join_s=5), overrides=("duration_s=60",))
            assert process.wait(20) == 0
    finally:
        h.helicsCoreDisconnect(other)
        h.helicsCoreFree(other)
    assert result.outcome == "completed", result.failure


@pytest.mark.long
def test_one_that_leaves_ends_the_run_in_its_name(tmp_path: Path) -> None:
    port = free_ports(PORTS)[0]
    with outside(port, "3"):
        why = ended_by(run(site(tmp_path, port), overrides=("duration_s=900",)))
    assert why.startswith("federate 'own' at 240 s: the control at tcp://127.0.0.1:")
    assert "has answered nothing; has it left?" in why


@pytest.mark.long
def test_one_that_says_no_more_ends_the_run_at_its_deadline(tmp_path: Path) -> None:
    port = free_ports(PORTS)[0]
    with outside(port, "3", "hang"):
        why = ended_by(run(site(tmp_path, port, deadline_s=1), overrides=("duration_s=900",)))
    assert why == f"federate 'own' at 180 s: no answer of tcp://127.0.0.1:{port} within deadline_s, 1 s"


def test_one_that_does_not_come_ends_the_run_before_its_first_step_and_only_loopback_was_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_ports(PORTS)[0]
    seen: set[str] = set()

    def look(seconds: float) -> None:
        time.sleep(seconds)
        listening = psutil.Process().net_connections("tcp")
        seen.update(c.laddr.ip for c in listening if c.status == "LISTEN" and c.laddr.port in (port, port + 1))

    path = site(tmp_path, port, join_s=0.5)
    monkeypatch.setattr(outside_door, "time", Namespace(sleep=look, monotonic=time.monotonic))
    why = ended_by(run(path, overrides=("duration_s=900",)))
    assert why.startswith(f"federate 'own' before the first step: no control has joined at tcp://127.0.0.1:{port} ")
    assert seen == {"127.0.0.1"}


def test_a_scenario_cannot_open_a_port_by_itself(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as error:
        run(site(tmp_path, 23500), trust_control=False)
    assert "/federates/own/port: " in str(error.value)
    assert "--trust-control allows it" in str(error.value)
