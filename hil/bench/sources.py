"""The sources of a bench, locked as devices are: two runs that set one voltage would each believe that it is theirs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from threading import Lock

from derloop.errors import Interlocked
from hil.bench.file import Bench
from hil.instruments.file import InstrumentSettings, MeterSettings, ModbusAt, SerialPort
from hil.modbus.endpoint import Address, Serial, Tcp, located
from hil.phil.settings import PowerSettings
from hil.safety.folder import Run, StateFolder
from hil.safety.lock import DeviceLock, HeldElsewhere
from hil.safety.place import places


@dataclass
class _Shared:
    """A lock, and how many fleets of one run rest on it."""

    lock: DeviceLock
    run: Run
    users: int = 0
    feeds: int = 0
    """Of how many fleets it feeds the devices: each of them has spoken to it, and can switch it off."""


_SHARING = Lock()
_HELD: dict[tuple[str, ...], _Shared] = {}
"""By place. A lock is the process's, and the fleets of a run may stand on the phases of one source."""


class SourceLocks:
    """The sources that give power to some devices, for one fleet of a run."""

    def __init__(self, bench: Bench, wired: Collection[PowerSettings], run: Run) -> None:
        names = {name for power in wired for name in power.instruments}
        entries = {name: each for name, each in bench.file.instruments.items() if name in names}
        self._entries = {n: each for n, each in entries.items() if not isinstance(each, MeterSettings)}
        self._bench, self._run = bench, run
        self._used: dict[str, tuple[str, ...]] = {}
        self._given_up: list[tuple[str, ...]] = []
        self._feeds = False

    def acquire(self) -> None:
        """Lock every source. Raises as `DeviceLock.acquire`, holding none."""
        try:
            for name, entry in self._entries.items():
                self._lock(name, places(name, _address(entry, self._bench)))
        except BaseException:
            self.release()
            raise

    def _lock(self, name: str, where: tuple[str, ...]) -> None:
        with _SHARING:
            shared = _HELD.get(where)
            if shared is None:
                shared = _Shared(DeviceLock(name, where, StateFolder.of_user().locks), self._run)
                self._acquire(shared.lock)
                _HELD[where] = shared
            elif shared.run.folder != self._run.folder:
                raise HeldElsewhere(
                    name, f"is held by run {shared.run.folder} of this process", str(shared.run.folder.absolute())
                )
            shared.users += 1
            self._used[name] = where

    def _acquire(self, lock: DeviceLock) -> None:
        """Lock a source, unless another process of the same run has locked it."""
        try:
            lock.acquire(self._run)
        except HeldElsewhere as held:
            if held.run != str(self._run.folder.absolute()):
                raise

    def feed(self) -> None:
        """Take note that the devices of the fleet have been energised."""
        with _SHARING:
            self._feeds = True
            for where in self._used.values():
                _HELD[where].feeds += 1

    def give_up(self) -> frozenset[str]:
        """Use the sources no more; return those that feed other fleets of the run in this process."""
        with _SHARING:
            for where in self._used.values():
                _HELD[where].users -= 1
                _HELD[where].feeds -= self._feeds
                self._given_up.append(where)
            shared = frozenset(name for name, where in self._used.items() if _HELD[where].feeds)
            self._used.clear()
            return shared

    def release(self) -> None:
        """Unlock whatever is locked, and nobody else of the run needs; once or more often."""
        self.give_up()
        with _SHARING:
            while self._given_up:
                where = self._given_up.pop()
                if where in _HELD and not _HELD[where].users:
                    _HELD.pop(where).lock.release()


def held_by(bench: Bench, name: str, run: Run) -> str:
    """Return which run has a source; empty if none has, or no lock can be made: a source is switched off then."""
    lock = DeviceLock(name, places(name, _address(bench.file.instruments[name], bench)), StateFolder.of_user().locks)
    try:
        lock.acquire(run)
    except HeldElsewhere as held:
        return held.why
    except Interlocked:
        return ""
    lock.release()
    return ""


def _address(entry: InstrumentSettings, bench: Bench) -> Address:
    at = entry.at
    if isinstance(at, ModbusAt):
        return Address(located(at.endpoint, bench.path.parent), at.unit)
    return Address(Serial(path=at.path) if isinstance(at, SerialPort) else Tcp(host=at.host, port=at.port))
