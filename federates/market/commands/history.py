"""The folder of a run as a value stack reads it."""

from __future__ import annotations

from collections.abc import Mapping

from derloop.results.store import RunFolder
from federates.market.billing import Billing
from federates.market.commands.recorded import duration_h, performance_of, series_of
from federates.market.commands.runs import billing_of, kept_tariff
from federates.market.tariff import Tariff
from federates.market.value.series import Series


class RunHistory:
    """What a run recorded. Fulfils `federates.market.value.series.History`."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._bills: dict[str, Billing] = {}

    @property
    def duration_h(self) -> float:
        return duration_h(self._folder)

    @property
    def start(self) -> object:
        return self._folder.start

    def has(self, name: str) -> bool:
        return bool(self._folder.select(name.partition(".")[0] + ".*"))

    def series(self, name: str, unit: str) -> Series:
        return series_of(self._folder, name, unit)

    def tariff(self, name: str) -> Tariff:
        return kept_tariff(self._folder, name)

    def billing(self, meter: str) -> Billing:
        if meter not in self._bills:
            self._bills[meter] = billing_of(self._folder, meter)
        return self._bills[meter]

    def performance(self, signal: str, response: str) -> Mapping[int, float]:
        return performance_of(self._folder, signal, response)
