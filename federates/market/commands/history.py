"""The folder of a run as a value stack reads it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from derloop.checks.pjm_score import LEAST, SAMPLE_NS, scores
from derloop.contract import FloatArray
from derloop.errors import DerloopError, did_you_mean
from derloop.results.store import RunFolder
from federates.market.billing import Billing
from federates.market.commands.runs import billing_of, kept_tariff
from federates.market.tariff import Tariff
from federates.market.value.series import Series

HOUR_S = 3600


class RunHistory:
    """What a run recorded. Fulfils `federates.market.value.series.History`."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._bills: dict[str, Billing] = {}

    @property
    def duration_h(self) -> float:
        return float(self._folder.run.get("duration_s", 0.0)) / HOUR_S

    @property
    def start(self) -> object:
        return self._folder.start

    def has(self, name: str) -> bool:
        return bool(self._folder.select(name.partition(".")[0] + ".*"))

    def series(self, name: str, unit: str) -> Series:
        port, _, label = name.partition(":")
        signal = self._folder.signal(port)
        if signal.unit != unit:
            raise DerloopError(f"{name} is in {signal.unit}, needed is {unit}")
        time_ns, values = self._folder.read(port)
        if not time_ns.size:
            raise DerloopError(f"{self._folder.path}: {port} has no values")
        return Series(name, unit, signal.step_ns, time_ns, _picked(values, label, signal.labels, port))

    def tariff(self, name: str) -> Tariff:
        return kept_tariff(self._folder, name)

    def billing(self, meter: str) -> Billing:
        if meter not in self._bills:
            self._bills[meter] = billing_of(self._folder, meter)
        return self._bills[meter]

    def performance(self, signal: str, response: str) -> Mapping[int, float]:
        asked, given = self.series(signal, "kW"), self.series(response, "kW")
        found: dict[int, float] = {}
        for hour in range(int(np.ceil(self.duration_h))):
            end_s = min((hour + 1) * HOUR_S, round(self.duration_h * HOUR_S))
            at = np.arange(hour * HOUR_S * 10**9, end_s * 10**9, SAMPLE_NS)
            if at.size >= LEAST and np.any(asked.at(at)):
                found[hour] = scores(asked.at(at), given.at(at)).performance
        return found


def _picked(values: FloatArray, label: str, labels: tuple[str, ...], port: str) -> FloatArray:
    """Return one element (k,), or the sum of all."""
    if not label:
        total: FloatArray = values.sum(axis=1)
        return total
    if label not in labels:
        raise DerloopError(f"{port} has no element {label!r}" + did_you_mean(label, labels))
    return values[:, labels.index(label)]
