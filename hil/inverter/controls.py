"""What is to be written so that a device does what it is ordered: arming first, then values, then what enables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from derloop.errors import Rejected
from hil.inverter.commands import Order
from hil.inverter.course import Stage
from hil.inverter.dialect import Dialect, Function, Meaning, Rating
from hil.inverter.lease import UNCHECKED_S, Lease, Renewals
from hil.inverter.mirror import Mirror
from hil.sunspec.codec import Encoded


class _Constants(NamedTuple):
    """What a function of a device is always written with."""

    function: Function
    arming: Stage
    """What ends it when it is not renewed."""
    modes: Stage
    enabling: Stage
    written: Stage
    """All of these."""
    kept: Stage
    """All of these, and the scale factors that its setpoint is written with, and that the device may change."""


HEARTBEAT = "heartbeat"
_REFERENCES: Mapping[Meaning, Rating] = {"p_w": "p_max_w", "q_var": "q_max_injected_var"}


@dataclass(slots=True)
class Writing:
    """What one order makes necessary."""

    arming: dict[str, Encoded] = field(default_factory=dict)
    """Written before all else: what ends the command when it is not renewed."""
    setting: dict[str, Encoded] = field(default_factory=dict)
    wanted: dict[str, Encoded] = field(default_factory=dict)
    """What the device must hold after that."""
    asserted: list[str] = field(default_factory=list)
    """Functions that are renewed by it."""
    setpoints: dict[Meaning, float] = field(default_factory=dict)


class Controls:
    """The functions of one device, and how long ago each was asserted.

    `safe`: what points are to hold when a lease has lapsed; a function that it does not name is then off.
    `rounding_pct`: by how much of its rating a setpoint may be rounded to the device's steps before it is refused.
    """

    def __init__(
        self, mirror: Mirror, dialect: Dialect, lease: Lease, safe: Mapping[str, float | str], rounding_pct: float
    ) -> None:
        self._mirror, self.dialect, self.lease = mirror, dialect, lease
        self._safe, self._rounding_pct = safe, rounding_pct
        self.renewals = Renewals()
        self._checked_s = -math.inf
        self._last_beat: int | None = None
        self._fixed: dict[Meaning, _Constants] = {}
        self._held: dict[str, tuple[float, int]] = {}
        """Setpoints that the device held, and at which reading of it."""
        held = mirror.values([point for source in dialect.nameplate.values() for point in source.points])
        self.ratings = {rating: source.value(held) for rating, source in dialect.nameplate.items()}
        self.applied: dict[str, float] = {}
        """Points and values last commanded, as the device holds them: rounded to its steps."""

    def writing(self, order: Order, now_s: float) -> Writing:
        """Return what must be written; empty if the device already does what it is ordered.

        Raises Rejected for what the device cannot do, and for a rounding that matters.
        """
        found = Writing()
        for meaning, setpoint in _setpoints(order):
            if math.isnan(setpoint):
                self._turn_off(meaning, found)
            else:
                self._assert(meaning, setpoint, now_s, found)
        self._beat(now_s, found)
        return found

    def done(self, writing: Writing, now_s: float) -> None:
        """Take note that the device holds what was wanted."""
        for what in writing.asserted:
            self.renewals.note(what, now_s)
        for meaning, setpoint in writing.setpoints.items():
            self._held[meaning] = setpoint, self._mirror.readings
        if writing.wanted:
            self._checked_s = now_s
        for name, each in writing.setting.items():
            if isinstance(each.value, int | float):
                self.applied[name] = float(each.value)

    def releasing(self, writing: Writing) -> dict[str, Encoded]:
        """Return what switches off the functions that were commanded: they are not, if their lease is not there."""
        functions = [f for f in self.dialect.functions.values() if not f.on.keys().isdisjoint(writing.wanted)]
        return self._mirror.encode({point: value for function in functions for point, value in function.off.items()})

    def to_check(self, now_s: float) -> tuple[str, ...]:
        """Return the points to be read again though nothing changes, after `UNCHECKED_S` without a reading.

        Under a lease by reversion, which writes and reads all of them when it is renewed, those of functions whose
        lease has run out: renewing them would hide that the device had let go.
        """
        if self.lease.kind == "reversion":
            active = [(what, each) for what, each in self.dialect.functions.items() if what in self.renewals.active]
            late = [each for what, each in active if self.renewals.age_s(what, now_s) >= self.lease.seconds]
            return tuple(point for function in late for point in function.points)
        if now_s - self._checked_s < UNCHECKED_S:
            return ()
        self._checked_s = now_s
        return tuple(point for function in self._active() for point in function.points)

    def _active(self) -> list[Function]:
        return [function for what, function in self.dialect.functions.items() if what in self.renewals.active]

    def _assert(self, meaning: Meaning, setpoint: float, now_s: float, into: Writing) -> None:
        due = self.lease.kind == "reversion" and self.renewals.age_s(meaning, now_s) >= self.lease.half_s
        held, reading = self._held.get(meaning, _NEVER)
        is_known = reading == self._mirror.readings
        if not due and is_known and held == setpoint:
            return
        constants = self._fixed.get(meaning) or self._constants(meaning)
        terms = self._mirror.encode(constants.function.targets(setpoint))
        self._refuse_coarse(meaning, constants.function, terms, setpoint)
        if due or meaning not in self.renewals.active:
            into.asserted.append(meaning)
        into.setpoints[meaning] = setpoint
        changed = self._mirror.changed(terms if is_known else {**constants.written, **terms})
        if due or changed:
            _add(changed, terms, constants, due, into)

    def _constants(self, meaning: Meaning) -> _Constants:
        """Return, and keep, what a function is always written with."""
        function, encode = self._function(meaning), self._mirror.encode
        moving = map(self._mirror.map.moving_scale, (term.point for term in function.terms))
        arming, modes, enabling = encode(self._arming(function)), encode(function.modes), encode(function.on)
        scales = self._mirror.held(dict.fromkeys(name for name in moving if name is not None))
        written = {**arming, **modes, **enabling}
        found = self._fixed[meaning] = _Constants(function, arming, modes, enabling, written, written | scales)
        return found

    def _function(self, meaning: Meaning) -> Function:
        if meaning not in self.dialect.functions:
            raise Rejected(self._mirror.device, f"takes no {meaning}; {self.dialect.ability}")
        return self.dialect.functions[meaning]

    def _turn_off(self, meaning: Meaning, into: Writing) -> None:
        """Disable a function unless it is disabled, or not there."""
        function = self.dialect.functions.get(meaning)
        if function is None:
            return
        if not function.off and meaning in self.renewals.active:
            raise Rejected(self._mirror.device, f"has nothing that ends {meaning}")
        self.renewals.forget(meaning)
        shared = {point for other in self._active() for point in other.on}
        off = self._mirror.encode({point: value for point, value in function.off.items() if point not in shared})
        if self._mirror.changed(off):
            into.setting |= off
            into.wanted |= off

    # leases

    def _arming(self, function: Function) -> dict[str, float | str]:
        """Return the settings that end a function when its lease does; no more than the device implements."""
        timer, leased = function.reversion, self.lease.kind == "reversion"
        if timer is None:
            if leased:
                name = function.terms[0].point
                raise Rejected(self._mirror.device, f"has no reversion timer for {name}, so no such lease")
            return {}
        reverts: dict[str, float | str] = {}
        for point, reverted in timer.reverts.items():
            if point in self._safe:
                reverts[reverted] = self._safe[point]
            elif point in function.on:
                reverts[reverted] = function.off[point]
        return {timer.time: float(self.lease.seconds if leased else 0)} | reverts

    def _beat(self, now_s: float, into: Writing) -> None:
        """Let the heartbeat go on, when it is due and anything depends on it."""
        if self.lease.kind != "heartbeat" or not (into.setting or self.renewals.active):
            return
        if self.renewals.age_s(HEARTBEAT, now_s) < self.lease.half_s:
            return
        beat = self.dialect.heartbeat
        if beat is None:
            raise Rejected(self._mirror.device, "has no heartbeat, so no such lease")
        if beat.time is not None:
            armed = self._mirror.encode({beat.time: float(self.lease.seconds)})
            into.arming |= self._mirror.changed(armed)
            into.wanted |= armed
        last = self._mirror.value(beat.point) if self._last_beat is None else self._last_beat
        self._last_beat = int(last) + 1 if isinstance(last, int | float) and last < beat.rolls_at else 0
        into.arming |= self._mirror.encode({beat.point: float(self._last_beat)})
        into.asserted.append(HEARTBEAT)

    # rounding

    def _refuse_coarse(
        self, meaning: Meaning, function: Function, values: Mapping[str, Encoded], setpoint: float
    ) -> None:
        if not any(each.rounded for each in values.values()):
            return
        possible = function.setpoint({name: each.value for name, each in values.items()})
        allowed = self._rounding_pct / 100 * self._reference(meaning, setpoint)
        if possible is None or abs(possible - setpoint) <= allowed:
            return
        why = f"{meaning} {setpoint:g} was asked, {possible:g} is the nearest that {function.terms[0].point} can hold"
        raise Rejected(self._mirror.device, f"{why}; allowed are {self._rounding_pct:g} % of its rating (rounding_pct)")

    def _reference(self, meaning: Meaning, setpoint: float) -> float:
        """Return the rating that a setpoint is compared with; itself where none is known."""
        rating = self.ratings.get(_REFERENCES[meaning], math.nan) if meaning in _REFERENCES else 1.0
        return rating if rating > 0 else abs(setpoint)


_NEVER = math.nan, -1
"""A setpoint that the device has not held, at a reading that there was not."""


def _add(changed: Stage, terms: Stage, constants: _Constants, due: bool, into: Writing) -> None:
    """Add what a function is written with; all of its values where it is renewed."""
    values = {**constants.modes, **terms}
    into.arming |= {name: each for name, each in constants.arming.items() if name in changed}
    into.setting |= values if due else {name: each for name, each in values.items() if name in changed}
    into.setting |= constants.enabling
    into.wanted |= terms
    into.wanted |= constants.kept


def _setpoints(order: Order) -> Iterator[tuple[Meaning, float]]:
    if order.limit_fraction is not None:
        yield "limit_fraction", order.limit_fraction
    if order.p_w is not None:
        yield "p_w", order.p_w
    if order.q_var is not None:
        yield "q_var", order.q_var
