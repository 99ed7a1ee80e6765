"""What happened on a wire, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hil.frames.exchanges import Exchange
from hil.frames.maps import Points
from hil.modbus.pdu import ExceptionAnswer, PduError, RegisterArray, Request, parse_answer, parse_request
from hil.sunspec.points import Point, Value
from hil.sunspec.wording import value_text


class Told(NamedTuple):
    """An exchange in words."""

    asked: str
    came: str
    is_well: bool
    """False where nothing came, or a refusal, or what is no answer to the request."""
    is_write: bool
    points: tuple[tuple[Point, Value], ...] = ()
    """What was read or written, where the device's map is known."""


def tell(exchange: Exchange, points: Points | None) -> Told:
    """Return an exchange in words: with the points of the device if they are known."""
    if exchange.peer.speaks_scpi:
        return _tell_scpi(exchange)
    try:
        request = parse_request(exchange.request)
    except ExceptionAnswer:
        return Told(f"a request that is none: {exchange.request.hex(' ')}", _raw(exchange.answer), False, False)
    asked, write = _asked(request), request.is_write
    if exchange.answer is None:
        return Told(asked, "no answer", False, write, _points(points, request, request.registers))
    try:
        words = parse_answer(request, exchange.answer)
    except ExceptionAnswer as refusal:
        return Told(asked, str(refusal), False, write, _points(points, request, request.registers))
    except PduError as wrong:
        return Told(asked, f"no answer to it: {wrong}", False, write)
    found = _points(points, request, words)
    return Told(asked, "" if found else _words(words), True, write, found)


def _tell_scpi(exchange: Exchange) -> Told:
    """Return an exchange in its own words: only a query, which ends in a question mark, has an answer."""
    asked, answer = _text(exchange.request), exchange.answer
    is_query = "?" in asked
    came = _text(answer) if answer is not None else "no answer" if is_query else ""
    return Told(asked, came, answer is not None or not is_query, not is_query)


def _text(words: bytes) -> str:
    """Return words as a terminal may show them."""
    return words.strip().decode("latin-1").encode("unicode_escape").decode("ascii")


def point_text(point: Point, value: Value) -> str:
    return f"{point.name} = {value_text(point, value)}"


def _asked(request: Request) -> str:
    what = "write" if request.is_write else "read"
    inputs = " (input registers)" if request.function == 4 else ""
    return f"{what} {request.address}+{request.count}{inputs}"


def _points(
    points: Points | None, request: Request, words: Sequence[int] | RegisterArray
) -> tuple[tuple[Point, Value], ...]:
    """Return what registers mean; of a write, what was asked for, whether it was done or not."""
    return tuple(points.within(request.address, words)) if points and len(words) and request.function != 4 else ()


def _words(words: RegisterArray) -> str:
    shown = " ".join(f"{word:04x}" for word in words[:8].tolist())
    return f"{shown}{' ...' if len(words) > 8 else ''}"


def _raw(answer: bytes | None) -> str:
    return "no answer" if answer is None else answer.hex(" ")
