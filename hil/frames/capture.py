"""A journal as a capture file that Wireshark and tshark dissect without any setting.

Modbus TCP, and what was said inside of TLS, become TCP conversations on port 502, where the dissector looks for it. A
device that really is at an IPv4 address and port 502 keeps it; each other endpoint gets an address of its own in
10.64.0.0/16. Frames of serial lines, also over TCP, the words of instruments, and bytes that were discarded are not
wrapped: their packets name their dissector themselves. Every packet's comment says the device, where it really is, and
the scenario's instant: `frame.comment contains "inv-1"`; addresses are called as the devices are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from ipaddress import AddressValueError, IPv4Address
from typing import BinaryIO

from hil.frames import pcapng
from hil.frames.conversation import Conversation, Socket
from hil.frames.layout import Entry, Peer
from hil.modbus.framing import FramingError

MODBUS_PORT = 502
CLIENT = IPv4Address("10.64.0.1")
FIRST_PORT = 49152
"""Of the client's: one for each conversation, from the range for private use (RFC 6335)."""
_ETHERNET, _NAMED = 0, 1
"""The interfaces of the file."""
_DISSECTOR, _SOURCE, _TARGET, _PORT_TYPE, _SOURCE_PORT, _TARGET_PORT, _END = 12, 20, 21, 24, 25, 26, 0
"""Tags of an upper PDU (Wireshark's exported_pdu_tlvs.h)."""
_TCP = 2
_SERVER_PORTS = {"mbtcp": MODBUS_PORT, "mbrtu": 0, "data": 0, "data-text-lines": 0}
"""By which port each dissector knows a server, and so a request from an answer."""

Endpoint = tuple[str, str, int]


def export(entries: Iterable[Entry], file: BinaryIO) -> int:
    """Write a capture of `entries` to `file`; return how many of them there were."""
    written = 0
    capture = Capture()
    for each in capture.begin():
        file.write(each)
    for entry in entries:
        for each in capture.blocks(entry):
            file.write(each)
        written += 1
    for each in capture.end():
        file.write(each)
    return written


class Capture:
    """The blocks of one file, in their order."""

    def __init__(self) -> None:
        self._conversations: dict[Endpoint, Conversation] = {}
        self._addresses: dict[Endpoint, IPv4Address] = {}
        self._last_ns = 0

    def begin(self) -> Iterator[bytes]:
        yield pcapng.section("derloop")
        yield pcapng.interface(pcapng.LinkType.ETHERNET, "Modbus TCP, as it was said")
        yield pcapng.interface(pcapng.LinkType.UPPER_PDU, "serial lines, instruments, and what was discarded")

    def blocks(self, entry: Entry) -> Iterator[bytes]:
        """Yield the packet of `entry`, and before it what its endpoint needs if it is the first there."""
        endpoint = entry.peer.transport, entry.peer.where, entry.peer.port
        self._last_ns = entry.wall_ns
        if endpoint not in self._addresses:
            self._addresses[endpoint] = self._address(entry.peer)
            yield pcapng.name(self._addresses[endpoint], entry.peer.device)
        if entry.direction == "discarded" or entry.peer.transport not in ("tcp", "tls"):
            yield self._named(entry, self._addresses[endpoint])
        else:
            yield from self._carried(entry, endpoint)

    def end(self) -> Iterator[bytes]:
        for conversation in self._conversations.values():
            for data in conversation.closed():
                yield pcapng.packet(_ETHERNET, self._last_ns, data)

    def _carried(self, entry: Entry, endpoint: Endpoint) -> Iterator[bytes]:
        conversation = self._conversations.get(endpoint)
        if conversation is None:
            client = Socket(CLIENT, FIRST_PORT + len(self._conversations) % (0x10000 - FIRST_PORT))
            conversation = Conversation(client, Socket(self._addresses[endpoint], MODBUS_PORT))
            self._conversations[endpoint] = conversation
            for data in conversation.opened():
                yield pcapng.packet(_ETHERNET, entry.wall_ns, data)
        data = conversation.request(entry.data) if entry.direction == "sent" else conversation.answer(entry.data)
        yield pcapng.packet(_ETHERNET, entry.wall_ns, data, comment(entry))

    def _named(self, entry: Entry, address: IPv4Address) -> bytes:
        called = dissector(entry)
        ends = Socket(CLIENT, FIRST_PORT), Socket(address, _SERVER_PORTS[called])
        source, target = ends if entry.direction == "sent" else ends[::-1]
        return pcapng.packet(_NAMED, entry.wall_ns, _tags(called, source, target) + entry.data, comment(entry))

    def _address(self, peer: Peer) -> IPv4Address:
        made_up = IPv4Address(int(CLIENT) + 1 + len(self._addresses))
        try:
            real = IPv4Address(peer.where)
        except AddressValueError:
            return made_up
        return real if peer.transport == "tcp" and peer.port == MODBUS_PORT and not real.is_loopback else made_up


def dissector(entry: Entry) -> str:
    """Return Wireshark's name for what these bytes are: of those that are no frame, "data"."""
    if entry.peer.speaks_scpi:
        return "data-text-lines"
    if entry.direction == "discarded" and not _is_whole(entry):
        return "data"
    return "mbtcp" if entry.peer.transport in ("tcp", "tls") else "mbrtu"


def comment(entry: Entry) -> str:
    """Return who, when, and whether it was discarded."""
    when = "before the first step" if entry.instant_ns is None else f"at {entry.instant_ns / 1e9:.12g} s"
    return f"{entry.peer}, {when}{': discarded' if entry.direction == 'discarded' else ''}"


def _is_whole(entry: Entry) -> bool:
    splitter = entry.peer.framing.splitter("client")
    try:
        return bool(splitter.feed(entry.data)) and not splitter.held
    except FramingError:
        return False


def _tags(called: str, source: Socket, target: Socket) -> bytes:
    """Return what stands before the bytes of an upper PDU: who is to dissect them, and between whom they went."""
    numbers = {_PORT_TYPE: _TCP, _SOURCE_PORT: source.port, _TARGET_PORT: target.port}
    tags = {
        _DISSECTOR: called.encode(),
        _SOURCE: source.address.packed,
        _TARGET: target.address.packed,
        **{tag: struct.pack(">I", value) for tag, value in numbers.items()},
        _END: b"",
    }
    return b"".join(_tag(number, value) for number, value in tags.items())


def _tag(number: int, value: bytes) -> bytes:
    padded = value + bytes(-len(value) % 4)
    return struct.pack(">HH", number, len(padded)) + padded
