"""One run at a time commands a device."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import sleep
from typing import Self

from derloop.errors import Interlocked
from hil.safety.folder import Run

SHARED = 0o666
"""Users of one machine meet at its lock files."""
STICKY = 0o1777
TRIES, BETWEEN_S = 10, 0.02


class HeldElsewhere(Interlocked):
    """Another run has the device."""

    def __init__(self, device: str, why: str, run: str) -> None:
        super().__init__(device, why)
        self.run = run
        """Its folder, as it says itself; empty where it does not."""


class DeviceLock:
    """A device's places, locked by this process; the kernel frees them when it ends, however it ends.

    The files stay: one that is removed while another process opens it would be locked twice.
    """

    def __init__(self, device: str, places: Sequence[str], folders: Sequence[Path]) -> None:
        self._device = device
        self._paths = [folder / f"{place}.lock" for folder in folders for place in sorted(places)]
        self._held: list[int] = []
        self._holder = os.getpid()

    def acquire(self, run: Run, is_shared: bool = False) -> None:
        """Lock all places, or hold none. is_shared: with all others of the same run that share them, of any process.

        Raises HeldElsewhere if another run holds one, Interlocked if no lock can be made.
        """
        since, self._holder = datetime.now().astimezone().isoformat(), os.getpid()
        holder = {"pid": self._holder, "run": str(run.folder.absolute()), "since": since}
        try:
            for path in self._paths:
                self._held.append(shared_file(path))
                if is_shared:
                    _share(self._held[-1], holder)
                else:
                    fcntl.flock(self._held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _sign(self._held[-1], holder)
        except BlockingIOError:
            who, holding = _holder(self._held[-1])
            self.release()
            why = f"is held by {who}: two runs cannot command one device, so wait for that one, or end it"
            raise HeldElsewhere(self._device, why, holding) from None
        except OSError as failure:
            self.release()
            raise Interlocked(self._device, f"cannot be locked: {failure}; nothing was written") from failure

    def release(self) -> None:
        """Unlock whatever is locked; once or more often.

        Closing alone would not where a process was forked meanwhile, which has the files open until it ends; and which
        unlocks nothing when it lets go of them, for what it has open is what the run holds.
        """
        while self._held:
            if self._holder == os.getpid():
                with suppress(OSError):
                    fcntl.flock(self._held[-1], fcntl.LOCK_UN)
            os.close(self._held.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _share(descriptor: int, holder: dict[str, object]) -> None:
    """Lock a file for a run: the first of its fleets signs it. Raises BlockingIOError where another run has it."""
    for tries in reversed(range(TRIES)):  # another fleet may be about to sign it
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sign(descriptor, holder)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return
        if _holder(descriptor)[1] == holder["run"]:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
        if tries:
            sleep(BETWEEN_S)
    raise BlockingIOError


def shared_file(path: Path) -> int:
    """Return a descriptor of a file where users meet. Another's is opened as it is: nobody may create over it."""
    _make_folder(path.parent)
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, SHARED)
    except FileExistsError:  # made meanwhile by another run
        return os.open(path, flags)
    os.fchmod(descriptor, SHARED)
    return descriptor


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if folder.parent.stat().st_mode & 0o1000:
        folder.chmod(STICKY)


def _sign(descriptor: int, holder: dict[str, object]) -> None:
    """Say who holds it. It is held all the same where the disk is full: a device must be made safe then, too."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _holder(descriptor: int) -> tuple[str, str]:
    """Return who has signed a lock file, for a message, and the folder of the run: another user may have written it."""
    try:
        said = json.loads(os.pread(descriptor, 4096, 0))
        since, run = datetime.fromisoformat(said["since"]), str(said["run"])
        pid = int(said["pid"])
        halted = f"; it is halted, and goes on with kill -CONT {pid}" if _is_halted(pid) else ""
        return f"process {pid} (run {_printable(run)}, since {since:%Y-%m-%d %H:%M:%S}{halted})", run
    except (ValueError, TypeError, KeyError):
        return "another process", ""


def _is_halted(pid: int) -> bool:
    """Return whether a process neither goes on nor ends by being asked to, as after Ctrl-Z."""
    import psutil

    with suppress(psutil.Error, OverflowError):  # it may have ended, or be no process at all
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    return False


def _printable(text: str) -> str:
    """Return a line of text that does nothing to a terminal."""
    return "".join(each if each.isprintable() else "?" for each in text[:500])
