"""The client against peers that answer late, by drops, wrongly, or not at all."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from derloop.errors import Rejected, Unreachable
from hil.modbus.blocking import ModbusConnection
from hil.modbus.endpoint import Address, Tcp, Timing
from hil.modbus.thread import LoopThread
from hil.serving.fleet import BankServer

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Peer = Callable[[Handler], Address]


async def _request(reader: asyncio.StreamReader) -> tuple[int, int, int]:
    """Return transaction, address and count of a read."""
    transaction, _, _, _, _, address, count = struct.unpack(">HHHBBHH", await reader.readexactly(12))
    return transaction, address, count


def _answer(transaction: int, words: list[int]) -> bytes:
    data = struct.pack(f">{len(words)}H", *words)
    return struct.pack(">HHHBBB", transaction, 0, 3 + len(data), 1, 3, len(data)) + data


def _exception(transaction: int, code: int) -> bytes:
    return struct.pack(">HHHBBB", transaction, 0, 3, 1, 0x83, code)


@pytest.fixture
def connect() -> Iterator[Callable[..., ModbusConnection]]:
    opened: list[ModbusConnection] = []

    def connect(address: Address, **limits: Any) -> ModbusConnection:
        opened.append(ModbusConnection("inv-1", address, Timing(**limits)))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


Connect = Callable[..., ModbusConnection]


def test_registers_are_read_and_counted(emulator: BankServer, connect: Connect) -> None:
    connection = connect(emulator.addresses[0])
    assert connection.read(40000, 2).tolist() == [0x5375, 0x6E53]
    assert connection.traffic.registers_read == 2
    assert (connection.traffic.exchanges, connection.traffic.connects, connection.traffic.retries) == (1, 1, 0)
    assert connection.traffic.seconds > 0.0


def test_registers_are_written_and_counted(emulator: BankServer, connect: Connect) -> None:
    connection = connect(emulator.addresses[0])
    limit = emulator.bank.maps[0]["704.WMaxLimPct"].address
    connection.write(limit, [5000])
    assert connection.read(limit, 1).tolist() == [5000]
    assert connection.traffic.registers_written == 1


def test_a_refused_connection_names_device_host_port_and_reason(connect: Connect) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(Unreachable) as failure:
            connect(Address(Tcp(port=port))).read(0, 1)
    assert failure.value.device == "inv-1"
    assert f"127.0.0.1:{port}" in failure.value.why
    assert "Connection refused" in failure.value.why


def test_the_deadline_is_for_the_whole_exchange(peer: Peer, connect: Connect) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transaction, _, count = await _request(reader)
        for byte in _answer(transaction, [7] * count):
            writer.write(bytes([byte]))
            await asyncio.sleep(0.15)

    began = time.monotonic()
    with pytest.raises(Unreachable, match="no answer within"):
        connect(peer(drip), deadline_s=0.5).read(0, 100)
    assert time.monotonic() - began < 10.0  # the whole drip takes 31 s


def test_silence_ends_with_the_deadline_and_says_so(peer: Peer, connect: Connect) -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(Unreachable, match="read 40000\\+4: no answer within"):
        connect(peer(silence), deadline_s=0.2).read(40000, 4)


def test_a_late_answer_is_not_taken_for_the_next_one(peer: Peer, connect: Connect) -> None:
    connections = 0

    async def late_at_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        delay_s = 1.0 if connections == 1 else 0.0
        while True:
            transaction, address, count = await _request(reader)
            await asyncio.sleep(delay_s)
            writer.write(_answer(transaction, [address] * count))

    connection = connect(peer(late_at_first), deadline_s=0.5, attempts=1)
    with pytest.raises(Unreachable):
        connection.read(111, 1)
    assert connection.read(222, 1).tolist() == [222]
    time.sleep(1.0)
    assert connection.read(333, 1).tolist() == [333]


def test_an_answer_to_another_transaction_is_dropped(peer: Peer, connect: Connect) -> None:
    async def stale_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            transaction, address, count = await _request(reader)
            stale = _answer(transaction + 100, [9] * count)
            writer.write(stale + _answer(transaction, [address] * count))

    connection = connect(peer(stale_first))
    assert [connection.read(at, 1).tolist() for at in (5, 6, 7)] == [[5], [6], [7]]


def test_an_answer_in_two_parts_is_one_answer(peer: Peer, connect: Connect) -> None:
    async def split(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            transaction, _, count = await _request(reader)
            answer = _answer(transaction, [3] * count)
            writer.write(answer[:5])
            await asyncio.sleep(0.05)
            writer.write(answer[5:])

    assert connect(peer(split)).read(0, 3).tolist() == [3, 3, 3]


def test_an_answer_of_another_length_is_none(peer: Peer, connect: Connect) -> None:
    async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transaction, _, _ = await _request(reader)
        writer.write(_answer(transaction, [1]))

    with pytest.raises(Unreachable, match="read 0\\+2: 1 registers came, asked were 2"):
        connect(peer(short), attempts=1).read(0, 2)


def test_a_lost_connection_is_noticed_at_once_and_made_again(peer: Peer, connect: Connect) -> None:
    connections = 0

    async def hang_up_at_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        transaction, _, count = await _request(reader)
        if connections > 1:
            writer.write(_answer(transaction, [4] * count))
            await reader.read()

    connection = connect(peer(hang_up_at_first), deadline_s=60.0)
    assert connection.read(0, 1).tolist() == [4]
    assert (connection.traffic.connects, connection.traffic.retries) == (2, 1)


def test_a_peer_that_only_hangs_up_is_unreachable(peer: Peer, connect: Connect) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)

    with pytest.raises(Unreachable, match="closed the connection"):
        connect(peer(hang_up), deadline_s=60.0).read(0, 1)


def test_a_busy_device_is_asked_again(peer: Peer, connect: Connect) -> None:
    async def busy_at_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transaction, _, _ = await _request(reader)
        writer.write(_exception(transaction, 6))
        transaction, _, count = await _request(reader)
        writer.write(_answer(transaction, [8] * count))
        await reader.read()

    connection = connect(peer(busy_at_first))
    assert connection.read(0, 1).tolist() == [8]
    assert connection.traffic.connects == 1


@pytest.mark.parametrize(("code", "error"), [(2, Rejected), (4, Rejected), (6, Unreachable), (11, Unreachable)])
def test_exceptions_are_errors_of_the_device(code: int, error: type, peer: Peer, connect: Connect) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            transaction, _, _ = await _request(reader)
            writer.write(_exception(transaction, code))

    with pytest.raises(error, match=f"exception {code}"):
        connect(peer(refuse)).read(0, 1)


def test_another_unit_does_not_answer(emulator: BankServer, connect: Connect) -> None:
    address = emulator.addresses[0]
    with pytest.raises(Unreachable, match=r"unit 9: .*gateway no"):
        connect(Address(address.endpoint, unit=9)).read(40000, 2)


def test_closing_twice_is_closing_once_and_closed_is_closed(emulator: BankServer) -> None:
    connection = ModbusConnection("inv-1", emulator.addresses[0])
    connection.read(40000, 2)
    connection.close()
    connection.close()
    with pytest.raises(RuntimeError, match="closed"):
        connection.read(40000, 2)


def test_a_closed_loop_cancels_what_still_waits() -> None:
    thread, ended = LoopThread("t"), threading.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def begin() -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(wait())
        await asyncio.sleep(0)
        return task

    thread.run(begin())
    thread.close()
    assert ended.is_set()
