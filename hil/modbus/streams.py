"""The plain TCP connections of one event loop, watched together.

asyncio makes a handle and a context of every arrival, and room of 256 KB for what is seldom more than 200 bytes: that
costs as much as the exchange itself. Here the connections of a loop have an epoll of their own, which the loop watches
as if it were one connection. Each of them is an `asyncio.Transport` to its protocol, as any other.
"""

from __future__ import annotations

import asyncio
import select
import socket
import sys
from typing import Any

ARRIVAL = 4096
"""Bytes that are taken at once; the longest frame has 260."""
MOST_UNSENT = 65_536
"""With more waiting to be sent, the protocol is told to pause."""


class StreamLoop(asyncio.SelectorEventLoop):
    """An event loop that watches plain TCP connections together, where the system can (Linux)."""

    def __init__(self) -> None:
        super().__init__()
        self.streams = Streams(self) if sys.platform == "linux" else None

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

    def _serve(self) -> None:
        for fd, events in self._epoll.poll(0):
            stream = self._by_fd.get(fd)
            if stream is not None:  # else closed by one before it
                stream.serve(events)


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
        self._closing = self._ended = False
        self._reading, self._told_to_pause = True, False

    def serve(self, events: int) -> None:
        """Take what has come, and send what waits; what the protocol raises ends the connection, and is raised."""
        try:
            if events & ~select.EPOLLOUT:
                self._receive()
            if events & select.EPOLLOUT:
                self._send_on()
        except BaseException:
            self.abort()
            raise

    def _receive(self) -> None:
        try:
            data = self._socket.recv(ARRIVAL)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as failure:
            self._end(failure)
            return
        if data and not self._closing:
            self._protocol.data_received(data)
        elif not data:
            self.close()

    def write(self, data: Any) -> None:
        if self._closing or self._ended:
            return
        if self._unsent:
            self._keep(self._unsent + bytes(data))
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as failure:
            self._end(failure)
            return
        if sent < len(data):
            self._keep(bytes(data[sent:]))

    def _keep(self, unsent: bytes) -> None:
        """Keep what could not be sent, and send it when there is room."""
        self._unsent = unsent
        self._watch()
        if len(unsent) > MOST_UNSENT and not self._told_to_pause:
            self._told_to_pause = True
            self._protocol.pause_writing()

    def _send_on(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as failure:
            self._end(failure)
            return
        if self._unsent:
            return
        self._watch()
        if self._told_to_pause:
            self._told_to_pause = False
            self._protocol.resume_writing()
        if self._closing:
            self._end(None)

    def _watch(self) -> None:
        if not self._ended:
            self._streams.watch(self._fd, reading=self._reading, writing=bool(self._unsent))

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
        if self._unsent:
            self._watch()
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
