"""Between a hub and the process of a crew: memory in which values lie, and a pipe to and fro for turns.

A turn is given by the time at which HELICS has granted it, eight bytes, and is taken when the same come back. Values
are copied by nobody: who gives out a payload writes it where its readers look, in turns that do not overlap.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Mapping, Sequence
from mmap import mmap
from tempfile import TemporaryFile

import numpy as np

from derloop.contract import FloatArray
from derloop.engines.agenda import Seat
from derloop.errors import EngineError

_TURN = struct.Struct("=q")
_READY = -1
"""What a process says when its units have started."""
_LINE = 8
"""Doubles in a line of the cache: no two payloads share one, for they are written on different cores."""


class Memory:
    """The payloads of a cell's units, and of those that they read, in memory that its processes share.

    Each is not a number until somebody has written it.
    """

    def __init__(self, seats: Sequence[Seat], units: Collection[str]) -> None:
        """seats: of the whole run; units: those of the cell."""
        self._seats = [seat for seat in seats if seat.name in units or not {*seat.readers}.isdisjoint(units)]
        self.bytes = sum(_room(seat) for seat in self._seats) * 8

    def made(self) -> tuple[int, Mapping[str, FloatArray]]:
        """Return new memory as a file's number, which its caller closes, and the payloads in it."""
        number = _new_file()
        with os.fdopen(os.dup(number), "wb") as file:
            file.write(np.full(self.bytes // 8, np.nan).tobytes())
        return number, self.opened(number)

    def opened(self, number: int) -> dict[str, FloatArray]:
        """Return the payloads in the memory that another process has made."""
        shared = np.frombuffer(mmap(number, self.bytes))
        found, at = {}, 0
        for seat in self._seats:
            found[seat.name] = shared[at : at + seat.size]
            at += _room(seat)
        return found


def _new_file() -> int:
    """Return the number of a file that has no name and, where that can be, is nowhere but in memory."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("derloop")
    with TemporaryFile() as file:
        return os.dup(file.fileno())


def _room(seat: Seat) -> int:
    return -(-seat.size // _LINE) * _LINE


class Link:
    """The hub's ends of the pipes."""

    def __init__(self, unit: str, memory: int) -> None:
        """unit: the crew's first, for messages; memory: the number of a file that is passed on."""
        self._unit = unit
        given, self._give = os.pipe()
        self._hear, said = os.pipe()
        self.passed = {"given": given, "said": said, "memory": memory}
        """Numbers of files for the process."""
        self._theirs = [given, said]

    def pass_on(self) -> None:
        """Let go of what the process has by now, so that its end is noticed."""
        while self._theirs:
            os.close(self._theirs.pop())

    def wait_ready(self) -> None:
        """Return when the units of the crew have started; raise EngineError where its process goes."""
        self._expect(_READY)

    def give(self, granted_ns: int) -> None:
        """Give the crew the turns of a grant."""
        try:
            os.write(self._give, _TURN.pack(granted_ns))
        except OSError as error:
            raise self._lost() from error

    def wait_taken(self, granted_ns: int) -> None:
        """Return when it has taken them; raise EngineError where its process goes."""
        self._expect(granted_ns)

    def _expect(self, what: int) -> None:
        heard = os.read(self._hear, _TURN.size)  # of a pipe, which brings so little in one piece
        if len(heard) < _TURN.size:
            raise self._lost()
        if (said := _TURN.unpack(heard)[0]) != what:
            raise EngineError(f"the process of {self._unit!r} took turns of {said} ns, and was given those of {what}")

    def _lost(self) -> EngineError:
        return EngineError(f"the process of {self._unit!r} takes no turns any more")

    def end(self) -> None:
        """Say that there are no more turns."""
        if self._give >= 0:
            os.close(self._give)
            self._give = -1

    def close(self) -> None:
        self.pass_on()
        self.end()
        os.close(self._hear)


class CrewEnd:
    """The ends of a crew's process."""

    def __init__(self, passed: Mapping[str, int]) -> None:
        self._given, self._said = passed["given"], passed["said"]
        for number in passed.values():
            os.set_inheritable(number, False)  # a process of a federate's own would hide that this one has gone

    def ready(self) -> None:
        """Say that the units have started."""
        self.taken(_READY)

    def turn(self) -> int | None:
        """Return the time of the next grant, ns, once there is one; None where there are no more."""
        heard = os.read(self._given, _TURN.size)
        return _TURN.unpack(heard)[0] if len(heard) == _TURN.size else None

    def taken(self, granted_ns: int) -> None:
        """Say that the turns of this grant are taken; a hub that has gone is noticed at the next."""
        try:
            os.write(self._said, _TURN.pack(granted_ns))
        except OSError:
            return

    def close(self) -> None:
        for number in (self._given, self._said):
            os.close(number)
