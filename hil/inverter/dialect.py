"""Which points of a device mean what: the same questions and orders for every map of registers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from hil.sunspec.points import Value

Quantity = Literal["p_w", "q_var", "v_ln_v", "v_ll_v", "f_hz", "state", "alarms", "soc_pct"]
"""What is measured: the fields of `Measurements`."""
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
Rating = Literal[
    "p_max_w",
    "s_max_va",
    "q_max_injected_var",
    "q_max_absorbed_var",
    "p_max_charge_w",
    "p_max_discharge_w",
    "v_nominal_v",
    "energy_wh",
]
"""What a nameplate says: the fields of `Nameplates`."""
RATINGS: tuple[Rating, ...] = get_args(Rating)
Meaning = Literal["limit_fraction", "p_w", "q_var"]
"""What can be set: fields of `Commands`."""
MEANINGS: tuple[Meaning, ...] = get_args(Meaning)
IdentityPart = Literal["manufacturer", "model", "version", "serial"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a quantity comes from: the mean of the points that are implemented, stretched, or translated."""

    points: tuple[str, ...] = ()
    factor: float = 1.0
    offset: float = 0.0
    """Added after the factor."""
    codes: Mapping[int, float] = field(default_factory=dict)
    """What each number of the device means; one that is not here means nothing (NaN). Empty: numbers stay."""
    magnitude: bool = False
    """The sign is left out: some devices give absorbed reactive power as a negative rating."""
    fixed: float = math.nan
    """The quantity itself, where no point holds it."""

    def value(self, held: Mapping[str, Value]) -> float:
        """Return the quantity from values of points by name; NaN if none is there."""
        if not self.points:
            return self.fixed
        numbers = [v for v in (held.get(name) for name in self.points) if isinstance(v, int | float)]
        if not numbers:
            return math.nan
        mean = sum(numbers) / len(numbers)
        if self.codes:
            return self.codes.get(int(mean), math.nan)
        value = mean * self.factor + self.offset
        return abs(value) if self.magnitude else value


@dataclass(frozen=True, slots=True)
class Term:
    """A point that takes a setpoint, stretched."""

    point: str
    positive: float = 1.0
    """What a setpoint of 1 is there."""
    negative: float | None = None
    """The same for setpoints below 0, if another: charging is not rated as discharging is."""

    def factor(self, setpoint: float) -> float:
        return self.positive if setpoint >= 0 or self.negative is None else self.negative


@dataclass(frozen=True, slots=True)
class Reversion:
    """The points of a timer that ends a function."""

    time: str
    """Seconds."""
    reverts: Mapping[str, str] = field(default_factory=dict)
    """Points of the function, and where each is told what it returns to."""


@dataclass(frozen=True, slots=True)
class Function:
    """What a device can be set to do, and through which points."""

    terms: tuple[Term, ...]
    """The first one tells, read back, what the setpoint is."""
    modes: Mapping[str, float] = field(default_factory=dict)
    """Points that say how the terms are meant."""
    on: Mapping[str, float] = field(default_factory=dict)
    """What makes the device obey; empty if it always does."""
    off: Mapping[str, float] = field(default_factory=dict)
    """What ends the function; empty if nothing does."""
    reversion: Reversion | None = None

    def targets(self, setpoint: float) -> dict[str, float]:
        """Return what the points that follow a setpoint hold at it."""
        return {term.point: setpoint * term.factor(setpoint) for term in self.terms}

    def setpoint(self, values: Mapping[str, Value]) -> float | None:
        """Return the setpoint that values of points mean; None if the point that tells is not among them."""
        term = self.terms[0]
        value = values.get(term.point)
        return value / term.factor(value * term.positive) if isinstance(value, int | float) else None

    @property
    def points(self) -> tuple[str, ...]:
        """All points that commands for this function may write."""
        timer = () if self.reversion is None else (self.reversion.time, *self.reversion.reverts.values())
        return tuple(dict.fromkeys([*timer, *self.modes, *(term.point for term in self.terms), *self.on, *self.off]))


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A counter that the controller keeps going."""

    point: str
    time: str | None = None
    """The point that says for how long the device waits, in seconds; None if it cannot be set."""
    rolls_at: int = 65_535
    """After this number comes 0."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which points of one device mean what. What is not here the device cannot do, or does not say."""

    measured: Mapping[Quantity, Source] = field(default_factory=dict)
    nameplate: Mapping[Rating, Source] = field(default_factory=dict)
    functions: Mapping[Meaning, Function] = field(default_factory=dict)
    heartbeat: Heartbeat | None = None
    volt_var: Literal["705", "126"] | None = None
    """The SunSpec model that holds volt-var curves."""
    witnesses: tuple[str, ...] = ()
    """Points that never change, such as a SunSpec model's number and length: read along, they tell that the registers
    still are what they were."""
    identity: Mapping[IdentityPart, str] = field(default_factory=dict)
    """Points that hold texts."""
    fixed_identity: Mapping[IdentityPart, str] = field(default_factory=dict)
    """What is known of the device without asking it."""

    @property
    def enables(self) -> frozenset[str]:
        """Points that make a device obey, and are written last."""
        return frozenset(point for function in self.functions.values() for point in function.on)

    @property
    def ability(self) -> str:
        """What the device can be commanded to do, in words."""
        able = [*self.functions, *(["volt_var"] if self.volt_var else [])]
        return "it takes " + ", ".join(able) if able else "it takes no commands"
