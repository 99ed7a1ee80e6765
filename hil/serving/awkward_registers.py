"""Registers that do not hold or show what they should. Each wraps others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hil.modbus.pdu import ExceptionAnswer, ExceptionCode
from hil.serving.chance import Chance
from hil.serving.count import Count
from hil.serving.quirks import MovingMap
from hil.serving.responder import Holding
from hil.sunspec.codec import decode, encode
from hil.sunspec.errors import SunSpecValueError
from hil.sunspec.points import Point

Clock = Callable[[], float]
"""Returns the device's time, s."""
Blocks = Sequence[tuple[int, int]]
"""Where a device has registers: first addresses and counts."""


def _words(holding: Holding, address: int, count: int) -> list[int]:
    return [int(word) for word in holding.read(address, count)]


class Rounding:
    """Rounds what is written."""

    def __init__(self, inner: Holding, steps: Sequence[tuple[Point, float]]) -> None:
        """steps: some points, and to what they round, in their units."""
        self._inner, self._steps = inner, steps
        self.read = inner.read

    def write(self, address: int, words: Sequence[int]) -> None:
        held = list(words)
        for point, step in self._steps:
            at = point.address - address
            if at >= 0 and point.end - address <= len(held):
                held[at : at + point.length] = _rounded(point, held[at : at + point.length], step)
        self._inner.write(address, held)


def _rounded(point: Point, words: Sequence[int], step: float) -> Sequence[int]:
    """Return the words that say the nearest step; as they are where the registers do not hold that."""
    value = decode(point, words)
    try:
        return encode(point, step * round(value / step)).registers if isinstance(value, int | float) else words
    except SunSpecValueError:
        return words


class Forgetful:
    """Acknowledges some writes that it does not do."""

    def __init__(self, inner: Holding, share: float, chance: Chance, count: Count) -> None:
        self._inner, self._share, self._chance, self._count = inner, share, chance, count
        self.read = inner.read

    def write(self, address: int, words: Sequence[int]) -> None:
        if not self._chance.meets(self._share, "forgets", self._count.number):
            self._inner.write(address, words)


class Overlaid:
    """Shows some registers as other than they are."""

    def __init__(self, inner: Holding) -> None:
        self._inner = inner
        self.shown: dict[int, int] = {}

    def read(self, address: int, count: int) -> Sequence[int]:
        found = _words(self._inner, address, count)
        for at, word in self.shown.items():
            if address <= at < address + count:
                found[at - address] = word
        return found

    def write(self, address: int, words: Sequence[int]) -> None:
        self._inner.write(address, words)


class Unimplemented(Overlaid):
    """Lacks some points: they read as 'not implemented', and writing them is refused."""

    def __init__(self, inner: Holding, points: Sequence[Point]) -> None:
        super().__init__(inner)
        for point in points:
            words = point.absent.to_bytes(2 * point.length)
            self.shown |= {point.address + i: int.from_bytes(words[2 * i : 2 * i + 2]) for i in range(point.length)}

    def write(self, address: int, words: Sequence[int]) -> None:
        if any(address <= at < address + len(words) for at in self.shown):
            raise ExceptionAnswer(ExceptionCode.ILLEGAL_ADDRESS)
        super().write(address, words)


class Stuck(Overlaid):
    """Shows some registers for ever as they were at one reading."""

    def __init__(self, inner: Holding, spans: Blocks, after: int, count: Count) -> None:
        super().__init__(inner)
        self._spans, self._after, self._count = spans, after, count

    def read(self, address: int, count: int) -> Sequence[int]:
        if not self.shown and self._count.number > self._after:
            for start, length in self._spans:
                self.shown |= dict(enumerate(_words(self._inner, start, length), start))
        return super().read(address, count)


class Stale:
    """Shows a copy of all registers, which it makes every so often."""

    def __init__(self, inner: Holding, blocks: Blocks, every_s: float, clock: Clock) -> None:
        self._inner, self._blocks, self._every_s, self._clock = inner, blocks, every_s, clock
        self._copied_s = float("-inf")
        self._copy: dict[int, int] = {}
        self.write = inner.write

    def read(self, address: int, count: int) -> Sequence[int]:
        now_s = self._clock()
        if now_s - self._copied_s >= self._every_s:
            self._copied_s = now_s
            for start, length in self._blocks:
                self._copy |= dict(enumerate(_words(self._inner, start, length), start))
        if any(at not in self._copy for at in range(address, address + count)):
            raise ExceptionAnswer(ExceptionCode.ILLEGAL_ADDRESS)
        return [self._copy[at] for at in range(address, address + count)]


class Moving:
    """Has its registers elsewhere from some time on."""

    def __init__(self, inner: Holding, map_: MovingMap, count: Count) -> None:
        self._inner, self._map, self._count = inner, map_, count
        self.has_moved = False
        """Set at a reboot."""

    def read(self, address: int, count: int) -> Sequence[int]:
        return _words(self._inner, self._there(address), count)

    def write(self, address: int, words: Sequence[int]) -> None:
        self._inner.write(self._there(address), words)

    def _there(self, address: int) -> int:
        after = self._map.after_requests
        if self.has_moved or (after is not None and self._count.number > after):
            address -= self._map.by
        if not 0 <= address < 0x10000:
            raise ExceptionAnswer(ExceptionCode.ILLEGAL_ADDRESS)
        return address
