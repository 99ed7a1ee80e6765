"""Nothing listens beyond loopback, in any mode."""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path
from typing import Any

import pytest
from real_runs import PATIENCE_S, counters, listeners, started

SCENARIO = counters(60, a={"slow_s": 0.05}, b={"reads": "a", "blocking": True})
ROOT = Path(__file__).parents[2]


def all_listeners(folder: Path, scenario: Any, *options: str) -> set[tuple[str, int]]:
    """Return every address that any process of the run ever listened on."""
    found: set[tuple[str, int]] = set()
    with started(folder, scenario, "--no-report", *options) as run:
        while run.process.poll() is None:
            assert time.monotonic() - run.began < PATIENCE_S
            found |= listeners(run.tree())
            time.sleep(0.05)
        assert run.process.returncode in (0, 1), run.said()
        run.assert_nothing_left()
    return found


def are_loopback(addresses: set[tuple[str, int]]) -> bool:
    return all(ipaddress.ip_address(address).is_loopback for address, _ in addresses)


ALONE = [(), ("--engine", "mosaik"), ("--engine", "local"), ("--placement", "threads"), ("--placement", "apart")]


@pytest.mark.parametrize("options", ALONE)
def test_one_machine_listens_on_nothing(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert all_listeners(tmp_path, SCENARIO, *options) == set()


def test_emulated_devices_listen_on_loopback_alone(tmp_path: Path) -> None:
    scenario = ROOT / "scenarios" / "kind_emulator.json"
    assert are_loopback(found := all_listeners(tmp_path, scenario))
    assert found
