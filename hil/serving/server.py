"""Serves any number of lines, a device or a bus of them on each, in one thread."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from hil.modbus.endpoint import Endpoint, Serial, Tls
from hil.modbus.framing import MBAP
from hil.modbus.pdu import ExceptionCode
from hil.modbus.thread import LoopThread
from hil.serving.conversation import Conversations
from hil.serving.device import Device, manner_of
from hil.serving.exchanges import Manner, MannerOf, Plain
from hil.serving.listener import Listener
from hil.serving.quirks import Connections
from hil.serving.responder import Responder, Units
from hil.serving.security import Roles, permitted, server_context
from hil.serving.serial_line import SerialLine


@dataclass(frozen=True)
class Line:
    """Where something answers, and what."""

    endpoint: Endpoint
    """Port 0: one that is free."""
    responder: Responder
    manner: MannerOf = Plain
    connections: Connections | None = None
    """None: as many as there come."""
    roles: Roles | None = None
    """TLS: what each role may do. None: whoever has a certificate may do anything."""
    takes_time: bool = True
    """Serial lines: bytes take as long as the baud rate says."""


def line(endpoint: Endpoint, devices: Mapping[int, Device], roles: Roles | None = None, **how: bool) -> Line:
    """Return the line on which devices, by unit, answer: a bus if there are several.

    A request for another unit is answered as a gateway does where there is a gateway, and not at all on a bus.
    """
    absent = ExceptionCode.GATEWAY_NO_ANSWER if endpoint.framing is MBAP else None
    units = Units({unit: device.responder for unit, device in devices.items()}, absent)
    limits = [d.fate.quirks.connections for d in devices.values() if d.fate and d.fate.quirks.connections]
    least = min(limits, key=lambda each: each.most, default=None)
    return Line(endpoint, units, manner_of(devices), least, roles, **how)


class _Open(Protocol):
    async def close(self) -> None: ...


class Server:
    """Serves lines between `start` and `stop`.

    It runs in one thread; given a `thread`, it runs in that and leaves closing it to its owner.
    """

    def __init__(self, lines: Sequence[Line], thread: LoopThread | None = None) -> None:
        self._lines, self._given_thread = tuple(lines), thread
        self._thread: LoopThread | None = None
        self._open: list[_Open] = []
        self._endpoints: tuple[Endpoint, ...] = ()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where each line is to be reached, once started: with the ports that were free."""
        return self._endpoints

    def start(self) -> tuple[Endpoint, ...]:
        """Serve; return `endpoints`. Nothing is left open if that fails, with CannotListen."""
        self._thread = self._given_thread or LoopThread("server")
        try:
            self._thread.run(self._begin())
        except BaseException:
            self.stop()
            raise
        return self._endpoints

    def stop(self) -> None:
        """Close every connection and port and join the thread; once or more often."""
        if self._thread is not None and not self._thread.closed:
            self._thread.run(self._close())
            if self._given_thread is None:
                self._thread.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _begin(self) -> None:
        self._endpoints = tuple([self._serve(line) for line in self._lines])

    def _serve(self, line: Line) -> Endpoint:
        endpoint = line.endpoint
        if isinstance(endpoint, Serial):
            manner = line.manner(line.responder, endpoint.framing)
            self._open.append(SerialLine(endpoint, manner, takes_time=line.takes_time))
            return endpoint
        conversations = Conversations(_Manners(line).of, endpoint.framing)
        tls = server_context(endpoint) if isinstance(endpoint, Tls) else None
        listener = Listener(endpoint.host, endpoint.port, conversations, tls, line.connections)
        self._open.append(listener)
        return endpoint.model_copy(update={"port": listener.port})

    async def _close(self) -> None:
        opened, self._open = self._open, []
        for each in opened:
            await each.close()


class _Manners:
    """The manners of the connections of a line, by who is at the other end."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def of(self, transport: asyncio.Transport) -> Manner:
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        responder = permitted(self._line.responder, self._line.roles, certificate)
        return self._line.manner(responder, self._line.endpoint.framing)
