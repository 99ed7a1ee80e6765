"""A host that the run starts itself, by the machine's own `ssh`."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import IO, cast

from derloop.errors import HostError
from derloop.hosts.file import HostSettings

SSH = ("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
LEAVE_S = 3.0
"""How long hosts may take to leave, all together."""
TERMINATED_S = 1.0
"""How long `ssh` may take to end when it is told to."""


def join_command(name: str, host: HostSettings, address: tuple[str, int]) -> list[str]:
    """Return the words of the command that joins as this host."""
    words = [*host.command, "join", f"{address[0]}:{address[1]}", "--name", name]
    for option, value in (
        ("--scenario", host.scenario),
        ("--interface", host.interface),
        ("--folder", host.folder),
    ):
        words += [] if value is None else [option, str(value)]
    return [*words, *host.flags]


class Started:
    """The `ssh` of one host. The token goes over its input, and so stands in no list of processes."""

    def __init__(self, name: str, host: HostSettings, address: tuple[str, int], token: str, log: Path) -> None:
        self.name, self._log = name, log
        command = [*join_command(name, host, address), "--token-file", "-"]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as said:
            self._process = self._spawned([*SSH, "--", str(host.ssh), shlex.join(command)], said)
        with suppress(BrokenPipeError):  # it has failed at once, and that is noticed
            stdin = cast("IO[bytes]", self._process.stdin)
            stdin.write(token.encode() + b"\n")
            stdin.close()

    def _spawned(self, command: list[str], said: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said, process_group=0)
        except OSError as error:
            raise HostError(self.name, f"was not started: {command[0]}: {error.strerror or error}") from error

    def ended(self) -> str | None:
        """Return how `ssh` has ended, with its last words; None while it runs."""
        if (code := self._process.poll()) is None:
            return None
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"ssh ended with status {code}" + (f": {lines[-1][:300]}" if lines else "")

    def ended_by(self, deadline: float) -> bool:
        """Return whether `ssh` has ended by `deadline` of `time.monotonic`, waiting until then."""
        try:
            self._process.wait(max(0.0, deadline - monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def end_all(started: Sequence[Started]) -> None:
    """Wait for all hosts to leave, then end what is left of their `ssh`; hosts end when their connections do."""
    left = _left(started, LEAVE_S)
    for each in left:
        each.terminate()
    left = _left(left, TERMINATED_S)
    for each in left:
        each.kill()
    _left(left, TERMINATED_S)


def _left(started: Sequence[Started], wait_s: float) -> list[Started]:
    """Return those that have not ended so many seconds from now."""
    deadline = monotonic() + wait_s
    return [each for each in started if not each.ended_by(deadline)]
