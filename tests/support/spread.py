"""Runs over several machines, each a namespace or this one, as their users start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import psutil
from real_runs import environment
from sockets import free_ports

from derloop.errors import DerloopError
from derloop.results.store import RunFolder

PATIENCE_S = 90.0


def hosts_file(folder: Path, federates: Mapping[str, Sequence[str]], port: int, **more: Any) -> Path:
    """Write a hosts file for hosts that join by hand."""
    hosts = {name: {"federates": [*names]} for name, names in federates.items()}
    path = folder / "hosts.json"
    path.write_text(json.dumps({"port": port, "token_file": "run.token", "hosts": hosts, **more}))
    if not (folder / "run.token").exists():
        (folder / "run.token").touch(0o600)
        (folder / "run.token").write_text("0123456789abcdef" * 4)
    return path


def has_rows(run: Path, signal: str) -> bool:
    """Return whether a run has recorded some of a signal. Early there is no folder, no file, or one without a head."""
    with suppress(DerloopError):
        return RunFolder(run).read(signal)[0].size > 0
    return False


class Loopback:
    """This machine as all machines: what `namespaces.Machines` are, without a network."""

    addresses: ClassVar = {"run": "127.0.0.1"}

    def inside(self, name: str) -> list[str]:
        return []


class Machine:
    """One command on one machine."""

    def __init__(self, folder: Path, name: str, inside: Sequence[str], *words: str) -> None:
        self.log = folder / f"{name}.txt"
        with self.log.open("wb") as said:
            self.process = subprocess.Popen(
                [*inside, sys.executable, "-m", "derloop.cli", *words],
                cwd=folder,
                env=environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def said(self) -> str:
        return " ".join(self.log.read_text().split())

    def tree(self) -> list[psutil.Process]:
        """Return every living process that was started from here."""
        return [p for p in psutil.process_iter() if _session(p.pid) == self.process.pid and _is_alive(p)]

    def destroy(self) -> None:
        for process in self.tree():
            process.kill()
        self.process.wait(PATIENCE_S)


class Spread:
    """A run and its hosts."""

    def __init__(self, folder: Path, port: int, run: Machine, hosts: Mapping[str, Machine]) -> None:
        self.folder, self.port, self.run, self.hosts = folder, port, run, hosts

    @property
    def results(self) -> RunFolder:
        return RunFolder(self.folder / "out")

    @property
    def all(self) -> list[Machine]:
        return [self.run, *self.hosts.values()]

    def joined(self, name: str) -> Machine:
        """Start a host on this machine; whoever calls this ends it."""
        words = ("join", f"127.0.0.1:{self.port}", "--token-file", "run.token", "--name", name)
        return Machine(self.folder, f"late-{name}", [], *words)

    def wait_for_rows(self, federate: str) -> None:
        """Return when results of `federate` are where the run was started."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._has_rows(federate):
            assert self.run.process.poll() is None, self.run.said()
            assert time.monotonic() < deadline, [machine.said() for machine in self.all]
            time.sleep(0.05)

    def _has_rows(self, federate: str) -> bool:
        return has_rows(self.folder / "out", f"{federate}.count")

    def said_after(self, since: float, text: str) -> float:
        """Return the seconds since `since` until the run has said `text`."""
        while text not in self.run.said():
            assert time.monotonic() < since + PATIENCE_S, self.run.said()
            time.sleep(0.02)
        return time.monotonic() - since

    def gone_after(self, since: float) -> float:
        """Return the seconds since `since` until no process was left on any machine."""
        while any(machine.tree() for machine in self.all):
            assert time.monotonic() < since + PATIENCE_S
            time.sleep(0.05)
        return time.monotonic() - since


@contextmanager
def spread(
    folder: Path, scenario: Mapping[str, Any], hosts: Mapping[str, Sequence[str]], where: Any, **more: Any
) -> Iterator[Spread]:
    """A run on the machine `run` of `where` (`namespaces.Machines`), and a host on each machine that `hosts` names."""
    (folder / "scenario.json").write_text(json.dumps(scenario))
    file = hosts_file(folder, hosts, port := free_ports(1)[0], listen=where.addresses["run"], **more)
    words = ("run", "scenario.json", "--hosts", str(file), "--out", "out", "--no-report")
    run = Machine(folder, "run", where.inside("run"), *words)
    join = ("join", f"{where.addresses['run']}:{port}", "--token-file", "run.token", "--name")
    joined = {name: Machine(folder, name, where.inside(name), *join, name) for name in hosts}
    made = Spread(folder, port, run, joined)
    try:
        yield made
    finally:
        for machine in made.all:
            machine.destroy()


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
