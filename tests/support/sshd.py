"""A real `sshd` of a test's own, on loopback, that nobody can enter but with the key of the test."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 20.0
SEPARATED = Path("/run/sshd")
"""Where root's sshd separates its privileges. What starts the system's own makes it, and it stays: another test's sshd
may be at work there, which resets every connection without it."""
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
"""
CLIENT = """\
Host lab stranger
  HostName 127.0.0.1
  Port {port}
  User {user}
  HostKeyAlias lab
  UserKnownHostsFile {folder}/known_hosts
  IdentitiesOnly yes
Host lab
  IdentityFile {folder}/user_key
Host stranger
  IdentityFile {folder}/other_key
"""


def program() -> str | None:
    """Return the path of `sshd`, which is seldom in that of users."""
    return shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def reason_to_skip() -> str | None:
    """Return why there can be no sshd here; None where there can."""
    missing = [name for name in ("ssh", "ssh-keygen") if shutil.which(name) is None]
    missing += [] if program() else ["sshd"]
    return f"needs {', '.join(missing)}" if missing else None


@contextmanager
def laboratory(folder: Path) -> Iterator[Path]:
    """Listen as the host `lab`; yield a folder for the PATH, whose `ssh` is the system's with the configuration of
    this test. By the name of `stranger` it comes with a key that is not let in.
    """
    folder.mkdir()
    for name in ("host_key", "user_key", "other_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    (folder / "sshd_config").write_text(CONFIG.format(folder=folder, port=port))
    (folder / "ssh_config").write_text(CLIENT.format(folder=folder, port=port, user=getpass.getuser()))
    (folder / "known_hosts").write_text(f"lab {(folder / 'host_key.pub').read_text()}")
    _client(folder / "bin" / "ssh", folder / "ssh_config")
    _separate()
    with (folder / "sshd.log").open("wb") as said:
        daemon = subprocess.Popen([str(program()), "-D", "-e", "-f", str(folder / "sshd_config")], stderr=said)
        try:
            _wait_for(port, daemon, folder / "sshd.log")
            yield folder / "bin"
        finally:
            daemon.terminate()
            daemon.wait(PATIENCE_S)


def _client(path: Path, config: Path) -> None:
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {shlex.quote(str(config))} "$@"\n')
    path.chmod(0o755)


def _separate() -> None:
    if os.geteuid() == 0:
        SEPARATED.mkdir(mode=0o755, exist_ok=True)


def _wait_for(port: int, daemon: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            assert daemon.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
