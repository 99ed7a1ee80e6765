"""What was said over a connection, as packets of Ethernet, IPv4 and TCP that could have carried it.

The journal holds what the two sides said, not how it was carried; a dissector wants it carried. So sequence numbers,
acknowledgements and checksums are right; the handshake, addresses and ports are made up (see `hil.frames.capture`).

Source: RFC 791, RFC 1071, RFC 9293.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntFlag
from ipaddress import IPv4Address
from typing import NamedTuple

_IPV4, _TCP = 0x0800, 6
_WINDOW = 0xFFFF


class Flag(IntFlag):
    FIN = 1
    SYN = 2
    PSH = 8
    ACK = 16


class Socket(NamedTuple):
    address: IPv4Address
    port: int


class Conversation:
    """One TCP connection from a client to a server, from handshake to end."""

    def __init__(self, client: Socket, server: Socket) -> None:
        self._ends = client, server
        self._said = [0, 0]
        """Sequence numbers: what each end will say next."""

    def opened(self) -> Iterator[bytes]:
        """Yield the three packets of the handshake."""
        yield self._packet(0, Flag.SYN)
        yield self._packet(1, Flag.SYN | Flag.ACK)
        yield self._packet(0, Flag.ACK)

    def request(self, data: bytes) -> bytes:
        return self._packet(0, Flag.PSH | Flag.ACK, data)

    def answer(self, data: bytes) -> bytes:
        return self._packet(1, Flag.PSH | Flag.ACK, data)

    def closed(self) -> Iterator[bytes]:
        """Yield the packets with which the client ends it."""
        yield self._packet(0, Flag.FIN | Flag.ACK)
        yield self._packet(1, Flag.FIN | Flag.ACK)
        yield self._packet(0, Flag.ACK)

    def _packet(self, by: int, flags: Flag, data: bytes = b"") -> bytes:
        source, target = self._ends[by], self._ends[1 - by]
        heard = self._said[1 - by] if Flag.ACK in flags else 0
        segment = _segment(source, target, (self._said[by], heard), flags, data)
        self._said[by] = (self._said[by] + len(data) + bool(flags & (Flag.SYN | Flag.FIN))) & 0xFFFFFFFF
        return _ethernet(source, target) + _ipv4(source, target, len(segment)) + segment


def _ethernet(source: Socket, target: Socket) -> bytes:
    """Locally administered addresses that end as the IP addresses do."""
    return b"\2\0" + target.address.packed + b"\2\0" + source.address.packed + struct.pack(">H", _IPV4)


def _ipv4(source: Socket, target: Socket, length: int) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, _TCP, 0)
    head += source.address.packed + target.address.packed
    return head[:10] + _checksum(head) + head[12:]


def _segment(source: Socket, target: Socket, numbers: tuple[int, int], flags: Flag, data: bytes) -> bytes:
    head = struct.pack(">HHIIBBHHH", source.port, target.port, *numbers, 5 << 4, flags, _WINDOW, 0, 0)
    pseudo = source.address.packed + target.address.packed + struct.pack(">HH", _TCP, len(head) + len(data))
    return head[:16] + _checksum(pseudo + head + data) + head[18:] + data


def _checksum(data: bytes) -> bytes:
    """Return the complement of the ones' complement sum of 16-bit words (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", total ^ 0xFFFF)
