"""A serial line that ends in this process: a pseudo-terminal, whose other end a client opens as its port.

A pseudo-terminal knows no baud rate; the time that bytes take on a wire is added here.
"""

from __future__ import annotations

import asyncio
import os
import tty
from pathlib import Path

from hil.modbus.endpoint import Serial
from hil.modbus.framing import FramingError
from hil.serving.exchanges import Exchanges, Manner
from hil.serving.listener import CannotListen
from hil.serving.responder import GoneDown

CHUNK = 4096
PSEUDO_TERMINALS = Path("/dev/pts")
LEAST_SILENCE_S = 0.05
"""Between two frames, as far as an operating system lets it be told."""


class SerialLine:
    """Serves one line. For use inside an event loop.

    `endpoint.path` is made a link to the port, and removed at the end; a link that a killed process has left is
    replaced, and nothing else. Raises CannotListen where the path is taken.
    """

    def __init__(self, endpoint: Serial, manner: Manner, *, takes_time: bool = True) -> None:
        """takes_time: bytes arrive as late as the baud rate says."""
        self._path = endpoint.path
        self._port, self._other_end = os.openpty()  # the other end is kept open: without it reading fails
        try:
            for end in (self._port, self._other_end):
                tty.setraw(end)
                os.set_blocking(end, False)
            self._target = os.ttyname(self._other_end)
            _link(self._path, self._target)
        except BaseException:
            self._close_ends()
            raise
        byte_s = endpoint.byte_s if takes_time else 0.0
        silence_s = max(LEAST_SILENCE_S, 3.5 * endpoint.byte_s)
        self._exchanges = Exchanges(manner, endpoint.framing, self._send, byte_s=byte_s, silence_s=silence_s)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._port, self._receive)

    async def close(self) -> None:
        """Serve no more; remove the link."""
        if self._port < 0:
            return
        self._loop.remove_reader(self._port)
        self._exchanges.close()
        if self._path.is_symlink() and self._path.readlink() == Path(self._target):
            self._path.unlink()
        self._close_ends()

    def _close_ends(self) -> None:
        os.close(self._port)
        os.close(self._other_end)
        self._port = self._other_end = -1

    def _receive(self) -> None:
        try:
            data = os.read(self._port, CHUNK)
        except BlockingIOError:
            return
        try:
            self._exchanges.take(data, self._loop.time())
        except (FramingError, GoneDown):  # a bus stays silent; the next request is another one
            return

    def _send(self, data: bytes) -> None:
        """Put bytes on the line; what nobody takes off it is lost, as it is on a wire."""
        try:
            os.write(self._port, data)
        except BlockingIOError:
            return


def _link(path: Path, target: str) -> None:
    try:
        if path.is_symlink() and _is_left_over(path, target):
            path.unlink()
        path.symlink_to(target)
    except OSError as error:
        raise CannotListen(f"cannot make the port {path}: {error.strerror or error}") from error


def _is_left_over(path: Path, target: str) -> bool:
    """Return whether a link leads to a pseudo-terminal that is no more, or that is now ours."""
    leads_to = path.readlink()
    return leads_to == Path(target) or (leads_to.is_relative_to(PSEUDO_TERMINALS) and not path.exists())
