"""Lines with a bandwidth: messages wait for those before them, and what would wait too long is lost.

On a line that is shared they pass in the order of the links, from the first one on that found no room the last time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from derloop.contract import FloatArray
from derloop.memory import remembers
from federates.network.links import Bandwidth, Link
from federates.network.routes import Indices, Mask


@remembers("_taken_s", "_first")
class Lines:
    """The lines of N links, of which some have a bandwidth.

    State: how long each line is still taken, s, and with which of its links each begins.
    """

    def __init__(self, members: Sequence[tuple[Link, Indices]], count: int, step_s: float) -> None:
        """members: each entry of the settings with its links."""
        self._lines = [(link.bandwidth, links) for link, links in members if link.bandwidth and links.size]
        self._taken_s = [np.zeros(1 if line.shared else links.size) for line, links in self._lines]
        self._first = [0 for _ in self._lines]
        self._count, self._step_s = count, step_s

    def pass_through(self, is_sent: Mask) -> tuple[FloatArray, Mask]:
        """Return how long what is sent now takes until it is over its line (N,), s, and what finds no room (N,)."""
        takes_s, is_refused = np.zeros(self._count), np.zeros(self._count, dtype=bool)
        for k, ((line, links), taken_s) in enumerate(zip(self._lines, self._taken_s, strict=True)):
            np.maximum(taken_s - self._step_s, 0.0, out=taken_s)
            links = np.roll(links, -self._first[k])
            over = _shared if line.shared else _own
            takes_s[links], is_refused[links] = over(line, taken_s, is_sent[links])
            if line.shared and is_refused[links].any():
                self._first[k] = (self._first[k] + int(is_refused[links].argmax())) % links.size
        return takes_s, is_refused


def _own(line: Bandwidth, taken_s: FloatArray, is_sent: Mask) -> tuple[FloatArray, Mask]:
    wait_s = taken_s.copy()
    is_refused = is_sent & (wait_s > line.buffer_s)
    taken_s += np.where(is_sent & ~is_refused, line.message_s, 0.0)
    return wait_s + line.message_s, is_refused


def _shared(line: Bandwidth, taken_s: FloatArray, is_sent: Mask) -> tuple[FloatArray, Mask]:
    """Let them pass one after the other, in the order of the links."""
    wait_s = taken_s[0] + line.message_s * (np.cumsum(is_sent) - 1)
    is_refused = is_sent & (wait_s > line.buffer_s)
    taken_s += line.message_s * np.count_nonzero(is_sent & ~is_refused)
    return wait_s + line.message_s, is_refused
