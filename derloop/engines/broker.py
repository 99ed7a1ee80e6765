"""The broker of a run on several machines, on ports that are free, and how cores reach it."""

from __future__ import annotations

import secrets
import socket
from contextlib import ExitStack
from threading import Thread

from derloop.engines import helics
from derloop.errors import EngineError

LOOPBACK = "127.0.0.1"
PORTS = range(10_000, 32_000)
HELICS_PORTS = range(23_000, 26_000)
BROKER_PORTS = 8
TRIES = 5
"""How many times ports are tried: another process may take one between our look and HELICS's."""
CLOSE_S = 0.3


def opened(federates: int, core_type: str, interface: str) -> tuple[helics.Broker, int]:
    """Return a broker for so many federates that listens on the address `interface`, and its port."""
    options = "" if interface == LOOPBACK else f"--local_interface=tcp://{interface}"
    for attempt in range(TRIES):
        port = _free_ports(BROKER_PORTS + federates, interface)
        try:
            return helics.Broker(federates, core_type, f"{options} --localport={port}"), port
        except EngineError:
            if attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable")


def core_options(address: str, port: int, interface: str) -> str:
    """Return what a core on `interface` of this machine is told of the broker at an address."""
    return f"--brokeraddress=tcp://{address} --brokerport={port} --local_interface=tcp://{interface}"


def close(broker: helics.Broker) -> None:
    """Close the broker, but do not wait for ever: HELICS may wait for federates that are dead."""
    thread = Thread(target=broker.close, name="derloop broker", daemon=True)
    thread.start()
    thread.join(CLOSE_S)


def _free_ports(count: int, interface: str) -> int:
    """Return the first of `count` neighbouring ports that are free on `interface`.

    HELICS takes two for the broker, leaves three, and gives one to each core when it joins, seconds later. So they lie
    where the system takes none for outgoing connections meanwhile, and not where other people's HELICS looks first.
    """
    for _ in range(100):
        port = PORTS.start + secrets.randbelow(len(PORTS) - count)
        if not (port < HELICS_PORTS.stop and HELICS_PORTS.start < port + count) and _are_free(port, count, interface):
            return port
    raise EngineError(f"no {count} neighbouring ports are free on {interface}")


def _are_free(first: int, count: int, interface: str) -> bool:
    with ExitStack() as stack:
        for port in range(first, first + count):
            try:
                stack.enter_context(socket.socket()).bind((interface, port))
            except OSError:
                return False
    return True
