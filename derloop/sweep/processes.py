"""Trials in processes of their own, some at a time: none can harm another, nor the sweep."""

from __future__ import annotations

import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import TypeAlias

from derloop.sweep.plan import Trial

POLL_S = 0.02
LEAVE_S = 20.0
"""How long runs that are told to end may take to write what they have."""

Process: TypeAlias = "subprocess.Popen[bytes]"
Start = Callable[[Trial], Process]
Ended = Callable[[Trial, int], None]
"""Called with a trial and its process's exit status; negative: the signal that killed it."""


def run_each(trials: Iterable[Trial], jobs: int, start: Start, on_end: Ended) -> None:
    """Run every trial, at most `jobs` at a time. Interrupted, it tells those at work to end, and waits for them."""
    waiting, at_work = deque(trials), dict[Process, Trial]()
    try:
        while waiting or at_work:
            while waiting and len(at_work) < jobs:
                trial = waiting.popleft()
                at_work[start(trial)] = trial
            if not _collected(at_work, on_end):
                sleep(POLL_S)
    finally:
        _end(at_work)


def _collected(at_work: dict[Process, Trial], on_end: Ended) -> int:
    ended = [process for process in at_work if process.poll() is not None]
    for process in ended:
        on_end(at_work.pop(process), process.returncode)
    return len(ended)


def _end(at_work: Mapping[Process, Trial]) -> None:
    for process in at_work:
        process.send_signal(signal.SIGINT)
    until = monotonic() + LEAVE_S
    for process in at_work:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - monotonic()))
    for process in at_work:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and a closed terminal end what goes on as Ctrl-C does; not where they are ignored, as with nohup."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heard = [sign for sign in signals if sign == signal.SIGINT or signal.getsignal(sign) == signal.SIG_DFL]
    before = [signal.signal(sign, signal.default_int_handler) for sign in heard]
    try:
        yield
    finally:
        for sign, handler in zip(heard, before, strict=True):
            signal.signal(sign, handler)
