"""Chance that is the same in every run."""

from __future__ import annotations

import math
from hashlib import blake2b
from statistics import NormalDist

from hil.serving.quirks import Latency

_NORMAL = NormalDist()


class Chance:
    """Numbers that follow from the seed, the device, what they are for, and how many requests there were before."""

    def __init__(self, seed: int, device: str) -> None:
        self._key = f"{seed}/{device}"

    def draw(self, what: str, number: int) -> float:
        """Return a number of [0, 1)."""
        return int.from_bytes(self.bytes(what, number, 7)) / 2**56

    def meets(self, share: float, what: str, number: int) -> bool:
        """Return whether this request is one of the share."""
        return share > 0 and self.draw(what, number) < share

    def bytes(self, what: str, number: int, size: int) -> bytes:
        found = b""
        while len(found) < size:
            found += blake2b(f"{self._key}/{what}/{number}/{len(found)}".encode()).digest()
        return found[:size]

    def latency_s(self, latency: Latency, number: int) -> float:
        """Return one of the distribution."""
        mean, spread = latency.mean_ms / 1000, latency.spread_ms / 1000
        at = self.draw("latency", number)
        if latency.distribution == "uniform":
            return max(0.0, mean + spread * (2 * at - 1))
        if latency.distribution == "exponential":
            return -mean * math.log1p(-at)
        if latency.distribution == "lognormal" and mean > 0:
            variance = math.log1p((spread / mean) ** 2)
            return math.exp(math.log(mean) - variance / 2 + math.sqrt(variance) * _NORMAL.inv_cdf(max(at, 1e-12)))
        return mean
