"""Frames are told in words: who, when, what, and how long it took."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import Result
from typer.testing import CliRunner

from derloop.cli import app
from hil.frames.evidence import Evidence
from hil.frames.exchanges import Discarded, Exchange, events, exchanges
from hil.frames.journal import Journal
from hil.frames.layout import Entry, Peer
from hil.frames.maps import Points, maps_of
from hil.modbus import pdu
from hil.modbus.framing import Frame
from hil.modbus.tap import Direction
from hil.sunspec.image import build_image
from hil.sunspec.points import RegisterArray, Value

if TYPE_CHECKING:
    from conftest import Session

INVERTER = Peer("inv-1", 1, "tcp", "127.0.0.1", 1502)
METER = Peer("meter", 7, "serial", "/dev/ttyUSB0")
SOURCE = Peer.scpi("grid-sim", "TCPIP::10.1.2.9::5025::SOCKET")


def entry(peer: Peer, direction: Direction, at_ms: float, pdu_: bytes) -> Entry:
    data = peer.framing.pack(Frame(peer.unit, pdu_, 1))
    return Entry(10**18 + int(at_ms * 1e6), int(at_ms * 1e6), 900 * 10**9, peer, direction, data)


def listed(path: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["frames", "list", str(path), *words])


def test_requests_are_told_with_their_answers_and_silence_is_told_as_such() -> None:
    read, answer = pdu.request_bytes(pdu.read(10, 1)), pdu.registers_answer(3, [5])
    noted = [
        entry(INVERTER, "sent", 0, read),
        entry(METER, "sent", 1, read),
        entry(INVERTER, "sent", 2, read),
        entry(METER, "received", 5, answer),
        entry(INVERTER, "received", 4.5, answer),
        Entry(1, 6_000_000, None, METER, "discarded", b"\xff"),
        entry(METER, "sent", 7, read),
    ]
    found = [(e.peer.device, getattr(e, "answer", b"?"), getattr(e, "latency_s", 0)) for e in events(noted)]
    assert found == [
        ("inv-1", None, None),
        ("meter", answer, pytest.approx(0.004)),
        ("inv-1", answer, pytest.approx(0.0025)),
        ("meter", b"?", 0),
        ("meter", None, None),
    ]
    assert [each.sent_ns for each in exchanges(noted)] == [0, 1_000_000, 2_000_000, 7_000_000]


@pytest.mark.parametrize("peer", [INVERTER, METER])
def test_an_answer_in_another_units_name_is_none(peer: Peer) -> None:
    """The client takes it for none, and asks again."""
    read, answer = pdu.request_bytes(pdu.read(10, 1)), pdu.registers_answer(3, [5])
    stranger = peer.framing.pack(Frame(peer.unit + 1, answer, 1))
    noted = [
        entry(peer, "sent", 0, read),
        Entry(10**18, 1_000_000, 900 * 10**9, peer, "received", stranger),
        entry(peer, "sent", 2, read),
        entry(peer, "received", 3, answer),
    ]
    discarded, silent, answered = events(noted)
    assert isinstance(discarded, Discarded)
    assert discarded.data == stranger
    assert [getattr(each, "answer", b"?") for each in (silent, answered)] == [None, answer]


def test_an_answer_that_nobody_asked_for_is_no_exchange() -> None:
    assert list(events([entry(INVERTER, "received", 0, pdu.registers_answer(3, [5]))])) == []


def test_the_map_of_a_device_is_known_from_what_a_client_read_of_it(session: Session) -> None:
    maps = maps_of(events(Evidence(session.folder).entries()))
    assert {peer.device for peer in maps} == {"pv_1", "bat_1"}
    for points in maps.values():
        assert points
        (found,) = [value for point, value in points.within(40311, [8000]) if point.name == "704.WMaxLimPct"]
        assert found == 80.0


def test_a_session_is_listed_with_its_points_by_name(session: Session) -> None:
    said = listed(session.folder, "--device", "pv*", "--writes")
    assert said.exit_code == 0, said.output
    lines = said.output.splitlines()
    assert [line.split("  ", 1)[1].strip().split()[0] for line in lines[:-1]] == ["0", "900", "1800"]
    assert "write 40311+1: 704.WMaxLimPct = 80 Pct" in lines[0]
    assert lines[-1].startswith("3 exchanges with 1 device: 0 refused, 0 without an answer")


def test_points_times_and_troubles_can_be_asked_for(session: Session) -> None:
    said = listed(session.folder, "--point", "702.WMaxRtg").output.splitlines()
    assert [line.split("702.")[1] for line in said[:-1]] == ["WMaxRtg = 10000 W", "WMaxRtg = 5000 W"]
    refused = listed(session.folder, "--from", "900", "--to", "900", "--troubles").output.splitlines()
    assert len(refused) == 3
    assert all("read 30000+3: exception 2 (illegal address)" in line for line in refused[:2])
    assert "2 refused" in refused[-1]
    assert listed(session.folder, "--from", "1801").output.startswith("0 exchanges with 0 devices")


def test_a_point_that_no_device_has_is_told_with_what_may_be_meant(session: Session) -> None:
    said = listed(session.folder, "--point", "702.WMaxRgt")
    assert said.exit_code == 2
    assert "--point 702.WMaxRgt: no device of this run has such a point; did you mean '702.WMaxRtg'?" in said.output
    assert listed(session.folder, "--point", "702.*").exit_code == 0


def test_a_device_that_there_are_no_frames_of_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    path = tmp_path / "x.frames"
    with Journal(path) as journal:
        journal.tap(INVERTER)("discarded", b"?")
    assert listed(path, "--device", "inv-*").exit_code == 0
    said = listed(path, "--device", "inv-2")
    assert said.exit_code == 2
    assert "--device inv-2: there are no frames of it; did you mean 'inv-1'?" in said.output


def test_what_is_missing_is_said_on_standard_error(session: Session) -> None:
    with session.journal.open("ab") as file:
        file.write(b"blok torn")
    said = CliRunner().invoke(app, ["frames", "list", str(session.folder)])
    assert said.exit_code == 0
    assert "INCOMPLETE inverters.frames: 9 bytes at its end are no whole block" in said.stderr


def test_a_run_without_frames_is_named(tmp_path: Path) -> None:
    said = listed(tmp_path)
    assert said.exit_code == 2
    assert "has no frames: a run leaves them in frames/" in said.output


def test_bytes_that_make_no_sense_are_shown_as_they_are(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.frames") as journal:
        tap = journal.tap(INVERTER)
        tap("sent", INVERTER.framing.pack(Frame(1, b"\x2b\x0e\x01\x00")))
        tap("received", INVERTER.framing.pack(Frame(1, b"\xab\x01")))
        tap("discarded", b"\x1b[2J garbage")
        tap("sent", INVERTER.framing.pack(Frame(1, pdu.request_bytes(pdu.read(5, 2)))))
        tap("received", INVERTER.framing.pack(Frame(1, pdu.registers_answer(3, [1]))))
        tap("sent", INVERTER.framing.pack(Frame(1, pdu.request_bytes(pdu.read(5, 2, 4)))))
        tap("received", INVERTER.framing.pack(Frame(1, pdu.registers_answer(4, [1, 0xABCD]))))
    said = listed(tmp_path / "a.frames").output
    assert "\x1b" not in said
    assert "a request that is none: 2b 0e 01 00: ab 01" in said
    assert "discarded 12 bytes: 1b 5b 32 4a 20 67" in said
    assert "read 5+2: no answer to it: 1 registers came, asked were 2" in said
    assert "read 5+2 (input registers): 0001 abcd" in said
    assert "3 exchanges with 1 device: 2 refused, 0 without an answer, 1 times bytes discarded" in said


def test_both_kinds_of_event_have_the_same_marks() -> None:
    assert {f for f in Discarded.__slots__ if f != "data"} <= set(Exchange.__slots__)


def test_a_value_is_told_with_the_scale_factor_that_came_with_it() -> None:
    """Models before 701 may change theirs: 900 steps of 1 W when the map was read, of 10 W later."""
    found, image = build_image({1: {"Mn": "Maker", "DA": 1}, 103: {"W": 900, "W_SF": 0}})
    points = Points(found)
    assert dict(named(points, found.base, image))["103.W"] == 900
    image[found.span("103.W_SF")] = 1
    assert dict(named(points, found.base, image))["103.W"] == 9000
    at = found["103.W"].address
    assert named(points, at, image[found.span("103.W")]) == [("103.W", 900)]


def named(points: Points, address: int, words: RegisterArray) -> list[tuple[str, Value]]:
    return [(point.name, value) for point, value in points.within(address, words)]


def test_what_an_instrument_is_told_and_answers_is_shown_in_its_own_words(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.frames") as journal:
        tap = journal.tap(SOURCE)
        tap("sent", b"OUTP ON")
        tap("sent", b"SYST:ERR?")
        tap("received", b'0,"No error"\n')
        tap("sent", b"MEAS1:VOLT:AC?")
        tap("sent", b"*IDN?")
        tap("received", b"\x1b[2J,source\xb5")
    shown = listed(tmp_path / "a.frames").output.splitlines()
    assert [line.split("grid-sim")[1].split("ms")[-1].strip() for line in shown[:-1]] == [
        "OUTP ON",
        'SYST:ERR?: 0,"No error"',
        "MEAS1:VOLT:AC?: no answer",
        "*IDN?: \\x1b[2J,source\\xb5",
    ]
    assert shown[-1].startswith("4 exchanges with 1 device: 0 refused, 1 without an answer")
    (written,) = listed(tmp_path / "a.frames", "--writes").output.splitlines()[:-1]
    assert written.endswith("OUTP ON")
    assert len(listed(tmp_path / "a.frames", "--troubles").output.splitlines()) == 2
    assert maps_of(events(Evidence(tmp_path / "a.frames").entries())) == {SOURCE: None}
