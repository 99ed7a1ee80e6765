"""What receivers have of what has arrived: the values, unless their lease has ended, and how old they are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from derloop.contract import FloatArray, Interface, Port
from derloop.kind import PlaceError
from federates.network.links import Link
from federates.network.routes import Channel, Indices, Mask, Routes

AGE = "age_s"


class Receivers:
    """The outputs of a network: `<listener>.<port>` for each signal, each age and each fleet that is reached."""

    def __init__(
        self, links: Sequence[Link], routes: Routes, interfaces: Mapping[str, Interface], wired: Collection[str]
    ) -> None:
        """wired: inputs, as `federate.port`, that are told something also without a network."""
        after_s = np.array([np.inf if link.lease is None else link.lease.after_s for link in links])
        value = np.array([0.0 if link.lease is None else link.lease.value for link in links])
        entries = routes.entries[routes.link_of]
        self._lease_s, self._let_go, self._link_of = after_s[entries], value[entries], routes.link_of
        self._are_leases = bool(np.isfinite(self._lease_s).any())
        edges = np.cumsum([0, *(len(signal.said) for signal in routes.signals)])
        self._parts = {s.target: slice(a, b) for s, a, b in zip(routes.signals, edges, edges[1:], strict=False)}
        self._grows = [self._parts[s.target] for s in routes.signals if _is_age(s.source)]
        self.ages = dict(_ages(routes, interfaces, wired))
        """The links that each input `<listener>.<speaker>.age_s` is told of, one row for each message."""
        self._reached = {c.signals[0].target: c.links for c in routes.channels if c.signals[0].is_exchange}
        self.ports = {s.target: Port(s.unit, s.heard) for channel in routes.channels for s in channel.signals}
        self.ports |= {name: Port("s", _input(interfaces, name).labels) for name in self.ages}

    def outputs(self, held: FloatArray, age_s: FloatArray, arrived: Mask) -> dict[str, FloatArray]:
        """Return every output. held: what has arrived (V,). age_s, arrived: of the links (N,)."""
        has = self._having(held, age_s)
        return {
            **{target: has[part] for target, part in self._parts.items()},
            **{target: _oldest(age_s, links) for target, links in self.ages.items()},
            **{target: arrived[links].astype(np.float64) for target, links in self._reached.items()},
        }

    def _having(self, held: FloatArray, age_s: FloatArray) -> FloatArray:
        has = held.copy()
        for part in self._grows:
            has[part] += age_s[self._link_of[part]]
        if self._are_leases:
            return np.where(age_s[self._link_of] >= self._lease_s, self._let_go, has)
        return has


def _is_age(port: str) -> bool:
    return port.partition(".")[2] == AGE


def _oldest(age_s: FloatArray, links: Indices) -> FloatArray:
    """Return the age of the oldest of each row of links (m, n) -> (n,)."""
    oldest: FloatArray = age_s[links].max(axis=0)
    return oldest


def _ages(routes: Routes, interfaces: Mapping[str, Interface], wired: Collection[str]) -> Iterator[tuple[str, Indices]]:
    """Yield the inputs `<listener>.<speaker>.age_s` with their links: one row for each message that a device says."""
    for listener, interface in interfaces.items():
        for name, port in interface.inputs.items():
            speaker, _, rest = name.partition(".")
            heard = routes.heard_by(listener, speaker)
            if rest == AGE and heard and f"{listener}.{name}" not in wired:
                yield f"{listener}.{name}", _links(f"{listener}.{name}", port, heard)


def _links(name: str, port: Port, heard: Sequence[Channel]) -> Indices:
    fitting = [c for c in heard if port.labels in (c.signals[0].said, c.signals[0].heard)]
    if fitting:
        return np.array([np.arange(c.links.start, c.links.stop) for c in fitting])
    if port.size == 1:
        return np.concatenate([np.arange(c.links.start, c.links.stop) for c in heard])[:, None]
    raise PlaceError([(("links",), f"{name} has other devices than those that are heard")])


def _input(interfaces: Mapping[str, Interface], name: str) -> Port:
    federate, _, port = name.partition(".")
    return interfaces[federate].inputs[port]
