"""What a bench file says about the safety of one device, and of the bench."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from derloop.kind import Settings

Pattern = Annotated[str, StringConstraints(min_length=1)]
"""A point's name ("704.WSet"), or a pattern of names with `*` and `?` ("705.Crv.*.Pt.*.Var")."""
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]


class Band(Settings):
    """Between what a value must lie, and how fast it may change; the bounds themselves are allowed."""

    low: float | None = Field(default=None, description="Least value. Not given: none.")
    high: float | None = Field(default=None, description="Greatest value. Not given: none.")
    rate_per_s: float | None = Field(
        default=None,
        gt=0,
        description="Most change for each second since the last write. The first write while its function is on may "
        "differ by one second's worth from what the device holds.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.low is None and self.high is None and self.rate_per_s is None:
            raise ValueError("limits nothing: give low, high or rate_per_s")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low, {self.low:g}, is above high, {self.high:g}")
        return self


class Limits(Settings):
    """What may be written to a device at all. Outside of it nothing is written, and the run ends."""

    p_w: Band | None = Field(
        default=None,
        description="Active power setpoints in W, positive when injected, however the device's points say them.",
    )
    q_var: Band | None = Field(default=None, description="Reactive power setpoints in var, positive when injected.")
    limit_pct: Band | None = Field(default=None, description="Limits of active power in percent of the device's WMax.")
    may_write: tuple[Pattern, ...] | None = Field(
        default=None,
        description="Points that may be written: names or patterns. Not given: those that the device's commands write.",
    )
    points: Mapping[Pattern, Band] = Field(
        default_factory=dict,
        description="Bands of points, in the unit of each. A point that several patterns fit obeys them all.",
    )


class SafeState(Settings):
    """How a device is to be left when it cannot be left as it was found: after an emergency stop, or a lapsed lease."""

    points: Mapping[str, float | str] = Field(
        default_factory=dict,
        description="What points hold then. Every control function that is not named here is off.",
    )


class Reversion(Settings):
    """The device reverts by itself when it is not commanded for so long: its functions' reversion timers."""

    kind: Literal["reversion"] = "reversion"
    seconds: int = Field(default=60, ge=1, le=86_400, description="Longest time that a reversion timer may be set to.")


class Heartbeat(Settings):
    """The device lets go when its heartbeat, or watchdog, is not written for so long."""

    kind: Literal["heartbeat"] = "heartbeat"
    seconds: int = Field(default=60, ge=1, le=86_400, description="How long the device waits.")


class NoLease(Settings):
    """Should the run die, the device goes on with what it was told last. Said before every run, and recorded."""

    kind: Literal["none"]
    because: Reason = Field(description="Why that is safe on this bench.")


LeaseRule = Annotated[Reversion | Heartbeat | NoLease, Field(discriminator="kind")]


class PointBudget(Settings):
    """How often a register may be written: flash wears."""

    per_day: int | None = Field(default=None, ge=1, description="Writes in one day (UTC). Not given: any number.")
    total: int | None = Field(default=None, ge=1, description="Writes over the device's life, as far as counted here.")
    interval_s: float = Field(default=0.0, ge=0, le=86_400, description="Least time between two writes of one point.")


class WriteBudget(Settings):
    """How often registers may be written. Counts are kept across runs, whether anything limits them or not."""

    points: Mapping[Pattern, PointBudget] = Field(
        default_factory=dict, description="Budgets of points, each point for itself. Several that fit hold all."
    )


class Proof(Settings):
    """Whether what was commanded shows in what is measured."""

    when_not: Literal["abort", "doubt"] = Field(
        default="abort",
        description="What happens when it does not show: the run ends, or what follows is marked as doubtful.",
    )
    response_s: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="From a command to where it must show: response, ramp and settling together.",
    )
    p_tolerance_w: float | None = Field(default=None, ge=0, description="Not given: active power is not proven.")
    q_tolerance_var: float | None = Field(default=None, ge=0, description="Not given: reactive power is not proven.")
    source_limited: bool = Field(
        default=True,
        description="The sun or a charge may not give what a setpoint asks for: less active power than asked, down to "
        "zero, proves nothing against the device; more does.",
    )


class SafetyRules(Settings):
    """All that concerns one device."""

    limits: Limits = Field(default_factory=Limits)
    safe_state: SafeState = Field(default_factory=SafeState)
    lease: LeaseRule = Field(default_factory=Reversion)
    write_budget: WriteBudget = Field(default_factory=WriteBudget)
    proof: Proof | None = Field(
        default=None, description="Not given: the effect of commands is not checked electrically."
    )
    restore_s: float = Field(
        default=4.0, gt=0, le=600, description="How long restoring is tried when the device does not answer."
    )


class WatchedInput(Settings):
    """A point of a device of the bench that stops everything: a contact, an alarm, a temperature."""

    device: str = Field(description="Name of the device in the bench file.")
    point: str = Field(description="The point that is read: `701.Alrm`.")
    stop_when: Literal["above", "below", "equal", "differs", "any_bit"] = Field(
        description="How the point compares with `value` when all must stop; `any_bit`: a bit of `value` is set in it. "
        "A point that cannot be read stops everything too."
    )
    value: float

    @model_validator(mode="after")
    def _can_stop(self) -> Self:
        if self.stop_when == "any_bit" and not (self.value > 0 and self.value.is_integer()):
            raise ValueError(
                f"value {self.value:g} has no bits that could be set: any_bit needs a whole number above 0"
            )
        return self


class EmergencyStop(Settings):
    """What sets every device to its safe state at once, and ends the run."""

    file: Path | None = Field(default=None, description="Stops when this file appears. Relative to the bench file.")
    key: bool = Field(default=True, description="Stops at a press of q or space, where the run has a terminal.")
    inputs: tuple[WatchedInput, ...] = ()
