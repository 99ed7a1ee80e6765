"""Peers that split, mix up, flood, hang up and stay silent: nothing that may not be the answer is taken for it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from looped import run
from modbus_peers import Asked, Handler, answer, asked, mbap, registers, served

from derloop.errors import Rejected, Unreachable
from hil.modbus.endpoint import Address, RtuOverTcp, Tcp, Timing
from hil.modbus.failures import Unacknowledged
from hil.modbus.link import Link

T = TypeVar("T")


def exchange(handler: Handler, work: Callable[[Link], Awaitable[T]], **timing: Any) -> T:
    """Return what `work` does with a link to a peer."""

    async def main() -> T:
        async with served(handler) as port:
            link = Link("inv-1", Address(Tcp(port=port)), Timing.model_validate({"deadline_s": 20.0} | timing))
            try:
                return await work(link)
            finally:
                await link.close()

    return run(main())


async def read_two(link: Link) -> list[int]:
    return (await link.read(7, 2)).tolist()


def then_rightly(first: Callable[[Asked], bytes]) -> Handler:
    """A peer whose first answer, of all connections, is what `first` makes of the request."""
    requests = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while True:
            request = await asked(reader)
            requests += 1
            writer.write(first(request) if requests == 1 else answer(request, [request.address] * request.second))

    return handle


def test_input_registers_and_single_writes_have_functions_of_their_own() -> None:
    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await asked(reader)
        assert request.function == 4
        writer.write(answer(request, [1]))
        request = await asked(reader)
        assert request[1:] == (1, 6, 9, 77, b"")
        writer.write(mbap(request.transaction, 1, struct.pack(">BHH", 6, 9, 77)))

    async def work(link: Link) -> list[int]:
        read = await link.read(0, 1, function=4)
        await link.write(9, [77], one=True)
        return read.tolist()

    assert exchange(obey, work) == [1]


def test_an_answer_may_be_split_at_every_byte() -> None:
    async def split(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for cut in range(1, 13):
            request = await asked(reader)
            frame = answer(request, [cut, 300])
            writer.write(frame[:cut])
            await asyncio.sleep(0.003)
            writer.write(frame[cut:])
        await reader.read()

    async def work(link: Link) -> list[int]:
        return [(await read_two(link))[0] for _ in range(1, 13)]

    assert exchange(split, work) == list(range(1, 13))


def test_frames_before_and_behind_the_answer_in_one_segment_are_discarded() -> None:
    async def three(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await asked(reader)
            early, late = (request._replace(transaction=request.transaction + by & 0xFFFF) for by in (-1, 1))
            writer.write(answer(early, [666, 666]) + answer(request, [5, 6]) + answer(late, [667, 667]))

    async def work(link: Link) -> list[Any]:
        return [await read_two(link), await read_two(link), link.traffic.discarded, link.traffic.connects]

    assert exchange(three, work) == [[5, 6], [5, 6], 4, 1]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda r: mbap(r.transaction, 5, registers([1, 2])), "unit 5 answered"),
        (lambda r: mbap(r.transaction, 1, registers([1, 2], 4)), "an answer to function 4, asked was 3"),
        (lambda r: mbap(r.transaction, 1, bytes((0x84, 2))), "an answer to function 4, asked was 3"),
        (lambda r: mbap(r.transaction, 1, registers([1, 2, 3])), "3 registers came, asked were 2"),
        (lambda r: mbap(r.transaction, 1, b"\x03\x06\x00\x01\x00\x02"), "registers came, asked were 2"),
        (lambda r: mbap(r.transaction, 1, b"\x83"), "an answer to function 3"),
        (lambda r: b"\x00\x01\x00\x01\x00\x05\x01", "no Modbus TCP header: 00 01 00 01 00 05 01"),
        (lambda r: b"\x00\x01\x00\x00\x00\x01\x01", "no Modbus TCP header"),
        (lambda r: b"\x00\x01\x00\x00\xff\xff\x01", "no Modbus TCP header"),
        (lambda r: b"HTTP/1.1 400 Bad Request\r\n\r\n", "no Modbus TCP header: 48 54 54 50 2f 31 2e"),
    ],
)
def test_what_cannot_be_the_answer_is_named_and_asked_for_again(wrong: Callable[[Asked], bytes], why: str) -> None:
    async def once(link: Link) -> list[int]:
        found = await read_two(link)
        assert link.traffic.retries == 1
        return found

    assert exchange(then_rightly(wrong), once) == [7, 7]
    with pytest.raises(Unreachable, match=why):
        exchange(then_rightly(wrong), read_two, attempts=1)


def test_after_garbage_the_connection_is_made_anew() -> None:
    async def work(link: Link) -> int:
        await read_two(link)
        return link.traffic.connects

    assert exchange(then_rightly(lambda _: b"garbage"), work) == 2


def test_a_wrong_acknowledgement_of_a_write_is_none() -> None:
    async def work(link: Link) -> None:
        await link.write(7, [1, 2])

    other = then_rightly(lambda r: mbap(r.transaction, 1, struct.pack(">BHH", 16, 8, 2)))
    with pytest.raises(Unacknowledged, match="the answer to a write of other registers than 7\\+2; it may have been"):
        exchange(other, work, attempts=1)


def test_a_peer_that_hangs_up_within_its_answer_is_asked_again() -> None:
    connections = 0

    async def half_at_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        request = await asked(reader)
        if connections == 1:
            writer.write(answer(request, [1, 2])[:9])
            return
        writer.write(answer(request, [3, 4]))
        await reader.read()

    assert exchange(half_at_first, read_two) == [3, 4]


def test_a_reset_connection_is_named() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with pytest.raises(Unreachable, match="Connection reset by peer"):
        exchange(reset, read_two, attempts=1)


def test_a_flood_of_other_frames_holds_no_deadline_and_no_memory() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await asked(reader)
        while True:
            writer.write(answer(request._replace(transaction=9999), [1, 2]) * 100)
            await writer.drain()

    async def work(link: Link) -> int:
        with pytest.raises(Unreachable, match="no answer within"):
            await read_two(link)
        return link.traffic.discarded

    assert exchange(flood, work, deadline_s=0.3, attempts=1) >= 100


def test_a_drip_that_never_becomes_a_frame_holds_no_deadline() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await asked(reader)
        for byte in answer(request, [0] * 100):
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.02)

    with pytest.raises(Unreachable, match="no answer within"):
        exchange(drip, read_two, deadline_s=0.4)


def test_part_of_a_frame_that_nobody_asked_for_costs_the_connection_and_nothing_else() -> None:
    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await asked(reader)
        writer.write(answer(request, [1, 2]))
        await asyncio.sleep(0.01)
        writer.write(answer(request, [1, 2])[:8])
        await reader.read()

    async def work(link: Link) -> list[int]:
        first = await read_two(link)
        await asyncio.sleep(0.05)
        assert await read_two(link) == first
        return [link.traffic.connects, link.traffic.retries, link.traffic.discarded]

    assert exchange(talkative, work) == [2, 0, 1]


def test_transaction_numbers_go_round() -> None:
    async def work(link: Link) -> list[int]:
        link._connection._transaction = 0xFFFF - 1
        return [(await read_two(link))[0] for _ in range(4)]

    assert exchange(then_rightly(lambda r: answer(r, [7, 7])), work) == [7, 7, 7, 7]


@pytest.mark.parametrize(("code", "named"), [(5, "acknowledge"), (6, "busy")])
def test_a_busy_device_is_left_alone_for_a_while_and_asked_again(code: int, named: str) -> None:
    times_s: list[float] = []

    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await asked(reader)
            times_s.append(asyncio.get_running_loop().time())
            writer.write(mbap(request.transaction, 1, bytes((0x83, code))))

    with pytest.raises(Unreachable, match=rf"read 7\+2: exception {code} \({named}\)$"):
        exchange(busy, read_two, attempts=3, busy_pause_s=0.1)
    assert len(times_s) == 3
    assert min(later - earlier for earlier, later in pairwise(times_s)) >= 0.09


def test_the_reasons_of_all_attempts_are_told() -> None:
    wrongs = iter([lambda r: mbap(r.transaction, 9, b"\x03"), lambda r: mbap(r.transaction, 1, b"\x83\x06")])

    async def wrong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(next(wrongs)(await asked(reader)))

    with pytest.raises(Unreachable, match=r"unit 9 answered; then exception 6 \(busy\)$"):
        exchange(wrong, read_two)


@pytest.mark.parametrize("code", [1, 2, 3, 4, 7, 8, 99])
def test_a_refusal_is_not_asked_again(code: int) -> None:
    async def work(link: Link) -> None:
        with pytest.raises(Rejected, match=f"exception {code}"):
            await read_two(link)
        assert link.traffic.retries == 0

    exchange(then_rightly(lambda r: mbap(r.transaction, 1, bytes((0x83, code)))), work)


def test_a_write_that_was_never_sent_has_not_been_done() -> None:
    async def main() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            link = Link("inv-1", Address(Tcp(port=bound.getsockname()[1])), Timing(attempts=1))
            with pytest.raises(Unreachable, match=r"write 1\+1: Connection refused$") as failure:
                await link.write(1, [1])
            assert not isinstance(failure.value, Unacknowledged)

    run(main())


def test_a_write_that_one_attempt_sent_may_have_been_done_though_the_last_was_refused() -> None:
    connections = 0

    async def hang_up_then_busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        request = await asked(reader)
        if connections > 1:
            writer.write(mbap(request.transaction, 1, b"\x90\x06"))
            await reader.read()

    async def work(link: Link) -> None:
        await link.write(1, [1])

    with pytest.raises(
        Unacknowledged, match=r"closed the connection; then exception 6 \(busy\); it may have been done"
    ):
        exchange(hang_up_then_busy, work)


@pytest.mark.parametrize(("code", "may_be_done"), [(10, False), (11, True)])
def test_a_write_that_a_gateway_passed_on_may_have_been_done_though_it_heard_nothing(
    code: int, may_be_done: bool
) -> None:
    """Exception 11: the device behind it did not answer. 10: there is no way to it (Modbus V1.1b3, section 7)."""

    async def work(link: Link) -> None:
        with pytest.raises(Unreachable, match=rf"write 1\+1: exception {code} ") as failure:
            await link.write(1, [1])
        assert isinstance(failure.value, Unacknowledged) is may_be_done
        assert str(failure.value).endswith("; it may have been done") is may_be_done
        assert link.unanswered == 1

    exchange(then_rightly(lambda r: mbap(r.transaction, 1, bytes((0x90, code)))), work)


@pytest.mark.parametrize("host", ["192.0.2..1", "a" * 64])
@pytest.mark.parametrize("transport", [Tcp, RtuOverTcp])
def test_a_slip_in_a_host_name_is_named(transport: type[Tcp | RtuOverTcp], host: str) -> None:
    async def main() -> None:
        link = Link("inv-1", Address(transport(host=host, port=502)), Timing(deadline_s=20.0, attempts=2))
        with pytest.raises(Unreachable, match=r"the host's name is none: a part of it is empty or too long$"):
            await link.read(0, 1)

    run(main())


def test_a_name_that_no_host_has_is_named() -> None:
    async def main() -> None:
        link = Link("inv-1", Address(Tcp(host="inverter.invalid")), Timing(deadline_s=20.0, attempts=1))
        with pytest.raises(Unreachable, match="the host's name is not known"):
            await link.read(0, 1)

    run(main())
