"""Sockets that are joined to each other, and ports for those of other processes."""

from __future__ import annotations

import socket

from derloop.engines import broker


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


def free_ports(count: int, host: str = "127.0.0.1") -> tuple[int, ...]:
    """Return neighbouring ports that are free, and that the system takes for no outgoing connection meanwhile."""
    first = broker._free_ports(count, host)
    return tuple(range(first, first + count))
