"""The client's decoder against frames that chance has changed: it accepts the right answer or names what is wrong."""

from __future__ import annotations

import gc
import random
import struct
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modbus_peers import mbap, registers, rtu
from mutation import changed

from hil.modbus import pdu
from hil.modbus.framing import MBAP, RTU, Frame, Framing, FramingError
from hil.modbus.pdu import ExceptionAnswer, PduError, Request, parse_answer

LONGEST = 260
"""Bytes of the longest frame: MBAP 7 + 253, RTU 1 + 253 + 2, and an RTU answer that says 255 bytes: 260."""
FRAMINGS: list[Framing] = [MBAP, RTU]


def right_answers(rng: random.Random, framing: Framing) -> Iterator[tuple[Request, bytes]]:
    """Requests and the frames that answer them, packed by hand."""
    while True:
        function, address = rng.choice((3, 4, 6, 16)), rng.randrange(65000)
        count = 125 if rng.random() < 0.02 else rng.choice((1, 2, 2, 5))
        words = struct.unpack(f">{count}H", rng.randbytes(2 * count))
        if function in (3, 4):
            request, body = pdu.read(address, count, function), registers(words, function)
        else:
            request = pdu.write(address, words if function == 16 else words[:1], one=function == 6)
            body = struct.pack(">BHH", function, address, count if function == 16 else words[0])
        if rng.random() < 0.1:
            body = bytes((function | 0x80, rng.randrange(256)))
        if rng.random() < 0.2:  # a device that is wrong, and frames that rightly
            body = changed(rng, body)[:253] or b"\0"
        yield request, mbap(rng.randrange(65536), 1, body) if framing is MBAP else rtu(1, body)


def fuzz(framing: Framing, frames: int, seed: int) -> Counter[str]:
    """Feed so many frames, in pieces; return what became of them."""
    rng, outcomes = random.Random(seed), Counter[str]()
    answers, splitter = right_answers(rng, framing), framing.splitter("client")
    for _ in range(frames):
        request, frame = next(answers)
        stream = changed(rng, frame)
        cut = rng.randrange(len(stream) + 1)
        for piece in (stream[:cut], stream[cut:]):
            try:
                found = splitter.feed(piece)
            except FramingError:
                outcomes["no frame"] += 1
                assert not splitter.held
                continue
            outcomes.update(outcome(request, each) for each in found)
        assert len(splitter.held) < LONGEST
        if framing is RTU and rng.random() < 0.8:
            splitter.reset()  # a silence, as after every missed answer
    return outcomes


def outcome(request: Request, found: Frame) -> str:
    try:
        words = parse_answer(request, found.pdu)
    except ExceptionAnswer:
        assert len(found.pdu) == 2
        return "refused"
    except PduError:
        return "no answer"
    assert len(words) == request.count
    if request.is_write:
        assert tuple(words.tolist()) == request.registers
    else:
        assert words.astype(">u2").tobytes() == found.pdu[2:]
    return "taken"


@pytest.mark.parametrize("framing", FRAMINGS, ids=lambda framing: framing.name)
def test_thousands_of_changed_frames_are_decoded_or_named(framing: Framing) -> None:
    outcomes = fuzz(framing, 4000, seed=1)
    assert min(outcomes[each] for each in ("taken", "refused", "no answer", "no frame")) > 10


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("framing", "hundred_thousands"), [(MBAP, 7), (RTU, 3)], ids=["mbap", "rtu"])
def test_of_a_million_frames_each_is_decoded_or_named_and_nothing_grows(
    framing: Framing, hundred_thousands: int
) -> None:
    fuzz(framing, 20_000, seed=0)  # by then what is remembered of requests is as much as it will be
    gc.collect()
    before = sys.getallocatedblocks()
    outcomes = sum((fuzz(framing, 100_000, seed) for seed in range(1, 1 + hundred_thousands)), Counter())
    gc.collect()
    assert sys.getallocatedblocks() < before + 2000
    assert min(outcomes[each] for each in ("taken", "refused", "no answer", "no frame")) > 1000


@given(st.lists(st.binary(min_size=1, max_size=250), min_size=1, max_size=5), st.data())
@pytest.mark.parametrize("framing", FRAMINGS, ids=lambda framing: framing.name)
def test_frames_are_the_same_however_the_stream_is_cut(
    framing: Framing, bodies: list[bytes], data: st.DataObject
) -> None:
    if framing is RTU:
        bodies = [registers(body[:2]) for body in bodies]
    frames = [Frame(1, body, index if framing is MBAP else 0) for index, body in enumerate(bodies)]
    stream = b"".join(framing.pack(frame) for frame in frames)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=20)))
    splitter, found = framing.splitter("client"), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.feed(stream[begin:end])
    assert found == frames
    assert splitter.held == b""


@given(st.binary(max_size=600))
@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("framing", FRAMINGS, ids=lambda framing: framing.name)
def test_any_bytes_are_frames_or_a_framing_error(framing: Framing, side: str, stream: bytes) -> None:
    splitter = framing.splitter(side)  # type: ignore[arg-type]
    try:
        for frame in splitter.feed(stream):
            assert 1 <= len(frame.pdu) <= 257
    except FramingError:
        pass
    assert len(splitter.held) < 270
