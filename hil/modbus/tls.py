"""Modbus/TCP Security: streams over TLS 1.2 or newer, with certificates on both sides.

Under TLS 1.3 a device that does not accept our certificate lets the handshake end well and hangs up afterwards; that
is named here. Source: MODBUS/TCP Security Protocol Specification v21 (MB-TCP-Security-v21), sections 6 and 8.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from hil.modbus.endpoint import Tls
from hil.modbus.failures import NotOpened, reason
from hil.modbus.tap import Tap
from hil.modbus.wire import CLOSING_S, Wire

_REFUSED_OURS = ("CERTIFICATE_REQUIRED", "UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN")
_TOO_OLD = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "WRONG_SSL_VERSION", "WRONG_VERSION_NUMBER")

_HUNG_UP = (
    "the device ended the TLS handshake without a reason: it may have refused our certificate, or speak another TLS"
)


async def open_tls(endpoint: Tls, tap: Tap | None) -> Wire:
    """Open a stream and verify the device's certificate; raises NotOpened."""
    context = client_context(endpoint)
    try:
        _, wire = await asyncio.get_running_loop().create_connection(
            lambda: Wire(endpoint.framing, tap, _explain),
            endpoint.host,
            endpoint.port,
            ssl=context,
            server_hostname=endpoint.server_name or endpoint.host,
            ssl_shutdown_timeout=CLOSING_S,
        )
    except ssl.SSLError as failure:
        raise _not_opened(failure, endpoint) from failure
    except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError) as failure:
        raise NotOpened(_HUNG_UP) from failure
    except OSError as failure:
        raise NotOpened(reason(failure)) from failure
    return wire


def client_context(endpoint: Tls) -> ssl.SSLContext:
    """Return what a client knows and demands; raises NotOpened if our own files are not what they should be."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in (endpoint.certificate, endpoint.key, endpoint.authority):
        _refuse_unreadable(path)
    try:
        context.load_verify_locations(cafile=endpoint.authority)
    except ssl.SSLError as failure:
        raise NotOpened(f"{endpoint.authority} holds no authority's certificate in PEM", again=False) from failure
    try:
        context.load_cert_chain(endpoint.certificate, endpoint.key, password=_no_password)
    except (ssl.SSLError, ValueError) as failure:
        raise NotOpened(_why_no_chain(failure, endpoint), again=False) from failure
    return context


def _refuse_unreadable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as failure:
        raise NotOpened(f"{path}: {reason(failure)}", again=False) from failure


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _why_no_chain(failure: Exception, endpoint: Tls) -> str:
    if isinstance(failure, ssl.SSLError) and failure.reason == "KEY_VALUES_MISMATCH":
        return f"the key in {endpoint.key} is not that of the certificate in {endpoint.certificate}"
    if isinstance(failure, ssl.SSLError):
        return f"{endpoint.certificate} or {endpoint.key} is no certificate or key in PEM"
    return f"{endpoint.key}: the key is encrypted; only plain ones can be read"


def _not_opened(failure: ssl.SSLError, endpoint: Tls) -> NotOpened:
    if isinstance(failure, ssl.SSLCertVerificationError):
        return NotOpened(
            f"the device's certificate is not accepted: {failure.verify_message} (authorities: {endpoint.authority})",
            again=False,
        )
    why = failure.reason or str(failure)
    if any(each in why for each in _TOO_OLD):
        return NotOpened(f"the device does not speak TLS 1.2 or newer ({why})", again=False)
    return NotOpened(_explain(why), again=not _is_refusal(why))


def _is_refusal(why: str) -> bool:
    return any(each in why for each in _REFUSED_OURS) or "HANDSHAKE_FAILURE" in why


def _explain(why: str) -> str:
    """Say what it means that a stream ended before any answer."""
    if _is_refusal(why):
        return f"the device refused our certificate ({why})"
    return f"{why} before its first answer: it may have refused our certificate"
