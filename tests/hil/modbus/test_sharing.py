"""One connection for several units, callers and cancellations."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from looped import run
from modbus_peers import answer, asked, rtu, served

from derloop.errors import Unreachable
from hil.modbus.connection import Connection, Connections
from hil.modbus.endpoint import Address, RtuOverTcp, Tcp, Timing
from hil.modbus.link import Link
from hil.modbus.tap import Direction

PATIENT = Timing(deadline_s=20.0)


class Gateway:
    """Answers every unit with its number, after `delay_s`; keeps what it was asked, and when."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s, self.connections = delay_s, 0
        self.units: list[int] = []
        self.times_s: list[float] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            request = await asked(reader)
            self.units.append(request.unit)
            self.times_s.append(asyncio.get_running_loop().time())
            await asyncio.sleep(self.delay_s)
            assert await _nothing_comes(reader), "a request before the answer to the last"
            writer.write(answer(request, [request.unit] * request.second))


async def _nothing_comes(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0):
            return await reader.read(1) == b""
    except TimeoutError:
        return True


def links(connection: Connection, units: range, timing: Timing = PATIENT) -> list[Link]:
    return [Link(f"inv-{unit}", Address(connection.endpoint, unit), timing, connection) for unit in units]


def test_units_behind_a_gateway_share_a_connection_in_the_order_of_asking() -> None:
    async def main() -> None:
        gateway = Gateway(0.002)
        async with served(gateway) as port:
            shared = Connection(Tcp(port=port))
            units = links(shared, range(1, 9))
            found = await asyncio.gather(*(link.read(0, 1) for link in units), *(link.read(0, 1) for link in units))
            await shared.close()
        assert [each.tolist() for each in found] == [[unit] for unit in [*range(1, 9)] * 2]
        assert gateway.units == [*range(1, 9)] * 2
        assert gateway.connections == 1
        assert sum(link.traffic.connects for link in units) == 1
        assert {link.opened for link in units} == {1}

    run(main())


def test_requests_keep_the_least_interval() -> None:
    async def main() -> None:
        gateway = Gateway()
        async with served(gateway) as port:
            link = Link("inv-1", Address(Tcp(port=port)), Timing(deadline_s=20.0, interval_s=0.1))
            for _ in range(4):
                await link.read(0, 1)
            await link.close()
        gaps_s = [later - earlier for earlier, later in pairwise(gateway.times_s)]
        assert min(gaps_s) >= 0.09

    run(main())


def test_an_interval_beyond_the_deadline_is_named() -> None:
    async def main() -> None:
        async with served(Gateway()) as port:
            link = Link("inv-1", Address(Tcp(port=port)), Timing(deadline_s=5.0, interval_s=30.0))
            await link.read(0, 1)
            with pytest.raises(Unreachable, match="the least interval between two requests is not over"):
                await link.read(0, 1)
            await link.close()

    run(main())


def test_whose_turn_does_not_come_in_time_is_told_so_and_the_others_go_on() -> None:
    async def main() -> None:
        async with served(Gateway(0.3)) as port:
            shared = Connection(Tcp(port=port))
            first, third = links(shared, range(1, 3))
            second = Link("hasty", Address(shared.endpoint, 3), Timing(deadline_s=0.1), shared)
            reading = [asyncio.create_task(link.read(0, 1)) for link in (first, second, third)]
            with pytest.raises(Unreachable, match=r"'hasty': .*the connection was not free in time"):
                await reading[1]
            assert [(await reading[index]).tolist() for index in (0, 2)] == [[1], [2]]
            await shared.close()

    run(main())


def test_an_exchange_that_is_cancelled_leaves_nothing_that_could_pass_for_the_next_answer() -> None:
    async def main() -> None:
        async with served(Gateway(0.1)) as port:
            shared = Connection(Tcp(port=port))
            one, two = links(shared, range(1, 3))
            cancelled, waiting = asyncio.create_task(one.read(0, 1)), asyncio.create_task(two.read(0, 1))
            await asyncio.sleep(0.05)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert (await waiting).tolist() == [2]
            assert (await one.read(0, 1)).tolist() == [1]
            await shared.close()

    run(main())


def test_a_caller_that_is_cancelled_while_waiting_keeps_nobody() -> None:
    async def main() -> None:
        async with served(Gateway(0.05)) as port:
            shared = Connection(Tcp(port=port))
            reading = [asyncio.create_task(link.read(0, 1)) for link in links(shared, range(1, 5))]
            await asyncio.sleep(0.02)
            reading[1].cancel()
            reading[2].cancel()
            assert (await reading[3]).tolist() == [4]
            assert (await reading[0]).tolist() == [1]
            await shared.close()

    run(main())


def test_closing_ends_an_exchange_at_once_and_it_is_not_tried_again() -> None:
    async def main() -> None:
        gateway = Gateway(60.0)
        async with served(gateway) as port:
            link = Link("inv-1", Address(Tcp(port=port)), PATIENT)
            reading = asyncio.create_task(link.read(0, 1))
            await asyncio.sleep(0.05)
            await link.close()
            with pytest.raises(Unreachable, match="closed here"):
                await reading
        assert gateway.connections == 1

    run(main())


def test_a_shared_connection_outlives_its_links() -> None:
    async def main() -> None:
        async with served(Gateway()) as port:
            shared = Connection(Tcp(port=port))
            one, two = links(shared, range(1, 3))
            await one.read(0, 1)
            await one.close()
            assert two.connected
            await shared.close()
            assert not two.connected

    run(main())


def test_who_asks_for_the_same_endpoint_gets_the_same_connection_and_the_longest_interval() -> None:
    async def main() -> None:
        gateway = Gateway()
        async with served(gateway) as port:
            connections = Connections()
            shared = connections.to(Tcp(port=port), Timing(interval_s=0.1))
            assert connections.to(Tcp(port=port), Timing(interval_s=0.02)) is shared
            assert connections.to(Tcp(port=port + 1)) is not shared
            for link in links(shared, range(1, 8)):
                await link.read(0, 1)
            await connections.close()
        gaps_s = [later - earlier for earlier, later in pairwise(gateway.times_s)]
        assert len(gaps_s) == 6
        assert sum(gaps_s) / 6 >= 0.09  # in the mean, for one request may be seen late

    run(main())


def test_rtu_over_tcp_discards_what_a_device_server_still_delivers_after_a_missed_answer() -> None:
    """Serial device servers send late bytes of the line to whoever is connected then."""
    connections = 0

    async def device_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await reader.read()
            return
        writer.write(rtu(1, b"\x03\x02\x02\x9a"))
        assert await reader.readexactly(8)
        writer.write(rtu(1, b"\x03\x02\x00\x05"))
        await reader.read()

    async def main() -> None:
        async with served(device_server) as port:
            shared = Connection(RtuOverTcp(port=port), Timing(settle_s=0.2))
            hasty, patient = (
                Link("inv-1", Address(shared.endpoint), Timing(deadline_s=deadline_s, attempts=1), shared)
                for deadline_s in (0.1, 20.0)
            )
            with pytest.raises(Unreachable, match="no answer within"):
                await hasty.read(0, 1)
            assert (await patient.read(0, 1)).tolist() == [5]
            assert patient.traffic.discarded == 1
            await shared.close()

    run(main())


def test_a_tap_is_shown_every_byte_as_it_was_on_the_wire() -> None:
    sent, received = b"", b""

    async def chatty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent, received
        for turn in range(3):
            request = await asked(reader)
            stray = answer(request._replace(transaction=77), [6])
            data = [answer(request, [1]) + stray, stray + answer(request, [2]), b"\x00\x03\x00\x07garbage"][turn]
            writer.write(data)
            sent += data
        await reader.read()

    async def main() -> list[tuple[Direction, bytes]]:
        shown: list[tuple[Direction, bytes]] = []
        async with served(chatty) as port:
            link = Link(
                "inv-1",
                Address(Tcp(port=port)),
                Timing(attempts=1),
                tap=lambda direction, data: shown.append((direction, data)),
            )
            await link.read(0, 1)
            await link.read(0, 1)
            with pytest.raises(Unreachable, match="no Modbus TCP header"):
                await link.read(0, 1)
            await link.close()
        return shown

    shown = run(main())
    assert [direction for direction, _ in shown] == [
        *("sent", "received", "discarded"),
        *("sent", "discarded", "received"),
        *("sent", "discarded"),
    ]
    assert b"".join(data for direction, data in shown if direction != "sent") == sent
    requests: list[Any] = [data for direction, data in shown if direction == "sent"]
    assert requests == [bytes.fromhex(f"000{n} 0000 0006 01 03 0000 0001") for n in (1, 2, 3)]
