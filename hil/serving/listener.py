"""A listening socket whose every connection is known, from being accepted until it is closed.

asyncio's own server loses a socket that it is just accepting when it is closed (Python 3.11), and keeps one in the
midst of a TLS handshake for a minute.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import partial

from derloop.errors import DerloopError
from hil.modbus.streams import streams_of
from hil.serving.conversation import Conversations
from hil.serving.quirks import Connections

BACKLOG = 100
HANDSHAKE_S = 10.0


class CannotListen(DerloopError):
    """Something else listens there, or the address is not this machine's."""


class Listener:
    """Accepts connections for one line. For use inside an event loop."""

    def __init__(
        self,
        host: str,
        port: int,
        conversations: Conversations,
        tls: ssl.SSLContext | None = None,
        limit: Connections | None = None,
    ) -> None:
        """Listen. port: 0 for one that is free. Raises CannotListen with the reason."""
        self._conversations, self._tls, self._limit = conversations, tls, limit
        self._accepting: set[asyncio.Task[None]] = set()
        self._socket = _listening(host, port)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._accept)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    async def close(self) -> None:
        """Close every connection, and listen no more."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        self._conversations.hang_up()
        await some_turns()

    def _accept(self) -> None:
        try:
            accepted, _ = self._socket.accept()
        except OSError:  # gone again, or no descriptor left: the next one may be luckier
            return
        if self._has_no_place():
            accepted.close()
            return
        streams = streams_of(self._loop)
        if self._tls is None and streams is not None:
            streams.take(accepted, self._conversations.begin())
            return
        task = self._loop.create_task(self._take(accepted))
        self._accepting.add(task)
        task.add_done_callback(partial(self._taken, accepted))

    def _has_no_place(self) -> bool:
        """Return whether a further connection is refused; where the first has to give way, end that."""
        if self._limit is None or len(self._conversations.open) + len(self._accepting) < self._limit.most:
            return False
        if self._limit.next == "drops-first" and self._conversations.open:
            self._conversations.end_first()
            return False
        return True

    async def _take(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limits = {} if self._tls is None else {"ssl_handshake_timeout": HANDSHAKE_S}
        await self._loop.connect_accepted_socket(self._conversations.begin, accepted, ssl=self._tls, **limits)

    def _taken(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        """Close a connection that did not come about: its client has gone, its handshake failed, or all is closed."""
        self._accepting.discard(task)
        if task.cancelled() or task.exception() is not None:
            accepted.close()


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server((str(address[0]), port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotListen(f"cannot listen at {host}:{port}: {error.strerror or error}") from error
    listening.setblocking(False)
    return listening


async def some_turns() -> None:
    """Let the loop do what is scheduled, and what that schedules."""
    for _ in range(5):
        await asyncio.sleep(0)
