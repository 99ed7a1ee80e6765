"""Streams over a serial port, without a thread and without blocking the event loop."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from derloop.errors import PluginError
from hil.modbus.endpoint import Serial
from hil.modbus.failures import NotOpened
from hil.modbus.tap import Tap
from hil.modbus.wire import Wire

if TYPE_CHECKING:
    import serial

_PARITIES = {"none": "N", "even": "E", "odd": "O"}


def open_serial(endpoint: Serial, tap: Tap | None) -> Wire:
    """Open a port for us alone; raises NotOpened, PluginError where pyserial is missing."""
    wire = Wire(endpoint.framing, tap)
    wire.connection_made(SerialTransport(open_port(endpoint), wire))
    return wire


def open_port(endpoint: Serial) -> serial.Serial:
    """Return an open port, set up and never blocking."""
    try:
        import serial
    except ImportError as missing:
        raise PluginError("serial lines need pyserial: pip install 'derloop[bench]'") from missing
    try:
        return serial.Serial(
            str(endpoint.path),
            baudrate=endpoint.baud,
            parity=_PARITIES[endpoint.parity],
            stopbits=endpoint.stop_bits,
            timeout=0,
            exclusive=True,
        )
    except (OSError, ValueError) as failure:  # SerialException is an OSError
        raise NotOpened(_reason(failure)) from failure


def _reason(failure: Exception) -> str:
    number = getattr(failure, "errno", None)
    if number == 11:
        return "another program has the port"
    return os.strerror(number) if number else str(failure)


class SerialTransport(asyncio.Transport):
    """What asyncio's transports are for sockets, for a port's file descriptor: as much of it as a `Wire` needs."""

    def __init__(self, port: serial.Serial, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._port, self._protocol = port, protocol
        self._fd: int = port.fileno()
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._closing = False
        self._loop.add_reader(self._fd, self._readable)

    def write(self, data: Any) -> None:
        if self._closing:
            return
        self._unsent += data
        self._writable()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._end(None)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError as failure:
            self._end(failure)
            return
        if data:
            self._protocol.data_received(data)
        else:
            self._end(ConnectionError("the serial port is gone"))

    def _writable(self) -> None:
        try:
            del self._unsent[: os.write(self._fd, self._unsent)]
        except BlockingIOError:
            pass
        except OSError as failure:
            self._end(failure)
            return
        if self._unsent:
            self._loop.add_writer(self._fd, self._writable)
        else:
            self._loop.remove_writer(self._fd)

    def _end(self, failure: OSError | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._port.close()
        lost = failure and ConnectionError(f"the serial port is lost: {failure.strerror or failure}")
        self._loop.call_soon(self._protocol.connection_lost, lost)
