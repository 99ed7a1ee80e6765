"""A host that the run starts itself, by the machine's own `ssh`."""

from __future__ import annotations

import shlex
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from derloop.hosts.file import HostSettings

SSH = ("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
LEAVE_S = 3.0


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
            self._process = subprocess.Popen(
                [*SSH, "--", str(host.ssh), shlex.join(command)],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                process_group=0,
            )
        with suppress(BrokenPipeError):  # it has failed at once, and that is noticed
            stdin = cast("IO[bytes]", self._process.stdin)
            stdin.write(token.encode() + b"\n")
            stdin.close()

    def ended(self) -> str | None:
        """Return how `ssh` has ended, with its last words; None while it runs."""
        if (code := self._process.poll()) is None:
            return None
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"ssh ended with status {code}" + (f": {lines[-1][:300]}" if lines else "")

    def end(self) -> None:
        """Wait for the host to leave, then end `ssh`; the host itself ends when its connection does."""
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait()
