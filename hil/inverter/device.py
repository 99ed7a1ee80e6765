"""One device behind a link: found, commanded, verified, measured."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from derloop.errors import DeviceError, Rejected, visible
from hil.inverter.commands import Order
from hil.inverter.controls import Controls, Writing
from hil.inverter.curves import Curves
from hil.inverter.dialect import Dialect, Rating
from hil.inverter.guard import Guard
from hil.inverter.language import Language, SunSpec
from hil.inverter.lease import NO_LEASE, Lease
from hil.inverter.measuring import poll_plan
from hil.inverter.mirror import Answer, Go, Mirror, NotHeld, Polling
from hil.modbus.link import Link
from hil.sunspec.errors import SunSpecError
from hil.sunspec.points import RegisterArray, Value
from hil.sunspec.reads import ReadPlan
from hil.sunspec.register_map import RegisterMap

ROUNDING_PCT = 0.5
"""By how much of its rating a setpoint may be rounded: a step of 1 %, which many devices have, is just allowed."""
MOVED = "its registers are not what they were when it was discovered"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device says of itself; empty where it says nothing."""

    manufacturer: str = ""
    model: str = ""
    version: str = ""
    serial: str = ""

    def __str__(self) -> str:
        return visible(" ".join(filter(None, (self.manufacturer, self.model, self.version, self.serial))))

    def is_of(self, other: Identity) -> bool:
        """Return whether both are of one device; its firmware may be another."""
        mine, theirs = (self.manufacturer, self.model, self.serial), (other.manufacturer, other.model, other.serial)
        return mine == theirs


class Device:
    """One device behind a link, for use inside an event loop; `DeviceGroup` is for synchronous callers.

    What the device holds is known from its last reading, so that only what changes is written: setpoints wear
    flash. Every write passes the `guard`, is read back, and `Rejected` if the device holds anything else.

    With a `lease` the device returns to its own behaviour, or to what `safe` says of its points, when it is not
    commanded for that long. The lease is armed before a function is enabled, and renewed at half its time by
    commands; who lets more time pass between two of them loses it.
    """

    def __init__(
        self,
        link: Link,
        lease: Lease = NO_LEASE,
        *,
        language: Language | None = None,
        safe: Mapping[str, float | str] | None = None,
        rounding_pct: float = ROUNDING_PCT,
        guard: Guard | None = None,
        curve_lease: Lease = NO_LEASE,
    ) -> None:
        """curve_lease: what ends a volt-var curve; without one it stays when the device is not commanded any more."""
        self.link, self.lease, self._language = link, lease, language or SunSpec()
        self._safe, self._rounding_pct = safe or {}, rounding_pct
        self._mirror = Mirror(link, guard)
        self._curves = Curves(self._mirror, curve_lease)
        self._rejecting = _Rejecting(self.name)
        self._releasing: asyncio.Task[None] | None = None
        self._losses = 0, 0
        self.lapses = 0
        """How often the device no longer held what it had been told, though nobody let it go."""
        self._begin(Dialect())

    @property
    def name(self) -> str:
        """What the device is called in messages."""
        return self.link.device

    @property
    def guard(self) -> Guard:
        """What every write is asked of. May be set once the device is discovered."""
        return self._mirror.guard

    @guard.setter
    def guard(self, guard: Guard) -> None:
        self._mirror.guard = guard

    @property
    def map(self) -> RegisterMap:
        """The points of the device, once discovered."""
        return self._mirror.map

    @property
    def image(self) -> RegisterArray:
        """All registers of the map as last read: nameplate and settings are current, measurements are not."""
        return self._mirror.image

    @property
    def dialect(self) -> Dialect:
        """Which points mean what, once discovered."""
        return self._controls.dialect

    @property
    def applied(self) -> Mapping[str, float]:
        """Points and values last commanded, as the device holds them: rounded to its steps."""
        return self._controls.applied

    @property
    def plan(self) -> ReadPlan:
        """The reads of `poll`, once discovered."""
        return self._plan

    @property
    def identity(self) -> Identity:
        """What the device said of itself when it was discovered."""
        said = {part: self._mirror.value(point) or "" for part, point in self.dialect.identity.items()}
        return Identity(**{**self.dialect.fixed_identity, **{part: str(text) for part, text in said.items()}})

    @property
    def ratings(self) -> Mapping[Rating, float]:
        """What the nameplate said when the device was discovered; NaN where it said nothing."""
        return self._controls.ratings

    @property
    def controls(self) -> tuple[str, ...]:
        """Every point that commands may write, in the order of addresses."""
        functions = {point for function in self.dialect.functions.values() for point in function.points}
        curves = {n for n in self.map.points if self.dialect.volt_var and n.startswith(f"{self.dialect.volt_var}.")}
        points = [self.map[name] for name in functions | curves if name in self.map]
        return tuple(point.name for point in sorted(points, key=lambda p: p.address) if point.writable)

    async def discover(self) -> None:
        """Find out what the device is, and read all of it."""
        found = await self._language.find(self.link)
        self._mirror.take(found.map, found.image)
        self._mirror.read_limit, self._mirror.write_limit = self._language.read_limit, self._language.write_limit
        self._begin(found.dialect)
        self._known = self.identity
        self._losses = self._losses_of_link

    def _begin(self, dialect: Dialect) -> None:
        self._kept = {name: self.map.registers(name, self.image) for name in dialect.witnesses}
        scales = (self.map.moving_scale(name) for name, point in self.map.points.items() if point.writable)
        self._scales = {name: self.map.registers(name, self.image) for name in scales if name is not None}
        self._mirror.enables = dialect.enables
        self._controls = Controls(self._mirror, dialect, self.lease, self._safe, self._rounding_pct)
        self._plan = poll_plan(self.map, dialect, self._mirror.read_limit)

    async def command(self, order: Order, now_s: float) -> None:
        """Make the device do what is ordered; `now_s` is the time in which its leases count."""
        await self._command(order, now_s, None)

    async def exchange(self, order: Order, now_s: float) -> Answer:
        """Make the device do what is ordered, and poll it once it holds that: in the same go, where it can be."""
        has_curves = order.volt_var_off or order.volt_var is not None or self._curves.is_due(now_s)
        polling = Polling(self._plan)
        await self._command(order, now_s, None if has_curves else polling)
        return polling.answer() if polling.is_made else await self.poll()

    async def _command(self, order: Order, now_s: float, polling: Polling | None) -> None:
        with self._rejecting:
            checked, lapses = self._controls.to_check(now_s), self.lapses
            if checked or self._was_lost:
                await self._notice_changes(checked)
            writing = self._controls.writing(order, now_s)
            if writing.wanted or writing.arming:
                await self._write(writing, now_s, polling)
            self._controls.done(writing, now_s)
            if order.volt_var_off or order.volt_var is not None:
                await self._command_volt_var(order, now_s)
            elif self.lapses != lapses:
                await self._curves.follow_again(now_s)
            if self._curves.is_due(now_s):
                await self._curves.renew(now_s)

    def begin(self, order: Order, now_s: float, ended: Callable[[Answer | BaseException], None]) -> bool:
        """Do what `exchange` does without a task, where it is one go over the wire: no checks before it, no curves.

        Returns whether it is one; else nothing has been done. ended: is given what `exchange` would return, or raise.
        Raises what it would raise before anything has been sent.
        """
        has_curves = order.volt_var_off or order.volt_var is not None or self._curves.is_due(now_s)
        if has_curves or self._was_lost or self._controls.to_check(now_s):
            return False
        with self._rejecting:
            writing, polling = self._controls.writing(order, now_s), Polling(self._plan)
            go = self._mirror.go([writing.arming, writing.setting], now_s, writing.wanted, polling)
        self._mirror.begin(go, partial(self._came, go, writing, polling, ended))
        return True

    def _came(
        self,
        go: Go,
        writing: Writing,
        polling: Polling,
        ended: Callable[[Answer | BaseException], None],
        failure: BaseException | None,
    ) -> None:
        """Conclude what was begun."""
        try:
            self._mirror.came(go, failure)
            self._mirror.refuse_other(writing.wanted)
            self._controls.done(writing, go.now_s)
            outcome: Answer | BaseException = polling.answer()
        except NotHeld as refusal:
            self._releasing = asyncio.create_task(self._released(writing, go.now_s, refusal, ended))
            return
        except BaseException as raised:  # noqa: BLE001 - whoever is told raises it
            outcome = raised
        ended(outcome)

    async def _released(
        self, writing: Writing, now_s: float, refusal: NotHeld, ended: Callable[[BaseException], None]
    ) -> None:
        try:
            await self._release(writing, now_s, refusal)
        finally:
            ended(refusal)

    def abandon(self) -> None:
        """Cancel what was begun, if it has not ended."""
        self.link.abandon()
        if self._releasing is not None:
            self._releasing.cancel()

    async def _write(self, writing: Writing, now_s: float, polling: Polling | None) -> None:
        """Write, and read it back; what the device does not hold as it should, is switched off again."""
        try:
            await self._mirror.write([writing.arming, writing.setting], now_s, writing.wanted, polling)
            self._mirror.refuse_other(writing.wanted)
        except NotHeld as refusal:
            await self._release(writing, now_s, refusal)
            raise

    async def _release(self, writing: Writing, now_s: float, refusal: NotHeld) -> None:
        """Switch off what was commanded and is not held: a device that has restarted would go on without a lease."""
        try:
            await self._mirror.write([self._controls.releasing(writing)], now_s)
        except DeviceError as error:
            refusal.add_note(f"and could not be let go of: {error}")

    async def _command_volt_var(self, order: Order, now_s: float) -> None:
        model = self.dialect.volt_var
        if order.volt_var is not None and model is not None:
            await self._curves.follow(model, order.volt_var, now_s)
        elif order.volt_var is not None:
            raise Rejected(self.name, f"takes no volt_var; {self.dialect.ability}")
        elif model is not None:
            await self._curves.stop_following(model, now_s)

    @property
    def _was_lost(self) -> bool:
        """Whether the connection has been lost, or the device was silent, since what it holds was read."""
        return self._losses != self._losses_of_link or not self.link.connected

    @property
    def _losses_of_link(self) -> tuple[int, int]:
        return self.link.opened, self.link.unanswered

    async def _notice_changes(self, names: Sequence[str]) -> None:
        """Read again what the device was told: after a silence it may have restarted, and so it may unseen."""
        if self._was_lost:
            names = self.controls
            await self._refuse_another_map()
            await self._refuse_another_device()
            await self._refuse_other_ratings()
            self._losses = self._losses_of_link
        before = self._mirror.values(names)
        await self._mirror.read(names)
        self.lapses += self._mirror.values(names) != before

    async def _refuse_another_map(self) -> None:
        """Raise Rejected if what never changes has changed: the registers are not what they were."""
        await self._mirror.read(self.dialect.witnesses)
        for name, was in self._kept.items():
            if self.map.registers(name, self.image) != was:
                raise Rejected(self.name, self._in_another_map(name))

    async def has_moved(self) -> bool:
        """Return whether the registers are not what they were when it was discovered: moved, of another kind, or what
        can be written has other scale factors."""
        kept = self._kept | self._scales
        try:
            await self._mirror.read([*kept])
        except Rejected:
            return True
        return any(self.map.registers(name, self.image) != was for name, was in kept.items())

    async def _refuse_another_device(self) -> None:
        """Raise Rejected if what answers says that it is another one: it may do so with the same registers."""
        if self.dialect.identity:
            await self._mirror.read([*self.dialect.identity.values()])
        if not self.identity.is_of(self._known):
            raise Rejected(self.name, f"{self.identity} answers at its address, not {self._known}: it is told nothing")

    async def _refuse_other_ratings(self) -> None:
        """Raise Rejected if the device is rated or set otherwise than it was: percentages would be of something else.

        How much a storage holds is left out, and how fast it may be charged where powers are told in W, or in percent
        of another maximum: no command is a part of it, and batteries change it as they warm up and fill.
        """
        p_w = self.dialect.functions.get("p_w")
        in_704 = p_w is not None and all(term.point.startswith("704.") for term in p_w.terms)
        free = {"energy_wh", *(("p_max_charge_w", "p_max_discharge_w") if in_704 else ())}
        sources = {rating: each for rating, each in self.dialect.nameplate.items() if rating not in free}
        names = [name for source in sources.values() for name in source.points if name in self.map]
        await self._mirror.read(names)
        held = self._mirror.values(names)
        for rating, source in sources.items():
            now, was = source.value(held), self.ratings[rating]
            if now != was and not (math.isnan(now) and math.isnan(was)):
                what = f"{', '.join(source.points)} was {was:g} when it was discovered and is {now:g}"
                raise Rejected(self.name, f"{what}: it is told nothing")

    def _in_another_map(self, name: str) -> str:
        where = f"{name} at {self.map[name].address}"
        return f"{MOVED}: {where} reads {self._mirror.value(name)!r} now"

    async def read(self, names: Sequence[str]) -> dict[str, Value]:
        """Return what the device holds now at these points: "711.Ctl.0.DbOf" ...; None where not implemented."""
        await self._mirror.read([*names, *filter(None, map(self.map.moving_scale, names))])
        return self._mirror.current(names)

    async def snapshot(self, names: Sequence[str] | None = None) -> dict[str, tuple[int, ...]]:
        """Return the registers that the device holds now at these points; not given: at all `controls`."""
        wanted = self.controls if names is None else tuple(names)
        await self._mirror.read(wanted)
        return {name: self.map.registers(name, self.image) for name in wanted}

    async def write(self, values: Mapping[str, float | str], now_s: float | None = None) -> None:
        """Write points by name, what enables a function last, and verify that the device holds them.

        Not given, `now_s` is the monotonic clock's.
        """
        with self._rejecting:
            await self._mirror.put(values, _clock_s(now_s))

    async def adopt(self, model: str, values: Mapping[str, float | str], now_s: float | None = None) -> None:
        """Make a curve (of 711 a control) the active one, unless it is: to a spare place, handed over, verified.

        values: points of the curve by their path in it: "RspTms", "Pt.0.V", "MustTrip.Pt.1.Tms" ...
        """
        with self._rejecting:
            await self._curves.adopt(model, values, _clock_s(now_s))

    async def poll(self, plan: ReadPlan | None = None) -> Answer:
        """Return the registers of a plan's requests (of `plan`), one after the other; none is older than their time."""
        return await self._mirror.poll(plan or self._plan)


class _Rejecting:
    """Turns what does not fit a device's map into `Rejected`."""

    __slots__ = ("_device",)

    def __init__(self, device: str) -> None:
        self._device = device

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, SunSpecError):
            raise Rejected(self._device, str(error)) from error


def _clock_s(now_s: float | None) -> float:
    return time.monotonic() if now_s is None else now_s
