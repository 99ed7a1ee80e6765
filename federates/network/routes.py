"""Which signals a network carries, and over which links: from patterns to indices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from derloop.contract import Interface
from derloop.errors import did_you_mean
from derloop.kind import Context, PlaceError
from federates.fleets import Problems
from federates.network.links import Ends, Link, NetworkSettings

REACHED, DEVICES = "reached", "devices"
"""A fleet with an input `reached` is told with whom it can exchange registers: over links from `<fleet>.devices`."""
PLAIN = Link.model_validate({})
"""How devices are linked that no entry matches, where others of the same port are matched."""

Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Signal:
    """What one federate says to another: a value for each of n devices."""

    source: str
    """federate.port"""
    target: str
    """federate.port"""
    unit: str
    said: tuple[str, ...]
    """The devices, as the speaker calls them."""
    heard: tuple[str, ...]
    """As the listener does."""

    @property
    def speaker(self) -> str:
        return self.source.partition(".")[0]

    @property
    def listener(self) -> str:
        return self.target.partition(".")[0]

    @property
    def is_exchange(self) -> bool:
        """No value passes: it is told whether anything does."""
        return self.target == f"{self.speaker}.{REACHED}"

    def is_between(self, ends: Ends) -> bool:
        return _is_like(self.source, ends.source) and _is_like(self.target, ends.target)

    def matched(self, ends: Ends) -> Mask:
        """Return which of its devices (n,) a pattern matches."""
        if not self.is_between(ends) or ends.devices == "*":
            return np.full(len(self.said), self.is_between(ends))
        pairs = zip(self.said, self.heard, strict=True)
        return np.array([any(fnmatchcase(label, ends.devices) for label in pair) for pair in pairs], dtype=bool)


def _is_like(end: str, pattern: str) -> bool:
    return fnmatchcase(end, pattern if "." in pattern else f"{pattern}.*")


def signals_of(context: Context) -> tuple[Signal, ...]:
    """Return everything that could be carried."""
    found = []
    for source, target in context.signals:
        speaker, _, output = source.partition(".")
        listener, _, input_ = target.partition(".")
        said, heard = context.interfaces[speaker].outputs[output], context.interfaces[listener].inputs[input_]
        found.append(Signal(source, target, said.unit, said.labels, heard.labels))
    return (*found, *_exchanges(context.interfaces))


def _exchanges(interfaces: Mapping[str, Interface]) -> Iterator[Signal]:
    for name, interface in interfaces.items():
        port = interface.inputs.get(REACHED)
        if port is not None and port.otherwise is not None:
            yield Signal(f"{name}.{DEVICES}", f"{name}.{REACHED}", port.unit, port.labels, port.labels)


@dataclass(frozen=True)
class Channel:
    """What is said together, from one federate to another: over each of n links, one message with k values."""

    signals: tuple[Signal, ...]
    """All of the same n devices."""
    entries: Indices
    """The entry of `links` that holds for each device (n,); that after the last one is `PLAIN`."""
    first: int
    """Where its links begin among all links."""

    @property
    def links(self) -> slice:
        return slice(self.first, self.first + self.entries.size)


class Routes:
    """All links of a network, one after the other.

    Raises PlaceError for patterns that match nothing, and for entries that hold for nothing.
    """

    def __init__(self, settings: NetworkSettings, signals: Sequence[Signal]) -> None:
        held = [_entries(settings.links, signal) for signal in signals]
        carried = [
            (s, entries) for s, entries in zip(signals, held, strict=True) if (entries < len(settings.links)).any()
        ]
        if problems := [*_unmatched(settings, signals, [s for s, _ in carried]), *_overruled(settings, signals, held)]:
            raise PlaceError(problems)
        self.channels = _channels(settings, carried)
        self._events = settings.events

    @cached_property
    def count(self) -> int:
        return sum(channel.entries.size for channel in self.channels)

    @cached_property
    def entries(self) -> Indices:
        """The entry that holds for each link."""
        return np.concatenate([channel.entries for channel in self.channels])

    @cached_property
    def signals(self) -> tuple[Signal, ...]:
        """Those that carry values, in the order in which the values lie one after the other."""
        return tuple(s for channel in self.channels for s in channel.signals if not s.is_exchange)

    @cached_property
    def link_of(self) -> Indices:
        """The link over which each value goes."""
        parts = [
            np.arange(channel.links.start, channel.links.stop)
            for channel in self.channels
            for signal in channel.signals
            if not signal.is_exchange
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.intp)

    @cached_property
    def through(self) -> Indices:
        """The link of the exchanges over which a fleet knows what it says of a device; -1 where it just knows (N,)."""
        exchanges = {(c.signals[0].speaker, c.signals[0].said): c for c in self.channels if c.signals[0].is_exchange}
        found = np.full(self.count, -1, dtype=np.intp)
        for channel in self.channels:
            exchange = exchanges.get((channel.signals[0].speaker, channel.signals[0].said))
            if exchange is not None and exchange is not channel:
                found[channel.links] = np.arange(exchange.links.start, exchange.links.stop)
        return found

    @cached_property
    def of_events(self) -> tuple[Indices, ...]:
        """The links that each event concerns."""
        return tuple(
            np.concatenate([c.first + np.flatnonzero(c.signals[0].matched(event)) for c in self.channels])
            for event in self._events
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each link is called: "batteries.b_1>vpp", with the ports where several links have one name."""
        plain = [
            f"{c.signals[0].speaker}.{label}>{c.signals[0].listener}"
            for c in self.channels
            for label in c.signals[0].said
        ]
        times = Counter(plain)
        parts = [
            f"({','.join(s.source.partition('.')[2] for s in c.signals)})"
            for c in self.channels
            for _ in c.signals[0].said
        ]
        return tuple(n if times[n] == 1 else f"{n}{part}" for n, part in zip(plain, parts, strict=True))

    def heard_by(self, listener: str, speaker: str) -> list[Channel]:
        """Return the channels from one federate to another."""
        ends = (speaker, listener)
        return [
            c
            for c in self.channels
            if (c.signals[0].speaker, c.signals[0].listener) == ends and not c.signals[0].is_exchange
        ]


def _entries(links: Sequence[Link], signal: Signal) -> Indices:
    """Return the entry that holds for each device: the last that matches; without any, one beyond them all."""
    held = np.full(len(signal.said), len(links), dtype=np.intp)
    for index, link in enumerate(links):
        held[signal.matched(link)] = index
    return held


def _channels(settings: NetworkSettings, carried: Sequence[tuple[Signal, Indices]]) -> tuple[Channel, ...]:
    """Return what is said together: with the same speaker, listener, devices, entries and events."""
    together: dict[object, list[tuple[Signal, Indices]]] = {}
    for signal, entries in carried:
        events = tuple(signal.matched(event).tobytes() for event in settings.events)
        key = (signal.speaker, signal.listener, signal.said, entries.tobytes(), events, signal.is_exchange)
        together.setdefault(key, []).append((signal, entries))
    channels, first = [], 0
    for found in together.values():
        channels.append(Channel(tuple(signal for signal, _ in found), found[0][1], first))
        first += found[0][1].size
    return tuple(channels)


# --- what is refused ---------------------------------------------------------------------------------


def _unmatched(settings: NetworkSettings, signals: Sequence[Signal], carried: Sequence[Signal]) -> Problems:
    """Return which patterns match nothing, and what is near."""
    problems: Problems = []
    for key, entries, among in (("links", settings.links, signals), ("events", settings.events, carried or signals)):
        for index, ends in enumerate(entries):
            if not any(signal.matched(ends).any() for signal in among):
                part, what = _nothing(ends, among)
                problems.append(((key, index, *part), what))
    return problems


def _nothing(ends: Ends, signals: Sequence[Signal]) -> tuple[tuple[str, ...], str]:
    """Return which part of a pattern is why it matches nothing, and what would."""
    for part, pattern, said in (
        ("from", ends.source, [s.source for s in signals]),
        ("to", ends.target, [s.target for s in signals]),
    ):
        if not any(_is_like(end, pattern) for end in said):
            known = (
                [*dict.fromkeys(said)] if "." in pattern else [*dict.fromkeys(end.partition(".")[0] for end in said)]
            )
            return (part,), f"{pattern!r} matches nothing that a network carries" + did_you_mean(pattern, known)
    between = [s for s in signals if s.is_between(ends)]
    if not between:
        pairs = [*dict.fromkeys(f"{s.speaker} to {s.listener}" for s in signals)]
        return (), f"nothing is said from {ends.source!r} to {ends.target!r}" + did_you_mean(
            f"{ends.source} to {ends.target}", pairs
        )
    labels = [*dict.fromkeys(label for s in between for label in (*s.said, *s.heard))]
    return ("devices",), f"{ends.devices!r} matches none of them" + did_you_mean(ends.devices, labels[:1000])


def _overruled(settings: NetworkSettings, signals: Sequence[Signal], held: Sequence[Indices]) -> Problems:
    """Return the entries that match something and hold for nothing, since later ones match all of it."""
    holding = set(np.unique(np.concatenate(held)).tolist()) if held else set()
    return [
        (("links", index), "holds for nothing: later entries match all that it does")
        for index, link in enumerate(settings.links)
        if index not in holding and any(signal.matched(link).any() for signal in signals)
    ]
