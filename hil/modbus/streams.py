"""The plain TCP connections of one event loop, watched together.

asyncio makes a handle and a context of every arrival, and room of 256 KB for what is seldom more than 200 bytes: that
costs as much as the exchange itself. Here the connections of a loop have an epoll of their own, which the loop watches
as if it were one connection. Each of them is an `asyncio.Transport` to its protocol, as any other.

What is written leaves in the same turn of the loop or the next, with what others write: calls of the system that follow
each other, and protocols that do, take a fraction of the time that they take in turns.
"""

from __future__ import annotations

import asyncio
import select
import socket
import sys
from typing import Any

ARRIVAL = 4096
"""Bytes that are taken at once; the longest frame has 260."""
AT_ONCE = 32
"""Connections that are received from, and sent to, in one go."""
MOST_UNSENT = 65_536
"""With more waiting to be sent, the protocol is told to pause."""


class StreamLoop(asyncio.SelectorEventLoop):
    """An event loop that watches plain TCP connections together, where the system can (Linux)."""

    streams: Streams | None = None

    def __init__(self) -> None:
        super().__init__()
        try:
            self.streams = Streams(self) if sys.platform == "linux" else None
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self.streams is not None and not self.is_closed():
            self.streams.close()
        super().close()


def streams_of(loop: asyncio.AbstractEventLoop) -> Streams | None:
    """Return what watches the connections of a loop together; None: it has nothing that does."""
    return loop.streams if isinstance(loop, StreamLoop) else None


class Streams:
    """The connections of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._epoll = loop, select.epoll()
        self._by_fd: dict[int, Stream] = {}
        self._sending: list[Stream] = []
        loop.add_reader(self._epoll.fileno(), self._serve)

    async def connect(self, protocol: asyncio.Protocol, host: str, port: int) -> None:
        """Connect a protocol, to the first of the host's addresses that can be reached. Raises OSError."""
        failure: OSError = ConnectionError(f"{host} has no address")
        for family, *_, address in await _addresses(self._loop, host, port):
            connecting = socket.socket(family, socket.SOCK_STREAM)
            try:
                connecting.setblocking(False)
                await self._loop.sock_connect(connecting, address)
            except BaseException as why:
                connecting.close()
                if not isinstance(why, OSError):
                    raise
                failure = why
            else:
                self.take(connecting, protocol)
                return
        raise failure

    def take(self, connected: socket.socket, protocol: asyncio.Protocol) -> None:
        """Serve a protocol with a connection, which is closed with it."""
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = Stream(self, self._loop, connected, protocol)
        self._by_fd[connected.fileno()] = stream
        self._epoll.register(connected.fileno(), select.EPOLLIN)
        protocol.connection_made(stream)

    def watch(self, fd: int, *, reading: bool, writing: bool) -> None:
        """Wait for what comes, and for room to send."""
        self._epoll.modify(fd, reading * select.EPOLLIN | writing * select.EPOLLOUT)

    def forget(self, fd: int) -> None:
        """Watch a connection no more."""
        if self._by_fd.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Watch nothing any more; what is still open is closed."""
        for stream in tuple(self._by_fd.values()):
            stream.abort()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def send_soon(self, stream: Stream) -> None:
        """Have a connection send what waits in it: some at once, in this turn of the loop or the next."""
        if not self._sending:
            self._loop.call_soon(self._send)
        self._sending.append(stream)
        if len(self._sending) >= AT_ONCE:
            self._send()

    def _send(self) -> None:
        sending, self._sending = self._sending, []
        for stream in sending:
            stream.send()

    def _serve(self) -> None:
        events = self._epoll.poll(0, AT_ONCE)
        arrivals = [(stream, stream.receive(event)) for fd, event in events if (stream := self._by_fd.get(fd))]
        for stream, data in arrivals:
            if data:
                stream.take(data)
        self._send()


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[Any]:
    """Return what `getaddrinfo` does: at once for numbers, else from a thread."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Stream(asyncio.Transport):
    """One of these connections."""

    def __init__(
        self, streams: Streams, loop: asyncio.AbstractEventLoop, connected: socket.socket, protocol: asyncio.Protocol
    ) -> None:
        super().__init__({"socket": connected})
        self._streams, self._loop, self._socket, self._protocol = streams, loop, connected, protocol
        self._fd, self._unsent = connected.fileno(), b""
        self._closing = self._ended = self._waits = False
        self._reading, self._told_to_pause = True, False

    def receive(self, events: int) -> bytes:
        """Return what has come, nothing where that is the end; send what waits, if there is room for it."""
        if events & select.EPOLLOUT:
            self.send()
        if not events & ~select.EPOLLOUT or self._ended:
            return b""
        try:
            data = self._socket.recv(ARRIVAL)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as failure:
            self._end(failure)
            return b""
        if not data:
            self.close()
        return data

    def take(self, data: bytes) -> None:
        """Give the protocol what has come; what it raises ends this connection alone, and is told to the loop."""
        if self._closing or self._ended:
            return
        try:
            self._protocol.data_received(data)
        except Exception as failure:  # noqa: BLE001 - of a protocol; the others have arrivals to take
            self.abort()
            said = {"message": "a protocol failed over what came", "exception": failure, "protocol": self._protocol}
            self._loop.call_exception_handler(said)

    def write(self, data: Any) -> None:
        if self._closing or self._ended:
            return
        is_first, self._unsent = not self._unsent, self._unsent + data
        if self._waits:
            self._keep(self._unsent)
        elif len(self._unsent) > ARRIVAL:
            self.send()
        elif is_first:
            self._streams.send_soon(self)

    def send(self) -> None:
        """Send what waits, as much as there is room for."""
        if not self._unsent:
            return
        try:
            sent = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as failure:
            self._end(failure)
            return
        if sent < len(self._unsent):
            self._keep(self._unsent[sent:])
        else:
            self._all_sent()

    def _keep(self, unsent: bytes) -> None:
        """Keep what could not be sent yet, and send it when there is room."""
        self._unsent, self._waits = unsent, True
        self._watch()
        if len(unsent) > MOST_UNSENT and not self._told_to_pause:
            self._told_to_pause = True
            self._protocol.pause_writing()

    def _all_sent(self) -> None:
        self._unsent = b""
        if self._waits:
            self._waits = False
            self._watch()
        if self._told_to_pause:
            self._told_to_pause = False
            self._protocol.resume_writing()
        if self._closing:
            self._end(None)

    def _watch(self) -> None:
        if not self._ended:
            self._streams.watch(self._fd, reading=self._reading, writing=self._waits)

    def is_closing(self) -> bool:
        return self._closing or self._ended

    def pause_reading(self) -> None:
        self._reading = False
        self._watch()

    def resume_reading(self) -> None:
        self._reading = not self._closing
        self._watch()

    def close(self) -> None:
        """Close the connection once what waits is sent."""
        self._closing, self._reading = True, False
        self._watch()
        if self._unsent:
            self.send()
        else:
            self._end(None)

    def abort(self) -> None:
        self._end(None)

    def _end(self, failure: Exception | None) -> None:
        if self._ended:
            return
        self._ended, self._unsent = True, b""
        self._streams.forget(self._fd)
        if self._loop.is_closed() or not self._loop.is_running():
            self._socket.close()
            return
        self._loop.call_soon(self._lost, failure)

    def _lost(self, failure: Exception | None) -> None:
        try:
            self._protocol.connection_lost(failure)
        finally:
            self._socket.close()
