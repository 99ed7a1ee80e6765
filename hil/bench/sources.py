"""The sources of a bench, locked as devices are: two runs that set one voltage would each believe that it is theirs.

The fleets of one run, in whatever processes, share a source: the kernel counts them, and forgets those that are killed.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from derloop.errors import Interlocked
from hil.bench.file import Bench
from hil.instruments.file import InstrumentSettings, MeterSettings, ModbusAt, SerialPort
from hil.modbus.endpoint import Address, Serial, Tcp, located
from hil.phil.settings import PowerSettings
from hil.safety.folder import Run, StateFolder
from hil.safety.lock import DeviceLock, HeldElsewhere
from hil.safety.place import places

FED = "-feeds"
"""End of the name of the place that those share whose devices a source feeds."""


class SourceLocks:
    """The sources that give power to some devices, for one fleet of a run."""

    def __init__(self, bench: Bench, wired: Collection[PowerSettings], run: Run) -> None:
        names = {name for power in wired for name in power.instruments}
        entries = {name: each for name, each in bench.file.instruments.items() if name in names}
        self._entries = {n: each for n, each in entries.items() if not isinstance(each, MeterSettings)}
        self._bench, self._run = bench, run
        self._where: dict[str, tuple[str, ...]] = {}
        self._used: list[DeviceLock] = []
        self._fed: dict[str, DeviceLock] = {}

    def acquire(self) -> None:
        """Lock every source. Raises as `DeviceLock.acquire`, holding none."""
        try:
            for name, entry in self._entries.items():
                self._where[name] = places(name, _address(entry, self._bench))
                self._used.append(self._lock(name))
                self._used[-1].acquire(self._run, is_shared=True)
        except BaseException:
            self.release()
            raise

    def feed(self) -> None:
        """Take note that the devices of the fleet are energised from now on: it has reached the sources, to leave them.

        Before it switches one on: other fleets must not take it for a stranger's.
        """
        for name in self._where:
            self._fed[name] = self._lock(name, FED)
            with suppress(Interlocked):  # another fleet may switch them off too early then, and nobody too late
                self._fed[name].acquire(self._run, is_shared=True)

    def give_up(self) -> frozenset[str]:
        """Use the sources no more; return those that feed other fleets of the run."""
        for lock in self._fed.values():
            lock.release()
        self._fed.clear()
        return self.shared()

    def shared(self) -> frozenset[str]:
        """Return the sources that feed other fleets of the run; those of this one while it feeds none itself."""
        return frozenset(name for name in self._where if self._feeds_others(name))

    def release(self) -> None:
        """Unlock whatever is locked; once or more often."""
        for lock in (*self._fed.values(), *self._used):
            lock.release()
        self._fed.clear()
        self._used.clear()

    def _feeds_others(self, name: str) -> bool:
        return bool(_holder(self._lock(name, FED), self._run))

    def _lock(self, name: str, end: str = "") -> DeviceLock:
        return DeviceLock(name, [place + end for place in self._where[name]], StateFolder.of_user().locks)


def held_by(bench: Bench, name: str, run: Run) -> str:
    """Return which run has a source; empty if none has, or no lock can be made: a source is switched off then."""
    where = places(name, _address(bench.file.instruments[name], bench))
    return _holder(DeviceLock(name, where, StateFolder.of_user().locks), run)


def _holder(lock: DeviceLock, run: Run) -> str:
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
