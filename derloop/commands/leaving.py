"""How a command ends where something of it cannot be ended, or nobody reads any more what it prints."""

from __future__ import annotations

import os
import sys
from typing import NoReturn, TextIO

import typer

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


def leave(status: int, is_stuck: bool) -> NoReturn:
    """Exit; where a federate, or HELICS, could not be ended, without waiting for it."""
    if is_stuck:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    raise typer.Exit(status)
