"""How a command ends where something of it cannot be ended, or nobody reads any more what it prints."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TextIO

import typer

FAILED = 3
STDOUT, STDERR = 1, 2
UNHEARD = 141
"""Status where whoever reads what is printed has gone, as `head` does: that of a program that SIGPIPE has ended."""


def is_unheard(error: BaseException) -> bool:
    """Return whether it says that whoever reads stdout has gone; Rich and Click make status 1 of it, a failed check."""
    return isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError)


def be_unheard(stream: TextIO) -> None:
    """Let all that is printed there from now on go nowhere, and what it still holds."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def hold_streams() -> None:
    """Let what was closed of stdin, stdout and stderr lead nowhere.

    The next file that is opened would have its number, and what is printed, by libraries and other processes too.
    """
    while (nowhere := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(nowhere, True)
    os.close(nowhere)
    sys.stdout = sys.stdout or _to(STDOUT)
    sys.stderr = sys.stderr or _to(STDERR)


def _to(file: int) -> TextIO:
    return io.TextIOWrapper(io.FileIO(file, "w", closefd=False), encoding="utf-8", write_through=True)


def leave(status: int, is_stuck: bool) -> NoReturn:
    """Exit; where a federate, or HELICS, could not be ended, without waiting for it."""
    if is_stuck:
        sys.stdout.flush()
        sys.stderr.flush()
        _exit(status)
    raise typer.Exit(status)


_exit = os._exit
_REPLACING: dict[str, Callable[..., NoReturn]] = {"execv": os.execv, "execve": os.execve}
"""What puts another program into this process's place, whose status is that program's; others of `os` call these."""


@contextmanager
def exits_told() -> Iterator[None]:
    """As `tell_exits`, for a while."""
    tell_exits()
    try:
        yield
    finally:
        os._exit = _exit
        for name, replace in _REPLACING.items():
            setattr(os, name, replace)


def tell_exits() -> None:
    """Let `os._exit`, or `os.execv`, of others' code end no command in silence, with the status of one that is well.

    In what derloop has called it is an exit like any other, which ends the run in a federate's name. Elsewhere, as in a
    thread of a plug-in's that watches over something, or at the very end, it ends the process as it is meant to: said,
    and with 3.
    """
    own = os.getpid()

    def told(status: int) -> NoReturn:
        frame = sys._getframe(1)
        if os.getpid() != own:  # a fork of this process
            _exit(status)
        if _is_heard(frame):
            raise SystemExit(f"os._exit({status})")
        where = f"{frame.f_code.co_filename}, line {frame.f_lineno}"
        os.write(2, f"derloop: os._exit({status}) in {where} has ended the command\n".encode())
        _exit(FAILED)

    os._exit = told
    for name, replace in _REPLACING.items():
        setattr(os, name, _exit_instead(name, replace))


def _exit_instead(name: str, replace: Callable[..., NoReturn]) -> Callable[..., NoReturn]:
    """Return what is an exit in what derloop has called, and else, or in a fork, puts another program in the place."""
    own = os.getpid()

    def told(path: Any, *words: Any, **named: Any) -> NoReturn:
        if os.getpid() == own and _is_heard(sys._getframe(1)):
            raise SystemExit(f"os.{name}({path!r})")
        replace(path, *words, **named)

    return told


def _is_heard(frame: FrameType | None) -> bool:
    """Return whether code of derloop's waits for what is at work in `frame`."""
    while frame is not None and not frame.f_globals.get("__name__", "").startswith("derloop."):
        frame = frame.f_back
    return frame is not None
