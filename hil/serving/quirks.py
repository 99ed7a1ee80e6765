"""What goes wrong with a device, each a named setting; alone or together.

A share is of requests, from 0 to 1. Which requests it meets follows from the seed and from the number of the request
alone, so that the same requests meet the same fate in every run.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from derloop.kind import Settings

Share = Annotated[float, Field(ge=0, le=1)]
Requests = Annotated[int, Field(ge=0, lt=2**31)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
MOST_MS = 600_000.0
Milliseconds = Annotated[float, Field(ge=0, le=MOST_MS)]


class Latency(Settings):
    """How long after a request its answer leaves."""

    distribution: Literal["constant", "uniform", "exponential", "lognormal"] = "constant"
    mean_ms: Milliseconds = Field(description="Mean of the distribution.")
    spread_ms: Milliseconds = Field(
        default=0.0, description="uniform: the mean plus and minus this; lognormal: the standard deviation."
    )


class Exceptions(Settings):
    """Requests that are refused, and not done."""

    share: Share
    code: int = Field(default=4, ge=1, le=255, description="Exception code: 4 is 'device failure'.")


class Splits(Settings):
    """Answers that come in pieces."""

    pieces: int = Field(default=2, ge=2, le=260)
    pause_ms: Milliseconds = Field(default=0.0, description="Between two pieces.")


class Late(Settings):
    """Answers that come when nobody waits for them any more."""

    share: Share
    arrives: Literal["later", "before-next", "after-next"] = Field(
        default="later",
        description="later: after delay_ms, and all that follows behind it. before-next, after-next: with the answer "
        "to the next request on that connection, just before or just after it.",
    )
    delay_ms: Milliseconds = Field(default=3000.0, description="later: more than the client's deadline.")


class Garbage(Settings):
    """Bytes that are no frame."""

    share: Share
    bytes: int = Field(default=9, ge=1, le=300)
    replaces: bool = Field(default=False, description="Instead of the answer; else before it.")


class Stuck(Settings):
    """Values that freeze."""

    points: tuple[str, ...] = Field(default=(), description="By name: 701.W.")
    addresses: tuple[int, ...] = Field(default=(), description="Single registers.")
    after_requests: Requests = Field(default=0, description="They freeze with the first reading after so many.")


class Reboot(Settings):
    """The device restarts, with the settings that it has from the factory."""

    after_requests: Requests | None = Field(default=None, description="At the request after so many.")
    at_s: Seconds | None = Field(default=None, description="At this time of the device's clock, since its start.")
    down_s: Seconds = Field(default=0.0, description="For so long it is silent, on the clock of the wall.")
    again: bool = Field(default=False, description="Every so many requests or seconds, not once.")
    keeps_settings: bool = False

    @model_validator(mode="after")
    def _is_once_due(self) -> Reboot:
        if (self.after_requests is None) == (self.at_s is None):
            raise ValueError("after_requests or at_s, one of them, says when")
        return self


class MovingMap(Settings):
    """A register map that is found elsewhere."""

    by: int = Field(description="Registers by which it moves.", ge=-65_535, le=65_535)
    after_requests: Requests | None = Field(default=None, description="None: at the first reboot.")


class Connections(Settings):
    """How many connections a device has at a time."""

    most: int = Field(default=1, ge=1, le=1000)
    next: Literal["refused", "drops-first"] = Field(default="refused", description="What becomes of one more.")


class Slow(Settings):
    """A device that takes one request in a while."""

    interval_s: Seconds = Field(default=1.0, description="On the clock of the wall.")
    only_writes: bool = Field(default=True, description="Reading is as fast as it is.")
    answers: Literal["busy", "silence"] = "busy"


class Quirks(Settings):
    """Everything that can be wrong with a device."""

    latency: Latency | None = None
    silence: Share = Field(default=0.0, description="Requests that are not heard: neither done nor answered.")
    mute: Share = Field(default=0.0, description="Requests that are done and not answered.")
    exceptions: Exceptions | None = None
    busy: Share = Field(default=0.0, description="Requests answered with 'busy' (exception 6) and not done.")
    split: Splits | None = None
    late: Late | None = None
    wrong_unit: Share = Field(default=0.0, description="Answers in another unit's name.")
    wrong_transaction: Share = Field(default=0.0, description="Answers to another transaction; not on serial lines.")
    garbage: Garbage | None = None
    stuck: Stuck | None = None
    stale_s: Seconds = Field(default=0.0, description="All registers are those of up to so many seconds ago.")
    reboot: Reboot | None = None
    moving_map: MovingMap | None = None
    connections: Connections | None = None
    slow: Slow | None = None
    not_implemented: tuple[str, ...] = Field(default=(), description="Points that read as 'not implemented'.")
    forgets: Share = Field(default=0.0, description="Writes that are acknowledged and not done.")
    rounds: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={}, description="Points, and the step to which a write of them is rounded: 704.WMaxLimPct."
    )
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _moves_some_time(self) -> Quirks:
        if self.moving_map and self.moving_map.after_requests is None and self.reboot is None:
            raise ValueError("moving_map needs after_requests, or a reboot at which the map moves")
        return self

    @property
    def points(self) -> dict[tuple[str | int, ...], str]:
        """The points named, by where."""
        stuck = self.stuck.points if self.stuck else ()
        return {
            **{("stuck", "points", i): name for i, name in enumerate(stuck)},
            **{("not_implemented", i): name for i, name in enumerate(self.not_implemented)},
            **{("rounds", name): name for name in self.rounds},
        }
