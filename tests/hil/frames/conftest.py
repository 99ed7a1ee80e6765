"""A session with emulated devices, over TCP and as on a serial line, of which every frame was kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from derloop.errors import Rejected
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.frames.journal import Journal, journal_path
from hil.frames.layout import Peer
from hil.modbus.endpoint import Address, Endpoint, RtuOverTcp, Tcp
from hil.modbus.link import Link
from hil.serving.responder import BankResponder
from hil.serving.server import Line, Server
from hil.sunspec.discovery import walk
from hil.sunspec.points import RegisterArray
from hil.sunspec.register_map import RegisterMap

STEPS = 3


@dataclass
class Session:
    """What a client did and saw: discovery, then each step a write, a poll, and a read that is refused."""

    folder: Path
    devices: dict[str, Endpoint]
    polled: dict[str, list[RegisterArray]] = field(default_factory=dict)

    @property
    def journal(self) -> Path:
        return journal_path(self.folder, "inverters")


async def converse(
    devices: dict[str, Endpoint], journal: Journal, factor: float = 1.0
) -> dict[str, list[RegisterArray]]:
    """Be the client; return what was polled of each device."""
    links = {
        name: Link(name, Address(endpoint, 1), tap=journal.tap(Peer.at(name, endpoint, 1)))
        for name, endpoint in devices.items()
    }
    try:
        return {name: await polls(link, journal, factor) for name, link in links.items()}
    finally:
        for link in links.values():
            await link.close()


async def polls(link: Link, journal: Journal, factor: float) -> list[RegisterArray]:
    """Discover a device; then each step write its limit, and read back, and read what it measures."""
    journal.instant_ns = None
    known = await discovered(link)
    limit, measured, polled = known["704.WMaxLimPct"].address, known.block(701), []
    for step in range(STEPS):
        journal.instant_ns = step * 900 * 10**9
        await link.write(limit, [round(100 * factor * (80.0 - step))])
        polled.append(np.concatenate([await link.read(limit, 1), await link.read(measured.address, 60)]))
        with suppress(Rejected):
            await link.read(30000, 3)
    return polled


async def discovered(link: Link) -> RegisterMap:
    step = walk()
    request = next(step)
    try:
        while True:
            request = step.send(await link.read(request.address, request.registers))
    except StopIteration as found:
        return found.value[0]  # type: ignore[no-any-return]


@pytest.fixture
def session(tmp_path: Path, bank: RegisterBank, ratings: tuple[Ratings, ...], nothing_is_left_open: None) -> Session:
    lines = [Line(Tcp(port=0), BankResponder(bank, 0)), Line(RtuOverTcp(port=0), BankResponder(bank, 1))]
    with Server(lines) as server:
        devices = {each.name: endpoint for each, endpoint in zip(ratings, server.endpoints, strict=True)}
        found = Session(tmp_path / "run", devices)
        with Journal(found.journal) as journal:
            found.polled = asyncio.run(converse(devices, journal))
    return found


Converse = Callable[[dict[str, Endpoint], Journal, float], dict[str, list[RegisterArray]]]


@pytest.fixture
def converse_again() -> Converse:
    """The same client, for other devices: `factor` times what it commanded first."""

    def again(devices: dict[str, Endpoint], journal: Journal, factor: float) -> dict[str, list[RegisterArray]]:
        return asyncio.run(converse(devices, journal, factor))

    return again
