"""Conducting a run from a terminal: with a bar, heeding Ctrl-C, and leaving with its status."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Self

from derloop.commands.leaving import be_unheard, is_unheard, leave

if TYPE_CHECKING:
    from derloop.options import Progress, Say
    from derloop.result import Result

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""What asks a command to end: Ctrl-C, `kill`, and, where there is such a thing, a terminal that is closed."""


def conduct(quiet: bool, go: Callable[[Progress, Say], Result]) -> NoReturn:
    """Run with a bar, heed Ctrl-C, show what came of it, and exit."""
    from derloop.console import Bar, show_result

    with _Interruption() as interruption:
        with Bar(quiet or not sys.stderr.isatty()) as bar:
            result = go(interruption.heard_by(bar.show), _whoever_reads(bar.say))
        interruption.comes_too_late()
        try:
            show_result(result, quiet)
        except (BrokenPipeError, SystemExit) as error:
            if not is_unheard(error):
                raise
            be_unheard(sys.stdout)  # the run has its status all the same
    leave(result.status, result.is_stuck)


def _whoever_reads(say: Say) -> Say:
    """Return `say` as what a run survives, which may be at work by then, also where nobody reads it."""

    def told(text: str) -> None:
        try:
            say(text)
        except OSError:
            be_unheard(sys.stderr)

    return told


class _Interruption:
    """Ctrl-C, SIGTERM or a closed terminal, as one wish to end.

    While federates are at work it is heard only where the run looks up, about every 50 ms: then nothing is torn in the
    middle, and a second Ctrl-C does not keep equipment from being let go of, nor results from being written.
    """

    def __init__(self) -> None:
        self._is_heard_at_once, self._is_wished = True, False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for sign in SIGNALS:
            if sign == signal.SIGINT or signal.getsignal(sign) == signal.SIG_DFL:
                self._before[sign] = signal.signal(sign, self._wish)
        return self

    def __exit__(self, *_: object) -> None:
        for sign, handler in self._before.items():
            signal.signal(sign, handler)

    def _wish(self, *_: object) -> None:
        self._is_wished = True
        if self._is_heard_at_once:
            raise KeyboardInterrupt

    def comes_too_late(self) -> None:
        """From now on it changes nothing: what came of the run is known, and is only shown."""
        self._is_heard_at_once = False

    def heard_by(self, show: Progress) -> Progress:
        """Return `show` as what raises KeyboardInterrupt once the run is wished to end."""

        def listen(now_ns: int | None, until_ns: int) -> None:
            self._is_heard_at_once = False
            if self._is_wished:
                raise KeyboardInterrupt
            show(now_ns, until_ns)

        return listen
