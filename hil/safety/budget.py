"""How often each register has been written, over all runs, and how often it may be: flash wears."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from derloop.errors import Interlocked
from derloop.kind import Settings
from hil.safety.folder import write_durably
from hil.safety.rules import PointBudget, WriteBudget

AHEAD = 64
"""At most so many writes of a point are counted on disk before they are done: a killed run has never written more than
is counted, and a write does not cost a write to disk. Of a point that has a budget, no more than a 20th of it."""


class Count(Settings):
    """Writes of one point."""

    total: int = 0
    day: str = ""
    """The last day (UTC) on which it was written."""
    in_day: int = 0

    def plus(self, writes: int, day: str) -> Count:
        """Return the count after more writes on a day. One before the last, by a clock set back, is still the last."""
        before = self.in_day if day <= self.day else 0
        return Count(total=self.total + writes, day=max(day, self.day), in_day=before + writes)


class Counts(Settings):
    """Writes of all points of a device."""

    derloop_writes: Literal[1] = 1
    points: Mapping[str, Count] = {}


class WriteCounter:
    """Counts the writes of one device and refuses what is beyond its budget.

    path: where the counts are kept. They are read by `open`, and settled by `close`.
    """

    def __init__(self, device: str, budget: WriteBudget, path: Path) -> None:
        self._device, self._budget, self._path = device, budget, path
        self._counts: dict[str, Count] = {}
        self._ahead: dict[str, int] = {}
        """Writes that are counted on disk and not done."""
        self._day = ""
        self._last_s: dict[str, float] = {}

    def open(self) -> None:
        """Read the counts; raise Interlocked if they cannot be: unknown wear is not no wear."""
        try:
            self._counts = dict(Counts.model_validate_json(self._path.read_bytes()).points)
        except FileNotFoundError:
            return
        except (OSError, ValidationError) as failure:
            why = f"its writes cannot be counted: {self._path} cannot be read; move it away to count from zero"
            raise Interlocked(self._device, why) from failure

    def problems(self, names: Collection[str], now_s: float) -> Iterator[str]:
        """Yield what writing these points once more would exceed."""
        for name in names:
            for budget in self._budgets(name):
                yield from self._excess(name, self.count(name), budget, now_s)

    def _budgets(self, name: str) -> list[PointBudget]:
        return [budget for pattern, budget in self._budget.points.items() if fnmatchcase(name, pattern)]

    def _excess(self, name: str, count: Count, budget: PointBudget, now_s: float) -> Iterator[str]:
        today, since_s = count.plus(0, _today()).in_day, now_s - self._last_s.get(name, -math.inf)
        if budget.per_day is not None and today >= budget.per_day:
            later = f" on {count.day}, which is later than now by this clock ({self._path})"
            when = later if count.day > _today() else " today"
            yield f"{name} was written {today} times{when}, its budget is {budget.per_day} (write_budget)"
        if budget.total is not None and count.total >= budget.total:
            yield f"{name} was written {count.total} times in all, its budget is {budget.total} (write_budget)"
        if since_s < budget.interval_s:
            yield f"{name} was written {since_s:g} s ago, and must rest for {budget.interval_s:g} s (write_budget)"

    def count(self, name: str) -> Count:
        """Return how often a point was written."""
        return self._counts.get(name, Count())

    def reserve(self, names: Collection[str]) -> None:
        """Count writes on disk before they are done; raise Interlocked if that fails."""
        short = [name for name in names if not self._ahead.get(name) or self._day != _today()]
        if not short:
            return
        before, self._day = (self._day, self._ahead), _today()
        self._ahead = self._ahead | {name: self._most_ahead(name) for name in short}
        try:
            self._save()
        except OSError as failure:
            self._day, self._ahead = before
            raise Interlocked(
                self._device, f"its writes cannot be counted: {failure}; nothing was written"
            ) from failure

    def _most_ahead(self, name: str) -> int:
        given = [most for budget in self._budgets(name) for most in (budget.per_day, budget.total) if most is not None]
        return max(1, min([AHEAD, *(most // 20 for most in given)]))

    def note(self, names: Collection[str], now_s: float) -> None:
        """Take note of writes that were done, reserved or not."""
        for name in names:
            self._last_s[name] = now_s
            self._counts[name] = self.count(name).plus(1, _today())
            self._ahead[name] = max(self._ahead.get(name, 0) - 1, 0)

    def close(self) -> None:
        """Give back what was counted and not written. A failure leaves too high counts, which is safe."""
        if self._ahead:
            self._ahead.clear()
            with suppress(OSError):
                self._save()

    def _save(self) -> None:
        ahead = {name: self.count(name).plus(more, self._day or _today()) for name, more in self._ahead.items()}
        write_durably(self._path, Counts(points={**self._counts, **ahead}).model_dump_json(indent=1).encode())


def _today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")
