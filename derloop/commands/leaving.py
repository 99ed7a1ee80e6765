"""How a command ends where something of it cannot be ended."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer


def leave(status: int, is_stuck: bool) -> NoReturn:
    """Exit; where a federate, or HELICS, could not be ended, without waiting for it."""
    if is_stuck:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    raise typer.Exit(status)
