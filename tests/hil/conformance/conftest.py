"""Devices that are checked from outside; each begins every test as it left the factory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conforming import BATTERY, INVERTER, Served, served
from left_open import nothing_more_open


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_open() -> Iterator[None]:
    with nothing_more_open():
        yield


def _fresh(device: Served) -> Iterator[Served]:
    device.bank.restart(0)
    yield device


@pytest.fixture(scope="module")
def battery_on_the_wire() -> Iterator[Served]:
    with served(BATTERY, models="all") as device:
        yield device


@pytest.fixture
def battery(battery_on_the_wire: Served) -> Iterator[Served]:
    """A battery with every model that the emulator knows."""
    yield from _fresh(battery_on_the_wire)


@pytest.fixture(scope="module")
def old_inverter_on_the_wire() -> Iterator[Served]:
    with served(INVERTER, models="legacy") as device:
        yield device


@pytest.fixture
def old_inverter(old_inverter_on_the_wire: Served) -> Iterator[Served]:
    """A photovoltaic inverter from before 701."""
    yield from _fresh(old_inverter_on_the_wire)
