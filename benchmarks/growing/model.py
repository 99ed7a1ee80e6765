"""A model of what a step costs, fitted to the sweeps.

One feeder with its fleets in one process takes, in ms of one core,

    t = a + b k n + c D + c' max(0, D - 10 000) + f F

with n nodes, k iterations of the feeder's solution, D devices and F fleets beyond the first. P processes that exchange
vectors in lock-step add, with h crossings one after the other, each of which takes the network `delay`,

    t = p P + h (q + delay)

and H hosts, of each of which one process speaks to the others,

    t = m H + h e

besides, and h times the delay. Memory and the time to start are linear in n, D and the number of feeders. All
coefficients are >= 0; they minimise the squares of relative errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from growing.figures import Figures, points
from growing.points import Measured

from derloop.contract import FloatArray

CACHED = 10_000
"""Devices whose vectors stay in the second-level cache (1 MiB a core) from one operation to the next."""


@dataclass(frozen=True, slots=True)
class Residual:
    """A measured point beside what the model says of it, ms."""

    part: Literal["feeder", "exchange"]
    """Which of the model's formulae."""
    what: str
    measured: float
    modelled: float

    @property
    def relative(self) -> float:
        return self.modelled / self.measured - 1


@dataclass(frozen=True, slots=True)
class Model:
    """The coefficients, in ms (us for each node, iteration and device), MB and s."""

    step_ms: float
    node_us: float
    device_us: float
    device_more_us: float
    fleet_ms: float
    process_ms: float
    crossing_ms: float
    host_ms: float
    network_ms: float
    hub_ms: float
    """Of `process_ms`, what the processor of the process that gives turns spends on each other one."""
    crowded: float
    """How many times as long two processes take side by side, each on a core."""
    slow: float
    """How many times as long as the median the slowest hundredth of the steps takes."""
    memory_mb: FloatArray
    """Of a process, for each feeder beyond the first, for each node, for each device (4,)."""
    starting_s: FloatArray
    """Likewise."""

    def feeder_ms(self, nodes: float, iterations: float, devices: float, fleets: float = 1) -> float:
        """Return what a step of one feeder takes, alone in a process."""
        work_us = self.node_us * nodes * iterations + self.device_us * devices
        work_us += self.device_more_us * max(0.0, devices - CACHED)
        return self.step_ms + work_us / 1e3 + self.fleet_ms * (fleets - 1)

    def turns_ms(self, processes: int, crossings: int, process_ms: float) -> float:
        """Return what an exchange takes on one machine, `process_ms` for each process."""
        return process_ms * processes + crossings * self.crossing_ms

    def between_ms(self, hosts: int, crossings: int, delay_ms: float) -> float:
        """Return what the hosts take besides; `delay_ms` is one way."""
        return self.host_ms * hosts + crossings * (self.network_ms + delay_ms) if hosts > 1 else 0.0


def fitted(figures: Figures) -> Model:
    """Fit the model to what was measured."""
    alone, between = _alone(figures), [*_between(figures)]
    step_ms, node_us, device_us, more_us, fleet_ms = _solved([_size(each) for each in alone], _cpu(alone))
    exchanges = [each.multiplies for each in between], [each.ms for each in between]
    process_ms, crossing_ms, host_ms, network_ms = _solved(*exchanges)
    of_one_fleet = [each for each in alone if each.sweep != "federates"]
    whole = [*of_one_fleet, *_several(figures)]
    held = [_held(each) for each in whole]
    return Model(
        step_ms=step_ms,
        node_us=node_us,
        device_us=device_us,
        device_more_us=more_us,
        fleet_ms=fleet_ms,
        process_ms=process_ms,
        crossing_ms=crossing_ms,
        host_ms=host_ms,
        network_ms=network_ms,
        hub_ms=_hub_ms(figures),
        crowded=_crowded(figures),
        slow=_slow(of_one_fleet),
        memory_mb=_solved(held, [each.cost.memory_mb for each in whole]),
        starting_s=_solved(held, [each.cost.starting_s for each in whole]),
    )


def residuals(figures: Figures, model: Model) -> Iterator[Residual]:
    """Yield every point that the model was fitted to, beside what it says."""
    for point in _alone(figures):
        assert point.point
        cost, devices, fleets = point.cost, point.point.devices, point.point.federates - 2
        what = f"{cost.nodes:.0f} nodes, {devices} devices, {fleets} fleet{'s' * (fleets > 1)}"
        yield Residual("feeder", what, cost.cpu_ms, model.feeder_ms(cost.nodes, cost.iterations, devices, fleets))
    coefficients = np.array([model.process_ms, model.crossing_ms, model.host_ms, model.network_ms])
    for each in _between(figures):
        modelled = float(each.multiplies @ coefficients) + each.delays_ms
        yield Residual("exchange", each.what, each.ms + each.delays_ms, modelled)


def _alone(figures: Figures) -> list[Measured]:
    """Return the points of feeders in one process under HELICS."""
    fleets = points(figures, "federates", "fleets, together")
    return [*points(figures, "devices"), *points(figures, "nodes"), *fleets]


def _several(figures: Figures) -> list[Measured]:
    """Return the points of several feeders in one process and thread."""
    found = *points(figures, "many"), *points(figures, "cores")
    return [each for each in found if each.point and each.point.mover == "together"]


def held(feeders: float, nodes: float, devices: float) -> FloatArray:
    """Return what multiplies the coefficients of memory and start (4,). nodes, devices: of all feeders of a process."""
    return np.array([1.0, feeders - 1, nodes, devices])


def _held(each: Measured) -> FloatArray:
    point = each.point
    assert point
    nodes = each.cost.nodes or float(point.feeder) * point.feeders
    return held(point.feeders, nodes, point.devices * point.feeders)


def _size(each: Measured) -> FloatArray:
    """Return what multiplies the coefficients of a feeder's step: (5,)."""
    assert each.point
    work, devices = each.cost.nodes * each.cost.iterations, _devices(each)
    return np.array([1.0, work / 1e3, devices / 1e3, max(0, devices - CACHED) / 1e3, each.point.federates - 3])


def _devices(each: Measured) -> int:
    assert each.point
    return each.point.devices


def _cpu(measured: Sequence[Measured]) -> list[float]:
    return [each.cost.cpu_ms for each in measured]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A measured exchange between processes in which nothing was computed."""

    what: str
    multiplies: FloatArray
    """p, q, m and e: (4,)."""
    ms: float
    """Without the delays."""
    delays_ms: float = 0.0


def _between(figures: Figures) -> Iterator[Exchange]:
    for each in points(figures, "federates", "star, apart"):
        yield Exchange(f"star of {each.x:.0f} processes", np.array([each.x, 2.0, 0.0, 0.0]), each.cost.least_ms)
    for each in points(figures, "federates", "chain, apart"):
        yield Exchange(f"chain of {each.x:.0f} processes", np.array([each.x, each.x, 0.0, 0.0]), each.cost.least_ms)
    for each in points(figures, "hosts"):
        what = f"star over {each.x:.0f} host{'s' * (each.x > 1)}, {each.line} one way"
        delays_ms = 2 * float(each.line.removesuffix(" ms"))
        yield Exchange(what, np.array([each.x + 1, 2.0, each.x, 2.0]), each.cost.least_ms - delays_ms, delays_ms)


def _hub_ms(figures: Figures) -> float:
    """Return the slope, over the processes of a star, of the processor time of the one that gives them turns."""
    star = points(figures, "federates", "star, apart")
    return float(_solved([np.array([1.0, each.x]) for each in star], [each.cost.hub_ms for each in star])[1])


def _crowded(figures: Figures) -> float:
    side = {(each.line, each.x): each.cost.cpu_ms for each in points(figures, "beside")}
    return max([1.0, *(side[line, 2] / ms for (line, x), ms in side.items() if x == 1)])


def _slow(measured: Sequence[Measured]) -> float:
    return float(np.median([each.cost.slow_ms / each.cost.median_ms for each in measured] or [1.0]))


def _solved(rows: Sequence[FloatArray], found: Sequence[float]) -> FloatArray:
    """Return the coefficients >= 0 that minimise the squares of relative errors: the negative ones leave, in turn."""
    weighed = np.array(rows) / np.array(found)[:, None]
    kept, solved = np.arange(weighed.shape[1]), np.zeros(weighed.shape[1])
    while len(kept):
        values = np.linalg.lstsq(weighed[:, kept], np.ones(len(found)), rcond=None)[0]
        if (values >= 0).all():
            solved[kept] = values
            break
        kept = np.delete(kept, values.argmin())
    return solved
