"""Runs in memory, and what checks say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from derloop.calendar import UNDATED
from derloop.checks import judge_all
from derloop.verdict import CheckEntry, CheckKind, Recorded, Verdict

FloatArray = NDArray[np.float64]
NS = 1_000_000_000


@dataclass(frozen=True)
class Signal:
    name: str
    unit: str
    labels: tuple[str, ...]
    step_ns: int


class Memory:
    """A run in memory: each signal with its step in s and its values, (k, n)."""

    calendar = UNDATED

    def __init__(self, **signals: tuple[str, float, ArrayLike]) -> None:
        self.found: dict[str, tuple[Signal, FloatArray]] = {}
        for name, (unit, step_s, values) in signals.items():
            self.add(name.replace("__", "."), unit, step_s, values)

    def add(self, name: str, unit: str, step_s: float, values: ArrayLike, labels: tuple[str, ...] = ()) -> Memory:
        array = np.asarray(values, dtype=np.float64)
        array = array[:, None] if array.ndim == 1 else array
        named = labels or tuple(f"e{i + 1}" for i in range(array.shape[1]))
        self.found[name] = Signal(name, unit, named, round(step_s * NS)), array
        return self

    def select(self, pattern: str) -> tuple[Signal, ...]:
        return tuple(signal for name, (signal, _) in self.found.items() if fnmatchcase(name, pattern))

    def read(self, name: str) -> tuple[NDArray[np.int64], FloatArray]:
        signal, values = self.found[name]
        return np.arange(len(values)) * signal.step_ns, values

    def batches(self, name: str) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
        yield self.read(name)


def verdict(kind: CheckKind, recorded: Recorded, **settings: Any) -> Verdict:
    return judge_all([CheckEntry("it", kind, kind.settings(**settings))], recorded)[0]


def refusal(kind: CheckKind, settings: Mapping[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        kind.settings.model_validate(settings)
    return str(caught.value)
