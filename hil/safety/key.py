"""A key on the terminal of the run that stops the bench."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol, Self

STOPS = "qQ "


class Pressed(Protocol):
    """Notices a key that stops."""

    def pressed(self) -> str:
        """Return the key, or empty. Does not wait."""
        ...


class KeyStop:
    """Notices a press of q or space, between `open` and `close`, on a terminal in whose foreground the run is.

    Without a terminal it never does. Keys are taken without waiting for a line, and not shown; Ctrl-C works as ever.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """descriptor: of the terminal; without one, standard input if that is one."""
        self._descriptor = _standard_input() if descriptor is None else descriptor
        self._before: list[Any] | None = None

    def open(self) -> None:
        """Take keys from the terminal, if there is one."""
        if self._descriptor is None or not _is_ours(self._descriptor):
            return
        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)

    def pressed(self) -> str:
        """Return the key that stops, if it was pressed since the last call, or empty. Does not wait."""
        while self._before is not None and self._descriptor is not None and _is_ours(self._descriptor):
            if not select.select([self._descriptor], [], [], 0)[0]:
                return ""
            keys = os.read(self._descriptor, 1024).decode(errors="replace")
            stopping = [key for key in keys if key in STOPS]
            if stopping or not keys:
                return stopping[0] if stopping else ""
        return ""

    def close(self) -> None:
        """Leave the terminal as it was, unless others have it now; once or more often."""
        if self._before is not None and self._descriptor is not None and _is_ours(self._descriptor):
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
        self._before = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class _Shared:
    """What all users of a terminal have of it."""

    stop: KeyStop
    users: int = 0
    pressed: str = ""


class RunKey:
    """The key that stops a run, for each of its fleets: what one has noticed, all know.

    A terminal can be taken once only: the first user takes it, and the last leaves it as it was.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """descriptor: as of `KeyStop`."""
        self._descriptor = _standard_input() if descriptor is None else descriptor
        self._shared: _Shared | None = None

    def open(self) -> None:
        """Take keys from the terminal, if there is one, and nobody does yet."""
        if self._descriptor is None or self._shared is not None:
            return
        with _SHARING:
            self._shared = _TAKEN.setdefault(self._descriptor, _Shared(KeyStop(self._descriptor)))
            if not self._shared.users:
                self._shared.stop.open()
            self._shared.users += 1

    def pressed(self) -> str:
        """Return the key that stops, if it was pressed since the first user took the terminal, or empty."""
        if self._shared is None:
            return ""
        with _SHARING:
            self._shared.pressed = self._shared.pressed or self._shared.stop.pressed()
            return self._shared.pressed

    def close(self) -> None:
        """Leave the terminal as it was, unless another one uses it; once or more often."""
        shared, self._shared = self._shared, None
        if shared is None or self._descriptor is None:
            return
        with _SHARING:
            shared.users -= 1
            if not shared.users:
                del _TAKEN[self._descriptor]
                shared.stop.close()


_SHARING = Lock()
_TAKEN: dict[int, _Shared] = {}
"""By descriptor. A terminal is the process's, and so is who takes it."""


def _standard_input() -> int | None:
    return sys.stdin.fileno() if sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty() else None


def _is_ours(descriptor: int) -> bool:
    """Return whether we may read from a terminal, and set it: in the background that would halt the run."""
    try:
        return os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False
