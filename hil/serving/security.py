"""TLS for servers, and what a peer may do by the role in its certificate.

Source: MODBUS/TCP Security Protocol Specification (MB-TCP-Security-v21), sections 6 to 8: TLS 1.2 or newer, both sides
with certificates, the role in extension 1.3.6.1.4.1.50316.802.1 as an ASN.1 UTF8String, and exception 1 for a request
that the role may not make.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Mapping
from typing import Literal

from derloop.errors import DerloopError, PluginError
from hil.modbus.endpoint import Tls
from hil.modbus.pdu import READS, ExceptionCode, exception_answer
from hil.serving.responder import Responder

ROLE = "1.3.6.1.4.1.50316.802.1"
UTF8_STRING = 0x0C
Right = Literal["read", "write"]
Roles = Mapping[str, Collection[Right]]
"""What each role may do."""
ANYTHING: Collection[Right] = ("read", "write")


def server_context(endpoint: Tls) -> ssl.SSLContext:
    """Return TLS as the specification wants it. Raises DerloopError for files that are not what they should be."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(endpoint.certificate, endpoint.key, password=_no_password)
        context.load_verify_locations(cafile=endpoint.authority)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        files = f"{endpoint.certificate}, {endpoint.key} and {endpoint.authority}"
        raise DerloopError(f"{endpoint}: no certificate, plain key and authorities in {files}: {error}") from error
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted; only plain ones can be read")


def role_of(certificate: bytes) -> str | None:
    """Return the role in a certificate (DER); None if it names none, or not as UTF8String.

    Raises PluginError without the package cryptography.
    """
    try:
        from cryptography import x509
    except ImportError as error:
        raise PluginError("roles in certificates need cryptography: pip install 'derloop[bench]'") from error
    found = x509.load_der_x509_certificate(certificate).extensions
    try:
        value = found.get_extension_for_oid(x509.ObjectIdentifier(ROLE)).value
    except x509.ExtensionNotFound:
        return None
    return _utf8_string(value.value) if isinstance(value, x509.UnrecognizedExtension) else None


def _utf8_string(der: bytes) -> str | None:
    """Return a short ASN.1 UTF8String; None for anything else."""
    if len(der) < 2 or der[0] != UTF8_STRING or der[1] > 127 or len(der) != 2 + der[1]:
        return None
    return der[2:].decode("utf-8", errors="replace")


class Permitted:
    """Answers what a peer may ask, and refuses the rest with exception 1."""

    def __init__(self, inner: Responder, rights: Collection[Right]) -> None:
        self._inner, self._rights = inner, frozenset(rights)

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        right: Right = "read" if pdu[0] in READS else "write"
        if right not in self._rights:
            return exception_answer(pdu[0], ExceptionCode.ILLEGAL_FUNCTION)
        return self._inner.respond(unit, pdu)


def permitted(inner: Responder, roles: Roles | None, certificate: bytes | None) -> Responder:
    """Return what one peer sees of `inner`. roles: None lets all do anything who have a certificate."""
    if roles is None:
        return inner
    role = role_of(certificate) if certificate else None
    return Permitted(inner, roles.get(role, ()) if role is not None else ())
