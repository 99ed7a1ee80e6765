"""What ends an exchange without an answer."""

from __future__ import annotations

import os
import socket
import ssl

from derloop.errors import Unreachable


class Unacknowledged(Unreachable):
    """A write was sent and not acknowledged: the device may have done it."""


class NoAnswer(Exception):
    """One attempt of an exchange failed.

    `sent`: the request was on the wire, so the device may have done what it asks. `again`: another attempt may help,
    if `busy` after leaving the device alone for a while.
    """

    def __init__(self, why: str, *, sent: bool = False, again: bool = True, busy: bool = False) -> None:
        self.sent, self.again, self.busy = sent, again, busy
        super().__init__(why)


class NotOpened(Exception):
    """A connection could not be opened. `again`: another attempt may help."""

    def __init__(self, why: str, *, again: bool = True) -> None:
        self.again = again
        super().__init__(why)


def reason(failure: OSError) -> str:
    """Return the plain reason; asyncio puts the address in its place, which is said elsewhere."""
    if isinstance(failure, ssl.SSLError):
        return failure.reason or str(failure)
    if isinstance(failure, socket.gaierror):
        return f"the host's name is not known ({failure.strerror})"
    if failure.errno and failure.errno > 0:
        return os.strerror(failure.errno)
    return str(failure) or type(failure).__name__
