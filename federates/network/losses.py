"""Which messages are lost by chance, singly or in runs, and what events do to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from derloop.contract import FloatArray
from derloop.memory import remembers
from federates.network.links import Link, NetworkEvent
from federates.network.routes import Indices, Mask

_NEVER_NS = np.iinfo(np.int64).max


@remembers("_is_losing")
class Losses:
    """Losses over N links. State: whether each link loses what is sent over it.

    Of two messages that follow each other over a link, the second is lost with probability `fails_pu` if the first
    arrived, and arrives with `recovers_pu` if the first was lost: the model of Gilbert (Bell Syst. Tech. J. 39, 1960,
    1253-1265), with nothing lost in its good state and all in its bad one. In the long run it loses `loss_pu`; runs of
    losses have the mean length 1 / recovers_pu.
    """

    def __init__(self, members: Sequence[tuple[Link, Indices]], count: int, rng: np.random.Generator) -> None:
        self._fails_pu, self._recovers_pu, loss_pu = np.zeros(count), np.ones(count), np.zeros(count)
        for link, links in members:
            self._fails_pu[links], self._recovers_pu[links], loss_pu[links] = (
                link.fails_pu,
                link.recovers_pu,
                link.loss_pu,
            )
        self._is_losing: Mask = rng.random(count) < loss_pu
        self._are_any = bool(loss_pu.any())

    def of(self, is_sent: Mask, rng: np.random.Generator) -> Mask:
        """Return what of it is lost (N,)."""
        if not self._are_any:
            return self._is_losing
        drawn = rng.random(is_sent.size)
        after = np.where(self._is_losing, drawn >= self._recovers_pu, drawn < self._fails_pu)
        self._is_losing = np.where(is_sent, after, self._is_losing)
        return self._is_losing & is_sent


class Events:
    """What happens to N links, and when."""

    def __init__(self, events: Sequence[tuple[NetworkEvent, Indices]], count: int) -> None:
        """events: with the links that each concerns."""
        self._events, self._count = events, count
        self._begins_ns, self._lasts_ns = (_ns([getattr(e, n) for e, _ in events]) for n in ("begins_s", "lasts_s"))
        self._repeats_ns = np.array([_NEVER_NS if e.repeats_s is None else round(e.repeats_s * 1e9) for e, _ in events])

    def _on(self, time_ns: int) -> list[tuple[NetworkEvent, Indices]]:
        since_ns = time_ns - self._begins_ns
        is_on = (since_ns >= 0) & (since_ns % self._repeats_ns < self._lasts_ns)
        return [self._events[i] for i in np.flatnonzero(is_on).tolist()]

    def out(self, time_ns: int) -> Mask:
        """Return the links (N,) over which nothing passes at `time_ns`."""
        found = np.zeros(self._count, dtype=bool)
        for event, links in self._on(time_ns):
            found[links] |= event.is_outage
        return found

    def of(self, time_ns: int, rng: np.random.Generator) -> tuple[Mask, FloatArray]:
        """Return what of that is lost which is said at `time_ns` (N,), and how much longer the rest takes (N,), s.

        Of the delays of several events the longest counts.
        """
        is_lost, delay_s = self.out(time_ns), np.zeros(self._count)
        for event, links in self._on(time_ns):
            delay_s[links] = np.maximum(delay_s[links], event.delay_s)
            if 0.0 < event.loss_pu < 1.0:
                is_lost[links] |= rng.random(links.size) < event.loss_pu
        return is_lost, delay_s


def _ns(times_s: Sequence[float]) -> Indices:
    return np.array([round(time_s * 1e9) for time_s in times_s], dtype=np.int64)
