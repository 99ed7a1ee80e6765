"""Requests with what came of them, from a journal's frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from hil.frames.layout import Entry, Peer
from hil.modbus.framing import MBAP, FramingError


class Misnamed(NamedTuple):
    """An answer in another unit's name: the client took it for none."""

    off: int
    """How far its unit's number is from that of the unit that was asked."""
    answer: bytes
    latency_s: float


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to one device, and its answer if one came: their PDUs, or the words of SCPI."""

    peer: Peer
    wall_ns: int
    """When the request was sent, UTC, ns since 1970."""
    sent_ns: int
    """When the request was sent, on the host's monotonic clock."""
    instant_ns: int | None
    request: bytes
    answer: bytes | None = None
    """None: silence, or nothing that could be taken for the answer."""
    latency_s: float | None = None
    """From request to answer; None for silence."""
    misnamed: Misnamed | None = None
    """What came in the place of an answer."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """Bytes that came and were no frame, or no answer that anybody waited for."""

    peer: Peer
    wall_ns: int
    sent_ns: int
    """When they were discarded, on the host's monotonic clock."""
    instant_ns: int | None
    data: bytes


Event = Exchange | Discarded


def events(entries: Iterable[Entry]) -> Iterator[Event]:
    """Yield what happened, each exchange when it is over; those without an answer when the next begins, or at the end.

    A client asks a device one thing at a time, so the answer that comes is that to the last request. In another unit's
    name it is none: the client went on as after silence.
    """
    asked: dict[Peer, Exchange] = {}
    for entry in entries:
        match entry.direction:
            case "discarded":
                yield _discarded(entry)
            case "sent":
                if unanswered := asked.pop(entry.peer, None):
                    yield unanswered
                pdu = pdu_of(entry)
                if pdu is not None:
                    asked[entry.peer] = Exchange(
                        entry.peer, entry.wall_ns, entry.monotonic_ns, entry.instant_ns, request=pdu
                    )
            case "received" if not _is_of_peer(entry):
                if (request := asked.get(entry.peer)) is not None:
                    asked[entry.peer] = _answered_by_another(request, entry)
                yield _discarded(entry)
            case "received":
                request, answer = asked.pop(entry.peer, None), pdu_of(entry)
                if request is not None:
                    yield answered(request, answer, entry.monotonic_ns)
    yield from asked.values()


def _discarded(entry: Entry) -> Discarded:
    return Discarded(entry.peer, entry.wall_ns, entry.monotonic_ns, entry.instant_ns, entry.data)


def _is_of_peer(entry: Entry) -> bool:
    """Return whether a frame that came says that it is of the unit that was asked; SCPI has none."""
    return entry.peer.speaks_scpi or _unit(entry) == bytes((entry.peer.unit,))


def _unit(entry: Entry) -> bytes:
    """Return the byte of a frame that says whose it is; nothing where it is too short."""
    at = 6 if entry.peer.framing is MBAP else 0
    return entry.data[at : at + 1]


def _answered_by_another(request: Exchange, entry: Entry) -> Exchange:
    """Return a request with what came in another unit's name; as it was, where that is no whole frame."""
    answer = pdu_of(entry)
    if answer is None:
        return request
    latency_s = (entry.monotonic_ns - request.sent_ns) / 1e9
    return replace(request, misnamed=Misnamed(_unit(entry)[0] - entry.peer.unit, answer, latency_s))


def exchanges(entries: Iterable[Entry]) -> list[Exchange]:
    """Return the exchanges alone, in the order in which they began."""
    found = [event for event in events(entries) if isinstance(event, Exchange)]
    return sorted(found, key=lambda exchange: exchange.sent_ns)


def answered(request: Exchange, answer: bytes | None, at_ns: int) -> Exchange:
    """Return `request` with the answer that came at `at_ns` (monotonic)."""
    latency_s = None if answer is None else (at_ns - request.sent_ns) / 1e9
    return Exchange(
        request.peer, request.wall_ns, request.sent_ns, request.instant_ns, request.request, answer, latency_s
    )


def pdu_of(entry: Entry) -> bytes | None:
    """Return what a frame carries; None for bytes that are no whole frame."""
    if entry.peer.speaks_scpi:
        return entry.data
    if entry.peer.framing is MBAP:
        return entry.data[7:] if len(entry.data) > 7 else None
    splitter = entry.peer.framing.splitter("server" if entry.direction == "sent" else "client")
    try:
        frames = splitter.feed(entry.data)
    except FramingError:
        return None
    return frames[0].pdu if frames else None
