"""A real Slurm of a test's own: its daemons, key, ports and files, on nodes that are network namespaces.

A node is a `slurmd -N`, which must have been built for several on one machine, as Debian's is. Nothing of it is reached
from outside of the namespaces, and the system's own Slurm and munge, if there are any, are not touched.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import namespaces

PATIENCE_S = 120.0
POLL_S = 0.1
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "srun")
CONFIG = """\
ClusterName=derloop
SlurmctldHost={hostname}({controller})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={nodes} CPUs=1
PartitionName=all Nodes=ALL Default=YES
"""
CGROUPS = "CgroupPlugin=cgroup/v1\n"
"""The one that looks for no cgroups before it is asked for some; here it never is."""
GOING_ON = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")


def program(name: str) -> str | None:
    """Return the path of a program of Slurm or munge; those of daemons are seldom in that of users."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def reason_to_skip() -> str | None:
    """Return why there can be no Slurm here; None where there can."""
    missing = [name for name in PROGRAMS if program(name) is None]
    return f"needs {', '.join(missing)}" if missing else namespaces.reason_to_skip()


class Cluster:
    """A Slurm that takes jobs."""

    def __init__(self, folder: Path, nodes: Sequence[str], where: namespaces.Machines) -> None:
        self._folder, self._nodes, self._where = folder, nodes, where
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._own: frozenset[int] = frozenset()
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        self._environment = {**outside, "SLURM_CONF": str(folder / "slurm.conf")}

    def start(self, node: str, *words: str) -> subprocess.Popen[bytes]:
        """Start a daemon on a node."""
        with (self._folder / f"{words[0]}.err").open("ab") as said:
            daemon = subprocess.Popen(self._command(node, words), env=self._environment, stdout=said, stderr=said)
        self._daemons.append(daemon)
        return daemon

    def wait_for_nodes(self) -> None:
        """Return when every node can be given to a job; all that lives there now is Slurm's own."""
        self.wait_until(self._are_idle, "the nodes have not come up")
        self._own = frozenset(self.processes())

    def submit(self, script: Path, **environment: str) -> str:
        """Hand a script to `sbatch` in the folder where it lies; return the job's number."""
        return self._told("sbatch", "--parsable", script.name, folder=script.parent, **environment).strip()

    def cancel(self, job: str) -> None:
        self._told("scancel", job)

    def ended(self, job: str) -> tuple[str, int]:
        """Wait for the end of a job; return what became of it (COMPLETED, FAILED, ...) and its exit status."""
        self.wait_until(lambda: self._state(job)[0] not in GOING_ON, f"job {job} has not ended")
        return self._state(job)

    def processes(self) -> dict[int, str]:
        """Return what jobs have brought to the nodes and lives, with its words: also what has lost its parent."""
        pids = {pid for node in self._nodes for pid in self._where.pids(node)}
        found = {pid: _words(pid) for pid in sorted(pids - self._own)}
        return {pid: words for pid, words in found.items() if words}

    def wait_until(self, holds: Callable[[], object], otherwise: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while not holds():
            assert all(daemon.poll() is None for daemon in self._daemons), f"a daemon has ended\n{self.logs()}"
            assert time.monotonic() < until, f"{otherwise}\n{self.processes()}\n{self.logs()}"
            time.sleep(POLL_S)

    def logs(self) -> str:
        """Return what the daemons have said."""
        files = sorted(file for file in self._folder.iterdir() if file.suffix in (".err", ".log"))
        return "\n".join(f"{file.name}:\n{file.read_text(errors='replace')}" for file in files)

    def destroy(self) -> None:
        """End what is left of jobs, at the end of a test that may have failed."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _are_idle(self) -> bool:
        said = self._run("scontrol", "--oneliner", "show", "nodes").stdout
        return said.count(" State=IDLE ") == len(self._nodes)

    def _state(self, job: str) -> tuple[str, int]:
        said = self._told("scontrol", "--oneliner", "show", "job", job)
        found = re.search(r" JobState=([A-Z_]+) .* ExitCode=(\d+):", said)
        assert found, said
        return found[1], int(found[2])

    def _told(self, *words: str, folder: Path | None = None, **environment: str) -> str:
        done = self._run(*words, folder=folder, **environment)
        assert done.returncode == 0, f"{words}: {done.stderr}\n{self.logs()}"
        return done.stdout

    def _run(self, *words: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Call a client on the first node."""
        return subprocess.run(
            self._command(self._nodes[0], words),
            cwd=folder,
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def _command(self, node: str, words: Sequence[str]) -> list[str]:
        return [*self._where.inside(node), str(program(words[0])), *words[1:]]


@contextmanager
def cluster(count: int) -> Iterator[Cluster]:
    """A Slurm of so many nodes. Their names are their addresses, so that no file of the system has to know them.

    Its folder is not the test's, as the path of a socket has at most 107 characters.
    """
    names = [f"node-{i}" for i in range(count)]
    with tempfile.TemporaryDirectory(prefix="slurm-") as made, namespaces.machines(*names) as where:
        _configure(folder := Path(made), [where.addresses[name] for name in names])
        slurm = Cluster(folder, names, where)
        with ExitStack() as stack:
            stack.callback(_end, slurm.start(names[0], "munged", *_munge(folder)))
            slurm.wait_until((folder / "munge.socket").exists, "munged does not listen")
            stack.callback(_end, slurm.start(names[0], "slurmctld", "-D"))
            for name in names:
                stack.callback(_end, slurm.start(name, "slurmd", "-D", "-N", where.addresses[name]))
            slurm.wait_for_nodes()
            stack.callback(slurm.destroy)
            yield slurm


def _configure(folder: Path, addresses: Sequence[str]) -> None:
    (folder / "state").mkdir()
    (folder / "munge.key").touch(0o600)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "cgroup.conf").write_text(CGROUPS)
    facts = {"hostname": socket.gethostname(), "controller": addresses[0], "nodes": ",".join(addresses)}
    (folder / "slurm.conf").write_text(CONFIG.format(folder=folder, **facts))


def _munge(folder: Path) -> list[str]:
    """Return the options of a munged that is at home in a folder which only its owner can enter: it warns of that."""
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid", "seed-file": "munged.seed"}
    return ["--foreground", "--force", *(f"--{option}={folder / name}" for option, name in files.items())]


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _words(pid: int) -> str:
    """Return the command of a process; nothing for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
