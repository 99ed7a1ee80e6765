"""Requests with what came of them, from a journal's frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hil.frames.layout import Entry, Peer
from hil.modbus.framing import MBAP, FramingError


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
    at = 6 if entry.peer.framing is MBAP else 0
    return entry.peer.speaks_scpi or entry.data[at : at + 1] == bytes((entry.peer.unit,))


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
