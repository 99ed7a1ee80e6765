"""What a scan is to look at, from the words of a command line. Nothing but what is named is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from derloop.errors import DerloopError
from hil.modbus.endpoint import Endpoint, RtuOverTcp, Serial, Tcp

Parity = Literal["none", "even", "odd"]
PORTS, UNITS, REGISTERS = range(1, 65536), range(256), range(65536)


def endpoints(words: Sequence[str], ports: Sequence[int], baud: int, parity: Parity) -> list[Endpoint]:
    """Return the endpoints that words name: HOST, HOST:PORT, rtu:HOST:PORT, or the path of a serial port.

    `ports` are those of hosts that name none. Raises DerloopError for a word that is none of these.
    """
    return [found for word in words for found in _named(word, ports, baud, parity)]


def _named(word: str, ports: Sequence[int], baud: int, parity: Parity) -> Iterator[Endpoint]:
    if "/" in word:
        yield Serial(path=Path(word), baud=baud, parity=parity)
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
        raise DerloopError(f"{word}: is no HOST, HOST:PORT, rtu:HOST:PORT or path of a serial port")
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
