"""A small feeder, the context of a fleet on it, and one step with inputs that are spread over its devices."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from derloop.contract import Federate
from derloop.kind import Bus, Context

S = 10**9
MINUTE, HOUR, DAY = 60 * S, 3600 * S, 86400 * S
FEEDER = SimpleNamespace(buses={"671": Bus("671", (1, 2, 3), 2.4)}, loads={})


def context(step_ns: int = MINUTE, until_ns: int = DAY, seed: int = 7, **other: Any) -> Context:
    """Return the context of a fleet called `fleet`, at midnight of 15 July 2025 unless `start` says otherwise."""
    start = other.pop("start", datetime(2025, 7, 15, tzinfo=UTC))
    return Context("fleet", other.pop("folder", Path.cwd()), start, step_ns, until_ns, seed, feeder=FEEDER, **other)


def places(count: int, **other: Any) -> list[dict[str, Any]]:
    return [{"bus": "671.1", **other}] * count


def stepped(federate: Federate, now_ns: int = 0, **inputs: Any) -> dict[str, np.ndarray]:
    """Step once: inputs are spread over the devices, `v_pu` is 1 and all others are 0 unless told otherwise."""
    given = {"v_pu": 1.0, **inputs}
    ports = federate.interface.inputs
    arrays = {k: np.broadcast_to(np.asarray(given.get(k, 0.0), float), (port.size,)) for k, port in ports.items()}
    return {port: value.copy() for port, value in federate.step(now_ns, arrays).items()}


def listed(values: dict[str, np.ndarray]) -> dict[str, list[float]]:
    return {port: value.tolist() for port, value in values.items()}
