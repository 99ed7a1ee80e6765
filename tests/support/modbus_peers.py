"""Scripted Modbus peers on sockets and pseudo-terminals, with bytes packed by hand: nothing here is derloop's."""

from __future__ import annotations

import asyncio
import os
import pty
import struct
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Asked(NamedTuple):
    """A request as it came: of a read, `second` is the count, of a write of one register its value."""

    transaction: int
    unit: int
    function: int
    address: int
    second: int
    rest: bytes = b""


async def asked(reader: asyncio.StreamReader) -> Asked:
    """Read one request in an MBAP frame."""
    transaction, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
    pdu = await reader.readexactly(length - 1)
    return Asked(transaction, unit, *struct.unpack(">BHH", pdu[:5]), pdu[5:])


def mbap(transaction: int, unit: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def registers(words: Iterable[int], function: int = 3) -> bytes:
    """The PDU that answers a read."""
    data = b"".join(struct.pack(">H", word) for word in words)
    return bytes((function, len(data))) + data


def answer(request: Asked, words: Iterable[int]) -> bytes:
    """The frame that answers a read rightly."""
    return mbap(request.transaction, request.unit, registers(words, request.function))


def crc16(body: bytes) -> bytes:
    """CRC-16 bit by bit, as in MODBUS over Serial Line V1.02, section 6.2.2."""
    value = 0xFFFF
    for byte in body:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return struct.pack("<H", value)


def rtu(unit: int, pdu: bytes) -> bytes:
    body = bytes((unit,)) + pdu
    return body + crc16(body)


@asynccontextmanager
async def served(handler: Handler, **options: Any) -> AsyncIterator[int]:
    """Serve a handler of connections on a free port of 127.0.0.1; what it still does at the end is cancelled."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(handle(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)


class Terminal:
    """The far end of a serial line: requests as they come, bytes as they go."""

    def __init__(self, fd: int, path: Path) -> None:
        self.path, self._fd = path, fd
        self._came: asyncio.Queue[bytes] = asyncio.Queue()
        self._held = b""
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self._read)

    def _read(self) -> None:
        with suppress(OSError):
            self._came.put_nowait(os.read(self._fd, 4096))

    def write(self, data: bytes) -> None:
        os.write(self._fd, data)

    async def asked(self, length: int = 8) -> Asked:
        """Read one request; its check must be right."""
        while len(self._held) < length:
            self._held += await self._came.get()
        frame, self._held = self._held[:length], self._held[length:]
        assert crc16(frame[:-2]) == frame[-2:]
        return Asked(0, *struct.unpack(">BBHH", frame[:6]), frame[6:-2])

    async def request(self) -> Asked:
        """Read one request of function 3, 6 or 16, however long it is."""
        while len(self._held) < 8 or (self._held[1] == 16 and len(self._held) < 9 + self._held[6]):
            self._held += await self._came.get()
        return await self.asked(8 if self._held[1] != 16 else 9 + self._held[6])

    async def silence(self, seconds: float) -> bool:
        """Return whether nothing comes for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                self._held += await self._came.get()
        return not self._held

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


@asynccontextmanager
async def terminal() -> AsyncIterator[Terminal]:
    """A pseudo-terminal; what opens its path speaks with the `Terminal`."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    far_end = Terminal(master, Path(os.ttyname(slave)))
    try:
        yield far_end
    finally:
        far_end.close()
        os.close(slave)


@contextmanager
def joined_terminals(loop: asyncio.AbstractEventLoop) -> Any:
    """Two pseudo-terminals, each of which is the other's far end; yields their paths. `loop` copies the bytes."""
    pairs = [pty.openpty() for _ in range(2)]
    masters = [master for master, _ in pairs]
    for master, slave in pairs:
        tty.setraw(slave)
        os.set_blocking(master, False)

    def copy(source: int, target: int) -> None:
        with suppress(OSError):
            os.write(target, os.read(source, 4096))

    for source, target in (masters, masters[::-1]):
        loop.call_soon_threadsafe(loop.add_reader, source, copy, source, target)
    try:
        yield [Path(os.ttyname(slave)) for _, slave in pairs]
    finally:
        for master in masters:
            loop.remove_reader(master)
        for each in (*pairs[0], *pairs[1]):
            os.close(each)
