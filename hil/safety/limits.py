"""Outside of these limits nothing is written: which points, between what, and how fast."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property

from hil.inverter.guard import Change
from hil.safety.amounts import Amount, amounts_of
from hil.safety.controls import commanded
from hil.safety.outcome import Device, Outcome
from hil.safety.rules import Band, Limits
from hil.sunspec.points import Value

FIRST_S = 1.0
"""The first change of what is in effect may be as large as so many seconds of its rate allow."""
HAIR = 1e-9
"""Relative to the numbers compared: a rate times a time is not exact."""


class LimitCheck:
    """Holds the commands of one device against its limits, as its registers will say them."""

    def __init__(self, device: Device, limits: Limits, given: Collection[str] = ()) -> None:
        """given: how the names of points begin that are written beside those of commands."""
        self._device, self._limits, self._given = device, limits, tuple(given)
        self._written: dict[str, tuple[float, float]] = {}
        """Last acknowledged value, and when, of every point and every amount."""
        self._asked: dict[str, float] = {}
        """What the last command that was permitted makes of every amount."""

    @cached_property
    def _amounts(self) -> tuple[Amount, ...]:
        return amounts_of(self._device)

    @cached_property
    def _commanded(self) -> frozenset[str]:
        return commanded(self._device)

    def may_write(self, name: str) -> bool:
        """Return whether a point may be written at all. The device must be discovered."""
        if self._limits.may_write is None:
            return name in self._commanded or name.startswith(self._given)
        return any(fnmatchcase(name, pattern) for pattern in self._limits.may_write)

    def problems(self, changes: Sequence[Change], now_s: float) -> Iterator[str]:
        """Yield what is wrong with a command."""
        before, after = Outcome(self._device), Outcome(self._device, changes)
        for change in changes:
            yield from self._point_problems(change, after(change.point.name), now_s)
        for amount in self._touched(changes, after):
            yield from self._amount_problems(amount, before, after, now_s)

    def note(self, changes: Sequence[Change], now_s: float) -> None:
        """Remember what was acknowledged, and when: the next rates count from there."""
        after = Outcome(self._device, changes)
        for change in changes:
            self._remember(change.point.name, after(change.point.name), now_s)
        for amount in self._touched(changes, after):
            self._remember(amount.key, self._asked.get(amount.key), now_s)

    def _remember(self, key: str, value: Value, now_s: float) -> None:
        if isinstance(value, int | float):
            self._written[key] = value, now_s

    def _touched(self, changes: Sequence[Change], after: Outcome) -> Iterator[Amount]:
        """Yield the amounts that a command sets, or puts into effect: turning off is always within limits."""
        names = {change.point.name for change in changes}
        for amount in self._amounts:
            moves = not names.isdisjoint((amount.switch, *amount.rests_on))
            if (moves and _is_on(amount, after)) or not names.isdisjoint(amount.points):
                yield amount

    def _point_problems(self, change: Change, value: Value, now_s: float) -> Iterator[str]:
        name = change.point.name
        if not self.may_write(name):
            yield f"{name} is none of the points that may be written (limits.may_write)"
        if value is None:
            yield f"{name}: these registers say 'not implemented'"
        for pattern, band in self._limits.points.items():
            if fnmatchcase(name, pattern) and isinstance(value, int | float):
                since = self._written.get(name) or _a_second_ago(change.was, now_s)
                yield from _outside(f"{name} (limits.points)", value, change.point.unit, band, since, now_s)
            elif fnmatchcase(name, pattern):
                yield f"{name}: {value!r} is no number, and limits.points has a band for it"

    def _amount_problems(self, amount: Amount, before: Outcome, after: Outcome, now_s: float) -> Iterator[str]:
        band: Band | None = getattr(self._limits, amount.meaning)
        value, what = amount.of(after), f"{amount.points[-1]} (limits.{amount.meaning})"
        if value is not None:
            self._asked[amount.key] = value
        if band is None:
            return
        if value is None:
            yield f"{what}: what it asks for cannot be told: the device does not say what its percentages are of"
            return
        was = amount.of(before) if _is_on(amount, before) else None
        since = None if amount.is_in_reserve else self._written.get(amount.key) or _a_second_ago(was, now_s)
        yield from _outside(what, value, UNITS[amount.meaning], band, since, now_s)


UNITS = {"p_w": "W", "q_var": "var", "limit_pct": "%"}


def _is_on(amount: Amount, outcome: Outcome) -> bool:
    return not amount.switch or outcome(amount.switch) not in (None, 0)


def _a_second_ago(was: Value, now_s: float) -> tuple[float, float] | None:
    return (was, now_s - FIRST_S) if isinstance(was, int | float) else None


def _outside(
    what: str, value: float, unit: str, band: Band, since: tuple[float, float] | None, now_s: float
) -> Iterator[str]:
    """Yield how a value leaves its band. since: what it was, and when."""
    if band.low is not None and value < band.low:
        yield f"{what}: {value:g} {unit} is below {band.low:g} {unit}"
    if band.high is not None and value > band.high:
        yield f"{what}: {value:g} {unit} is above {band.high:g} {unit}"
    if band.rate_per_s is None or since is None:
        return
    was, when_s = since
    most = band.rate_per_s * max(now_s - when_s, 0.0)
    if abs(value - was) > most + HAIR * max(abs(value), abs(was), most):
        yield (
            f"{what}: from {was:g} to {value:g} {unit} within {now_s - when_s:g} s is faster than "
            f"{band.rate_per_s:g} {unit}/s"
        )
