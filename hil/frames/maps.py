"""What a device's registers mean, from its frames alone: a client that discovers it has read its whole SunSpec map."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from derloop.errors import Rejected
from hil.frames.exchanges import Event, Exchange
from hil.frames.layout import Peer
from hil.modbus.pdu import ExceptionAnswer, Function, PduError, RegisterArray, parse_answer, parse_request
from hil.sunspec.discovery import discover
from hil.sunspec.errors import SunSpecError
from hil.sunspec.points import Point, Value
from hil.sunspec.register_map import BASE_ADDRESSES, RegisterMap, scaled

HEAD = re.compile(r"[^.]+\.(ID|L)")


class Recalled:
    """The registers of one device as they were first read."""

    def __init__(self) -> None:
        self._words: dict[int, int] = {}

    def take(self, exchange: Exchange) -> None:
        """Learn from a read of holding registers that was answered."""
        found = read_registers(exchange)
        if found is not None:
            for address, word in enumerate(found[1].tolist(), found[0]):
                self._words.setdefault(address, word)

    def read(self, address: int, count: int) -> RegisterArray:
        """Return registers. Raises Rejected where some were never read."""
        try:
            return np.array([self._words[at] for at in range(address, address + count)], dtype=np.uint16)
        except KeyError as unknown:
            raise Rejected("recalled", f"register {unknown} was never read") from None

    def register_map(self) -> RegisterMap | None:
        """Return the map that was discovered; None where none was, or not all of it."""
        if not any(base in self._words for base in BASE_ADDRESSES):
            return None
        try:
            return discover(self.read)[0]
        except (SunSpecError, Rejected):
            return None


class Points:
    """The points of one device by address, to be found in what is read and written."""

    def __init__(self, known: RegisterMap) -> None:
        self._known = known
        readable = (point for point in known.points.values() if _tells_something(point))
        self._points = sorted(readable, key=lambda point: point.address)

    @property
    def names(self) -> frozenset[str]:
        """What they are called."""
        return frozenset(point.name for point in self._points)

    def within(self, address: int, words: Sequence[int] | RegisterArray) -> list[tuple[Point, Value]]:
        """Return the points that lie wholly in these registers, and their values.

        A scale factor that the device may change counts as it stands among them; elsewhere, as it was discovered.
        """
        from hil.sunspec.codec import decode

        end = address + len(words)

        def is_here(point: Point) -> bool:
            return point.manner.function == 3 and address <= point.address and point.end <= end

        def value(point: Point) -> Value:
            return decode(point, words[point.address - address : point.end - address])

        def now(point: Point) -> Point:
            moving = self._known.moving_scale(point.name)
            scale = None if moving is None else self._known[moving]
            return scaled(point, value(scale)) if scale is not None and is_here(scale) else point

        return [(point, value(now(point))) for point in self._points if is_here(point)]


def _tells_something(point: Point) -> bool:
    """False for padding, scale factors, and the heads of models."""
    return point.kind.family != "pad" and point.type != "sunssf" and not HEAD.fullmatch(point.name)


def maps_of(events: Iterable[Event]) -> dict[Peer, Points | None]:
    """Return every device's points; None for one of which no map was read."""
    recalled: dict[Peer, Recalled] = {}
    for event in events:
        if isinstance(event, Exchange):
            known = recalled.setdefault(event.peer, Recalled())
            if not event.peer.speaks_scpi:
                known.take(event)
    maps = {peer: each.register_map() for peer, each in recalled.items()}
    return {peer: None if known is None else Points(known) for peer, known in maps.items()}


def read_registers(exchange: Exchange) -> tuple[int, RegisterArray] | None:
    """Return address and registers of a read of holding registers that was answered; None for all else."""
    if exchange.answer is None:
        return None
    try:
        request = parse_request(exchange.request)
        if request.function != Function.READ_HOLDING:
            return None
        return request.address, parse_answer(request, exchange.answer)
    except (ExceptionAnswer, PduError):
        return None
