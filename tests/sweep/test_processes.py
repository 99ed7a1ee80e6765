"""What asks a sweep to end, and what does not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from derloop.sweep.processes import ended_by_signals

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers_are_put_back() -> Iterator[None]:
    before = [signal.getsignal(sign) for sign in SIGNALS]
    yield
    for sign, handler in zip(SIGNALS, before, strict=True):
        signal.signal(sign, handler)


def test_a_sweep_under_nohup_outlives_its_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ended_by_signals():
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_a_sweep_ends_with_its_terminal_and_when_it_is_told_to(sign: signal.Signals) -> None:
    signal.signal(sign, signal.SIG_DFL)
    with pytest.raises(KeyboardInterrupt), ended_by_signals():
        os.kill(os.getpid(), sign)
    assert signal.getsignal(sign) == signal.SIG_DFL


def test_an_interrupt_is_heard_by_a_sweep_in_the_background_for_which_a_shell_ignores_it() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(KeyboardInterrupt), ended_by_signals():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
