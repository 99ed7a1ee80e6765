"""Independent clients over every transport: pymodbus, mbpoll, openssl's TLS, a serial port."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, Files
from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient, ModbusTcpClient, ModbusTlsClient
from pymodbus.exceptions import ModbusIOException

from derloop.errors import DerloopError, ScenarioError
from hil.emulator.bank import RegisterBank
from hil.modbus.endpoint import Endpoint, RtuOverTcp, Serial, Tcp, Tls
from hil.modbus.framing import MBAP, Frame
from hil.modbus.pdu import read, request_bytes
from hil.serving.device import of_bank, plain
from hil.serving.file import FleetEntry
from hil.serving.fleet import BankServer
from hil.serving.listener import CannotListen
from hil.serving.security import role_of
from hil.serving.server import Server, line

SUNS = [0x5375, 0x6E53]
ROLES = {"operator": ("read", "write"), "viewer": ("read",)}
needs_mbpoll = pytest.mark.skipif(not shutil.which("mbpoll"), reason="mbpoll is not installed: apt install mbpoll")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextmanager
def served(bank: RegisterBank, listen: Endpoint, **how: object) -> Iterator[Endpoint]:
    devices = {1: plain(of_bank(bank, 0, "pv_1")), 2: plain(of_bank(bank, 1, "bat_1"))}
    with Server([line(listen, devices, **how)]) as server:  # type: ignore[arg-type]
        yield server.endpoints[0]


def mbpoll(*words: str) -> list[int]:
    """Poll registers once and return them."""
    done = subprocess.run(["mbpoll", "-0", "-1", "-q", *words], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [int(word) for word in re.findall(r"^\[\d+\]:\s+(\d+)", done.stdout, re.MULTILINE)]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"listen": {"transport": "tcp", "port": 65535}}, "/listen/port: ports 65535 to 65536 are needed"),
        ({"bus": True, "unit": 255}, "/unit: units 255 to 256 are needed, and there are 0 to 255"),
        *(
            ({"listen": {"transport": "rtu-over-tcp", "port": 0}, "bus": True, "unit": unit}, "there are 1 to 247")
            for unit in (0, 247)
        ),
    ],
)
def test_a_fleet_for_which_units_or_ports_do_not_suffice_is_refused(
    entry: dict[str, Any], said: str, bank: RegisterBank
) -> None:
    with pytest.raises(ScenarioError, match=said):
        BankServer(bank, entry=FleetEntry.model_validate(entry))


@needs_mbpoll
def test_mbpoll_reads_and_writes_over_tcp(bank: RegisterBank) -> None:
    address = bank.maps[0]["704.WMaxLimPctRvrtTms"].address
    with served(bank, Tcp(port=0)) as endpoint:
        there = ("-p", str(endpoint.port), "127.0.0.1")
        assert mbpoll("-r", "40000", "-c", "2", *there) == SUNS
        mbpoll("-r", str(address), *there, "0", "90")
        assert mbpoll("-r", str(address), "-c", "2", *there) == [0, 90]
    assert bank.maps[0].value("704.WMaxLimPctRvrtTms", bank.image(0)) == 90.0


@needs_mbpoll
def test_mbpoll_polls_two_units_of_a_serial_bus(bank: RegisterBank, tmp_path: Path) -> None:
    port = tmp_path / "bus"
    with served(bank, Serial(path=port, baud=19200)):
        there = ("-m", "rtu", "-b", "19200", "-P", "none", str(port))
        for unit in ("1", "2"):
            assert mbpoll("-a", unit, "-r", "40000", "-c", "2", *there) == SUNS


def test_a_serial_line_takes_the_time_of_its_baud_rate(bank: RegisterBank, tmp_path: Path) -> None:
    port = tmp_path / "bus"
    with served(bank, Serial(path=port, baud=9600)), ModbusSerialClient(str(port), baudrate=9600, timeout=10) as client:
        assert client.connect()
        began = time.monotonic()
        assert client.read_holding_registers(40000, count=100, device_id=1).registers[:2] == SUNS
        # 205 bytes of 10 bits come back, and 8 went there: 222 ms, never sooner
        assert time.monotonic() - began >= 213 * 10 / 9600


def test_a_unit_that_is_not_on_a_serial_bus_is_silent(bank: RegisterBank, tmp_path: Path) -> None:
    port = tmp_path / "bus"
    with (
        served(bank, Serial(path=port)),
        ModbusSerialClient(str(port), baudrate=9600, timeout=0.3, retries=0) as client,
    ):
        assert client.connect()
        with pytest.raises(ModbusIOException, match="No response"):
            client.read_holding_registers(40000, count=2, device_id=9)


def test_a_port_is_removed_at_the_end_and_a_dead_one_replaced(bank: RegisterBank, tmp_path: Path) -> None:
    port = tmp_path / "bus"
    port.symlink_to("/dev/pts/99999")
    with served(bank, Serial(path=port)):
        assert port.exists()
    assert not port.is_symlink()


def test_a_file_in_the_place_of_a_port_is_left_alone(bank: RegisterBank, tmp_path: Path) -> None:
    port = tmp_path / "bus"
    port.write_text("mine")
    with pytest.raises(CannotListen, match="File exists"), served(bank, Serial(path=port)):
        pass
    assert port.read_text() == "mine"


def test_pymodbus_speaks_rtu_over_tcp(bank: RegisterBank) -> None:
    with (
        served(bank, RtuOverTcp(port=0)) as endpoint,
        ModbusTcpClient("127.0.0.1", port=endpoint.port, framer=FramerType.RTU) as client,
    ):
        assert client.connect()
        assert client.read_holding_registers(40000, count=2, device_id=2).registers == SUNS
        assert client.write_register(40000, 1, device_id=2).exception_code == 2


def _tls(files: Files) -> Tls:
    return Tls(port=0, certificate=files.certificate, key=files.key, authority=files.authority)


@contextmanager
def pymodbus_over_tls(endpoint: Endpoint, files: Files) -> Iterator[ModbusTlsClient]:
    context = ssl.create_default_context(cafile=files.authority)
    context.load_cert_chain(files.certificate, files.key)
    context.check_hostname = False  # this client does not say whom it expects
    assert isinstance(endpoint, Tls)
    with ModbusTlsClient("127.0.0.1", port=endpoint.port, sslctx=context) as client:
        assert client.connect()
        yield client


@pytest.mark.parametrize(
    ("role", "reads", "writes"), [("operator", True, True), ("viewer", True, False), (None, False, False)]
)
def test_a_peer_may_do_what_its_role_may(
    role: str | None, reads: bool, writes: bool, bank: RegisterBank, authority: Authority
) -> None:
    endpoint, point = _tls(authority.sign("device")), bank.maps[0]["704.WMaxLimPctRvrtTms"]
    with (
        served(bank, endpoint, roles=ROLES) as at,
        pymodbus_over_tls(at, authority.sign("client", role)) as client,
    ):
        read_ = client.read_holding_registers(40000, count=2, device_id=1)
        assert read_.registers == SUNS if reads else read_.exception_code == 1
        written = client.write_registers(point.address, [0, 30], device_id=1)
        assert not written.isError() if writes else written.exception_code == 1
    held = bank.maps[0].value("704.WMaxLimPctRvrtTms", bank.image(0))
    assert (held == 30.0) is writes


def test_without_roles_a_certificate_of_the_authority_is_enough(bank: RegisterBank, authority: Authority) -> None:
    with (
        served(bank, _tls(authority.sign("device"))) as at,
        pymodbus_over_tls(at, authority.sign("client")) as client,
    ):
        assert client.read_holding_registers(40000, count=2, device_id=1).registers == SUNS


@pytest.mark.parametrize("who", ["nobody", "a stranger"])
def test_who_has_no_certificate_of_the_authority_is_not_answered(
    who: str, bank: RegisterBank, authority: Authority, tmp_path: Path
) -> None:
    context = ssl.create_default_context(cafile=authority.path)
    if who == "a stranger":
        files = Authority(tmp_path, "other").sign("stranger", "operator")
        context.load_cert_chain(files.certificate, files.key)
    with served(bank, _tls(authority.sign("device"))) as at:
        assert isinstance(at, Tls)
        assert _answer(at, context) == b""


def test_tls_older_than_1_2_is_refused(bank: RegisterBank, authority: Authority) -> None:
    files = authority.sign("client")
    context = ssl.create_default_context(cafile=authority.path)
    context.load_cert_chain(files.certificate, files.key)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with served(bank, _tls(authority.sign("device"))) as at:
        assert isinstance(at, Tls)
        with (
            socket.create_connection(("127.0.0.1", at.port), timeout=5) as raw,
            pytest.raises((ssl.SSLError, ConnectionError), match=r"EOF|ALERT|reset"),  # it is the server that ends it
        ):
            context.wrap_socket(raw, server_hostname="127.0.0.1")


def _answer(endpoint: Tls, context: ssl.SSLContext) -> bytes:
    """Return what comes for a request; nothing if the connection does not come about, or ends."""
    try:
        with (
            socket.create_connection(("127.0.0.1", endpoint.port), timeout=5) as plain_socket,
            context.wrap_socket(plain_socket, server_hostname="127.0.0.1") as connection,
        ):
            connection.sendall(MBAP.pack(Frame(1, request_bytes(read(40000, 2)))))
            return connection.recv(100)
    except (ssl.SSLError, ConnectionError):
        return b""


def test_a_handshake_that_never_begins_does_not_keep_a_server_from_ending(
    bank: RegisterBank, authority: Authority
) -> None:
    with served(bank, _tls(authority.sign("device"))) as at:
        assert isinstance(at, Tls)
        silent = socket.create_connection(("127.0.0.1", at.port), timeout=5)
    with silent:
        assert silent.recv(1) == b""


def test_certificate_files_that_are_wrong_are_named(bank: RegisterBank, authority: Authority, tmp_path: Path) -> None:
    files = authority.sign("device")
    files.key.write_text("no key")
    with pytest.raises(DerloopError, match=re.escape(str(tmp_path / "device.key"))), served(bank, _tls(files)):
        pass


@pytest.mark.parametrize(
    ("der", "role"),
    [
        (b"\x0c\x08operator", "operator"),
        (b"\x0c\x09operator", None),
        (b"\x13\x08operator", None),
        (b"\x0c\x81\x08operator", None),
        (b"", None),
    ],
)
def test_a_role_is_a_utf8_string_and_nothing_else(der: bytes, role: str | None, authority: Authority) -> None:
    certificate = authority.sign("client", der=der).certificate.read_text()
    assert role_of(ssl.PEM_cert_to_DER_cert(certificate)) == role
