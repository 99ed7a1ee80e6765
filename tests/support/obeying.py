"""Emulated devices that do at once what their registers say, on the wall's clock."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

import numpy as np

from hil.emulator.bank import RegisterBank
from hil.inverter.measurements import Measurements

TICK_S = 0.02


@dataclass
class Physics:
    """What keeps the devices from doing what they are told, though their registers hold it."""

    most_w: float = math.inf
    is_stuck: bool = False
    """They go on as they did."""
    is_by_hand: bool = False
    """No time passes but what a test lets pass (`RegisterBank.advance`)."""


@contextmanager
def obeying(bank: RegisterBank) -> Iterator[Physics]:
    """Let devices give the power that they are told to, none when they are told none, and time pass."""
    stopping, physics = threading.Event(), Physics()

    def obey() -> None:
        settings = bank.settings()
        p_w = np.where(np.isnan(settings.p_w), 0.0, settings.p_w)
        most_w = np.minimum(settings.limit_fraction * settings.p_max_w, physics.most_w)
        bank.set_measurements(
            Measurements.of(np.minimum(p_w, most_w), np.zeros(len(bank)), np.full(len(bank), 240.0), soc_pct=50.0)
        )

    def live() -> None:
        then = monotonic()
        while not stopping.wait(TICK_S):
            if not physics.is_stuck:
                obey()
            now = monotonic()
            if not physics.is_by_hand:
                bank.advance(now - then)
            then = now

    obey()  # before anyone reads what they measure
    thread = threading.Thread(target=live, name="obeying devices")
    thread.start()
    try:
        yield physics
    finally:
        stopping.set()
        thread.join()
