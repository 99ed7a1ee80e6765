"""What a scan is to look at, from the words of a command line. Nothing but what is named is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from derloop.errors import DerloopError
from hil.modbus.endpoint import Endpoint, RtuOverTcp, Serial, Tcp, Tls

Parity = Literal["none", "even", "odd"]
PORTS, UNITS, REGISTERS = range(1, 65536), range(256), range(65536)


class Papers(NamedTuple):
    """The files with which one is known over TLS."""

    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None
    server_name: str | None = None

    def endpoint(self, word: str, host: str, port: int | None) -> Tls:
        """Return where a word leads. Raises DerloopError where a file is missing."""
        if self.certificate is None or self.key is None or self.authority is None:
            raise DerloopError(f"{word}: TLS needs --certificate, --key and --authority")
        files = [each.absolute() for each in (self.certificate, self.key, self.authority)]  # a draft may lie elsewhere
        papers = dict(zip(("certificate", "key", "authority"), files, strict=True))
        at = {"host": host, "server_name": self.server_name} | ({} if port is None else {"port": port})
        return Tls.model_validate({**at, **papers})


NO_PAPERS = Papers()


def endpoints(
    words: Sequence[str], ports: Sequence[int], baud: int, parity: Parity, papers: Papers = NO_PAPERS
) -> list[Endpoint]:
    """Return the endpoints that words name: HOST, HOST:PORT, rtu:HOST:PORT, tls:HOST, or the path of a serial port.

    `ports` are those of hosts that name none. Raises DerloopError for a word that is none of these.
    """
    return [found for word in words for found in _named(word, ports, baud, parity, papers)]


def _named(word: str, ports: Sequence[int], baud: int, parity: Parity, papers: Papers) -> Iterator[Endpoint]:
    if "/" in word:
        yield Serial(path=Path(word), baud=baud, parity=parity)
        return
    if word.startswith("tls:"):
        yield papers.endpoint(word, *_host_and_port(word, word.removeprefix("tls:")))
        return
    rest = word.removeprefix("rtu:")
    host, port = _host_and_port(word, rest)
    if rest != word:
        if port is None:
            raise DerloopError(f"{word}: RTU over TCP has no usual port; write rtu:HOST:PORT")
        yield RtuOverTcp(host=host, port=port)
    else:
        yield from (Tcp(host=host, port=each) for each in (ports if port is None else [port]))


def _host_and_port(word: str, rest: str) -> tuple[str, int | None]:
    """Return host and port; an IPv6 address with a port stands in brackets."""
    host, port = rest, ""
    if rest.startswith("["):
        host, _, port = rest[1:].partition("]")
        port = port.removeprefix(":")
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    if not host or (port and not (port.isdecimal() and int(port) in PORTS)):
        raise DerloopError(f"{word}: is no HOST, HOST:PORT, rtu:HOST:PORT, tls:HOST:PORT or path of a serial port")
    return host, int(port) if port else None


def numbers(text: str, possible: range, what: str) -> list[int]:
    """Return the numbers in "1-10,20". Raises DerloopError for anything else, and beyond `possible`."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ends = [first, last if dash else first]
        if not all(end.isdecimal() and int(end) in possible for end in ends) or int(ends[0]) > int(ends[1]):
            raise DerloopError(
                f"{what} {text!r}: must be numbers and ranges from {possible[0]} to {possible[-1]}, as in 1-10,20"
            )
        found += range(int(ends[0]), int(ends[1]) + 1)
    return list(dict.fromkeys(found))
