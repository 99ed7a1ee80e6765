"""Messages on their way over many links at once: sent, lost, waiting, arriving. All state is arrays over the links.

With the network's step h, a message that is read at its instant i was said at (i - 1) h and arrives with the latency l
at instant i - 1 + max(1, ceil(l / h)). Kept is what was said in the last `slots` instants, and for each of the `slots`
coming instants which message then arrives over each link: the last one, where several do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.memory import remembers
from federates.network.lines import Lines
from federates.network.links import Link, NetworkEvent
from federates.network.losses import Events, Losses
from federates.network.routes import Indices, Mask

NONE = -1
COUNTED = ("sent", "duplicated", "lost", "delivered", "late")
_NEARLY = 1e-9
"""Of a step: so much beyond a whole one is a rounding error."""

Instants = NDArray[np.int64]


@remembers("held", "_index", "_said", "_coming", "_copies", "counts", "_last", "arrived", "_stamp")
class Traffic:
    """N links over which V values go.

    `held` (V,): what receivers have; `arrived` (N,): over which links something came at this instant; `counts`: of
    messages, (N,) each.
    """

    def __init__(
        self,
        links: Sequence[Link],
        entries: Indices,
        link_of: Indices,
        through: Indices,
        events: Sequence[tuple[NetworkEvent, Indices]],
        step_ns: int,
        seed: int,
    ) -> None:
        """entries: which of `links` holds for each link (N,). link_of: over which link each value goes (V,).

        through: nothing is sent over a link (N,) unless something arrived over that one; -1: it always is.
        """
        count, self._link_of, self._through = entries.size, link_of, through
        self._step_ns, self._step_s, self._seed = step_ns, step_ns / 1e9, seed
        self._members = [(link, np.flatnonzero(entries == index)) for index, link in enumerate(links)]
        self._every = np.array([max(1, ceiling(link.every_s or 0.0, self._step_s)) for link in links])[entries]
        self._duplicate_pu = np.array([link.duplicate_pu for link in links])[entries]
        self._is_kept, self._takes_all = (
            np.array([link.order == order for link in links])[entries] for order in ("kept", "as-arrived")
        )
        self._losses = Losses(self._members, count, self._rng(0))
        self._lines, self._events = Lines(self._members, count, self._step_s), Events(events, count)
        slots = slots_of(links, [event for event, _ in events], self._step_s)
        self._said = np.zeros((slots, link_of.size))
        self._coming = np.full((slots, count), NONE, dtype=np.int64)
        self._copies = np.zeros((slots, count), dtype=np.int64)
        self._last, self._stamp = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        self._index = 0
        self.held = np.zeros(link_of.size)
        self.arrived: Mask = np.ones(count, dtype=bool)
        self.counts = {name: np.zeros(count, dtype=np.int64) for name in COUNTED}

    def _rng(self, index: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, index])

    @property
    def age_s(self) -> FloatArray:
        """How long ago that was said which receivers have (N,), s."""
        return (self._index + 1 - self._stamp).astype(np.float64) * self._step_s

    def begin(self, values: FloatArray) -> None:
        """Receivers have what is said before the first step (V,)."""
        self.held = values.copy()

    def pass_on(self, index: int, values: FloatArray) -> None:
        """Send what was said at the instant before `index` (V,), and deliver what arrives at `index`."""
        self._index = index
        self._said[index % len(self._said)] = values
        self._send(index)
        self._deliver(index)

    def _send(self, index: int) -> None:
        rng, said_ns = self._rng(index), (index - 1) * self._step_ns
        is_sent = ((index - 1) % self._every == 0) & (self.arrived[self._through] | (self._through < 0))
        takes_s, is_refused = self._lines.pass_through(is_sent)
        is_hit, delay_s = self._events.of(said_ns, rng)
        is_lost = is_sent & (self._losses.of(is_sent, rng) | is_refused | is_hit)
        self.counts["sent"] += is_sent
        self.counts["lost"] += is_lost
        is_off = is_sent & ~is_lost
        arrives = self._arrivals(index, takes_s + delay_s, rng)
        self._last = np.where(is_off, np.maximum(self._last, arrives), self._last)
        self._post(index, arrives, is_off)
        if self._duplicate_pu.any():
            is_twice = is_off & (rng.random(is_off.size) < self._duplicate_pu)
            self.counts["duplicated"] += is_twice
            self._post(index, self._arrivals(index, takes_s + delay_s, rng), is_twice)

    def _arrivals(self, index: int, more_s: FloatArray, rng: np.random.Generator) -> Instants:
        """Return when what is read at `index` arrives (N,); where order is kept, not before the message ahead of it."""
        latency_s = more_s.copy()
        for link, links in self._members:
            latency_s[links] += link.latency.draw(rng, links.size)
        arrives: Instants = index - 1 + np.maximum(1, ceiling(latency_s, self._step_s))
        return np.where(self._is_kept, np.maximum(arrives, self._last), arrives)

    def _post(self, index: int, arrives: Instants, is_off: Mask) -> None:
        links = np.flatnonzero(is_off)
        places = arrives[links] % len(self._coming) * is_off.size + links
        self._coming.reshape(-1)[places] = index
        self._copies.reshape(-1)[places] += 1

    def _deliver(self, index: int) -> None:
        slot = index % len(self._coming)
        coming, copies = self._coming[slot], self._copies[slot]
        is_out = self._events.out(index * self._step_ns)
        self.arrived = (coming != NONE) & ~is_out
        self.counts["lost"] += np.where(is_out, copies, 0)
        self.counts["delivered"] += np.where(is_out, 0, copies)
        self.counts["late"] += np.where(self.arrived & (coming < self._stamp), copies, 0)
        is_news = self.arrived & ((coming > self._stamp) | self._takes_all)
        self._stamp = np.where(is_news, coming, self._stamp)
        self._take(is_news)
        coming.fill(NONE)
        copies.fill(0)

    def _take(self, is_news: Mask) -> None:
        """Let receivers have what was said when the messages were read that are news to them."""
        values = np.flatnonzero(is_news.take(self._link_of))
        rows = (self._stamp % len(self._said)).take(self._link_of[values])
        self.held[values] = self._said.reshape(-1).take(rows * self.held.size + values)


def ceiling(time_s: float | FloatArray, step_s: float) -> Instants:
    """Return in how many steps a time has passed."""
    return np.ceil(time_s / step_s - _NEARLY).astype(np.int64)


def slots_of(links: Sequence[Link], events: Sequence[NetworkEvent], step_s: float) -> int:
    """Return in how many steps every message has arrived, or never does."""
    longest_s = max(link.longest_s for link in links) + max((event.delay_s for event in events), default=0.0)
    return max(1, int(ceiling(longest_s, step_s)))
