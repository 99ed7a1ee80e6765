"""A device under a lease by heartbeat, whose run is killed with signal 9, lets go of what it was told by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from banked import get
from bench_kills import PATIENCE_S, SUPPORT, kill, wait_for
from emulated import equipped
from obeying import obeying
from registers_only import battery_inverter, string_inverter
from typer.testing import CliRunner

from derloop.cli import app
from hil.emulator.nameplate import Ratings
from hil.inverter.mapped import read_register_map, shipped_maps
from hil.modbus.endpoint import Address
from hil.serving.clone import Copied
from hil.serving.file import EmulatorFile
from hil.serving.fleet import BankServer
from hil.serving.scan_file import ScanFile
from hil.serving.server import Server
from hil.serving.standing import standing
from hil.serving.watched import Watched

HEARTBEAT_S = 4
"""Long enough for a slow machine to be in time with the next beat."""
BEATS = 3
"""The third one comes when the first would be over."""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DERLOOP_STATE", str(tmp_path / "state"))
    return tmp_path


def bench_of(folder: Path, address: Address, speaks: str = "sunspec") -> Path:
    """Write the file of a bench with one device, `inv-1`, under a lease by heartbeat."""
    entry = {
        "endpoint": address.endpoint.model_dump(mode="json"),
        "speaks": speaks,
        "timing": {"deadline_s": 5.0},
        "safety": {"lease": {"kind": "heartbeat", "seconds": HEARTBEAT_S}},
    }
    path = folder / "lab.json"
    path.write_text(json.dumps({"name": "lab", "devices": {"inv-1": entry}}), encoding="utf-8")
    return path


@contextmanager
def commanding(bench: Path, p_w: float) -> Iterator[subprocess.Popen[str]]:
    """A process that keeps and commands `inv-1` until it is killed."""
    paths = os.pathsep.join(filter(None, [str(SUPPORT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, str(SUPPORT / "session_driver.py"), str(bench), "inv-1", str(p_w)]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            wait_for(process, "commanding")
            yield process
        finally:
            process.kill()


def beats(count: object) -> bool:
    return isinstance(count, int | float) and count >= BEATS


def wait_until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def safe(bench: Path) -> str:
    said = CliRunner().invoke(app, ["bench", "safe", str(bench)])
    assert said.exit_code == 0, said.output
    return said.output


def test_a_sunspec_device_reverts_when_the_heartbeat_of_a_killed_run_stops(state: Path) -> None:
    """715: no reversion timer is set, so that nothing but the heartbeat can end the setpoint."""
    storage = Ratings("bat_1", 10e3, 10e3, 4840.0, 4840.0, 2400.0, p_max_charge_w=10e3, energy_wh=40e3)
    bank = equipped([storage], heartbeat_timeout_s=HEARTBEAT_S)
    with obeying(bank), BankServer(bank) as server:
        lab = bench_of(state, server.addresses[0])
        with commanding(lab, 3000.0) as run:
            wait_until(lambda: beats(get(bank, "715.ControllerHb")))
            told = get(bank, "704.WSetEna"), get(bank, "704.WSet"), get(bank, "704.WSetRvrtTms"), get(bank, "701.W")
            assert told == (1, 3000, 0, 3000)
            kill(run)
            wait_until(lambda: get(bank, "704.WSetEna") == 0)
        wait_until(lambda: get(bank, "701.W") == 0)
        assert "restored to what was found" in safe(lab)


def test_a_device_with_a_register_map_lets_go_when_the_heartbeat_of_a_killed_run_stops(state: Path) -> None:
    device, language = battery_inverter(), shipped_maps()["example_battery_inverter"]
    words = b"".join(device.holding.get(at, 0).to_bytes(2) for at in range(108)).hex()
    scan = {
        "derloop_scan": 1,
        "device": "battery",
        "endpoint": "192.168.1.20:502",
        "unit": 1,
        "scanned": "2025-07-15T12:00:00+00:00",
        "registers": [{"address": 0, "words": words}],
        "refused": [],
    }
    (state / "battery.scan.json").write_text(json.dumps(scan), encoding="utf-8")
    clones = {"battery": {"scan": state / "battery.scan.json", "speaks": language}}
    lines = standing(EmulatorFile.model_validate({"clones": clones}))
    with Server([*lines.values()]) as server:
        lab = bench_of(state, Address(server.endpoints[0], 1), str(language))

        def device_beat() -> float:
            said = CliRunner().invoke(app, ["bench", "read", str(lab), "inv-1", "heartbeat"])
            return float(said.output.split()[-1])

        def held() -> tuple[float, float]:
            """The mode, and the setpoint, W, as anybody reads them; charging is positive here."""
            said = CliRunner().invoke(app, ["bench", "read", str(lab), "inv-1", "mode", "power_setpoint"])
            words = {row.split()[0]: row.split()[-2:] for row in said.output.splitlines()[1:]}
            return ("POWER" in " ".join(words["mode"])), float(words["power_setpoint"][0])

        with commanding(lab, 2000.0) as run:
            wait_until(lambda: beats(device_beat()))
            assert held() == (True, -2000.0)
            kill(run)
            wait_until(lambda: held() == (False, 0.0))
        assert "restored to what was found" in safe(lab)


class Hands:
    """A clock that is set by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_watchdog_ends_what_was_commanded_and_0_s_is_no_watchdog() -> None:
    words = b"".join(string_inverter().holding.get(at, 0).to_bytes(2) for at in range(204)).hex()
    scan = ScanFile.model_validate(
        {
            "derloop_scan": 1,
            "device": "x",
            "endpoint": "x",
            "unit": 1,
            "scanned": "2025-07-15T12:00:00+00:00",
            "registers": [{"address": 0, "words": words}],
            "refused": [],
        }
    )
    clock, language = Hands(), read_register_map(shipped_maps()["example_string_inverter"])
    device = Watched(Copied(scan.registers, None), language, 60.0, clock)

    def command(watchdog_s: int) -> None:
        for address, word in ((201, watchdog_s), (202, 400), (200, 1)):
            device.write(address, [word])

    command(watchdog_s=0)
    clock.now_s = 1000.0
    assert device.read(200, 3) == [1, 0, 400]
    command(watchdog_s=30)
    clock.now_s += 29.0
    device.write(202, [500])
    clock.now_s += 29.0
    assert device.read(200, 3) == [1, 30, 500]
    clock.now_s += 1.0
    assert device.read(200, 3) == [0, 30, 1000]
