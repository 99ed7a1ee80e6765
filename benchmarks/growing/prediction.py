"""What the model predicts for sizes that nobody has measured: many feeders on many cores."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from growing.model import CACHED, Model, held

DAY_STEPS = 1440


@dataclass(frozen=True, slots=True)
class Study:
    """Feeders that are alike, joined once a step through one hub, on hosts that are alike."""

    feeders: int
    nodes: int
    devices: int
    """On each feeder."""
    hosts: int
    cores: int
    """Of each host that do nothing else; each has one process, with its share of the feeders."""
    delay_ms: float = 0.1
    """One way between hosts."""
    iterations: float = 2.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a step of a study takes, ms."""

    work_ms: float
    """On the core that has most of the feeders."""
    exchange_ms: float
    most_ms: float
    """Where each step waits for a slow one, and every process costs the others what it costs on two cores."""
    memory_gb: float
    """Of each host, at most: also of the first one while one process has all feeders."""
    starting_s: float
    """One process reads all feeders, to check the scenario, and then each those of its share."""

    @property
    def step_ms(self) -> float:
        return self.work_ms + self.exchange_ms

    @property
    def day_s(self) -> float:
        """A day in one-minute steps."""
        return self.step_ms * DAY_STEPS / 1e3


def predicted(model: Model, study: Study) -> Prediction:
    """Return what the model says of a study. Processes that run at once are slowed as two of them were measured to."""
    processes = study.hosts * study.cores
    on_each = ceil(study.feeders / processes)
    cold_us = model.device_more_us if on_each * study.devices > CACHED else 0.0
    one_ms = model.feeder_ms(study.nodes, study.iterations, study.devices) + cold_us * study.devices / 1e3
    work_ms = on_each * one_ms * (model.crowded if study.cores > 1 else 1.0)
    between_ms = model.between_ms(study.hosts, 2, study.delay_ms)
    least_ms, most_ms = (
        model.turns_ms(study.cores, 2, each_ms) + between_ms if processes > 1 else 0.0
        for each_ms in (model.hub_ms, model.process_ms)
    )
    share = held(on_each, on_each * study.nodes, on_each * study.devices)
    whole = held(study.feeders, study.feeders * study.nodes, study.feeders * study.devices)
    starts = [whole, share] if processes > 1 else [whole]
    return Prediction(
        work_ms=work_ms,
        exchange_ms=least_ms,
        most_ms=work_ms * model.slow + most_ms,
        memory_gb=max(float(model.memory_mb @ share) * study.cores, float(model.memory_mb @ whole)) / 1e3,
        starting_s=sum(float(model.starting_s @ size) for size in starts),
    )
