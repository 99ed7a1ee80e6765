"""The devices of one fleet, from the first exchange until they are left as they were found."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

import numpy as np

from derloop.contract import FloatArray
from derloop.errors import DeviceError, Unreachable
from hil.bench.devices import Links, TapOf, device_to, no_tap, refuse_stranger
from hil.bench.file import Bench
from hil.bench.findings import ratings_of, refuse_blind
from hil.bench.fitting import refuse_misfits
from hil.bench.lookout import Lookout
from hil.bench.polls import Polls
from hil.bench.smart import refuse_another_mode, standing_of
from hil.bench.together import together
from hil.fleet.model import Functions
from hil.inverter.commands import Commands, Order
from hil.inverter.dialect import RATINGS
from hil.inverter.measurements import Measurements, Nameplates
from hil.inverter.mirror import Answer
from hil.inverter.standing import StandingFunctions
from hil.modbus.failures import Unacknowledged
from hil.safety.folder import Run, StateFolder
from hil.safety.keeper import Keeper
from hil.safety.keepers import Keepers
from hil.safety.key import Pressed
from hil.safety.proof import ElectricalProof, Told, Unproven, raise_aborting
from hil.safety.stop import EmergencyStopped, EmergencyWatch


class Session:
    """n devices of a bench, for use inside an event loop; vectors are in the order of `names`.

    It also reaches the devices whose inputs stop the bench.
    """

    def __init__(
        self,
        bench: Bench,
        names: Sequence[str],
        armed: Collection[str],
        run: Run,
        tap: TapOf = no_tap,
        key: Pressed | None = None,
        cut_power: Callable[[], None] = lambda: None,
        smart: Functions | None = None,
    ) -> None:
        """cut_power: called at once, from another thread, when something stops the bench.

        smart: the functions that the armed devices are given, and keep until the session ends.
        """
        self.names, self._bench, self._armed, self._run = tuple(names), bench, armed, run
        stop = bench.file.emergency_stop
        every = dict.fromkeys([*names, *(watched.device for watched in stop.inputs)])
        self._links = Links(bench, every, tap)
        self._reached = {name: device_to(bench, name, self._links) for name in every}
        self.devices = [self._reached[name] for name in names]
        self._watch = EmergencyWatch(stop, bench.path.parent, self._reached, key)
        self._keepers, self._cut_power = Keepers(()), cut_power
        self._lookout, self._by_hand = Lookout(self._look), Lookout(self._look_by_hand)
        self._smart = smart
        self._standing: dict[str, StandingFunctions] = {}
        self._polls: Polls | None = None
        self._exchanging: asyncio.Task[object] | None = None
        self._proof = ElectricalProof(names, [bench.device(name).safety.proof for name in names])
        self._telling = _Telling(len(names))

    async def _look(self) -> None:
        """Look whether anything stops the bench; if so, make it safe and raise EmergencyStopped."""
        await self._keepers.stop_if_asked(self._watch, self._cut_power)

    async def _look_by_hand(self) -> None:
        """Look for the file and the key, which takes no device; cut the power if one of them is there."""
        try:
            self._watch.check_by_hand()
        except EmergencyStopped:
            with suppress(DeviceError):  # what failed is tried again, and told, when the session is closed
                await asyncio.to_thread(self._cut_power)
            raise

    async def stand_by(self) -> None:
        """Look for the file and the key from now on until the session is closed, whatever else is done meanwhile.

        Raises EmergencyStopped where one of them is there already. What is found later cuts the power at once; it is
        raised by the next exchange, or by `refuse_stopped`.
        """
        await self._look_by_hand()
        self._by_hand.stand_watch(math.inf)

    async def refuse_stopped(self) -> None:
        """Make the bench safe, and raise EmergencyStopped, where somebody has stopped it; asks no device before."""
        try:
            self._watch.check_by_hand()
        except EmergencyStopped:
            await self._look()
            raise

    @property
    def is_armed(self) -> bool:
        """Whether every device may be written to."""
        return all(name in self._armed for name in self.names)

    async def open(self) -> None:
        """Discover the devices, refuse those that are others than expected, and record what the armed ones hold."""
        await together(device.discover() for device in self._reached.values())
        for name, device in self._reached.items():
            refuse_stranger(self._bench.device(name), device)
            refuse_blind(self._bench, device)
        self._keepers = Keepers([*self._kept()])
        await self._keepers.take()
        if self._smart is not None:
            for device in (each for each in self.devices if each.name in self._armed):
                refuse_another_mode(self._smart, device)
        self._polls = Polls(self.devices, [self._bench.device(name).silence for name in self.names])
        self.plate = self._nameplates()

    def _kept(self) -> Iterator[Keeper]:
        folder = StateFolder.of_user()
        for index, (name, device) in enumerate(zip(self.names, self.devices, strict=True)):
            rules = self._bench.device(name).safety
            if name in self._armed:
                refuse_misfits(self._bench.device(name), device)
            standing = [] if self._smart is None else standing_of(self._smart, index, device)
            yield Keeper(device, rules, self._armed, folder, self._run, [each.prefix for each in standing])
            if standing:
                self._standing[name] = StandingFunctions(device, standing, device.lease, rules.safe_state.points)

    def _nameplates(self) -> Nameplates:
        """Return what the devices said of themselves when they were discovered."""
        rated = [ratings_of(device) for device in self.devices]
        return Nameplates(*(np.array([each.get(rating, math.nan) for each in rated]) for rating in RATINGS))

    async def exchange(self, commands: Commands, now_s: float, step_s: float) -> list[Unproven]:
        """Look whether anything stops the bench, command every device, poll it, and judge whether commands show.

        now_s: of the monotonic clock. Returns whose commands do not show, where the bench file takes that as a doubt.
        Raises EmergencyStopped, with every device in its safe state; what a device answers that it should not; and
        Rejected where commands do not show.
        """
        assert self._polls
        self._exchanging = asyncio.current_task()
        await self._lookout.stand_down()
        await self._look()
        ask = partial(self._ask, commands, commands.orders(len(self.devices)), now_s)
        await self._unless_stopped(self._polls, self._polls.ask(ask, step_s))
        self._proof.command(self._telling.since_s(now_s), self._telling.told)
        measured = self._polls.measured()
        unproven = self._proof.judge(self._polls.polled_ns / 1e9, measured.p_w, measured.q_var)
        raise_aborting(unproven)
        self._lookout.stand_watch(step_s)
        return unproven

    async def _unless_stopped(self, polls: Polls, work: Coroutine[Any, Any, None]) -> None:
        """Ask devices, until somebody stops the bench: one that is silent keeps no other from its safe state."""
        asking, found = asyncio.create_task(work), self._by_hand.found
        try:
            await asyncio.wait([asking, *found], return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                asking.result()
                return
        finally:
            asking.cancel()
        await asyncio.wait([asking])
        await polls.close()
        await self._look()
        found[0].result()

    async def _ask(self, commands: Commands, orders: Sequence[Order], now_s: float, index: int) -> Answer:
        device = self.devices[index]
        began_s, written = monotonic(), device.link.traffic.registers_written
        try:
            await device.command(orders[index], now_s)
        except Unreachable as failure:
            # what has been sent may be obeyed, also where its acknowledgement was lost, or nobody could read it back
            if isinstance(failure, Unacknowledged) or device.link.traffic.registers_written > written:
                self._telling.doubt(index, commands, self.plate, began_s)
            raise
        self._telling.take(index, commands, self.plate)
        if device.name in self._standing:
            await self._standing[device.name].keep(now_s, device.lapses)
        return await device.poll()

    def measured(self) -> Measurements:
        """Return what each device measured when it was last polled."""
        assert self._polls
        return self._polls.measured()

    def ages_s(self) -> FloatArray:
        """Return how old the measurements are (n,)."""
        assert self._polls
        return self._polls.ages_s()

    def statistics(self) -> dict[str, float]:
        """Return what went over the wire."""
        traffic = [device.link.traffic for device in self.devices]
        return {
            "modbus_exchanges": sum(each.exchanges for each in traffic),
            "modbus_retries": sum(each.retries for each in traffic),
            "modbus_discarded": sum(each.discarded for each in traffic),
            "modbus_registers_read": sum(each.registers_read for each in traffic),
            "modbus_registers_written": sum(each.registers_written for each in traffic),
            "modbus_seconds": sum(each.seconds for each in traffic),
            "points_left_as_written": self._keepers.left_as_written,
            "lapsed_commands": sum(device.lapses for device in self.devices),
        }

    async def close(self) -> None:
        """Leave every device as it was found, and close the connections. Raises NotRestored where that failed."""
        try:
            await self._end_exchange()
            with suppress(EmergencyStopped):  # another fleet may have met it first, and so ended the run
                await self._look()
            await self._keepers.let_go()
        finally:
            await self._by_hand.end()
            await self._links.close()

    async def _end_exchange(self) -> None:
        """End an exchange that still goes on, when a run is ended in its midst: it would command what is restored."""
        await self._lookout.end()
        if self._exchanging:
            self._exchanging.cancel()
            await asyncio.wait([self._exchanging])
        if self._polls:
            await self._polls.close()


class _Telling:
    """What devices were told, and since when each is to do it."""

    def __init__(self, n: int) -> None:
        self.told = Told(n)
        self._taken_s = np.full(n, -np.inf)

    def since_s(self, began_s: float) -> FloatArray:
        """Return since when each device is to do what it holds (n,), for an exchange that began at a time.

        That is when the exchange began, so that nobody gains time by answering late. A device that took its command
        before, after the exchange in which it was given, may show it since then: it may have been polled since, too.
        """
        since_s: FloatArray = np.minimum(began_s, self._taken_s)
        return since_s

    def take(self, index: int, commands: Commands, plate: Nameplates) -> None:
        """Take note that one device holds its part of these commands from now on; what a command leaves out stays.

        One to which nothing was sent holds what it was told before, whatever is commanded meanwhile.
        """
        self.told.take(index, _parts(index, commands, plate))
        self._taken_s[index] = monotonic()

    def doubt(self, index: int, commands: Commands, plate: Nameplates, began_s: float) -> None:
        """Take note that one device may hold its part of these commands, since a time: nobody knows whether it does."""
        self.told.doubt(index, _parts(index, commands, plate))
        self._taken_s[index] = began_s


def _parts(index: int, commands: Commands, plate: Nameplates) -> list[float | None]:
    """Return what commands tell one device, in the rows of `Told`."""
    limit = None if commands.limit_fraction is None else commands.limit_fraction * plate.p_max_w
    rows = (commands.p_w, limit, commands.q_var)
    return [None if given is None else float(given[index]) for given in rows]
