"""Emulated devices that do at once what their registers say, on the wall's clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import numpy as np

from hil.emulator.bank import RegisterBank
from hil.inverter.measurements import Measurements

TICK_S = 0.02


@contextmanager
def obeying(bank: RegisterBank, p_own_w: float = 0.0) -> Iterator[None]:
    """Let devices give the power that they are told to, or `p_own_w` when they are told none, and time pass."""
    stopping = threading.Event()

    def live() -> None:
        then = monotonic()
        while not stopping.wait(TICK_S):
            settings = bank.settings()
            p_w = np.where(np.isnan(settings.p_w), p_own_w, settings.p_w)
            most_w = settings.limit_fraction * settings.p_max_w
            bank.set_measurements(
                Measurements.of(np.minimum(p_w, most_w), np.zeros(len(bank)), np.full(len(bank), 240.0), soc_pct=50.0)
            )
            now = monotonic()
            bank.advance(now - then)
            then = now

    thread = threading.Thread(target=live, name="obeying devices")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
