"""Hosts that the run starts itself, over a real ssh and a real sshd."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sshd import laboratory, reason_to_skip

import derloop
from derloop.result import Result
from derloop.results.compare import compare

WHY_NOT = reason_to_skip()
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]
SCENARIO = Path(__file__).parents[2] / "scenarios" / "kind_load.json"
SHORT = ["duration_s=3600", "deadlines.join_s=150", "deadlines.step_s=150"]
DERLOOP = '#!/bin/sh\ntr "\\0" "\\n" < /proc/$$/cmdline > {words}\nexec {python} -m derloop.cli "$@"\n'
"""derloop as it is installed there, which notes with which words it was called."""
TOKEN = "0123456789abcdef" * 4


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with laboratory(tmp_path / "lab") as path:
        monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
        yield


def run(folder: Path, **host: Any) -> Result:
    hosts = {"feeder": {"federates": ["grid"], "command": [str(folder / "derloop")], **host}}
    (folder / "hosts.json").write_text(json.dumps({"hosts": hosts, "silence_s": 60, "token_file": "run.token"}))
    return derloop.run(SCENARIO, SHORT, hosts=folder / "hosts.json", out=folder / "out", report=False)


def log(folder: Path) -> str:
    return (folder / "out" / "logs" / "host-feeder.log").read_text()


def test_a_host_behind_a_real_sshd_gives_the_results_of_one_process(lab: None, tmp_path: Path) -> None:
    (tmp_path / "run.token").touch(0o600)
    (tmp_path / "run.token").write_text(TOKEN)
    (tmp_path / "derloop").write_text(DERLOOP.format(words=tmp_path / "words.txt", python=sys.executable))
    (tmp_path / "derloop").chmod(0o755)
    result = run(tmp_path, ssh="lab")
    assert (result.outcome, result.failure, result.complaints) == ("completed", "", ())
    assert "derloop: feeder has joined the run" in log(tmp_path)
    assert "derloop: the run is over" in log(tmp_path)
    words = (tmp_path / "words.txt").read_text()
    assert "--token-file\n-\n" in words
    assert TOKEN not in words + log(tmp_path)
    alone = derloop.run(SCENARIO, SHORT, engine="local", out=tmp_path / "alone", report=False)
    found = compare(alone.folder, result.folder)
    assert found.same, str(found)


def test_a_host_that_does_not_let_the_run_in_or_has_no_derloop_is_named_with_its_words(
    lab: None, tmp_path: Path
) -> None:
    failure = run(tmp_path, ssh="stranger").failure
    assert "host 'feeder' was not started: ssh ended with status 255: " in failure
    assert "Permission denied (publickey)" in failure
    (tmp_path / "out").rename(tmp_path / "first")
    failure = run(tmp_path, ssh="lab", command=["derloop-of-yesterday"]).failure
    assert "host 'feeder' was not started: ssh ended with status 127: " in failure
    assert "derloop-of-yesterday" in failure
