"""What stands between a command and the registers of a device: asked before every write, told after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from hil.sunspec.codec import decode
from hil.sunspec.points import Point, Value


class Change(NamedTuple):
    """One point that is about to be written, or has been."""

    point: Point
    registers: tuple[int, ...]
    """As they go out, from the point's address on."""
    value: Value
    """What these registers mean: the asked value, rounded to the device's steps."""
    held: tuple[int, ...]
    """The registers that the device held there when last read."""

    @property
    def was(self) -> Value:
        """What the device held when last read; None where it did not implement it.

        May equal `value`: a lease is renewed by writing the same again.
        """
        return decode(self.point, self.held)


class Guard(Protocol):
    """Decides about every write of one device. Called inside the event loop: it must not wait for anything."""

    def permit(self, changes: Sequence[Change], now_s: float) -> None:
        """Raise Interlocked, unless all of these may be written; nothing has been written then.

        `changes` is a whole command in the order in which it is written: what arms a lease, then values, then what
        enables. A command whose points need several requests is asked about once, before the first of them.
        `now_s` is the time in which the device's leases count.
        """
        ...

    def ahead(self, changes: Sequence[Change]) -> None:
        """Count what is about to be written, whoever has permitted it; raise Interlocked if that fails."""
        ...

    def written(self, changes: Sequence[Change], now_s: float) -> None:
        """Take note of what the device has acknowledged: the changes of one request, before they are read back."""
        ...

    def doubted(self, changes: Sequence[Change], now_s: float) -> None:
        """Take note of what may have been written: the changes of one request that nobody acknowledged."""
        ...


class Unguarded:
    """Permits everything: for emulated devices in lock-step, which nothing can harm."""

    def permit(self, changes: Sequence[Change], now_s: float) -> None: ...

    def ahead(self, changes: Sequence[Change]) -> None: ...

    def written(self, changes: Sequence[Change], now_s: float) -> None: ...

    def doubted(self, changes: Sequence[Change], now_s: float) -> None: ...
