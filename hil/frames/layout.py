"""How a journal of frames is laid out in its file.

A line of JSON, which says what follows, then blocks until the file's end. A block is a head (`BLOCK`: mark, length,
CRC-32) and entries. It is written at once, so that a process which is killed leaves whole blocks and at most one that
is torn, which the check finds. It is not deflated: that was measured to cost 5 us a frame, twice what all else costs,
and to spare a quarter.

An entry is a head (`ENTRY`) and its bytes: a frame as it was on the wire, or the words of an instrument that speaks
SCPI, without what ends a line; or for `TOLD` JSON about what follows: a peer
and its number, before the peer's first frame; or how many bytes were lost here, and why.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

from hil.modbus.endpoint import Endpoint, RtuOverTcp, Serial, Tcp, Tls
from hil.modbus.framing import MBAP, RTU, Framing
from hil.modbus.tap import Direction

FORMAT = "derloop-frames-1"
BLOCK = struct.Struct("<4sII")
MARK = b"blok"
ENTRY = struct.Struct("<qqqHBI")
"""Wall time (ns since 1970, UTC), monotonic time (ns), the scenario's instant (ns), the peer's number, what, length."""
TOLD = 255
CODES: dict[Direction, int] = {"sent": 0, "received": 1, "discarded": 2}
DIRECTIONS: dict[int, Direction] = {code: direction for direction, code in CODES.items()}
BEFORE = -1
"""For the instant: the scenario's first step has not begun."""
LONGEST_BLOCK = 1 << 26
"""Bytes that a reader is ready to hold: what says that it is longer is no block."""

Transport = Literal["tcp", "rtu-over-tcp", "tls", "serial", "scpi"]


@dataclass(frozen=True, slots=True)
class Peer:
    """The device or the instrument at the other end: what it is called, and where it is."""

    device: str
    unit: int
    transport: Transport
    where: str
    """Host name, address or path of a serial port; of SCPI the VISA resource."""
    port: int = 0
    """0 for a serial port, and for SCPI."""
    is_instrument: bool = False
    """A source or a meter, which no replay stands in for."""

    @classmethod
    def at(cls, device: str, endpoint: Endpoint, unit: int, *, is_instrument: bool = False) -> Peer:
        """Return the peer that a link to `endpoint` speaks to."""
        match endpoint:
            case Serial():
                return cls(device, unit, "serial", str(endpoint.path), is_instrument=is_instrument)
            case Tcp() | Tls() | RtuOverTcp():
                where = endpoint.host, endpoint.port
                return cls(device, unit, endpoint.transport, *where, is_instrument=is_instrument)

    @classmethod
    def scpi(cls, name: str, resource: str) -> Peer:
        """Return the instrument that a VISA resource is."""
        return cls(name, 0, "scpi", resource, is_instrument=True)

    @property
    def speaks_scpi(self) -> bool:
        return self.transport == "scpi"

    @property
    def framing(self) -> Framing:
        """How its Modbus frames are told apart; there are none of SCPI."""
        return MBAP if self.transport in ("tcp", "tls") else RTU

    @property
    def endpoint(self) -> str:
        """The endpoint as it is shown elsewhere: "127.0.0.1:502", "tls:meter.lab:802", "/dev/ttyUSB0"."""
        prefix = {"tls": "tls:", "rtu-over-tcp": "rtu:"}.get(self.transport, "")
        return f"{prefix}{self.where}:{self.port}" if self.port else self.where

    def __str__(self) -> str:
        if self.speaks_scpi:
            return f"{self.device} ({self.where})"
        return f"{self.device} ({self.endpoint} unit {self.unit})"


class Entry(NamedTuple):
    """One frame, or one run of bytes that was none."""

    wall_ns: int
    """UTC, ns since 1970."""
    monotonic_ns: int
    """Of the host, for the order and for durations: the wall's clock may be set."""
    instant_ns: int | None
    """The scenario's; None: before its first step."""
    peer: Peer
    direction: Direction
    data: bytes


def header(wall_ns: int, monotonic_ns: int) -> bytes:
    """Return the first line of a journal that begins at this time."""
    what = {**{str(direction): code for direction, code in CODES.items()}, "told": TOLD}
    said = {
        "format": FORMAT,
        "wall_ns": wall_ns,
        "monotonic_ns": monotonic_ns,
        "block": f"{BLOCK.format} mark {MARK.decode()}, length, CRC-32",
        "entry": f"{ENTRY.format} wall_ns, monotonic_ns, instant_ns ({BEFORE}: before the first), peer, what, length",
        "what": what,
    }
    return json.dumps(said).encode() + b"\n"


def told(said: Mapping[str, object], wall_ns: int, monotonic_ns: int) -> bytes:
    """Return an entry that says something about what follows."""
    data = json.dumps(said).encode()
    return ENTRY.pack(wall_ns, monotonic_ns, BEFORE, 0, TOLD, len(data)) + data


def introduction(number: int, peer: Peer, wall_ns: int, monotonic_ns: int) -> bytes:
    """Return the entry after which `number` stands for `peer`."""
    return told({"number": number, "peer": asdict(peer)}, wall_ns, monotonic_ns)


def block(entries: bytes | bytearray) -> bytes:
    """Return `entries` as they are written."""
    return BLOCK.pack(MARK, len(entries), zlib.crc32(entries)) + entries


def is_whole(head: bytes, entries: bytes) -> bool:
    """Whether these are a block, neither torn nor damaged."""
    return BLOCK.unpack(head) == (MARK, len(entries), zlib.crc32(entries))


def split(entries: bytes) -> Iterator[tuple[tuple[int, int, int, int, int], bytes]]:
    """Yield the head (without length) and the bytes of each entry; an entry that is cut short ends it."""
    at = 0
    while at + ENTRY.size <= len(entries):
        *head, length = ENTRY.unpack_from(entries, at)
        at += ENTRY.size + length
        if at <= len(entries):
            wall_ns, monotonic_ns, instant_ns, number, what = head
            yield (wall_ns, monotonic_ns, instant_ns, number, what), entries[at - length : at]
