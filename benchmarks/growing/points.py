"""A point of a curve: what is run, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Mover = Literal["local", "together", "threads", "apart"]
"""The engine `local`, or a placement under HELICS."""


@dataclass(frozen=True, slots=True)
class Point:
    """What is run once."""

    shape: Literal["rooftops", "several", "star", "chain"]
    steps: int
    mover: Mover = "together"
    federates: int = 3
    """With the feeder and the sky, where there are any."""
    feeder: str | int = ""
    """The name of one of IEEE's, or the number of nodes of a made-up one."""
    devices: int = 0
    """On each feeder."""
    feeders: int = 1
    workers: int | None = None
    """How many threads or processes there are at most; None: one for each federate or loop."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step of a run costs, ms."""

    least_ms: float
    """From step to step, wall clock: the tenth part of the blocks is faster."""
    median_ms: float
    slow_ms: float = 0.0
    """The hundredth part of the single steps is slower."""
    cpu_ms: float = 0.0
    """Processor time of the process that the clock is in, median of the blocks."""
    hub_ms: float = 0.0
    """Processor time of the process that gives the others their turns, where there are others."""
    feeder_ms: float = 0.0
    """Of `cpu_ms`, in the feeder's step."""
    fleets_ms: float = 0.0
    """In the steps of the sky and the fleet, where they are watched."""
    nodes: int = 0
    """Voltages of the feeder."""
    iterations: float = 0.0
    """Of the feeder's solution, mean."""
    starting_s: float = 0.0
    """From a scenario to the first step, without imports."""
    ending_s: float = 0.0
    """After the last one: series to Parquet, balances, summary."""
    memory_mb: float = 0.0
    """The most that the process held until its last step."""
    ending_mb: float = 0.0
    """And until its end: what is made of the series when a run ends grows with its length, up to a bound."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One point of a curve."""

    sweep: str
    """"devices", "nodes" ..."""
    line: str
    """The curve: what is the same along it."""
    x: float
    cost: Cost
    point: Point | None = None
    """None: it was no single run."""

    @staticmethod
    def of(said: dict[str, Any]) -> Measured:
        """The inverse of `asdict`."""
        point = Point(**said["point"]) if said["point"] else None
        return Measured(said["sweep"], said["line"], said["x"], Cost(**said["cost"]), point)
