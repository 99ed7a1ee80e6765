"""The lines that `derloop frames list` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from rich.text import Text

from hil.frames.exchanges import Discarded, Event, Exchange
from hil.frames.layout import Peer
from hil.frames.maps import Points
from hil.frames.wording import Told, point_text, tell

SHOWN_POINTS = 4
"""Of a read, unless points are asked for."""


@dataclass(frozen=True)
class Chosen:
    """What is to be shown."""

    devices: Sequence[str] = ("*",)
    points: Sequence[str] = ()
    """Patterns: then exchanges of others are left out."""
    from_s: float | None = None
    """Scenario time, inclusive; what came before the first step is before any."""
    to_s: float | None = None
    writes: bool = False
    troubles: bool = False
    """Refusals, silence and what was discarded, alone."""

    def has(self, event: Event) -> bool:
        """Whether the device and the time are chosen."""
        at_s = -1.0 if event.instant_ns is None else event.instant_ns / 1e9
        is_then = (self.from_s is None or at_s >= self.from_s) and (self.to_s is None or at_s <= self.to_s)
        return is_then and any(fnmatchcase(event.peer.device, pattern) for pattern in self.devices)

    def wants(self, told: Told) -> bool:
        """Whether what happened in an exchange is chosen."""
        if (self.writes and not told.is_write) or (self.troubles and told.is_well):
            return False
        return not self.points or bool(self.of(told))

    def of(self, told: Told) -> list[str]:
        """Return the chosen ones of an exchange's points, in words; those that are not implemented if asked for."""
        if not self.points:
            return [point_text(point, value) for point, value in told.points if value is not None]
        return [
            point_text(point, value)
            for point, value in told.points
            if any(fnmatchcase(point.name, pattern) for pattern in self.points)
        ]


@dataclass
class Tally:
    """How many of what there were."""

    devices: set[Peer] = field(default_factory=set)
    exchanges: int = 0
    refused: int = 0
    """Also what is no answer to its request."""
    silent: int = 0
    discarded: int = 0
    longest_s: float = 0.0

    def __str__(self) -> str:
        counted = f"{self.exchanges} exchanges with {len(self.devices)} device{'s' * (len(self.devices) != 1)}"
        troubles = f"{self.refused} refused, {self.silent} without an answer, {self.discarded} times bytes discarded"
        return f"{counted}: {troubles}; the longest took {1000 * self.longest_s:.3g} ms"

    def add(self, exchange: Exchange, told: Told) -> None:
        self.devices.add(exchange.peer)
        self.exchanges += 1
        self.silent += exchange.answer is None and not told.is_well
        self.refused += exchange.answer is not None and not told.is_well
        self.longest_s = max(self.longest_s, exchange.latency_s or 0.0)


def lines(events: Iterable[Event], maps: Mapping[Peer, Points | None], chosen: Chosen, tally: Tally) -> Iterator[Text]:
    """Yield a line for each chosen event; `tally` counts them."""
    width = max((len(peer.device) for peer in maps), default=8)
    for event in events:
        if not chosen.has(event):
            continue
        if isinstance(event, Discarded):
            if not (chosen.points or chosen.writes):
                tally.discarded += 1
                yield _line(event, width, "", _discarded(event), "red")
            continue
        told = tell(event, maps.get(event.peer))
        if chosen.wants(told):
            tally.add(event, told)
            yield _exchange_line(event, told, width, chosen.of(told), all_points=bool(chosen.points))


def _exchange_line(exchange: Exchange, told: Told, width: int, points: list[str], all_points: bool) -> Text:
    took = "" if exchange.latency_s is None else f"{1000 * exchange.latency_s:.2f} ms"
    most = len(points) if all_points or told.is_write else SHOWN_POINTS
    values = ", ".join(points[:most]) + (f", and {len(points) - most} more" if len(points) > most else "")
    asked = f"{told.asked}:" if values or told.came else told.asked
    said = " ".join(filter(None, [asked, values, told.came and f"[{told.came}]" if values else told.came]))
    return _line(
        exchange, width, took, said, "yellow" if told.is_write and told.is_well else "" if told.is_well else "red"
    )


def _line(event: Event, width: int, took: str, said: str, style: str) -> Text:
    wall = datetime.fromtimestamp(event.wall_ns // 1000 / 1e6, UTC)
    at = "start" if event.instant_ns is None else f"{event.instant_ns / 1e9:.12g} s"
    return Text.assemble(
        (f"{wall:%H:%M:%S.%f}", "dim"),
        f"  {at:>9}  ",
        (f"{event.peer.device:<{width}}", "bold"),
        (f"  {took:>10}  ", "dim"),
        (said, style),
    )


def _discarded(event: Discarded) -> str:
    shown = event.data[:16].hex(" ")
    return f"discarded {len(event.data)} bytes: {shown}{' ...' if len(event.data) > 16 else ''}"
