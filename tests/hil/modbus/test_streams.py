"""TCP connections that a loop watches together behave as asyncio's own do."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Awaitable, Callable
from threading import Thread

import pytest

from hil.modbus.streams import MOST_UNSENT, Stream, StreamLoop, Streams, streams_of
from hil.modbus.thread import LoopThread

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")


class Heard(asyncio.Protocol):
    """Keeps what a connection is told."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.data, self.paused = b"", [False]
        self.lost: list[Exception | None] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Stream)
        self.stream = transport

    def data_received(self, data: bytes) -> None:
        self.data += data

    def pause_writing(self) -> None:
        self.paused.append(True)

    def resume_writing(self) -> None:
        self.paused.append(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


Case = Callable[[Heard, Stream, socket.socket], Awaitable[None]]


def connected(case: Case) -> Heard:
    """Run a case with a protocol, its connection, and the socket at the other end, in a loop that ends after it."""

    async def main() -> Heard:
        heard, streams = Heard(), streams_of(asyncio.get_running_loop())
        assert isinstance(streams, Streams)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            await streams.connect(heard, "127.0.0.1", listening.getsockname()[1])
            other, _ = listening.accept()
        with other:
            assert heard.stream
            other.settimeout(5.0)
            await case(heard, heard.stream, other)
            heard.stream.abort()
            await until(lambda: bool(heard.lost))
        return heard

    with asyncio.Runner(loop_factory=StreamLoop) as runner:
        return runner.run(main())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5.0):
        while not holds():
            await asyncio.sleep(0.001)


def test_what_comes_in_pieces_longer_than_one_arrival_comes_whole_and_in_order() -> None:
    sent = bytes(range(256)) * 60

    async def case(heard: Heard, stream: Stream, other: socket.socket) -> None:
        other.sendall(sent)
        await until(lambda: len(heard.data) == len(sent))

    assert connected(case).data == sent


def test_who_cannot_send_is_told_to_pause_and_later_to_go_on_and_nothing_is_lost() -> None:
    sent = b"0123456789abcdef" * (1 << 18)

    async def case(heard: Heard, stream: Stream, other: socket.socket) -> None:
        stream.write(sent[:-3])
        stream.write(sent[-3:])
        assert len(sent) > MOST_UNSENT
        assert heard.paused == [False, True]
        assert b"".join(await asyncio.to_thread(_all, other, len(sent))) == sent
        await until(lambda: heard.paused == [False, True, False])

    connected(case)


def _all(other: socket.socket, length: int) -> list[bytes]:
    pieces: list[bytes] = []
    while length:
        pieces.append(other.recv(1 << 20))
        length -= len(pieces[-1])
    return pieces


def test_closing_sends_what_waits_and_then_ends() -> None:
    sent = b"x" * (1 << 22)

    async def case(heard: Heard, stream: Stream, other: socket.socket) -> None:
        stream.write(sent)
        stream.close()
        stream.write(b"too late")
        assert stream.is_closing()
        assert b"".join(await asyncio.to_thread(_all, other, len(sent))) == sent
        assert await asyncio.to_thread(other.recv, 1) == b""

    assert connected(case).lost == [None]


def test_aborting_drops_what_waits_and_is_told_once() -> None:
    async def case(heard: Heard, stream: Stream, other: socket.socket) -> None:
        stream.abort()
        stream.abort()
        stream.write(b"too late")
        assert heard.lost == []  # told in a later turn of the loop, as asyncio does
        await until(lambda: bool(heard.lost))
        assert other.recv(1) == b""

    assert connected(case).lost == [None]


def test_a_connection_that_the_other_side_ends_is_lost_without_a_failure() -> None:
    async def case(heard: Heard, stream: Stream, other: socket.socket) -> None:
        other.shutdown(socket.SHUT_WR)
        await until(lambda: bool(heard.lost))

    assert connected(case).lost == [None]


def test_a_connection_that_is_reset_is_lost_with_its_failure() -> None:
    async def case(heard: Heard, stream: Stream, other: socket.socket) -> None:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        other.close()
        await until(lambda: bool(heard.lost))

    [failure] = connected(case).lost
    assert isinstance(failure, ConnectionResetError)


def test_nothing_is_taken_while_reading_is_paused() -> None:
    async def case(heard: Heard, stream: Stream, other: socket.socket) -> None:
        stream.pause_reading()
        other.sendall(b"later")
        await asyncio.sleep(0.03)
        assert heard.data == b""
        stream.resume_reading()
        await until(lambda: heard.data == b"later")

    connected(case)


def test_a_protocol_that_fails_loses_its_connection_and_is_reported() -> None:
    reported: list[object] = []

    async def case(heard: Heard, stream: Stream, other: socket.socket) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: reported.append(what["exception"]))
        heard.data_received = lambda _: 1 // 0  # type: ignore[method-assign, assignment]
        other.sendall(b"?")
        await until(lambda: bool(heard.lost))

    connected(case)
    assert [type(each) for each in reported] == [ZeroDivisionError]


def test_nobody_listening_is_refused_with_the_systems_reason() -> None:
    async def main() -> None:
        streams = streams_of(asyncio.get_running_loop())
        assert streams
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
        await streams.connect(Heard(), "localhost", port)

    with asyncio.Runner(loop_factory=StreamLoop) as runner, pytest.raises(ConnectionRefusedError):
        runner.run(main())


def test_a_loop_that_ends_closes_what_is_open() -> None:
    heard = Heard()

    async def main() -> socket.socket:
        streams = streams_of(asyncio.get_running_loop())
        assert streams
        with socket.create_server(("127.0.0.1", 0)) as listening:
            await streams.connect(heard, "127.0.0.1", listening.getsockname()[1])
            return listening.accept()[0]

    with asyncio.Runner(loop_factory=StreamLoop) as runner:
        other = runner.run(main())
    with other:
        assert other.recv(1) == b""


def test_another_loop_watches_its_connections_itself() -> None:
    async def main() -> None:
        assert streams_of(asyncio.get_running_loop()) is None

    asyncio.run(main())


class Failing(Heard):
    """Fails over whatever comes."""

    def data_received(self, data: bytes) -> None:
        raise ValueError(data)


def test_a_protocol_that_fails_ends_alone_and_those_that_heard_at_the_same_time_have_what_came() -> None:
    told: list[str] = []

    async def main() -> tuple[Heard, Heard]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: told.append(repr(context["exception"])))
        streams = streams_of(loop)
        assert isinstance(streams, Streams)
        failing, well = Failing(), Heard()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            others = []
            for protocol in (failing, well):
                await streams.connect(protocol, *listening.getsockname())
                others.append(listening.accept()[0])
        for other in others:
            other.sendall(b"come")
        await until(lambda: bool(failing.lost and well.data))
        assert well.stream
        well.stream.abort()
        for other in others:
            other.close()
        await until(lambda: bool(well.lost))
        return failing, well

    with asyncio.Runner(loop_factory=StreamLoop) as runner:
        failing, well = runner.run(main())
    assert (well.data, failing.lost, told) == (b"come", [None], ["ValueError(b'come')"])


def test_a_thread_for_whose_loop_no_file_handle_is_left_says_so_and_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without_handles(loop: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("hil.modbus.streams.Streams", without_handles)
    said: list[OSError] = []

    def begin() -> None:
        try:
            LoopThread("without handles")
        except OSError as error:
            said.append(error)

    beginning = Thread(target=begin, daemon=True)
    beginning.start()
    beginning.join(10.0)
    assert [error.errno for error in said] == [errno.EMFILE]
