"""Conducting a run from a terminal: with a bar, heeding Ctrl-C, and leaving with its status."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from derloop.commands.leaving import leave

if TYPE_CHECKING:
    from derloop.options import Progress, Say
    from derloop.result import Result


def conduct(quiet: bool, go: Callable[[Progress, Say], Result]) -> NoReturn:
    """Run with a bar, heed Ctrl-C, show what came of it, and exit."""
    from derloop.console import Bar, show_result

    with _Interruption() as interruption:
        with Bar(quiet or not sys.stderr.isatty()) as bar:
            result = go(interruption.heard_by(bar.show), bar.say)
        show_result(result, quiet)
    leave(result.status, result.is_stuck)


class _Interruption:
    """Ctrl-C, SIGTERM or a closed terminal, as one wish to end.

    While federates are at work it is heard only where the run looks up, about every 50 ms: then nothing is torn in the
    middle, and a second Ctrl-C does not keep equipment from being let go of, nor results from being written.
    """

    def __init__(self) -> None:
        self._is_moving, self._is_wished = False, False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        signals = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
        for sign in (signal.SIGINT, *(s for s in signals if signal.getsignal(s) == signal.SIG_DFL)):
            self._before[sign] = signal.signal(sign, self._wish)
        return self

    def __exit__(self, *_: object) -> None:
        for sign, handler in self._before.items():
            signal.signal(sign, handler)

    def _wish(self, *_: object) -> None:
        self._is_wished = True
        if not self._is_moving:
            raise KeyboardInterrupt

    def heard_by(self, show: Progress) -> Progress:
        """Return `show` as what raises KeyboardInterrupt once the run is wished to end."""

        def listen(now_ns: int | None, until_ns: int) -> None:
            self._is_moving = True
            if self._is_wished:
                raise KeyboardInterrupt
            show(now_ns, until_ns)

        return listen


def existing(run: Path) -> Path:
    """Return the folder of a run; DerloopError where it is none."""
    from derloop.errors import DerloopError

    if not (run / "run.json").is_file() and not (run / "series").is_dir():
        raise DerloopError(f"{run} is no folder of a run: it has neither run.json nor series")
    return run
