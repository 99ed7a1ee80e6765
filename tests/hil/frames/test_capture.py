"""What is exported opens in tshark: dissected without settings, with nothing that is wrong."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from derloop.cli import app
from hil.frames.capture import export
from hil.frames.conversation import Conversation, Socket
from hil.frames.evidence import Evidence
from hil.frames.layout import Entry, Peer
from hil.frames.pcapng import LinkType, interface, packet, section
from hil.modbus import pdu
from hil.modbus.framing import Frame

if TYPE_CHECKING:
    from conftest import Session

TSHARK = shutil.which("tshark")
needs_tshark = pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")
CHECKSUMS = ("-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-o", "mbrtu.crc_verification:TRUE")
NOON_NS = 1_764_331_200 * 10**9
DEVICES = (
    Peer("inv-1", 1, "tcp", "127.0.0.1", 1502),
    Peer("inv-2", 1, "tls", "10.1.2.3", 802),
    Peer("inv-3", 9, "tcp", "10.1.2.3", 502),
    Peer("meter", 7, "serial", "/dev/ttyUSB0"),
    Peer("old-one", 3, "rtu-over-tcp", "10.1.2.4", 4001),
)
SOURCE = Peer.scpi("grid-sim", "TCPIP::10.1.2.9::5025::SOCKET")


def tshark(path: Path, *words: str) -> str:
    assert TSHARK
    command = [TSHARK, "-n", *CHECKSUMS, "-r", str(path), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def packets(path: Path, *fields: str) -> list[list[str]]:
    """Return these fields of every packet; tshark must find nothing wrong with any."""
    wanted = [word for name in fields for word in ("-e", name)]
    said = tshark(path, "-T", "fields", "-E", "separator=|", *wanted, "-z", "expert,warn")
    assert "Warns (" not in said
    assert "Errors (" not in said
    return [line.split("|") for line in said.splitlines() if line]


def entries(*noted: tuple[Peer, str, bytes]) -> list[Entry]:
    return [
        Entry(NOON_NS + 1_000_001 * number, number, number * 10**9, peer, direction, data)  # type: ignore[arg-type]
        for number, (peer, direction, data) in enumerate(noted)
    ]


def exchanged(peer: Peer, request: pdu.Request, answer: bytes, transaction: int = 1) -> list[tuple[Peer, str, bytes]]:
    asked, came = pdu.request_bytes(request), answer
    return [
        (peer, direction, peer.framing.pack(Frame(peer.unit, each, transaction)))
        for direction, each in (("sent", asked), ("received", came))
    ]


def captured(path: Path, noted: list[Entry]) -> Path:
    with path.open("wb") as file:
        assert export(noted, file) == len(noted)
    return path


@needs_tshark
def test_a_session_with_emulated_devices_is_dissected_to_the_last_frame(tmp_path: Path, session: Session) -> None:
    ended = CliRunner().invoke(app, ["frames", "export", str(session.folder), "--pcap", str(tmp_path / "x.pcapng")])
    assert ended.exit_code == 0, ended.output
    noted = list(Evidence(session.folder).entries())
    assert f"{len(noted)} frames" in ended.output
    found = Counter(protocol for (protocol,) in packets(tmp_path / "x.pcapng", "_ws.col.Protocol"))
    by_transport = Counter("Modbus/TCP" if entry.peer.transport == "tcp" else "Modbus RTU" for entry in noted)
    assert found == {**by_transport, "TCP": 6}


def test_a_capture_is_not_written_over_the_journal_that_it_is_of(session: Session) -> None:
    (journal, *_) = (file.path for file in Evidence(session.folder).files)
    before = journal.read_bytes()
    other = journal.parent / ".." / journal.parent.name / journal.name
    ended = CliRunner().invoke(app, ["frames", "export", str(session.folder), "--pcap", str(other)])
    assert ended.exit_code == 2
    assert "is the journal itself" in ended.output
    assert journal.read_bytes() == before


@needs_tshark
def test_tshark_sees_the_registers_that_the_client_wrote(tmp_path: Path, session: Session) -> None:
    path = captured(tmp_path / "x.pcapng", list(Evidence(session.folder).entries()))
    rows = packets(path, "tcp.dstport", "modbus.func_code", "modbus.regnum16", "modbus.regval_uint16")
    written = [(number, value) for port, function, number, value in rows if (port, function) == ("502", "16")]
    assert [value for _, value in written] == ["8000", "7900", "7800"]  # 704.WMaxLimPct, in hundredths
    assert len({number for number, _ in written}) == 1


def said_to(peer: Peer) -> list[tuple[Peer, str, bytes]]:
    several, one = pdu.write(40100, [1, 2, 3]), pdu.write(40100, [7], one=True)
    return [
        *exchanged(peer, pdu.read(40000, 2), pdu.registers_answer(3, [0x5375, 0x6E53])),
        *exchanged(peer, pdu.read(40000, 1, 4), pdu.registers_answer(4, [5])),
        *exchanged(peer, several, pdu.written_answer(several)),
        *exchanged(peer, one, pdu.written_answer(one)),
        *exchanged(peer, pdu.read(50000, 2), pdu.exception_answer(3, 2)),
    ]


@needs_tshark
def test_every_transport_is_dissected_with_who_when_and_what(tmp_path: Path) -> None:
    path = captured(tmp_path / "x.pcapng", entries(*(each for peer in DEVICES for each in said_to(peer))))
    rows = packets(path, "modbus.func_code", "modbus.exception_code", "frame.comment", "frame.time_epoch")
    found = [row for row in rows if row[0]]
    assert [int(row[0]) for row in found] == [3, 3, 4, 4, 16, 16, 6, 6, 3, 3] * len(DEVICES)
    assert [row[1] for row in found] == ([""] * 9 + ["2"]) * len(DEVICES)
    assert [row[2] for row in found] == [f"{DEVICES[k // 10]}, at {k} s" for k in range(10 * len(DEVICES))]
    assert [row[3] for row in found] == [f"1764331200.{1_000_001 * k:09d}" for k in range(10 * len(DEVICES))]


@needs_tshark
def test_a_device_at_the_modbus_port_keeps_its_address_and_others_are_called_by_name(tmp_path: Path) -> None:
    read, answer = pdu.read(40000, 1), pdu.registers_answer(3, [1])
    noted = entries(*(each for peer in DEVICES for each in exchanged(peer, read, answer)))
    path = captured(tmp_path / "x.pcapng", noted)
    named = subprocess.run([str(TSHARK), "-N", "n", "-r", str(path)], capture_output=True, text=True, check=True).stdout
    assert all(f" {peer.device} " in named for peer in DEVICES)
    assert b"\x0a\x01\x02\x03inv-3\0" in path.read_bytes()
    assert b"\x0a\x40\x00\x02inv-1\0" in path.read_bytes()


@needs_tshark
def test_what_was_discarded_is_there_and_disturbs_no_conversation(tmp_path: Path) -> None:
    inverter, meter = DEVICES[0], DEVICES[3]
    read, answer = pdu.read(40000, 1), pdu.registers_answer(3, [1])
    late = [inverter.framing.pack(Frame(1, answer, 77)), meter.framing.pack(Frame(7, answer))]
    noted = entries(
        *exchanged(inverter, read, answer),
        (inverter, "discarded", b"\xff\xfe garbage"),
        (inverter, "discarded", late[0]),
        *exchanged(inverter, read, answer, 2),
        (meter, "discarded", late[1]),
        (meter, "discarded", late[1][:-1] + b"\0"),
        *exchanged(meter, read, answer),
    )
    path = captured(tmp_path / "x.pcapng", noted)
    rows = packets(path, "_ws.col.Protocol", "frame.comment", "data.data")
    discarded = [(protocol, data) for protocol, comment, data in rows if comment.endswith("discarded")]
    assert discarded == [
        ("", b"\xff\xfe garbage".hex()),
        ("Modbus/TCP", ""),
        ("Modbus RTU", ""),
        ("", (late[1][:-1] + b"\0").hex()),
    ]


@needs_tshark
def test_a_conversation_goes_on_beyond_four_gigabytes(tmp_path: Path) -> None:
    conversation = Conversation(Socket(IPv4Address("10.0.0.1"), 50000), Socket(IPv4Address("10.0.0.2"), 502))
    conversation._said = [0xFFFFFFF0, 0xFFFFFFF8]
    noted = entries(*exchanged(DEVICES[0], pdu.read(40000, 9), pdu.registers_answer(3, range(9))))
    data = [*conversation.opened()]
    for _ in range(3):
        data += [conversation.request(noted[0].data), conversation.answer(noted[1].data)]
    data += conversation.closed()
    blocks = [packet(0, NOON_NS + number, each) for number, each in enumerate(data)]
    path = tmp_path / "x.pcapng"
    path.write_bytes(section("test") + interface(LinkType.ETHERNET, "test") + b"".join(blocks))
    assert Counter(p for (p,) in packets(path, "_ws.col.Protocol")) == {"TCP": 6, "Modbus/TCP": 6}


def test_an_empty_journal_makes_an_empty_capture() -> None:
    file = io.BytesIO()
    assert export([], file) == 0
    assert len(file.getvalue()) % 4 == 0


def test_two_peers_on_one_line_share_its_conversation() -> None:
    first = DEVICES[0]
    second = replace(first, device="inv-9", unit=9)
    read, answer = pdu.read(40000, 1), pdu.registers_answer(3, [1])
    file = io.BytesIO()
    export(entries(*exchanged(first, read, answer), *exchanged(second, read, answer, 2)), file)
    both = file.getvalue()
    file = io.BytesIO()
    export(entries(*exchanged(first, read, answer), *exchanged(first, read, answer, 2)), file)
    assert abs(len(both) - len(file.getvalue())) < 16


@needs_tshark
def test_the_words_of_instruments_are_lines_of_text(tmp_path: Path) -> None:
    path = tmp_path / "words.pcapng"
    with path.open("wb") as file:
        assert export(entries((SOURCE, "sent", b"MEAS1:VOLT:AC?"), (SOURCE, "received", b"230.1\n")), file) == 2
    found = packets(path, "frame.protocols", "data-text-lines", "frame.comment")
    assert [row[0].split(":")[-1] for row in found] == ["data-text-lines"] * 2
    assert [row[2] for row in found] == [
        "grid-sim (TCPIP::10.1.2.9::5025::SOCKET), at 0 s",
        "grid-sim (TCPIP::10.1.2.9::5025::SOCKET), at 1 s",
    ]
    assert "MEAS1:VOLT:AC?" in tshark(path, "-V")
