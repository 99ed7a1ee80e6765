"""A device with quirks, commanded and polled as a run does it, and what must hold all the while."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from emulated import described

from derloop.errors import DeviceError
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.inverter.commands import Commands
from hil.inverter.device import Device
from hil.inverter.group import DeviceGroup
from hil.inverter.lease import reversion
from hil.inverter.measurements import Measurements
from hil.modbus.endpoint import Address, Endpoint, Tcp, Timing
from hil.modbus.link import Link
from hil.serving.awkward_registers import Overlaid
from hil.serving.device import awkward, of_bank
from hil.serving.quirks import Quirks
from hil.serving.responder import BankRegisters
from hil.serving.server import Server, line
from hil.sunspec.codec import encode


def quirks(share: float) -> dict[str, dict[str, Any]]:
    """Return every quirk for a run of some hundred steps; `share`: of requests that it meets."""
    return {
        "latency": {"latency": {"distribution": "exponential", "mean_ms": 0.5}},
        "silence": {"silence": share},
        "mute": {"mute": share},
        "exceptions": {"exceptions": {"share": 0.01}},
        "busy": {"busy": share},
        "split": {"split": {"pieces": 5}},
        "late": {"late": {"share": share, "delay_ms": 400}},
        "late-before-next": {"late": {"share": share, "arrives": "before-next"}},
        "late-after-next": {"late": {"share": share, "arrives": "after-next"}},
        "wrong-unit": {"wrong_unit": share},
        "wrong-transaction": {"wrong_transaction": share},
        "garbage": {"garbage": {"share": share}},
        "garbage-instead": {"garbage": {"share": share, "replaces": True, "bytes": 40}},
        "stuck": {"stuck": {"points": ["701.W"], "after_requests": 90}},
        "stuck-setpoint": {"stuck": {"points": ["704.WMaxLimPct"], "after_requests": 90}},
        "stale": {"stale_s": 3.0},
        "reboot": {"reboot": {"after_requests": 90}},
        "reboot-for-a-while": {"reboot": {"after_requests": 60, "again": True, "down_s": 0.03}},
        "moving-map": {"moving_map": {"by": 10_000, "after_requests": 110}},
        "moving-map-a-little": {"moving_map": {"by": 2, "after_requests": 110}},
        "one-connection": {"connections": {}},
        "slow": {"slow": {"interval_s": 0.004}},
        "not-implemented": {"not_implemented": ["701.Hz", "701.Var"]},
        "forgets": {"forgets": 0.1},
        "rounds": {"rounds": {"704.WMaxLimPct": 20.0}},
    }


EVERY = quirks(0.04)
SELDOM = quirks(0.005)
LIES = ("stuck", "stale_s")
"""Quirks that make a device say what was true before."""
BATTERY = Ratings("bat_1", 5e3, 5.5e3, 2420.0, 2000.0, 120.0, 1, p_max_charge_w=4e3, energy_wh=20e3)
LEASE_S = 8
LIMITS = (1.0, 0.75, 0.5, 0.62, 0.25)
STEPS_A_LIMIT = 5
SHOWN = {"p_w": "701.W", "q_var": "701.Var", "f_hz": "701.Hz", "soc_pct": "713.SoC"}


@dataclass
class Told:
    """How a run went."""

    steps: int = 0
    ended: str = ""
    """By which error, if not by its end."""
    wrong: list[str] = field(default_factory=list)
    """Measurements that were never true, and writes that were lost without a word."""
    retries: int = 0
    polled: list[float] = field(default_factory=list)


class AwkwardRun:
    """One battery behind Modbus with quirks, in simulated seconds."""

    def __init__(self, quirks: Mapping[str, Any], timing: Timing, listen: Endpoint | None = None) -> None:
        self.quirks = Quirks.model_validate(quirks)
        self.bank = RegisterBank([described(BATTERY)])
        self.map = self.bank.maps[0]
        self.now_s = 0.0
        self._timing, self._listen = timing, listen or Tcp(port=0)
        self._measured = Overlaid(BankRegisters(self.bank, 0))
        self._history: dict[str, set[float]] = {name: set() for name in SHOWN}

    def run(self, steps: int) -> Told:
        """Command and poll, second by second, until the end or the first error; then let the lease run out."""
        told = Told()
        with self._exchanging() as group:
            try:
                group.start()
                while told.steps < steps:
                    self._step(group, told)
                    told.steps += 1
            except DeviceError as error:
                told.ended = f"{type(error).__name__}: {error}"
            told.retries = group.traffic.retries
        self._let_go(told)
        return told

    @contextmanager
    def _exchanging(self) -> Iterator[DeviceGroup]:
        hardware = replace(of_bank(self.bank, 0, "bat_1"), registers=self._measured)
        device = awkward(hardware, self.quirks, clock=lambda: self.now_s)
        thread: Any = OneThread()
        server = Server([line(self._listen, {1: device})], thread)
        try:
            (endpoint,) = server.start()
            group = DeviceGroup.of([Device(Link("bat_1", Address(endpoint), self._timing), reversion(LEASE_S))], thread)
            try:
                yield group
            finally:
                group.close()
        finally:
            server.stop()
            thread.close()

    def _step(self, group: DeviceGroup, told: Told) -> None:
        limit = LIMITS[told.steps // STEPS_A_LIMIT % len(LIMITS)]
        group.command(Commands(limit_fraction=np.array([limit])), self.now_s)
        self._check_written(limit, told)
        self._measure(told.steps)
        measured = group.poll()
        self._check_measured(measured, told)
        told.polled.append(float(measured.p_w[0]))
        self.bank.advance(1.0)
        self.now_s += 1.0

    def _measure(self, step: int) -> None:
        """Let the device measure what it has never measured before."""
        for name, value in self._values(step).items():
            point = self.map[SHOWN[name]]
            words = encode(point, value).registers
            self._measured.shown |= dict(enumerate(words, point.address))

    def _values(self, step: int) -> dict[str, float]:
        """Return what is measured, to the device's resolution."""
        return {"p_w": 2.0 * step + 2, "q_var": -2.0 * step - 2, "f_hz": 60 + step / 1000, "soc_pct": step / 100}

    def _check_measured(self, measured: Measurements, told: Told) -> None:
        lies = any(getattr(self.quirks, lie) for lie in LIES)
        for name, true in self._values(told.steps).items():
            self._history[name].add(true)
            value = round(float(getattr(measured, name)[0]), 6)
            missing = np.isnan(value) and SHOWN[name] in self.quirks.not_implemented
            if not missing and value not in (self._history[name] if lies else {true}):
                told.wrong.append(f"step {told.steps}: {name} is {value:g}, not {true:g}")

    def _check_written(self, limit: float, told: Told) -> None:
        """What was commanded without an error is what the device does."""
        does = self._does()
        if abs(does - limit) > 1e-4:
            told.wrong.append(f"step {told.steps}: commanded {limit:g}, does {does:g}, and nobody said so")

    def _let_go(self, told: Told) -> None:
        """With nobody there, the device returns to its own behaviour when the lease has run out."""
        for _ in range(LEASE_S + 1):
            self.bank.advance(1.0)
        if self._does() != 1.0:
            told.wrong.append(f"the device is still limited {LEASE_S + 1} s after the end")

    def _does(self) -> float:
        """Return to which fraction of its power the device is limited."""
        image = self.bank.image(0)
        enabled = self.map.value("704.WMaxLimPctEna", image)
        return float(self.map.value("704.WMaxLimPct", image) or 0) / 100 if enabled else 1.0


class OneThread:
    """Runs servers and clients in the caller's thread, in turns: nothing else happens meanwhile."""

    closed = False

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        self._loop.close()
        self.closed = True


def both(one: str, other: str) -> dict[str, Any]:
    """Return two quirks together, each seldom; of two in one setting the second."""
    return {**SELDOM[one], **SELDOM[other]}
