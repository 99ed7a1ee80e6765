"""One name for one device, however its address is spelt."""

from __future__ import annotations

import ipaddress
import re
import socket
from contextlib import suppress
from pathlib import Path

from derloop.errors import Unreachable
from hil.modbus.endpoint import Address, Serial


def places(device: str, address: Address) -> tuple[str, ...]:
    """Return the names under which a device is locked and recorded: one for each address that its host has.

    "localhost" and "127.0.0.1" share a name, and so do a serial port and the links to it. May ask a name server;
    raises Unreachable where that fails.
    """
    endpoint = address.endpoint
    if isinstance(endpoint, Serial):
        return (_safe(f"serial{Path(endpoint.path).resolve()}-unit-{address.unit}"),)
    return tuple(_safe(f"tcp-{host}-{endpoint.port}-unit-{address.unit}") for host in _hosts(device, endpoint.host))


def spelt(address: Address) -> str:
    """Return a name that two addresses share where one can tell, without asking anybody, that they are one place.

    "localhost" is 127.0.0.1, and what carries the frames (TCP, TLS, RTU over TCP) makes no other place.
    """
    endpoint = address.endpoint
    if isinstance(endpoint, Serial):
        return f"serial {Path(endpoint.path).resolve()} unit {address.unit}"
    host = endpoint.host.lower().rstrip(".")
    with suppress(ValueError):  # a name, which only a name server could tell more of
        host = _canonical("127.0.0.1" if host == "localhost" else host)
    return f"{host} {endpoint.port} unit {address.unit}"


def _hosts(device: str, host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as failure:
        raise Unreachable(device, f"the host {host!r} is not known: {failure}") from failure
    return sorted({_canonical(str(each[4][0])) for each in found}, key=lambda name: (":" in name, name))


def _canonical(host: str) -> str:
    """Return an address as all others spell it: unspecified is this machine, IPv4 within IPv6 is IPv4."""
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "::1"
    return str(address)


def _safe(name: str) -> str:
    """Return a name that a file can have, different for different names."""
    return re.sub(r"[^A-Za-z0-9.:-]", lambda match: f"_{ord(match[0]):x}_", name)
