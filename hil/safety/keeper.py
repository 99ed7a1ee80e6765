"""The guard of one device: what was found is on disk before the first write, and restored at the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Protocol

from derloop.errors import Interlocked
from hil.inverter.device import Identity
from hil.inverter.guard import Change
from hil.modbus.endpoint import Address
from hil.safety.budget import WriteCounter
from hil.safety.controls import controls_of, is_momentary
from hil.safety.folder import Run, StateFolder
from hil.safety.former import Former, former, says_it_lacks
from hil.safety.lease import LeaseCheck
from hil.safety.limits import LimitCheck
from hil.safety.lock import DeviceLock
from hil.safety.notice import Notices
from hil.safety.outcome import as_held
from hil.safety.place import places
from hil.safety.record import Record, Records, process_began
from hil.safety.restore import NotRestored, Target, Writable, bring
from hil.safety.rules import LeaseRule, NoLease, SafetyRules
from hil.safety.unrestored import Sought, in_words, of_another_in_words, restoring


class _Link(Protocol):
    @property
    def address(self) -> Address: ...


class Kept(Writable, Protocol):
    """A discovered device that a keeper can keep."""

    @property
    def link(self) -> _Link: ...


class Keeper:
    """Decides about every write of one device, records what it finds, and leaves the device as it was found.

    `armed` are the names that `--arm` gave. It is the device's guard from when it is made. `take` before the first
    command; `let_go` at the end, however it came.
    """

    def __init__(
        self,
        device: Kept,
        rules: SafetyRules,
        armed: Collection[str],
        folder: StateFolder,
        run: Run,
        given: Collection[str] = (),
    ) -> None:
        """given: how the names of points begin that the run writes beside those of commands (`Standing.prefix`)."""
        self._device, self._rules, self._folder, self.run = device, rules, folder, run
        device.guard = self
        self.is_armed = device.name in armed
        self._limits = LimitCheck(device, rules.limits, given)
        self._lease = LeaseCheck(device, rules.lease, rules.safe_state)
        self._records = Records(folder.records)
        self._record: Record | None = None
        self._lock: DeviceLock | None = None
        self._where: tuple[str, ...] = ()
        self._counter: WriteCounter | None = None
        self._former = Former()
        self._written: set[str] = set()
        self._stopped = ""

    @property
    def name(self) -> str:
        """What the device is called in messages."""
        return self._device.name

    @property
    def is_taken(self) -> bool:
        """Whether what the device held is recorded, and not restored yet."""
        return self._record is not None

    def permit(self, changes: Sequence[Change], now_s: float) -> None:
        """Raise Interlocked, unless all of these may be written."""
        if problems := [*self._problems(changes, now_s)]:
            raise Interlocked(self.name, f"nothing was written: {'; '.join(problems)}")
        self._written.update(change.point.name for change in changes)
        self.ahead(changes)

    def ahead(self, changes: Sequence[Change]) -> None:
        """Count these on disk; raise Interlocked if that fails."""
        if self._counter:
            self._counter.reserve([change.point.name for change in changes])

    def written(self, changes: Sequence[Change], now_s: float) -> None:
        """Take note of what the device has acknowledged."""
        self._limits.note(changes, now_s)
        self._lease.note(changes, now_s)
        self.doubted(changes, now_s)

    def doubted(self, changes: Sequence[Change], now_s: float) -> None:
        """Take note of what has worn the device, or may have."""
        if self._counter:
            self._counter.note([change.point.name for change in changes], now_s)

    def _problems(self, changes: Sequence[Change], now_s: float) -> Iterator[str]:
        if not self.is_armed:
            yield f"it is read-only; {_asked(changes)} needs `--arm {self.name}`"
        elif not self._record:
            yield f"its state is not recorded, so {_asked(changes)} could not be undone"
        elif self._stopped:
            yield f"it was put into its safe state, and stays there; asked was {_asked(changes)}"
        else:
            yield from self._lost(changes)
            yield from self._limits.problems(changes, now_s)
            yield from self._lease.problems(changes, now_s)
            if self._counter:
                worn = {change.point.name for change in changes} - self._lease.turns_off(changes)
                yield from self._counter.problems(sorted(worn), now_s)

    def _lost(self, changes: Sequence[Change]) -> Iterator[str]:
        """Yield which points would stay as they are written, though somebody relies on what they held."""
        for name in (change.point.name for change in changes if change.point.name in self._former.lost):
            what = f"{name}: what it holds cannot be read or written, so not restored"
            yield f"{what}; safe_state may say what it is to hold then"

    @property
    def left_as_written(self) -> tuple[str, ...]:
        """The points that hold what was written last when the device is let go of: nobody knows what they held."""
        return tuple(name for name in self._former.stay if name in self._written)

    async def take(self, *, to_stay: bool = False) -> None:
        """Lock the device and record its state. Not armed: nothing. Raises Interlocked if another run holds it.

        to_stay: what is written is to stay, so that it may be written where nothing can be restored, too.
        """
        if not self.is_armed:
            return
        try:
            await self._take()
            self._former = Former() if to_stay else self._former
        except BaseException:
            self._unlock()
            raise

    async def _take(self) -> None:
        self._refuse_endless()
        self.safe_target()
        where = await self._hold()
        self._refuse_unrestored(where)
        self._refuse_left_by_another(where)
        self._count(where[0])
        record = await self._found(where[0])
        self._keep(record)
        Notices(self._folder, where).post(self.run, record.identity)
        self._record = record

    def _count(self, place: str) -> None:
        """Count the writes from now on. Raises Interlocked, and counts none, where those before cannot be read."""
        counter = WriteCounter(self.name, self._rules.write_budget, self._folder.counts / f"{place}.json")
        counter.open()
        self._counter = counter

    async def _hold(self) -> tuple[str, ...]:
        """Lock the device; return its places."""
        where = await asyncio.to_thread(places, self.name, self._device.link.address)
        self._lock = DeviceLock(self.name, where, self._folder.locks)
        self._lock.acquire(self.run)
        self._where = where
        return where

    def _refuse_unrestored(self, where: Collection[str]) -> None:
        """Raise Interlocked if a run left the device, here or elsewhere, without restoring it."""
        for left in self._left(where):
            self._refuse_held(left, where)
            raise Interlocked(self.name, in_words(left, self.run.bench))

    def _refuse_held(self, record: Record, where: Collection[str]) -> None:
        """Raise Interlocked if a run goes on with the device at another place, where we do not hold it."""
        if record.place not in where:
            elsewhere = DeviceLock(self.name, (record.place,), self._folder.locks)
            elsewhere.acquire(self.run)
            elsewhere.release()

    def _refuse_left_by_another(self, where: Collection[str]) -> None:
        """Raise Interlocked if another user's run left the device: what it held before is in that user's record."""
        if notice := Notices(self._folder, where).of_another(self._device.identity):
            raise Interlocked(self.name, of_another_in_words(notice, self.run.bench))

    def _left(self, where: Collection[str]) -> list[Record]:
        """Return what runs found and did not restore; raise Interlocked if that cannot be read."""
        left = Sought(self.name, where, self._device.identity, self.run).among(self._records)
        left.refuse_unreadable(self.name)
        return left.records

    async def _found(self, place: str) -> Record:
        """Return what the device holds now at every point that the run may write."""
        names = [name for name in self._device.map.points if self._is_state(name)]
        held = await self._device.read(names)
        self._former = former(self._device, held, as_held(self._device, self._rules.safe_state.points))
        return Record(
            device=self.name,
            place=place,
            address=str(self._device.link.address),
            identity=self._device.identity,
            bench=self.run.bench,
            run=self.run.folder.absolute(),
            pid=os.getpid(),
            began=process_began(),
            taken=datetime.now(UTC),
            points=self._former.points,
            unknown=self._former.stay,
            lease=_in_words(self._rules.lease),
        )

    def _is_state(self, name: str) -> bool:
        """Return whether a point may be written, here or to make the device safe, and is a state."""
        point = self._device.map[name]
        is_ours = self._limits.may_write(name) or name in self._rules.safe_state.points
        return is_ours and point.writable and not is_momentary(self._device, name)

    def _keep(self, record: Record) -> None:
        try:
            self._records.write(record)
        except OSError as failure:
            why = f"its state cannot be recorded: {failure}; nothing was written"
            raise Interlocked(self.name, why) from failure

    async def make_safe(self, why: str) -> None:
        """Put the device into its safe state, where it stays: `let_go` then restores nothing.

        Raises NotRestored where that fails or cannot be verified; what can be done is done.
        """
        if self._record is None:
            return
        self._stopped = self._stopped or why
        await self._make_safe(self._record.identity)
        with suppress(OSError):  # the device is safe, and its record there; only this reason is not in it
            self._records.write(self._record.model_copy(update={"stopped": why}))

    def safe_target(self) -> Target:
        """Return what makes the device safe: what the bench file says, and every function off that it may command."""
        return {**self._off, **as_held(self._device, self._rules.safe_state.points)}

    @cached_property
    def _off(self) -> Mapping[str, float | str]:
        """What turns functions off that may be commanded. A switch that the device, before anything is written to it,
        says it lacks is none: what it would refuse would keep it from its safe state."""
        switches = [item for control in controls_of(self._device) for item in control.off.items()]
        ours = [(name, value) for name, value in switches if self._limits.may_write(name)]
        return {name: value for name, value in ours if not says_it_lacks(self._device, name)}

    def _refuse_endless(self) -> None:
        """Raise Interlocked if nothing turns off a function that may be commanded, and it has no safe value."""
        for control in controls_of(self._device):
            points = [name for name in self._device.map.points if control.is_touched_by([name])]
            is_ours = any(map(self._limits.may_write, points))
            if is_ours and not control.off and not any(name in self._rules.safe_state.points for name in points):
                why = f"nothing turns off {control.name}; safe_state must say what its points hold: {', '.join(points)}"
                raise Interlocked(self.name, why)

    async def let_go(self) -> None:
        """Restore and verify what was found, and unlock. Raises NotRestored, and keeps the record, where that fails."""
        try:
            if self._record and self._stopped:
                await self._make_safe(self._record.identity)
            elif self._record:
                await self._restore(self._record)
        finally:
            self._record = None
            self._unlock()

    def stay(self) -> None:
        """Unlock, and forget what was found: what has been written is to stay, for whoever wrote it wants it so."""
        try:
            if self._record:
                self._remove(self._record)
        finally:
            self._record = None
            self._unlock()

    async def _restore(self, record: Record) -> None:
        if self._written:
            await self._bring(record)
        self._remove(record)

    def _remove(self, record: Record) -> None:
        try:
            self._records.remove(record)
            Notices(self._folder, {record.place, *self._where}).withdraw()
        except OSError as failure:
            why = f"is as it was, but its record cannot be removed: {failure}"
            raise NotRestored(self.name, why) from failure

    async def _bring(self, record: Record) -> None:
        await bring(self._device, "what it held before", record.points, record.identity, self._rules.restore_s)

    async def _make_safe(self, identity: Identity) -> None:
        await bring(self._device, "its safe state", self.safe_target(), identity, self._rules.restore_s)

    async def leave_safe(self, is_stopped: bool = False) -> str:
        """Restore what a run found that was killed or failed to; where none was, bring the device to its safe state.

        is_stopped: the emergency stop is there, so it is its safe state in any case, and a record stays for later.
        For devices that are not taken. Returns in words what was done; raises NotRestored where that fails, and keeps
        the record; raises Interlocked while a run holds the device, or where its record cannot be read.
        """
        try:
            where = await self._hold()
            left = sorted(self._left(where), key=lambda record: (not self._is_ours(record), record.taken))
            for record in left:
                self._refuse_held(record, where)
            with suppress(Interlocked):  # that it is safe matters more than how worn it is
                self._count(where[0])
            if is_stopped and left:
                await self._make_safe(self._device.identity)
                return f"brought to its safe state; {restoring(self.run.bench)} there, once the emergency stop is gone"
            for record in left[:1]:
                await self._bring(record)
            for record in left:
                if self._is_ours(record):
                    self._remove(record)
            if left:
                return self._restored(left[0])
            await self._make_safe(self._device.identity)
            return self._made_safe(Notices(self._folder, where))
        finally:
            self._unlock()

    def _made_safe(self, notices: Notices) -> str:
        """Return in words what was done, where no record of ours is there. From here on anybody may take the device."""
        notice = notices.of_another(self._device.identity)
        notices.withdraw()
        if notice is None:
            return "brought to its safe state; no run has left it without restoring it"
        return f"brought to its safe state; what it held is in the record of user {notice.user}: {notice}"

    def _restored(self, record: Record) -> str:
        """Return in words what was done. A point that the device still says it lacks is as it was found."""
        said = f"restored to what was found at {record.taken:%Y-%m-%d %H:%M:%S} UTC by run {record.run}"
        device, unknown = self._device, record.unknown
        there = [name for name in unknown if name not in device.map or not says_it_lacks(device, name)]
        return said + (f"; nobody could read what was at {', '.join(there)}: left as written last" if there else "")

    def _is_ours(self, record: Record) -> bool:
        """Return whether a record is of the device that answers, not of one that had its name or place before."""
        return self._device.identity.is_of(record.identity)

    def _unlock(self) -> None:
        if self._counter:
            self._counter.close()
        if self._lock:
            self._lock.release()


def _asked(changes: Sequence[Change]) -> str:
    return ", ".join(f"{change.point.name} = {change.value!r}" for change in changes)


def _in_words(lease: LeaseRule) -> str:
    if isinstance(lease, NoLease):
        return f"has no lease: should this run die, it goes on with what it was told last ({lease.because})"
    return f"lets go by itself within {lease.seconds} s ({lease.kind})"
