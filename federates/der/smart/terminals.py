"""What inverters see at their terminals."""

from __future__ import annotations

from typing import NamedTuple

from derloop.contract import FloatArray
from federates.der.smart.few import Few


class Seen(NamedTuple):
    """What n inverters see at their terminals: voltages (n,), pu; frequency (1,) or (n,), Hz."""

    v_pu: FloatArray
    low_pu: FloatArray
    high_pu: FloatArray
    f_hz: FloatArray

    def part(self, s: slice) -> Seen:
        """Return what some of them see."""
        f_hz = self.f_hz if self.f_hz.size == 1 else self.f_hz[s]
        return Seen(self.v_pu[s], self.low_pu[s], self.high_pu[s], f_hz)

    def by(self, few: Few) -> Seen:
        """Return what the few see."""
        index = few.index
        return Seen(self.v_pu[index], self.low_pu[index], self.high_pu[index], few.of(self.f_hz))
