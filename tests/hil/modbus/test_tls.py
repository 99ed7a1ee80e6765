"""Modbus/TCP Security against servers with certificates of their own making (trustme)."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from modbus_peers import Handler, answer, asked, served

from derloop.errors import Unreachable
from hil.modbus.endpoint import Address, Timing, Tls
from hil.modbus.link import Link


@dataclass(frozen=True)
class Pki:
    """An authority, what it has issued to us, and what a server needs."""

    folder: Path
    authority: trustme.CA
    server: trustme.LeafCert

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.configure_cert(context)
        self.authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self, **changed: Path) -> dict[str, Path]:
        return {
            "certificate": self.folder / "client.pem",
            "key": self.folder / "client.key",
            "authority": self.folder / "authority.pem",
        } | changed


def keep(leaf: trustme.LeafCert, folder: Path, name: str) -> None:
    leaf.private_key_pem.write_to_path(folder / f"{name}.key")
    leaf.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    stranger.cert_pem.write_to_path(folder / "stranger.pem")
    keep(authority.issue_cert("client@lab.example"), folder, "client")
    keep(stranger.issue_cert("client@lab.example"), folder, "foreign")
    keep(authority.issue_cert("client@lab.example", not_after=datetime(2020, 1, 1, tzinfo=UTC)), folder, "expired")
    return Pki(folder, authority, authority.issue_cert("127.0.0.1"))


async def obliging(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        request = await asked(reader)
        writer.write(answer(request, [request.address] * request.second))


def exchange(pki: Pki, context: ssl.SSLContext, handler: Handler = obliging, **changed: Any) -> list[int]:
    """Return two registers read at 7 from a server with this context."""

    async def main() -> list[int]:
        async with served(handler, ssl=context) as port:
            endpoint = Tls(port=port, **pki.client() | changed)
            link = Link("inv-1", Address(endpoint), Timing(deadline_s=20.0))
            try:
                return (await link.read(7, 2)).tolist()
            finally:
                await link.close()

    return asyncio.run(main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_registers_are_read_over_tls(pki: Pki, version: ssl.TLSVersion) -> None:
    context = pki.server_context()
    context.minimum_version = context.maximum_version = version
    assert exchange(pki, context) == [7, 7]


def test_an_answer_over_several_records_is_one_answer(pki: Pki) -> None:
    async def in_three_records(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await asked(reader)
        frame = answer(request, [8, 9])
        for part in (frame[:3], frame[3:10], frame[10:]):
            writer.write(part)
            await asyncio.sleep(0.02)
        await reader.read()

    assert exchange(pki, pki.server_context(), in_three_records) == [8, 9]


@contextmanager
def alerting(context: ssl.SSLContext) -> Iterator[int]:
    """A server that says why it ends a handshake, as OpenSSL's do and asyncio's do not."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            with context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False) as stream:
                with suppress(ssl.SSLError):
                    stream.do_handshake()
                with suppress(OSError):  # closed with bytes unread, the reason could get lost
                    while os.read(stream.fileno(), 4096):
                        pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def refused(pki: Pki, context: ssl.SSLContext, version: ssl.TLSVersion, **changed: Path) -> str:
    """Return why nothing can be read from a server of this version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version

    async def main(port: int) -> str:
        link = Link("inv-1", Address(Tls(port=port, **pki.client() | changed)), Timing(deadline_s=20.0))
        with pytest.raises(Unreachable) as failure:
            await link.read(7, 2)
        await link.close()
        return failure.value.why

    with alerting(context) as port:
        return asyncio.run(main(port))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("ours", ["foreign", "expired"])
def test_a_device_that_refuses_our_certificate_is_named(pki: Pki, version: ssl.TLSVersion, ours: str) -> None:
    """Under TLS 1.3 that shows only after the handshake."""
    files = {"certificate": pki.folder / f"{ours}.pem", "key": pki.folder / f"{ours}.key"}
    assert "the device refused our certificate (" in refused(pki, pki.server_context(), version, **files)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_device_that_hangs_up_without_a_reason_may_have_refused_us(pki: Pki, version: ssl.TLSVersion) -> None:
    context = pki.server_context()
    context.minimum_version = context.maximum_version = version
    with pytest.raises(Unreachable, match=r"refused our certificate"):
        exchange(pki, context, certificate=pki.folder / "foreign.pem", key=pki.folder / "foreign.key")


def test_a_device_of_another_authority_is_refused(pki: Pki) -> None:
    with pytest.raises(Unreachable, match=r"the device's certificate is not accepted: .*stranger\.pem"):
        exchange(pki, pki.server_context(), authority=pki.folder / "stranger.pem")


def test_a_device_with_another_name_is_refused(pki: Pki) -> None:
    with pytest.raises(Unreachable, match="not accepted: Hostname mismatch"):
        exchange(pki, pki.server_context(), server_name="inverter-1.example")


def test_a_device_whose_certificate_has_expired_is_refused(pki: Pki) -> None:
    expired = pki.authority.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(Unreachable, match="not accepted: certificate has expired"):
        exchange(pki, Pki(pki.folder, pki.authority, expired).server_context())


def test_tls_1_1_is_refused(pki: Pki) -> None:
    context = pki.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    assert "the device does not speak TLS 1.2 or newer" in refused(pki, context, ssl.TLSVersion.TLSv1_1)


def test_a_device_that_speaks_plain_modbus_is_no_tls_device(pki: Pki) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(5)
        writer.write(bytes.fromhex("0000 0000 0003 01 83 01"))
        await reader.read()

    async def main() -> None:
        async with served(plain) as port:
            link = Link("inv-1", Address(Tls(port=port, **pki.client())), Timing(deadline_s=20.0, attempts=1))
            with pytest.raises(Unreachable, match="does not speak TLS"):
                await link.read(0, 1)

    asyncio.run(main())


def test_a_handshake_that_does_not_end_ends_by_the_deadline(pki: Pki) -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        async with served(silence) as port:
            link = Link("inv-1", Address(Tls(port=port, **pki.client())), Timing(deadline_s=0.3, attempts=1))
            with pytest.raises(Unreachable, match=r"no connection within 0\.\d+ s"):
                await link.read(0, 1)

    asyncio.run(main())


Wrong = Callable[[Path], dict[str, Path]]


def _encrypted(folder: Path) -> dict[str, Path]:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key((folder / "client.key").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (folder / "locked.key").write_bytes(locked)
    return {"key": folder / "locked.key"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda folder: {"certificate": folder / "none.pem"}, r"none\.pem: No such file"),
        (lambda folder: {"key": folder / "foreign.key"}, r"the key in .*foreign\.key is not that of the certificate"),
        (lambda folder: {"authority": folder / "client.key"}, "holds no authority's certificate in PEM"),
        (lambda folder: {"certificate": folder / "client.key"}, "is no certificate or key in PEM"),
        (_encrypted, "the key is encrypted"),
    ],
)
def test_files_of_ours_that_are_wrong_are_named(pki: Pki, wrong: Wrong, words: str) -> None:
    with pytest.raises(Unreachable, match=words):
        exchange(pki, pki.server_context(), **wrong(pki.folder))
