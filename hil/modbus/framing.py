"""Frames: how a PDU is carried, and how a stream of bytes is split into them again, in whatever pieces it comes.

Modbus TCP and Modbus/TCP Security put a header before it (MBAP: transaction, protocol 0, length, unit); a serial line,
and RTU over TCP, put the unit before it and a CRC behind it.

Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, section 3.1.3; MODBUS over Serial Line V1.02, section
2.5.1.
"""

from __future__ import annotations

import struct
from functools import cache, lru_cache
from typing import Final, Literal, NamedTuple, Protocol

from hil.modbus.pdu import Request, answer_head, request_bytes

Side = Literal["client", "server"]
"""Who reads: a client reads answers, a server requests."""
LONGEST_PDU = 253
_MBAP, _AFTER_NUMBER = struct.Struct(">HHHB"), struct.Struct(">HHB")


class FramingError(ValueError):
    """Bytes that begin no frame, or a frame whose check fails."""


class Frame(NamedTuple):
    """One PDU and whom it is to or from. `transaction` is 0 where the transport has none."""

    unit: int
    pdu: bytes
    transaction: int = 0


class Worded(NamedTuple):
    """A request to a unit as it is carried, and its answer as far as that is known before it comes."""

    unit: int
    request: Request
    sent: bytes
    """The whole frame; with MBAP what follows the transaction's number."""
    head: bytes
    """How the answer begins, if the device does what it is asked; with MBAP behind the transaction's number."""
    length: int
    """Bytes of that answer; 0: not known, or there is a check to be made of all of them."""


class Splitter(Protocol):
    """Takes bytes as they come and gives frames when they are whole."""

    @property
    def holds(self) -> bool:
        """Whether something has come of a frame that is not whole."""
        ...

    @property
    def held(self) -> bytes:
        """What has come of a frame that is not whole."""
        ...

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes.

        Raises FramingError at bytes that cannot be one; all that was held is dropped, and frames before them are lost.
        """
        ...

    def reset(self) -> None:
        """Drop what is held: the line was silent for longer than between the bytes of one frame."""
        ...


class Framing(Protocol):
    """One way to carry PDUs."""

    name: str

    def pack(self, frame: Frame) -> bytes: ...
    def worded(self, unit: int, request: Request) -> Worded: ...
    def splitter(self, side: Side) -> Splitter: ...


class Mbap:
    """Modbus TCP, also under TLS."""

    name = "mbap"

    def pack(self, frame: Frame) -> bytes:
        return _MBAP.pack(frame.transaction, 0, len(frame.pdu) + 1, frame.unit) + frame.pdu

    def worded(self, unit: int, request: Request) -> Worded:
        return _worded(unit, request) if request.is_write else _kept(unit, request)

    def splitter(self, side: Side) -> Splitter:
        del side  # the header tells the length
        return _MbapSplitter()


class Rtu:
    """A serial line, or its bytes over TCP. `transaction` is not carried."""

    name = "rtu"

    def pack(self, frame: Frame) -> bytes:
        body = bytes((frame.unit,)) + frame.pdu
        return body + crc(body)

    def worded(self, unit: int, request: Request) -> Worded:
        return Worded(unit, request, self.pack(Frame(unit, request_bytes(request))), b"", 0)

    def splitter(self, side: Side) -> Splitter:
        return _RtuSplitter(side)


MBAP, RTU = Mbap(), Rtu()


def _worded(unit: int, request: Request) -> Worded:
    asked, (head, length) = request_bytes(request), answer_head(request)
    sent = _AFTER_NUMBER.pack(0, len(asked) + 1, unit) + asked
    return Worded(unit, request, sent, _AFTER_NUMBER.pack(0, length + 1, unit) + head, _MBAP.size + length)


_kept = lru_cache(maxsize=4096)(_worded)
"""The same is read again and again."""


def crc(body: bytes) -> bytes:
    """Return the two bytes of CRC-16 that follow `body` on a serial line."""
    found, table = 0xFFFF, _crc_table()
    for byte in body:
        found = found >> 8 ^ table[(found ^ byte) & 0xFF]
    return found.to_bytes(2, "little")


@cache
def _crc_table() -> tuple[int, ...]:
    """Return what each byte does to the check (V1.02, section 6.2.2: polynomial 0xA001)."""
    table = list(range(256))
    for _ in range(8):
        table = [value >> 1 ^ (0xA001 if value & 1 else 0) for value in table]
    return tuple(table)


class _Held:
    """Bytes that wait for the rest of their frame."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def holds(self) -> bool:
        return bool(self._held)

    @property
    def held(self) -> bytes:
        return bytes(self._held)

    def reset(self) -> None:
        self._held.clear()


class _MbapSplitter(_Held):
    def feed(self, data: bytes) -> list[Frame]:
        if not self._held and len(data) >= _MBAP.size:  # as good as always: one frame, and whole
            transaction, protocol, length, unit = _MBAP.unpack_from(data)
            if protocol == 0 and length == len(data) - 6 and 2 <= length <= LONGEST_PDU + 1:
                return [Frame(unit, data[_MBAP.size :], transaction)]
        self._held += data
        frames: list[Frame] = []
        while len(self._held) >= _MBAP.size:
            transaction, protocol, length, unit = _MBAP.unpack_from(self._held)
            if protocol != 0 or not 2 <= length <= LONGEST_PDU + 1:
                wrong = bytes(self._held[: _MBAP.size]).hex(" ")
                self.reset()
                raise FramingError(f"no Modbus TCP header: {wrong}")
            end = _MBAP.size + length - 1
            if len(self._held) < end:
                break
            frames.append(Frame(unit, bytes(self._held[_MBAP.size : end]), transaction))
            del self._held[:end]
        return frames


class _RtuSplitter(_Held):
    """Knows from the function how long a frame is: over TCP, and through an operating system, silence tells nothing."""

    def __init__(self, side: Side) -> None:
        super().__init__()
        self._length = _answer_length if side == "client" else _request_length

    def feed(self, data: bytes) -> list[Frame]:
        self._held += data
        frames: list[Frame] = []
        while (length := self._length(self._held)) is not None and len(self._held) >= length:
            frame = bytes(self._held[:length])
            del self._held[:length]
            if crc(frame[:-2]) != frame[-2:]:
                self.reset()
                raise FramingError(f"the check (CRC) of a frame fails: {frame[:16].hex(' ')}")
            frames.append(Frame(frame[0], frame[1:-2]))
        return frames


def _answer_length(held: bytearray) -> int | None:
    """Return how long the answer is that begins here; None if that cannot be told yet."""
    if len(held) < 3:
        return None
    if held[1] & 0x80:
        return 5
    if held[1] in (5, 6, 15, 16):
        return 8
    return 5 + held[2]


def _request_length(held: bytearray) -> int | None:
    """Return how long the request is that begins here, whether or not a server knows its function."""
    if len(held) < 2:
        return None
    if held[1] not in _COUNTED_AT:
        return _REQUESTS.get(held[1], 8)
    at = _COUNTED_AT[held[1]]
    return at + 3 + held[at] if len(held) > at else None


_REQUESTS: Final = {7: 4, 11: 4, 12: 4, 17: 4, 22: 10, 24: 6, 43: 7}
"""Bytes of a request by its function (V1.1b3, section 6), where they are not 8; 43 for the device's identification."""
_COUNTED_AT: Final = {15: 6, 16: 6, 20: 2, 21: 2, 23: 10}
"""By function, where it says how many bytes follow before the check."""
