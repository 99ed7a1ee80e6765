"""How a stream of bytes to an endpoint is opened."""

from __future__ import annotations

import asyncio

from hil.modbus.endpoint import Endpoint, RtuOverTcp, Serial, Tcp
from hil.modbus.failures import NotOpened, reason
from hil.modbus.streams import streams_of
from hil.modbus.tap import Tap
from hil.modbus.wire import Wire


async def open_wire(endpoint: Endpoint, tap: Tap | None) -> Wire:
    """Open a stream; raises NotOpened with a plain reason, PluginError where a library is missing."""
    try:
        return await _open(endpoint, tap)
    except UnicodeError as failure:  # of the host's name, before anybody is asked for it
        raise NotOpened("the host's name is none: a part of it is empty or too long", again=False) from failure


async def _open(endpoint: Endpoint, tap: Tap | None) -> Wire:
    if isinstance(endpoint, Tcp | RtuOverTcp):
        return await _open_tcp(endpoint, tap)
    if isinstance(endpoint, Serial):
        from hil.modbus.serial_line import open_serial

        return open_serial(endpoint, tap)
    from hil.modbus.tls import open_tls

    return await open_tls(endpoint, tap)


async def _open_tcp(endpoint: Tcp | RtuOverTcp, tap: Tap | None) -> Wire:
    loop, wire = asyncio.get_running_loop(), Wire(endpoint.framing, tap)
    streams = streams_of(loop)
    try:
        if streams is None:
            await loop.create_connection(lambda: wire, endpoint.host, endpoint.port)
        else:
            await streams.connect(wire, endpoint.host, endpoint.port)
    except OSError as failure:
        raise NotOpened(reason(failure)) from failure
    return wire
