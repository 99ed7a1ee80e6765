"""`derloop run` as its users start it: a real process, whose every descendant is accounted for when it has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from derloop.results.store import RunFolder

PLUGIN = Path(__file__).parent / "plugin"
PATIENCE_S = 60.0
"""Nothing in these tests may take longer, on however slow a machine."""
POLL_S = 0.02


def counters(duration_s: float = 60, **federates: Mapping[str, Any]) -> dict[str, Any]:
    """Return a scenario of federates of kind `counter`, one step a second."""
    return {
        "name": "counters",
        "start": "2025-07-15T00:00:00Z",
        "duration_s": duration_s,
        "step_s": 1,
        "federates": {name: {"kind": "counter", **settings} for name, settings in federates.items()},
    }


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a run: with the kind `counter`, and a file where its faults are noted."""
    paths = os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": paths, "DERLOOP_TEST_FAULT": str(folder / "fault.txt")}


OTHERS_S = 5.0
"""For how long something in shared memory may be that of other tests, which make semaphores for a moment."""


class RealRun:
    """One `derloop run` in a session of its own, so that none of its processes can get out of sight."""

    def __init__(self, folder: Path, scenario: Mapping[str, Any] | Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.out = folder, folder / "out"
        if not isinstance(scenario, Path):
            (folder / "scenario.json").write_text(json.dumps(scenario))
            scenario = folder / "scenario.json"
        self._before = _shared_memory()
        self.began = time.monotonic()
        with (folder / "stdout.txt").open("wb") as stdout, (folder / "stderr.txt").open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "derloop.cli", "run", str(scenario), "--out", str(self.out), *options],
                cwd=folder,
                env=environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def tree(self) -> list[psutil.Process]:
        """Return every living process of the run, also those whose parent has gone."""
        return [p for p in psutil.process_iter() if _session(p.pid) == self.pid and _is_alive(p)]

    def children(self) -> list[psutil.Process]:
        """Return the federates' processes, in the order in which they were started."""
        return sorted((p for p in self.tree() if p.pid != self.pid), key=lambda p: (p.create_time(), p.pid))

    def child(self, federate: str) -> psutil.Process:
        """Return the process that writes the log of `federate`."""
        log = f"/logs/{federate}.log"
        return next(p for p in self.children() if str(Path(f"/proc/{p.pid}/fd/2").readlink()).endswith(log))

    def wait_for_rows(self, federate: str = "a") -> None:
        """Return when results of `federate` are on disk: every federate is stepping then."""
        self.wait_until(lambda: any(rows_on_disk(self.out, federate)), f"no row of {federate!r} was written")

    def wait_until(self, holds: Any, otherwise: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert self.process.poll() is None, f"the run has ended early:\n{self.said()}"
            assert time.monotonic() < deadline, otherwise
            time.sleep(POLL_S)

    def interrupt(self, sign: signal.Signals = signal.SIGINT, group: bool = False) -> float:
        """Send a signal to the run, or as a terminal does to its whole group; return when that was."""
        (os.killpg if group else os.kill)(self.pid, sign)
        return time.monotonic()

    def wait(self) -> int:
        """Return the exit status once the run has ended."""
        return self.process.wait(PATIENCE_S)

    def ended_after(self, since: float) -> float:
        """Wait for the end; return the seconds since the instant `since` until not one process was left."""
        self.wait()
        return self.gone_after(since)

    def gone_after(self, since: float) -> float:
        """Return the seconds since `since` until no process of the run was left."""
        while self.tree():
            assert time.monotonic() < since + PATIENCE_S, f"left behind: {self.tree()}"
            time.sleep(POLL_S)
        return time.monotonic() - since

    def fault_at(self) -> float:
        """Return when the federate failed, by the clock of `time.monotonic()`."""
        return float((self.folder / "fault.txt").read_text().split()[0])

    def said(self) -> str:
        """Return all that was printed."""
        return (self.folder / "stdout.txt").read_text() + (self.folder / "stderr.txt").read_text()

    @property
    def results(self) -> RunFolder:
        return RunFolder(self.out)

    @property
    def failure(self) -> Mapping[str, Any]:
        """Return what run.json says of the failure."""
        found: Mapping[str, Any] = self.results.run["failure"]
        return found

    def assert_kept(self, federate: str, when_s: float | None) -> None:
        """Of `federate`, which reads nothing and may be ahead, all results are there up to the step before `when_s`."""
        rows = rows_on_disk(self.out, federate)
        assert rows == [1_000_000_000 * i for i in range(len(rows))]
        assert len(rows) >= (0 if when_s is None else when_s)

    def assert_nothing_left(self) -> None:
        """No process, no listening port, no shared memory, no file outside the run's folder."""
        assert not self.tree()
        deadline = time.monotonic() + OTHERS_S
        while (left := _shared_memory() - self._before) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left
        ours = {"out", "scenario.json", "stdout.txt", "stderr.txt", "fault.txt"}
        assert {p.name for p in self.folder.iterdir()} <= ours

    def destroy(self) -> None:
        """End whatever is left of the run, at the end of a test that may have failed."""
        for process in self.tree():
            process.kill()
        self.process.wait(PATIENCE_S)


@contextmanager
def started(folder: Path, scenario: Mapping[str, Any] | Path, *options: str) -> Iterator[RealRun]:
    """A run that is going on; whatever is left of it at the end of the block is destroyed."""
    run = RealRun(folder, scenario, *options)
    try:
        yield run
    finally:
        run.destroy()


def rows_on_disk(out: Path, federate: str) -> list[int]:
    """Return the instants of `federate` in ns that can be read now."""
    if not (out / "series").is_dir():
        return []
    folder = RunFolder(out)
    name = f"{federate}.count"
    return [int(t) for t in folder.read(name)[0]] if name in [s.name for s in folder.signals()] else []


def listeners(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    """Return (address, port) of everything that these processes listen on, TCP and UDP."""
    found = set()
    for process in processes:
        try:
            connections = process.net_connections("inet")
        except psutil.Error:
            continue  # it has just ended
        found |= {(c.laddr.ip, c.laddr.port) for c in connections if c.status in ("LISTEN", "NONE") and c.laddr}
    return found


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


def _shared_memory() -> set[str]:
    """Return what lies in /dev/shm, except for browsers that other tests may open."""
    return {p.name for p in Path("/dev/shm").glob("[!.]*") if "chrom" not in p.name}
