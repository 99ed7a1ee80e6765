"""What a scenario says of a network: its links by pattern, and when something happens to them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from derloop.kind import Settings
from derloop.texts import Shape
from federates.der import Stepped
from federates.network.latency import LONGEST_S, Constant, Latency

Pattern = Annotated[
    str, StringConstraints(min_length=1, max_length=200), Shape(r"^\S+$", "the name of a federate, or a pattern: bay_*")
]
Order = Literal["kept", "newest", "as-arrived"]
LAST_S = 4e9
"""127 years: as nanoseconds, two of them still fit in 64 bits."""


class Ends(Settings):
    """Between whom: globs, as in file names. A pattern without a dot means all ports of a federate."""

    source: Pattern = Field(
        default="*", alias="from", description="Who says it: federate or federate.port.", examples=["batteries"]
    )
    target: Pattern = Field(
        default="*", alias="to", description="Who hears it: federate or federate.port.", examples=["vpp"]
    )
    devices: Pattern = Field(default="*", description="Of which devices: their labels.", examples=["batteries_1*"])


class Bandwidth(Settings):
    """A line that takes its time for each message, and a buffer before it."""

    bits_per_s: float = Field(gt=0.0, le=1e12, description="What the line carries, bit/s.", examples=[9600.0])
    message_bytes: float = Field(gt=0.0, le=1e9, description="Size of a message on the line, bytes.", examples=[120.0])
    shared: bool = Field(
        default=False,
        description="All links of this entry share one line. Otherwise each has its own.",
        examples=[True],
    )
    buffer_s: float = Field(
        default=10.0,
        ge=0.0,
        le=LONGEST_S,
        description="Longest wait for the line, s. What would wait longer is lost.",
        examples=[10.0],
    )

    @property
    def message_s(self) -> float:
        """How long the line is taken by one message, s."""
        return 8.0 * self.message_bytes / self.bits_per_s


class Lease(Settings):
    """What ends at the receiver what it was told, when it hears nothing for long: a watchdog."""

    after_s: float = Field(gt=0.0, le=LONGEST_S, description="Age at which what was heard ends, s.", examples=[300.0])
    value: float = Field(description="What the receiver has from then on, in its own unit.", examples=[0.0])


class Link(Ends):
    """How the links behave that a pattern matches: each its own, drawn anew for each message."""

    latency: Latency = Field(
        default=Constant(kind="constant", s=0.0),
        description="How long a message is on its way.",
        examples=[{"kind": "uniform", "least_s": 0.1, "most_s": 2.0}],
    )
    loss_pu: float = Field(default=0.0, ge=0.0, le=1.0, description="Share of messages that are lost.", examples=[0.02])
    burst_messages: float | None = Field(
        default=None,
        ge=1.0,
        le=1e6,
        description="Mean length of a run of losses, messages. Without it, each is lost or not for itself.",
        examples=[5.0],
    )
    duplicate_pu: float = Field(
        default=0.0, ge=0.0, le=1.0, description="Share of messages that come twice.", examples=[0.01]
    )
    order: Order = Field(
        default="kept",
        description="kept: a message waits for those before it. newest: one that was overtaken is thrown away. "
        "as-arrived: one that was overtaken is taken for news.",
        examples=["newest"],
    )
    every_s: float | None = Field(
        default=None,
        gt=0.0,
        le=LONGEST_S,
        description="Time between messages, s, rounded up to steps of the network. Without it, one step.",
        examples=[60.0],
    )
    bandwidth: Bandwidth | None = Field(
        default=None, description="What the line carries.", examples=[{"bits_per_s": 9600, "message_bytes": 120}]
    )
    lease: Lease | None = Field(
        default=None, description="What ends what was heard.", examples=[{"after_s": 300.0, "value": 0.0}]
    )

    @model_validator(mode="after")
    def _can_lose_so_much(self) -> Self:
        least = self.loss_pu / (1.0 - self.loss_pu) if self.loss_pu < 1.0 else 0.0
        if self.burst_messages is not None and least > self.burst_messages:
            raise ValueError(f"a loss of {self.loss_pu:g} needs runs of {least:.3g} messages and more")
        return self

    @property
    def shortest_s(self) -> float:
        """The shortest that a message may be on its way, s."""
        return self.latency.shortest_s + (self.bandwidth.message_s if self.bandwidth else 0.0)

    @property
    def longest_s(self) -> float:
        """The longest that a message may be on its way, s."""
        line = self.bandwidth
        return self.latency.longest_s + (line.buffer_s + line.message_s if line else 0.0)

    @property
    def recovers_pu(self) -> float:
        """Probability that the message after a lost one arrives."""
        if self.burst_messages is None or self.loss_pu == 1.0:
            return 1.0 - self.loss_pu
        return 1.0 / self.burst_messages

    @property
    def fails_pu(self) -> float:
        """Probability that the message after one that arrived is lost."""
        if self.burst_messages is None or self.loss_pu == 1.0:
            return self.loss_pu
        return self.loss_pu / (1.0 - self.loss_pu) / self.burst_messages


class NetworkEvent(Ends):
    """A time in which links are worse."""

    begins_s: float = Field(ge=0.0, le=LAST_S, description="Begin, s since the scenario's start.", examples=[50400.0])
    lasts_s: float = Field(gt=0.0, le=LAST_S, description="How long, s.", examples=[1200.0])
    repeats_s: float | None = Field(
        default=None, ge=1e-3, le=LAST_S, description="Again each time so much has passed, s.", examples=[86400.0]
    )
    loss_pu: float = Field(
        default=1.0, ge=0.0, le=1.0, description="Share of messages lost in it. 1: an outage.", examples=[0.5]
    )
    delay_s: float = Field(default=0.0, ge=0.0, le=LONGEST_S, description="Latency on top, s.", examples=[5.0])

    @model_validator(mode="after")
    def _ends_before_it_repeats(self) -> Self:
        if self.repeats_s is not None and self.lasts_s >= self.repeats_s:
            raise ValueError(f"lasts {self.lasts_s:g} s, and begins again after {self.repeats_s:g} s: it never ends")
        return self

    @property
    def is_outage(self) -> bool:
        return self.loss_pu == 1.0


class NetworkSettings(Stepped):
    """The communication between federates."""

    links: tuple[Link, ...] = Field(
        min_length=1,
        max_length=1000,
        description="How links behave. Of those that match one, the last counts.",
        examples=[[{"from": "batteries", "to": "vpp", "latency": {"kind": "constant", "s": 2.0}, "loss_pu": 0.02}]],
    )
    events: tuple[NetworkEvent, ...] = Field(
        default=(),
        max_length=10_000,
        description="When links are worse, or out.",
        examples=[[{"begins_s": 50400, "lasts_s": 1200, "to": "vpp"}]],
    )
