"""What is served over TCP answers as the specification says, whatever comes."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hil.emulator.bank import RegisterBank
from hil.modbus.endpoint import RtuOverTcp, Tcp
from hil.modbus.framing import MBAP, RTU, Frame
from hil.modbus.pdu import read, request_bytes, write
from hil.serving.responder import BankResponder, Units
from hil.serving.server import Line, Server

SUNS = bytes.fromhex("03 04 53 75 6e 53")
READ_SUNS = request_bytes(read(40000, 2))


@pytest.fixture
def server(bank: RegisterBank) -> Iterator[Server]:
    both = {1: BankResponder(bank, 0), 7: BankResponder(bank, 1)}
    lines = [Line(Tcp(port=0), Units(both)), Line(RtuOverTcp(port=0), Units(both, absent=None))]
    with Server(lines) as server:
        yield server


@contextmanager
def wire(server: Server, line: int = 0) -> Iterator[socket.socket]:
    endpoint = server.endpoints[line]
    assert isinstance(endpoint, Tcp | RtuOverTcp)
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=5) as connection:
        yield connection


def received(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


def test_a_request_is_answered_with_its_transaction_and_unit(server: Server) -> None:
    with wire(server) as connection:
        connection.sendall(bytes.fromhex("beef 0000 0006 07 03 9c40 0002"))
        assert received(connection, 13) == bytes.fromhex("beef 0000 0007 07") + SUNS


def test_requests_in_one_segment_and_in_pieces_are_answered_in_their_order(server: Server) -> None:
    asked = b"".join(MBAP.pack(Frame(1, READ_SUNS, number)) for number in range(5))
    with wire(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (asked[:1], asked[1:20], asked[20:]):
            connection.sendall(piece)
        assert received(connection, 65) == b"".join(MBAP.pack(Frame(1, SUNS, number)) for number in range(5))


def test_a_request_that_pauses_on_its_way_is_answered(server: Server) -> None:
    """The half that had come was dropped after a second, and what followed ended the connection."""
    asked = MBAP.pack(Frame(1, READ_SUNS, 3))
    with wire(server) as connection:
        connection.sendall(asked[:5])
        time.sleep(1.2)
        connection.sendall(asked[5:])
        assert received(connection, 13) == MBAP.pack(Frame(1, SUNS, 3))


def test_rtu_over_tcp_is_answered_with_its_check_and_goes_on_after_a_wrong_one(server: Server) -> None:
    asked = RTU.pack(Frame(1, READ_SUNS))
    with wire(server, line=1) as connection:
        connection.sendall(asked[:-1] + b"\x00")
        time.sleep(0.05)  # the silence between frames
        connection.sendall(RTU.pack(Frame(9, READ_SUNS)))
        connection.sendall(asked)
        assert received(connection, 9) == RTU.pack(Frame(1, SUNS))


@pytest.mark.parametrize(
    "asked",
    [
        *("07", "11", "08 00 00 12 34", "2b 0e 01 00", "16 00 04 00 f2 00 25", "18 00 04"),
        *("14 07 06 00 04 00 01 00 02", "17 00 00 00 01 00 00 00 01 02 ab cd"),
    ],
)
def test_other_functions_are_refused_over_rtu_too_and_what_follows_is_answered(server: Server, asked: str) -> None:
    pdu = bytes.fromhex(asked)
    refused = RTU.pack(Frame(1, bytes((pdu[0] | 0x80, 1))))
    with wire(server, line=1) as connection:
        connection.sendall(RTU.pack(Frame(1, pdu)) + RTU.pack(Frame(1, READ_SUNS)))
        assert received(connection, 14) == refused + RTU.pack(Frame(1, SUNS))


def test_a_unit_that_is_not_there_is_named_by_its_gateway(server: Server) -> None:
    with wire(server) as connection:
        connection.sendall(MBAP.pack(Frame(2, READ_SUNS, 4)))
        assert received(connection, 9) == MBAP.pack(Frame(2, bytes.fromhex("83 0b"), 4))


def test_a_broadcast_on_a_bus_is_done_by_all_and_answered_by_none(server: Server, bank: RegisterBank) -> None:
    point = bank.maps[0]["704.WMaxLimPctRvrtTms"]
    setting = request_bytes(write(point.address, (0, 77)))
    with wire(server, line=1) as connection:
        connection.sendall(RTU.pack(Frame(0, setting)) + RTU.pack(Frame(1, READ_SUNS)))
        assert received(connection, 9) == RTU.pack(Frame(1, SUNS))
    assert [bank.maps[d].value("704.WMaxLimPctRvrtTms", bank.image(d)) for d in (0, 1)] == [77.0, 77.0]


def test_what_is_no_modbus_tcp_ends_its_connection_and_no_other(server: Server) -> None:
    with wire(server) as good, wire(server) as bad:
        bad.sendall(b"GET / HTTP/1.1\r\n")
        assert received(bad, 1) == b""
        good.sendall(MBAP.pack(Frame(1, READ_SUNS, 1)))
        assert received(good, 13) == MBAP.pack(Frame(1, SUNS, 1))


def test_a_client_that_never_reads_does_not_fill_the_memory(server: Server) -> None:
    asked = MBAP.pack(Frame(1, request_bytes(read(40000, 125)), 1)) * 50
    (endpoint, _) = server.endpoints
    assert isinstance(endpoint, Tcp)
    with socket.socket() as connection:
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, buffer, 4096)
        connection.settimeout(0.5)
        connection.connect(("127.0.0.1", endpoint.port))
        with pytest.raises(TimeoutError):
            connection.sendall(asked * 10_000)


@pytest.mark.parametrize(
    ("pdu", "answer"),
    [
        ("2b 0e 01 00", "ab 01"),
        ("03 9c40 0000", "83 03"),
        ("03 9c40 007e", "83 03"),
        ("03 9c40", "83 03"),
        ("03 ffff 0002", "83 02"),
        ("03 0000 0002", "83 02"),
        ("10 9c40 0001 04 00000000", "90 03"),
        ("06 9c40 0000", "86 02"),
        ("04 9c40 0002", "84 01"),
    ],
)
def test_what_cannot_be_done_is_answered_with_an_exception(pdu: str, answer: str, server: Server) -> None:
    with wire(server) as connection:
        connection.sendall(MBAP.pack(Frame(1, bytes.fromhex(pdu), 3)))
        assert received(connection, 9) == struct.pack(">HHHB", 3, 0, 3, 1) + bytes.fromhex(answer)
