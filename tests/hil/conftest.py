"""Devices to talk to, and the guard that nothing outlives a test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator

import psutil
import pytest
from emulated import described

from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.modbus.endpoint import Address, Tcp
from hil.modbus.thread import LoopThread
from hil.serving.fleet import BankServer

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _sockets() -> set[tuple[object, ...]]:
    own = psutil.Process().net_connections(kind="tcp")
    return {(each.fd, each.laddr) for each in own if each.fd != -1}


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    threads, sockets = set(threading.enumerate()), _sockets()
    yield
    assert set(threading.enumerate()) <= threads
    assert _sockets() <= sockets


@pytest.fixture
def ratings() -> tuple[Ratings, ...]:
    """A photovoltaic inverter of 10 kW and a battery of 5 kW that holds 20 kWh."""
    return (
        Ratings("pv_1", 10e3, 11e3, 4840.0, 4840.0, 240.0),
        Ratings("bat_1", 5e3, 5.5e3, 2420.0, 2000.0, 120.0, 1, p_max_charge_w=4e3, energy_wh=20e3),
    )


@pytest.fixture
def bank(ratings: tuple[Ratings, ...]) -> RegisterBank:
    return RegisterBank([described(each) for each in ratings])


@pytest.fixture
def emulator(bank: RegisterBank) -> Iterator[BankServer]:
    with BankServer(bank) as server:
        yield server


@pytest.fixture
def peer(nothing_is_left_open: None) -> Iterator[Callable[[Handler], Address]]:
    """Serve a handler of connections on a free port; whatever it still does is cancelled after the test."""
    thread = LoopThread("peer")
    servers: list[asyncio.Server] = []
    tasks: list[asyncio.Task[None]] = []

    async def listen(handler: Handler) -> Address:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(asyncio.get_running_loop().create_task(handle(reader, writer)))

        servers.append(await asyncio.start_server(connected, "127.0.0.1", 0))
        return Address(Tcp(port=servers[-1].sockets[0].getsockname()[1]))

    async def shut_down() -> None:
        for server in servers:
            server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)

    yield lambda handler: thread.run(listen(handler))
    thread.run(shut_down())
    thread.close()
