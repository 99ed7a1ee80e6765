"""What is swept: each curve is a list of points along one quantity, all else the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from growing.points import Cost, Measured, Mover, Point

PROGRAM = Path(__file__).resolve().with_name("point.py")
Sweep = Literal["devices", "nodes", "federates", "many", "cores", "beside"]
DEVICES = (10, 100, 1_000, 3_000, 10_000, 30_000, 100_000)
NODES: tuple[str | int, ...] = ("ieee13", "ieee34", "ieee123", 100, 300, 1_000, 3_000, 10_000, "ieee9500")
FEDERATES = (2, 5, 10, 20, 50)
CORES = os.cpu_count() or 1
CREWS: dict[str, tuple[Mover, int | None]] = {
    "one thread": ("together", None),
    f"{CORES} threads": ("threads", CORES),
    f"{CORES} processes": ("apart", CORES),
    "a process each": ("apart", None),
}
"""What each way of sharing out the work is called: the mover, and its workers."""
DEVICES_ON_EACH = 100
NODES_OF_EACH = 1_000
DEVICES_SHARED = 1_000
"""Of all fleets together, however many they are."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A point that is to be measured."""

    sweep: Sweep
    line: str
    x: float
    point: Point
    at_once: int = 1
    """How many processes do the same at the same time, each for itself."""
    rounds: int = 1
    """How many times it is measured; the fastest counts, for what else the machine does only adds."""

    def measured(self) -> Measured:
        x = self.x
        found = (slowest([*at_once(self.point, self.at_once)]) for _ in range(self.rounds))
        cost = min(found, key=lambda cost: cost.least_ms)
        return Measured(self.sweep, self.line, cost.nodes if self.sweep == "nodes" else x, cost, self.point)


def at_once(point: Point, times: int) -> Iterator[Cost]:
    """Measure the point in so many processes that begin together; raise SystemExit where one fails."""
    command = [sys.executable, str(PROGRAM), json.dumps(asdict(point))]
    begun = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(times)]
    for process in begun:
        said, complaint = process.communicate()
        if process.returncode:
            raise SystemExit(f"{point}: {complaint.strip()[-500:]}")
        yield Cost(**json.loads(said))


def slowest(costs: list[Cost]) -> Cost:
    return max(costs, key=lambda cost: cost.cpu_ms)


def planned() -> Iterator[Planned]:
    """Yield every point of every sweep that is a run on this machine."""
    yield from _devices()
    yield from _nodes()
    yield from _federates()
    yield from _many()
    yield from _cores()
    yield from _beside()


def _devices() -> Iterator[Planned]:
    for nodes, counts in ((1_000, DEVICES), (10_000, (10, 1_000, 10_000, 100_000))):
        for devices in counts:
            point = _rooftops(nodes, devices)
            yield Planned("devices", f"{nodes:,} nodes".replace(",", " "), devices, point)


def _nodes() -> Iterator[Planned]:
    for feeder in NODES:
        line = "made up" if isinstance(feeder, int) else "IEEE"
        yield Planned("nodes", line, 0, _rooftops(feeder, DEVICES_ON_EACH))


def _federates() -> Iterator[Planned]:
    movers: tuple[Mover, ...] = ("local", "together")
    for mover in movers:
        for federates in FEDERATES:
            steps = 400 if federates > 10 else 1_000
            yield Planned("federates", f"star, {mover}", federates, Point("star", steps, mover, federates))
        for federates in (3, *FEDERATES[1:]):
            point = Point("rooftops", 120, mover, federates, NODES_OF_EACH, DEVICES_SHARED)
            yield Planned("federates", f"fleets, {mover}", federates, point)
    for federates in FEDERATES:
        steps = 20_000 // federates
        yield Planned("federates", "star, threads", federates, Point("star", steps, "threads", federates))
        yield Planned("federates", "star, apart", federates, Point("star", steps, "apart", federates))
    for federates in FEDERATES[:4]:
        yield Planned("federates", "chain, apart", federates, Point("chain", 6_000 // federates, "apart", federates))


def _many() -> Iterator[Planned]:
    for feeders in (1, 3, 10, 30):
        point = Point("several", 60, "together", 2 + 2 * feeders, NODES_OF_EACH, DEVICES_SHARED, feeders)
        yield Planned("many", "one process", feeders, point)


def _cores() -> Iterator[Planned]:
    """Yield feeders on one bus, by who takes the turns."""
    for nodes, steps in ((3_000, 300), (10_000, 120)):
        for feeders in (2, 4):
            for line, (mover, workers) in CREWS.items():
                point = Point(
                    "several",
                    steps,
                    mover,
                    2 + 2 * feeders,
                    nodes,
                    devices=nodes // 10,
                    feeders=feeders,
                    workers=workers,
                )
                yield Planned("cores", f"{nodes} nodes, {line}", feeders, point, rounds=3)


def _beside() -> Iterator[Planned]:
    for times in (1, 2):
        for nodes in (1_000, 10_000):
            point = _rooftops(nodes, nodes, 3 if nodes == 1_000 else 1)
            yield Planned("beside", f"{nodes:,} nodes".replace(",", " "), times, point, times)


def _rooftops(feeder: str | int, devices: int, times: int = 1) -> Point:
    """Return a run of one fleet, of some seconds at most."""
    size = feeder if isinstance(feeder, int) else 10_000 if feeder == "ieee9500" else 100
    steps = max(60, min(240, 1_500_000 // (size + devices + 1))) * times
    return Point("rooftops", steps, feeder=feeder, devices=devices)
