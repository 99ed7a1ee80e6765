"""Several requests in one go: each leaves when the one before is answered, and fails for itself."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from looped import run
from modbus_peers import Handler, answer, asked, mbap, served

from derloop.errors import DeviceError, Rejected, Unreachable
from hil.modbus import pdu
from hil.modbus.endpoint import Address, Tcp, Timing
from hil.modbus.failures import Unacknowledged
from hil.modbus.link import Link
from hil.modbus.traffic import Traffic

READS = [pdu.read(address, 1) for address in (7, 8, 9)]


def ask(
    handler: Handler, requests: list[pdu.Request], **timing: Any
) -> tuple[list[bytes], DeviceError | None, Traffic]:
    """Return what was answered by a peer, what was raised, and what was counted."""

    async def main() -> tuple[list[bytes], DeviceError | None, Traffic]:
        async with served(handler) as port:
            link = Link("inv-1", Address(Tcp(port=port)), Timing.model_validate({"deadline_s": 20.0} | timing))
            answers: list[bytes] = []
            try:
                await link.exchange(requests, answers)
            except DeviceError as failure:
                return answers, failure, link.traffic
            finally:
                await link.close()
            return answers, None, link.traffic

    return run(main())


def test_no_request_leaves_before_the_one_before_it_is_answered() -> None:
    async def watching(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in READS:
            request = await asked(reader)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.05)
            writer.write(answer(request, [request.address]))
        await reader.read()

    answers, failure, traffic = ask(watching, READS)
    assert (answers, failure) == ([b"\0\7", b"\0\x08", b"\0\x09"], None)
    assert (traffic.exchanges, traffic.registers_read, traffic.connects, traffic.retries) == (3, 3, 1, 0)


def test_what_was_answered_is_not_asked_again_when_a_later_request_fails() -> None:
    seen: list[int] = []

    async def hangs_up_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await asked(reader)
            seen.append(request.address)
            if seen == [7, 8]:
                return
            writer.write(answer(request, [request.address]))

    answers, failure, traffic = ask(hangs_up_once, READS)
    assert (answers, failure, seen) == ([b"\0\7", b"\0\x08", b"\0\x09"], None, [7, 8, 8, 9])
    assert (traffic.exchanges, traffic.connects, traffic.retries) == (3, 2, 1)


def test_a_refusal_names_its_request_and_ends_the_rest() -> None:
    async def refuses_8(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await asked(reader)
            refused = mbap(request.transaction, 1, b"\x83\x02")
            writer.write(refused if request.address == 8 else answer(request, [request.address]))

    answers, failure, traffic = ask(refuses_8, READS)
    assert answers == [b"\0\7"]
    assert isinstance(failure, Rejected)
    assert "read 8+1: exception 2" in failure.why
    assert traffic.exchanges == 2


def test_each_request_has_a_deadline_of_its_own_and_all_its_attempts() -> None:
    seen: list[int] = []

    async def silent_at_8(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await asked(reader)
            seen.append(request.address)
            if request.address != 8:
                await asyncio.sleep(0.3)
                writer.write(answer(request, [request.address]))

    answers, failure, _ = ask(silent_at_8, READS, deadline_s=1.0, attempts=2)
    assert (answers, seen) == ([b"\0\7"], [7, 8, 8])
    assert isinstance(failure, Unreachable)
    assert "read 8+1: no answer within 0.5 s" in failure.why


def test_a_later_write_that_is_not_answered_may_have_been_done() -> None:
    async def silent_at_writes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await asked(reader)
            if request.function == 3:
                writer.write(answer(request, [request.address]))

    answers, failure, _ = ask(silent_at_writes, [READS[0], pdu.write(8, [1])], deadline_s=0.2, attempts=1)
    assert answers == [b"\0\7"]
    assert isinstance(failure, Unacknowledged)
    assert "write 8+1" in failure.why
    assert "it may have been done" in failure.why


def test_a_line_that_wants_pauses_has_them_between_all_requests() -> None:
    heard: list[float] = []

    async def noting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await asked(reader)
            heard.append(asyncio.get_running_loop().time())
            writer.write(answer(request, [request.address]))

    answers, failure, _ = ask(noting, READS, interval_s=0.1)
    assert (len(answers), failure) == (3, None)
    assert min(after - before for before, after in pairwise(heard)) > 0.05
