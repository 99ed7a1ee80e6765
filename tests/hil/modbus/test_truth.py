"""What links read from a device that misbehaves by chance is what it holds; what they have written, it has."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Awaitable, Callable

import pytest
from looped import run
from modbus_peers import Asked, asked, mbap, rtu, served, terminal

from derloop.errors import DeviceError
from hil.modbus.connection import Connection
from hil.modbus.endpoint import Address, Endpoint, Serial, Tcp, Timing
from hil.modbus.link import Link

TIMING = Timing(deadline_s=0.5, attempts=2, busy_pause_s=0.001, settle_s=0.3)
HASTY = Timing(deadline_s=0.1, attempts=1)
"""For every other exchange: what is asked next is then something else."""
LATE_S = {True: 0.27, False: 0.19}
"""With and without numbers on answers: later than an attempt waits (0.25, on the serial line 0.17 s), and well before
the line has settled: a pseudo-terminal hands bytes on when the kernel has time for it."""


class Whims:
    """A device of 50 registers that obeys writes when they come, and answers as it likes."""

    def __init__(self, seed: int, *, numbered: bool) -> None:
        self.registers = [0] * 50
        self.lately = [self.registers[:]]
        """What the registers were since the client began to ask: what it asked in vain before may be done only now."""
        self._rng, self._numbered = random.Random(seed), numbered
        self._last = b""
        self._whims = ["right"] * 5 + ["late"] * 4 + [*WHIMS, *(OF_NUMBERED if numbered else ())]

    def frame(self, request: Asked, pdu: bytes) -> bytes:
        return mbap(request.transaction, request.unit, pdu) if self._numbered else rtu(request.unit, pdu)

    def obey(self, request: Asked) -> bytes:
        """Do what is asked and return the frame that says so."""
        _, _, function, address, count, rest = request
        if function == 16:
            self.registers[address : address + count] = struct.unpack(f">{count}H", rest[1:])
            self.lately.append(self.registers[:])
            return self.frame(request, struct.pack(">BHH", 16, address, count))
        words = self.registers[address : address + count]
        return self.frame(request, struct.pack(f">BB{count}H", 3, 2 * count, *words))

    async def answer(self, request: Asked, write: Callable[[bytes], None]) -> bool:
        """Answer in one way or another; False: hang up."""
        whim = self._rng.choice(self._whims)
        if whim == "busy":
            write(self.frame(request, bytes((request.function | 0x80, 6))))
            return True
        right = self.obey(request)
        for delay_s, data in (WHIMS | OF_NUMBERED)[whim](self._rng, right, self._last):
            await asyncio.sleep(delay_s * LATE_S[self._numbered])
            write(data)
        self._last = right
        return whim != "hangs up"


Parts = list[tuple[float, bytes]]
"""What is written, each after a pause in units of `LATE_S`."""
WHIMS: dict[str, Callable[[random.Random, bytes, bytes], Parts]] = {
    "right": lambda rng, right, last: [(0.0, right)],
    "busy": lambda rng, right, last: [],
    "silent": lambda rng, right, last: [],
    "hangs up": lambda rng, right, last: [(0.0, right[: rng.randrange(len(right))])],
    "late": lambda rng, right, last: [(1.0, right)],
    "split": lambda rng, right, last: [(0.0, right[:4]), (0.1, right[4:])],
    "too short": lambda rng, right, last: [(0.0, right[:-2])],
    "garbage": lambda rng, right, last: [(0.0, rng.randbytes(9))],
    "garbage before": lambda rng, right, last: [(0.0, b"\xff\x00\x55" + right)],
    "a flipped bit": lambda rng, right, last: [(0.0, _flipped(right, rng))],
    "twice": lambda rng, right, last: [(0.0, right + right)],
}
OF_NUMBERED = {
    "the last again": lambda rng, right, last: [(0.0, last + right)],
    "the last instead": lambda rng, right, last: [(0.0, last)],
}
"""Without numbers on answers, nobody can tell that the last answer comes again at once."""


def _flipped(frame: bytes, rng: random.Random) -> bytes:
    """MBAP has no check of its own data: there only the header is changed."""
    at = rng.randrange(9 if frame[2:4] == b"\0\0" else len(frame))
    return frame[:at] + bytes((frame[at] ^ 1 << rng.randrange(8),)) + frame[at + 1 :]


async def hold_to_the_truth(endpoint: Endpoint, device: Whims, exchanges: int, seed: int) -> int:
    """Write and read by chance; return how many exchanges succeeded."""
    connection, rng, succeeded = Connection(endpoint, TIMING), random.Random(seed), 0
    links = [Link("inv-1", Address(endpoint), timing, connection) for timing in (TIMING, HASTY)]
    for _ in range(exchanges):
        link = rng.choice(links)
        address, count = rng.randrange(40), 2  # so that a late answer has the shape of the next
        words = [rng.randrange(65536) for _ in range(count)]
        device.lately = [device.registers[:]]
        try:
            if rng.random() < 0.3:
                await link.write(address, words)
                assert words in [held[address : address + count] for held in device.lately]
            else:
                read = (await link.read(address, count)).tolist()
                assert read in [held[address : address + count] for held in device.lately]
        except DeviceError:
            continue
        succeeded += 1
    await connection.close()
    return succeeded


async def over_tcp(exchanges: int, seed: int) -> int:
    device = Whims(seed, numbered=True)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await device.answer(await asked(reader), writer.write):
            pass

    async with served(serve) as port:
        return await hold_to_the_truth(Tcp(port=port), device, exchanges, seed)


async def over_a_serial_line(exchanges: int, seed: int) -> int:
    device = Whims(seed, numbered=False)
    async with terminal() as line:

        async def serve() -> None:
            while True:
                await device.answer(await line.request(), line.write)

        serving = asyncio.create_task(serve())
        try:
            return await hold_to_the_truth(Serial(path=line.path, baud=115200), device, exchanges, seed)
        finally:
            serving.cancel()
            await asyncio.wait([serving])


Line = Callable[[int, int], Awaitable[int]]


@pytest.mark.parametrize("line", [over_tcp, over_a_serial_line])
def test_what_is_read_is_held_and_what_is_written_is_there(line: Line) -> None:
    async def main() -> int:
        return await line(40, 4)

    assert run(main()) > 5


def test_a_new_stream_goes_on_with_the_numbers_of_the_last_one() -> None:
    numbers: list[int] = []

    async def hang_up_after_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await asked(reader)
        numbers.append(request.transaction)
        writer.write(mbap(request.transaction, request.unit, b"\x03\x02\x00\x07"))

    async def main() -> None:
        async with served(hang_up_after_one) as port:
            connection = Connection(Tcp(port=port), TIMING)
            link = Link("inv-1", Address(Tcp(port=port)), TIMING, connection)
            for _ in range(3):
                assert (await link.read(0, 1)).tolist() == [7]
                await connection.close()

    run(main())
    assert numbers == [1, 2, 3]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("line", [over_tcp, over_a_serial_line])
def test_what_is_read_is_held_and_what_is_written_is_there_a_thousand_times(line: Line) -> None:
    async def main() -> int:
        return sum(await asyncio.gather(*(line(150, seed) for seed in range(2, 10))))

    assert run(main()) > 150
