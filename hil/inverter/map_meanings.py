"""What the points of a register map mean: its dialect, and what is wrong in what the file says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from derloop.errors import Problem, did_you_mean
from hil.inverter.dialect import (
    MEANINGS,
    QUANTITIES,
    RATINGS,
    Dialect,
    Function,
    Heartbeat,
    IdentityPart,
    Meaning,
    Quantity,
    Rating,
    Reversion,
    Source,
    Term,
)
from hil.inverter.map_file import Assignments, Command, Reading, RegisterFile, StateName, StateReading
from hil.sunspec.codec import encode
from hil.sunspec.errors import SunSpecValueError
from hil.sunspec.points import Point
from hil.sunspec.register_map import RegisterMap

STATES: Final[Mapping[StateName, float]] = {name: float(code) for code, name in enumerate(get_args(StateName))}
"""As 701 InvSt numbers them."""
_PARTS: Final[tuple[IdentityPart, ...]] = ("manufacturer", "model", "version", "serial")


def dialect(file: RegisterFile, device: RegisterMap) -> tuple[Dialect, list[Problem]]:
    """Return what a file says its points mean, and everything that is wrong with that.

    What is wrong is left out; points that are wrong themselves, and so not in `device`, are not told of again.
    """
    reader = _Meanings(file, device)
    found = Dialect(
        measured=reader.measured(),
        nameplate=reader.nameplate(),
        functions=reader.functions(),
        heartbeat=reader.heartbeat(),
        witnesses=tuple(reader.assigned("/identity/expect", file.identity.expect, "read")),
        identity=reader.identity(),
        fixed_identity=_texts(file),
    )
    return found, reader.problems


class _Meanings:
    """Reads one file's meanings and collects what is wrong."""

    def __init__(self, file: RegisterFile, device: RegisterMap) -> None:
        self._file, self._device = file, device
        self.problems: list[Problem] = []

    def measured(self) -> dict[Quantity, Source]:
        found: dict[Quantity, Source] = {}
        for quantity in QUANTITIES:
            entry, at = getattr(self._file.measured, quantity), f"/measured/{quantity}"
            if isinstance(entry, StateReading):
                if (point := self._number(f"{at}/point", entry.point, "read")) is not None:
                    found[quantity] = Source((entry.point,), codes=self._codes(f"{at}/codes", point, entry))
            elif entry is not None:
                self._refuse_mean(at, quantity, entry)
                points = [self._number(f"{at}/points/{i}", name, "read") for i, name in enumerate(entry.points)]
                if None not in points:
                    found[quantity] = Source(entry.points, entry.factor, entry.offset)
        return found

    def _refuse_mean(self, at: str, quantity: Quantity, entry: Reading) -> None:
        """Tell where a mean of points means nothing: powers of phases add up, and bits do not."""
        count = len(entry.points)
        if count > 1 and quantity in ("p_w", "q_var") and abs(entry.factor) == 1.0:
            self._wrong(f"{at}/factor", f"the mean of {count} powers is not what all give; {count} makes it their sum")
        if count > 1 and quantity == "alarms":
            self._wrong(f"{at}/points", "the mean of bit fields is none: name one")

    def _codes(self, at: str, point: Point, entry: StateReading) -> dict[int, float]:
        codes: dict[int, float] = {}
        for key, state in entry.codes.items():
            code = point.symbols.get(key, int(key) if key.isdecimal() else None)
            if code is None:
                self._wrong(
                    f"{at}/{key}",
                    f"no number, and no symbol of {point.name!r}{did_you_mean(key, tuple(point.symbols))}",
                )
            else:
                codes[code] = STATES[state]
        return codes

    def nameplate(self) -> dict[Rating, Source]:
        found: dict[Rating, Source] = {}
        for rating in RATINGS:
            entry, at = getattr(self._file.nameplate, rating), f"/nameplate/{rating}"
            if entry is None:
                continue
            if entry.value is not None:
                found[rating] = Source(fixed=entry.value)
            elif self._number(f"{at}/point", entry.point, "read") is not None:
                found[rating] = Source((entry.point,), entry.factor)
        return found

    def functions(self) -> dict[Meaning, Function]:
        entries = ((meaning, getattr(self._file.commands, meaning)) for meaning in MEANINGS)
        found = {
            meaning: self._function(f"/commands/{meaning}", entry) for meaning, entry in entries if entry is not None
        }
        return {meaning: function for meaning, function in found.items() if function is not None}

    def _function(self, at: str, entry: Command) -> Function | None:
        if entry.factor == 0:
            self._wrong(f"{at}/factor", "must not be 0")
        point = self._number(f"{at}/point", entry.point, "written")
        if entry.on and not entry.off:
            self._wrong(f"{at}/off", "is missing: what 'on' turns on must be turned off by something")
        self._refuse_overwritten(at, entry)
        timed = entry.watchdog is None or self._number(f"{at}/watchdog", entry.watchdog, "written") is not None
        modes, on, off = (
            self.assigned(f"{at}/{name}", values, "written")
            for name, values in (("modes", entry.modes), ("on", entry.on), ("off", entry.off))
        )
        if point is None or not timed or entry.factor == 0:
            return None
        timer = None if entry.watchdog is None else Reversion(entry.watchdog)
        return Function((Term(entry.point, entry.factor),), modes, on, off, timer)

    def _refuse_overwritten(self, at: str, entry: Command) -> None:
        """Tell where a point would be given two values: the setpoint, or the seconds of the watchdog, would be lost."""
        if entry.watchdog == entry.point:
            self._wrong(f"{at}/watchdog", f"{entry.point!r} takes the setpoint already")
        for what, values in (("modes", entry.modes), ("on", entry.on)):
            for name in values:
                if name == entry.point:
                    self._wrong(f"{at}/{what}/{name}", f"{name!r} takes the setpoint already")
                elif name == entry.watchdog:
                    self._wrong(f"{at}/{what}/{name}", f"{name!r} takes the seconds of the watchdog already")

    def heartbeat(self) -> Heartbeat | None:
        entry = self._file.heartbeat
        if entry is None:
            return None
        point = self._number("/heartbeat/point", entry.point, "written")
        if entry.seconds is not None:
            self._number("/heartbeat/seconds", entry.seconds, "written")
        if point is not None and entry.rolls_at > min(point.kind.high, point.manner.high):
            self._wrong("/heartbeat/rolls_at", f"{entry.rolls_at} is beyond what {entry.point!r} takes")
        return Heartbeat(entry.point, entry.seconds, entry.rolls_at)

    def identity(self) -> dict[IdentityPart, str]:
        found: dict[IdentityPart, str] = {}
        for part in _PARTS:
            entry = getattr(self._file.identity, part)
            if (
                entry is not None
                and entry.point is not None
                and self._point(f"/identity/{part}/point", entry.point, "read")
            ):
                found[part] = entry.point
        return found

    # what is referred to

    def assigned(self, at: str, values: Assignments, use: str) -> dict[str, float]:
        """Return numbers for values of points, which may be given as symbols."""
        found: dict[str, float] = {}
        for name, value in values.items():
            point = self._number(f"{at}/{name}", name, use)
            try:
                number = None if point is None else encode(point, value, exact=point.kind.family != "float").value
            except SunSpecValueError as misfit:
                self._wrong(f"{at}/{name}", misfit.why)
                continue
            if isinstance(number, int | float):
                found[name] = number
        return found

    def _number(self, at: str, name: str, use: str) -> Point | None:
        """Return a point that holds a number and can be `use`d: "read" or "written"."""
        point = self._point(at, name, use)
        if point is not None and point.kind.family == "string":
            self._wrong(at, f"{name!r} is a text; a number is needed")
            return None
        return point

    def _point(self, at: str, name: str, use: str) -> Point | None:
        point = self._device.points.get(name)
        if name not in self._file.points:
            self._wrong(at, f"there is no point {name!r}{did_you_mean(name, tuple(self._file.points))}")
        elif point is not None and not (point.manner.readable if use == "read" else point.writable):
            self._wrong(at, f"{name!r} cannot be {use} (access {self._file.points[name].access!r})")
            return None
        return point

    def _wrong(self, at: str, what: str) -> None:
        self.problems.append(Problem(at, what))


def _texts(file: RegisterFile) -> dict[IdentityPart, str]:
    entries = {part: getattr(file.identity, part) for part in _PARTS}
    return {part: entry.text for part, entry in entries.items() if entry is not None and entry.text is not None}
