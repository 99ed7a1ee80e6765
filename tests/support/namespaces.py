"""Machines on one machine: network namespaces, joined by a network that delays, loses, and can be cut.

The network is a process with one TUN device in each namespace, which passes packets on by their destination: it needs
root, iproute2 and /dev/net/tun, but no `netem`, which many kernels lack, and its losses follow from a seed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

WIRE = Path(__file__).parent / "wire.py"


def reason_to_skip() -> str | None:
    """Return why no namespaces can be made here; None where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2"
    if not Path("/dev/net/tun").exists():
        return "the network between namespaces needs /dev/net/tun"
    name = f"dl{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return f"namespaces cannot be made: {made.stderr.strip()}" if made.returncode else None


class Machines:
    """Namespaces by name, with their addresses, and the network between them."""

    def __init__(self, names: tuple[str, ...], wire: subprocess.Popen[str], prefix: str) -> None:
        self._wire, self._prefix = wire, prefix
        self.addresses = {name: _address(i) for i, name in enumerate(names)}

    def inside(self, name: str) -> list[str]:
        """Return the beginning of a command that runs in the namespace."""
        return ["ip", "netns", "exec", self._prefix + name]

    def pids(self, name: str) -> set[int]:
        """Return every process that lives in the namespace."""
        command = ["ip", "netns", "pids", self._prefix + name]
        return {int(pid) for pid in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()}

    def cut(self, name: str) -> None:
        """Let nothing through to or from `name` any more."""
        assert self._wire.stdin
        self._wire.stdin.write(f"cut {self.addresses[name]}\n")
        self._wire.stdin.flush()

    def listeners(self, name: str) -> set[str]:
        """Return the addresses on which anything listens in the namespace, TCP and UDP."""
        command = [*self.inside(name), sys.executable, str(WIRE), "listeners"]
        return set(subprocess.run(command, capture_output=True, text=True).stdout.split())


def _address(index: int) -> str:
    return f"10.77.0.{index + 1}"


@contextmanager
def machines(*names: str, delay_ms: float = 0.0, loss: float = 0.0, seed: int = 1) -> Iterator[Machines]:
    """Namespaces with these names; each packet takes `delay_ms`, and is lost with the probability `loss`."""
    prefix = f"dl{secrets.token_hex(3)}"
    with ExitStack() as stack:
        for name in names:
            subprocess.run(["ip", "netns", "add", prefix + name], check=True)
            stack.callback(subprocess.run, ["ip", "netns", "del", prefix + name], check=True)
            subprocess.run(["ip", "-n", prefix + name, "link", "set", "lo", "up"], check=True)
        ends = [f"{prefix}{name}={_address(i)}" for i, name in enumerate(names)]
        command = [sys.executable, str(WIRE), str(delay_ms), str(loss), str(seed), *ends]
        wire = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(_end, wire)
        assert wire.stdout
        assert wire.stdout.readline() == "ready\n"
        yield Machines(names, wire, prefix)


def _end(wire: subprocess.Popen[str]) -> None:
    wire.kill()
    wire.communicate()
