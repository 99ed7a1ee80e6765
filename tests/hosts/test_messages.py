"""What is said between a run and its hosts: authenticated, bounded, and refused where it is not what it should be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sockets import tcp_pair

from derloop.errors import HostError
from derloop.hosts import channel as channels
from derloop.hosts.channel import MAX_JSON, Channel, Keys, Malformed, Message, pack, unpack
from derloop.hosts.guest import Guest

KEY = b"k" * 32
SCHEMA = b"\xff" * 4 + (1).to_bytes(4, "little") + b"s"
"""The head of a stream."""


def receiving(data: bytes) -> Callable[[int], bytes]:
    """Return what gives the bytes of `data` one after the other, and raises EOFError at their end."""
    rest = memoryview(data)

    def receive(count: int) -> bytes:
        nonlocal rest
        if count > len(rest):
            raise EOFError
        part, rest = rest[:count], rest[count:]
        return bytes(part)

    return receive


def test_a_message_arrives_as_it_was_sent() -> None:
    packed = pack(3, KEY, b'{"what": "copy", "path": "series/a.arrows", "at": 7}', b"\0\1\2")
    assert unpack(3, KEY, receiving(packed)) == Message("copy", {"path": "series/a.arrows", "at": 7}, b"\0\1\2")
    assert len(packed) == 8 + 52 + 3 + 32


@pytest.mark.parametrize("value", ["7", 7.0, True, None, float("inf"), [7]])
def test_a_number_of_a_message_that_is_none_is_refused(value: object) -> None:
    assert Message("clock", {"said_ns": 7}).integer("said_ns") == 7
    with pytest.raises(Malformed, match="'said_ns' of a message 'clock' is no whole number"):
        Message("clock", {"said_ns": value}).integer("said_ns")


@pytest.mark.parametrize("at", [0, 7, 8, 30, -33, -1])
def test_one_bit_that_is_flipped_anywhere_is_refused(at: int) -> None:
    packed = bytearray(pack(0, KEY, b'{"what": "end", "unit": "a"}', b"data"))
    packed[at] ^= 1
    with pytest.raises((Malformed, EOFError)):
        unpack(0, KEY, receiving(bytes(packed)))


def test_a_message_that_is_repeated_or_of_another_key_is_refused() -> None:
    packed = pack(4, KEY, b'{"what": "end"}')
    with pytest.raises(Malformed, match="does not fit its digest"):
        unpack(5, KEY, receiving(packed))
    with pytest.raises(Malformed, match="does not fit its digest"):
        unpack(4, b"x" * 32, receiving(packed))


@pytest.mark.parametrize("head", ["04000001 00000000", "00000000 00400001", "ffffffff ffffffff"])
def test_a_message_that_is_too_long_is_refused_before_it_is_read(head: str) -> None:
    with pytest.raises(Malformed, match="is too long"):
        unpack(0, KEY, receiving(bytes.fromhex(head)))


@pytest.mark.parametrize("text", [b"", b"[]", b'"end"', b"{}", b'{"what": 3}', b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_message_is_refused_although_its_digest_fits(text: bytes) -> None:
    with pytest.raises(Malformed):
        unpack(0, KEY, receiving(pack(0, KEY, text)))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_too_short(data: bytes) -> None:
    with pytest.raises((Malformed, EOFError)):
        unpack(0, KEY, receiving(data))


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(Malformed, match="a message 'end' lacks 'unit'"):
        Message("end")["unit"]


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Channel, Channel]]:
    monkeypatch.setattr(channels, "BEAT_S", 0.05)
    one, other = tcp_pair()
    ends = Channel(one, Keys(b"a" * 32, b"b" * 32), "fleets"), Channel(other, Keys(b"b" * 32, b"a" * 32), "run")
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def let_read(monkeypatch: pytest.MonkeyPatch) -> Event:
    """Lets the first of a pair read: before, what comes waits, as for a run that was stopped and goes on."""
    event = Event()

    def later(number: int, key: bytes, receive: Callable[[int], bytes]) -> Message:
        if key == b"b" * 32:
            event.wait()
        return unpack(number, key, receive)

    monkeypatch.setattr(channels, "unpack", later)
    return event


def waited(holds: Callable[[], object]) -> bool:
    until = time.monotonic() + 20
    while not holds() and time.monotonic() < until:
        time.sleep(0.005)
    return bool(holds())


def test_what_is_sent_arrives_in_order_with_its_bytes(pair: tuple[Channel, Channel]) -> None:
    for i in range(50):
        pair[0].send("copy", bytes(i), at=i)
    heard: list[Message] = []
    assert waited(lambda: heard.extend(pair[1].heard()) or len(heard) == 50)
    assert [(m.what, m["at"], len(m.data)) for m in heard] == [("copy", i, i) for i in range(50)]


def test_beats_are_heard_where_nothing_is_said_and_are_no_messages(pair: tuple[Channel, Channel]) -> None:
    before = pair[1].heard_at
    assert waited(lambda: pair[1].heard_at > before)
    assert pair[1].heard() == []
    assert pair[1].lost is None


def test_a_channel_whose_other_end_closes_is_lost_and_what_was_sent_before_is_heard(
    pair: tuple[Channel, Channel],
) -> None:
    pair[0].send("over")
    pair[0].close()
    assert waited(lambda: pair[1].lost is not None)
    assert pair[1].lost == "its connection ended"
    assert [m.what for m in pair[1].heard()] == ["over"]
    assert pair[0].lost is None  # it has closed by itself


def test_what_a_host_said_last_is_heard_by_a_run_that_reads_late(
    let_read: Event, pair: tuple[Channel, Channel], tmp_path: Path
) -> None:
    """It took the host for lost where it looked before it had read, or found that nothing can be sent any more."""
    guest = Guest(pair[0], tmp_path, silence_s=4)
    pair[1].send("failed", why="has left")
    pair[1].close()
    pair[0].heard_at -= 60
    until = time.monotonic() + 4 * channels.BEAT_S
    while time.monotonic() < until:
        guest.check()
        time.sleep(0.005)
    let_read.set()
    with pytest.raises(HostError, match=r"^host 'fleets' has left$"):
        waited(lambda: guest.check())


def test_a_host_of_which_nothing_comes_is_lost(pair: tuple[Channel, Channel], tmp_path: Path) -> None:
    guest = Guest(pair[0], tmp_path, silence_s=0)
    with pytest.raises(HostError, match=r"is lost: nothing was heard of it for 0\.0 s"):
        waited(lambda: guest.check())


def test_bytes_that_are_no_message_end_a_channel(pair: tuple[Channel, Channel]) -> None:
    pair[0]._sock.sendall(b"GET / HTTP/1.1\r\nHost: run\r\n\r\n" + bytes(100))
    assert waited(lambda: pair[1].lost is not None)
    assert "bytes is too long" in str(pair[1].lost)


def test_a_job_that_is_longer_than_a_message_arrives_in_pieces(pair: tuple[Channel, Channel], tmp_path: Path) -> None:
    """As that of a run that is taken up, with the state of many devices."""
    crew = SimpleNamespace(name="homes", blocking=False)
    job = {"crew": 0, "saving": {"begun": "AbCd" * (MAX_JSON // 4 + 1)}}
    Guest(pair[0], tmp_path, silence_s=60).start(crew, job, "homes")  # type: ignore[arg-type]
    messages: list[Message] = []
    assert waited(lambda: messages.extend(pair[1].heard()) or any(m.what == "start" for m in messages))
    assert [m.what for m in messages[-2:]] == ["job", "start"]
    assert json.loads(b"".join(m.data for m in messages)) == job
    assert {m["crew"] for m in messages} == {"homes"}


def test_what_a_host_has_recorded_and_a_full_disk_does_not_take_is_told_in_its_name(
    pair: tuple[Channel, Channel], tmp_path: Path
) -> None:
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "grid.arrows").symlink_to("/dev/full")
    guest = Guest(pair[0], tmp_path, silence_s=60)
    guest.start(SimpleNamespace(name="grid", blocking=False), {}, "grid", ["series/grid.arrows"])  # type: ignore[arg-type]
    pair[1].send("copy", SCHEMA + b"rows", path="series/grid.arrows", at=0)
    what = "host 'fleets' has sent series/grid.arrows, which cannot be written here: No space left on device"
    with pytest.raises(HostError, match=f"^{what}$"):
        waited(lambda: guest.check())
