"""The emulator against requests that chance has changed: it answers as it should, or not at all, and goes on."""

from __future__ import annotations

import random
import socket
import struct
from collections import Counter

import psutil
import pytest
from mutation import changed

from hil.emulator.bank import RegisterBank
from hil.modbus.endpoint import RtuOverTcp, Tcp
from hil.modbus.framing import MBAP, RTU, Frame, Framing, FramingError
from hil.modbus.pdu import read, request_bytes, write
from hil.serving.awkward_manner import Awkward
from hil.serving.device import awkward, manner_of, of_bank, plain
from hil.serving.exchanges import Manner, Plain
from hil.serving.quirks import Quirks
from hil.serving.responder import Responder, Units
from hil.serving.server import Server, line

LONGEST = 264
"""Bytes that a request may have before it is whole: an RTU frame that says 255 bytes of values."""
READ_SUNS = request_bytes(read(40000, 2))
SUNS = bytes.fromhex("03 04 53 75 6e 53")


class Careful:
    """Looks at every answer of another responder."""

    def __init__(self, inner: Responder) -> None:
        self._inner, self.seen = inner, Counter[str]()

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        answer = self._inner.respond(unit, pdu)
        if answer is None:
            self.seen["silence"] += 1
        elif answer[0] & 0x80:
            assert len(answer) == 2
            assert answer[0] == pdu[0] | 0x80
            self.seen["refusal"] += 1
        else:
            assert answer[0] == pdu[0]
            assert len(answer) == (2 + 2 * struct.unpack_from(">H", pdu, 3)[0] if pdu[0] in (3, 4) else 5)
            self.seen["answer"] += 1
        return answer


def request(rng: random.Random, framing: Framing) -> bytes:
    """Return a request that could be meant, mostly within the map."""
    address = rng.randrange(40000, 40900) if rng.random() < 0.9 else rng.randrange(65536)
    count = rng.choice((1, 1, 2, 4, 100, 125))
    if rng.random() < 0.8:
        pdu = request_bytes(read(address, count, rng.choice((3, 3, 3, 4))))
    else:
        words = struct.unpack(f">{min(count, 4)}H", rng.randbytes(2 * min(count, 4)))
        pdu = request_bytes(write(address, words, one=rng.random() < 0.5))
    if rng.random() < 0.2:  # frames that are right, around what is wrong
        pdu = changed(rng, pdu)[:253] or b"\0"
    return framing.pack(Frame(rng.choice((0, 1, 1, 1, 2, 255)), pdu, rng.randrange(65536)))


def fuzz(bank: RegisterBank, framing: Framing, frames: int, quirks: Quirks | None) -> Counter[str]:
    """Feed so many frames in pieces to one connection after the other; return what became of them."""
    rng, sent = random.Random(frames), Counter[str]()
    hardware = of_bank(bank, 0, "pv_1")
    devices = {1: plain(hardware) if quirks is None else awkward(hardware, quirks)}
    units = Careful(Units({unit: device.responder for unit, device in devices.items()}))
    manner: Manner = manner_of(devices)(units, framing)
    assert isinstance(manner, Plain if quirks is None else Awkward)
    splitter = framing.splitter("server")
    for _ in range(frames):
        stream = changed(rng, request(rng, framing))
        cut = rng.randrange(len(stream) + 1)
        for piece in (stream[:cut], stream[cut:]):
            try:
                for frame in splitter.feed(piece):
                    sent["bytes"] += sum(len(each.data) for each in manner.deliveries(frame))
            except FramingError:
                sent["no frame"] += 1
            assert len(splitter.held) <= LONGEST
        if rng.random() < 0.3:
            splitter.reset()
    return units.seen + sent


AWKWARD = Quirks.model_validate(
    {"late": {"share": 0.1, "arrives": "before-next"}, "garbage": {"share": 0.1}, "split": {}, "wrong_unit": 0.1}
    | {"silence": 0.05, "busy": 0.05, "stuck": {"points": ["701.W"]}, "not_implemented": ["701.Hz"], "forgets": 0.1}
)


@pytest.mark.parametrize("framing", [MBAP, RTU], ids=lambda framing: framing.name)
@pytest.mark.parametrize("quirks", [None, AWKWARD], ids=["plain", "awkward"])
def test_changed_requests_are_answered_as_they_should_or_dropped(
    quirks: Quirks | None, framing: Framing, bank: RegisterBank
) -> None:
    before = _read_only(bank)
    seen = fuzz(bank, framing, 2000, quirks)
    assert min(seen["answer"], seen["refusal"], seen["no frame"]) > 20
    assert _read_only(bank) == before


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("framing", [MBAP, RTU], ids=lambda framing: framing.name)
def test_a_million_changed_requests_are_answered_as_they_should_or_dropped(
    framing: Framing, bank: RegisterBank
) -> None:
    before = _read_only(bank)
    seen = fuzz(bank, framing, 100_001, AWKWARD)
    held = psutil.Process().memory_info().rss
    seen += fuzz(bank, framing, 400_000, None)
    assert psutil.Process().memory_info().rss - held < 20e6  # bytes; what is kept of a frame would be 400 000 times
    assert min(seen["answer"], seen["refusal"], seen["no frame"]) > 10_000
    assert _read_only(bank) == before


def _read_only(bank: RegisterBank) -> dict[str, object]:
    """Return what no request may change: nameplate and identity."""
    image, map_ = bank.image(0), bank.maps[0]
    fixed = [name for name, point in map_.points.items() if name.split(".")[0] in ("1", "702") and not point.writable]
    return {name: map_.value(name, image) for name in fixed}


@pytest.mark.parametrize("framing", [MBAP, RTU], ids=lambda framing: framing.name)
def test_a_server_goes_on_after_streams_of_changed_requests(framing: Framing, bank: RegisterBank) -> None:
    _storm(bank, framing, streams=20, requests=100)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("framing", [MBAP, RTU], ids=lambda framing: framing.name)
def test_a_server_goes_on_after_many_streams_of_changed_requests(framing: Framing, bank: RegisterBank) -> None:
    _storm(bank, framing, streams=300, requests=100)


def _storm(bank: RegisterBank, framing: Framing, streams: int, requests: int) -> None:
    """Send streams over real sockets, without looking at what comes; then ask what has an answer."""
    rng = random.Random(streams)
    listen = Tcp(port=0) if framing is MBAP else RtuOverTcp(port=0)
    with Server([line(listen, {1: plain(of_bank(bank, 0, "pv_1"))})]) as server:
        there = ("127.0.0.1", server.endpoints[0].port)  # type: ignore[union-attr]
        for _ in range(streams):
            with socket.create_connection(there, timeout=20) as connection:
                _pour(connection, b"".join(changed(rng, request(rng, framing)) for _ in range(requests)))
        with socket.create_connection(there, timeout=20) as connection:
            connection.sendall(framing.pack(Frame(1, READ_SUNS, 3)))
            expected = framing.pack(Frame(1, SUNS, 3))
            assert connection.recv(100) == expected


def _pour(connection: socket.socket, data: bytes) -> None:
    """Send, until the server has had enough, and take nothing."""
    try:
        connection.sendall(data)
    except ConnectionError:
        return
