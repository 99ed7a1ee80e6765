"""What a module of tests leaves open: looked at once, where looking after every one of many tests would take longer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


def _sockets() -> set[tuple[object, ...]]:
    own = psutil.Process().net_connections(kind="tcp")
    return {(each.fd, each.laddr) for each in own if each.fd != -1}


@contextmanager
def nothing_more_open() -> Iterator[None]:
    """Fail if a thread or a socket is left open."""
    threads, sockets = set(threading.enumerate()), _sockets()
    yield
    assert set(threading.enumerate()) <= threads
    assert _sockets() <= sockets
