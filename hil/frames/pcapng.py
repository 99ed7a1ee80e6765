"""The blocks of a pcapng file, with times in nanoseconds and a comment for each packet.

Source: draft-ietf-opsawg-pcapng, sections 4.1 to 4.5. Wireshark, tshark and tcpdump read it; for what reads the older
format alone: `editcap -F nsecpcap in.pcapng out.pcap`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from ipaddress import IPv4Address


class LinkType(IntEnum):
    ETHERNET = 1
    UPPER_PDU = 252
    """Tags that name what the bytes behind them are (Wireshark's "exported PDU")."""


_SECTION, _INTERFACE, _NAMES, _PACKET = 0x0A0D0D0A, 1, 4, 6
_COMMENT, _APPLICATION, _INTERFACE_NAME, _RESOLUTION = 1, 4, 2, 9
_NANOSECONDS = b"\x09"
_ORDER, _VERSION, _LENGTH_UNKNOWN = 0x1A2B3C4D, (1, 0), -1


def section(application: str) -> bytes:
    """Return the block that begins a file."""
    body = struct.pack("<IHHq", _ORDER, *_VERSION, _LENGTH_UNKNOWN)
    return _block(_SECTION, body + _options({_APPLICATION: application.encode()}))


def interface(link: LinkType, name: str) -> bytes:
    """Return the block that describes the next interface: the first is 0."""
    body = struct.pack("<HHI", link, 0, 0)
    return _block(_INTERFACE, body + _options({_INTERFACE_NAME: name.encode(), _RESOLUTION: _NANOSECONDS}))


def name(address: IPv4Address, called: str) -> bytes:
    """Return the block that says what an address is called."""
    record = address.packed + called.encode() + b"\0"
    return _block(_NAMES, struct.pack("<HH", 1, len(record)) + _padded(record) + bytes(4))


def packet(number: int, time_ns: int, data: bytes, comment: str = "") -> bytes:
    """Return the block of one packet of interface `number`; time in ns since 1970, UTC."""
    head = struct.pack("<IIIII", number, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), len(data))
    return _block(_PACKET, head + _padded(data) + _options({_COMMENT: comment.encode()} if comment else {}))


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _options(options: Mapping[int, bytes]) -> bytes:
    each = [struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options.items()]
    return b"".join([*each, bytes(4)]) if each else b""


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
