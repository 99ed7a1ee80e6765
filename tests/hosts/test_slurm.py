"""What `derloop export slurm` writes, as a job of a real Slurm with a node for the run and one for each host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from slurm import Cluster, cluster, reason_to_skip
from spread import has_rows

import derloop
from derloop.results.compare import compare
from derloop.results.store import RunFolder

WHY_NOT = reason_to_skip()
pytestmark = [
    pytest.mark.long(about_s=15),
    pytest.mark.timeout(600),
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]
SCENARIO = Path(__file__).parents[2] / "scenarios" / "kind_load.json"
HOSTS = {"feeder": {"federates": ["grid"]}, "homes": {"federates": ["homes"]}}
PATIENT = ("deadlines.join_s=150", "deadlines.step_s=150")
SHORT = (*PATIENT, "duration_s=3600", "checks.0.limit_kw=1")
"""Four steps, and a check that fails: a status that the script does not come to by itself."""
MINUTES = (*PATIENT, "step_s=1")
DERLOOP = '#!/bin/sh\nexec {python} -m derloop.cli "$@"\n'
A_CHECK_FAILED, THE_RUN_FAILED = 1, 3


@pytest.fixture
def slurm() -> Iterator[Cluster]:
    with cluster(1 + len(HOSTS)) as made:
        yield made


class Study:
    """A scenario whose script is exported to a folder and submitted there."""

    def __init__(self, folder: Path, slurm: Cluster, overrides: tuple[str, ...]) -> None:
        self._folder, self._slurm = folder, slurm
        hosts = {"port": 7100, "token_file": "run.token", "silence_s": 60, "hosts": HOSTS}
        (folder / "hosts.json").write_text(json.dumps(hosts))
        (folder / "bin").mkdir()
        (program := folder / "bin" / "derloop").write_text(DERLOOP.format(python=sys.executable))
        program.chmod(0o755)
        words = ["export", "slurm", str(SCENARIO), "--hosts", str(folder / "hosts.json")]
        sets = [f"--set={override}" for override in overrides]
        exported = subprocess.run([program, *words, *sets], check=True, capture_output=True).stdout
        (folder / "study.sh").write_bytes(exported)
        self.job = slurm.submit(folder / "study.sh", PATH=f"{program.parent}:{os.environ['PATH']}")

    @property
    def results(self) -> RunFolder:
        (found,) = self._folder.glob("runs/*")
        return RunFolder(found)

    def said(self) -> str:
        return (self._folder / f"slurm-{self.job}.out").read_text()

    def wait_for_rows(self) -> None:
        """Return when results of the feeder are where the run is: every federate is stepping then."""
        self._slurm.wait_until(self._has_rows, "no row was written")

    def _has_rows(self) -> bool:
        return any(has_rows(run, "grid.head_kw") for run in self._folder.glob("runs/*"))

    def host(self, name: str) -> int:
        """Return the process that is a host: neither `srun`, which has started it, nor what it starts in turn."""
        words = f"{sys.executable} -m derloop.cli join "
        found = {pid for pid, said in self._slurm.processes().items() if said.startswith(words) and f" {name} " in said}
        (host,) = (pid for pid in found if psutil.Process(pid).ppid() not in found)
        return host


def test_a_job_has_the_status_of_its_run_and_the_results_of_one_process(slurm: Cluster, tmp_path: Path) -> None:
    study = Study(tmp_path, slurm, SHORT)
    assert slurm.ended(study.job) == ("FAILED", A_CHECK_FAILED), study.said()
    assert not slurm.processes()
    assert study.results.run["outcome"] == "completed"
    assert study.results.run["hosts"].keys() == HOSTS.keys()
    alone = derloop.run(SCENARIO, SHORT, engine="local", out=tmp_path / "alone", report=False)
    found = compare(alone.folder, study.results)
    assert found.same, str(found)


def test_a_host_that_is_killed_is_named_and_nothing_is_left_on_any_node(slurm: Cluster, tmp_path: Path) -> None:
    study = Study(tmp_path, slurm, MINUTES)
    study.wait_for_rows()
    os.kill(study.host("homes"), signal.SIGKILL)
    assert slurm.ended(study.job) == ("FAILED", THE_RUN_FAILED), study.said()
    assert not slurm.processes()
    assert study.results.run["outcome"] == "failed"
    assert study.results.run["failure"]["why"] == "host 'homes' is lost: its connection ended"
    assert study.results.read("grid.head_kw")[0].size > 0


def test_a_job_that_is_cancelled_ends_its_run_in_order_and_leaves_nothing_on_any_node(
    slurm: Cluster, tmp_path: Path
) -> None:
    study = Study(tmp_path, slurm, MINUTES)
    study.wait_for_rows()
    slurm.cancel(study.job)
    assert slurm.ended(study.job)[0] == "CANCELLED", study.said()
    assert not slurm.processes()
    assert study.results.run["outcome"] == "interrupted", study.said()
    assert "INTERRUPTED interrupted" in study.said()
