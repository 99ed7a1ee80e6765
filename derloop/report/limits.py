"""Limits that the checks of a run set, and how a chart shows them: dashed while they hold, told in its legend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from derloop.report import traces
from derloop.report.traces import TimeArray, Times, Trace
from derloop.report.wording import is_number, number

SETTINGS = ("min_pu", "max_pu", "min", "max", "limit_kw")
OF_VALUES = ("voltage", "peak", "stays-within")
"""Kinds of checks whose verdict's limit is a value that their signal may have; without a unit it is a share."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of one check, and from when to when it holds."""

    check: str
    kind: str
    pattern: str
    """Of the signals that it is for."""
    value: float
    from_s: float = 0.0
    to_s: float | None = None
    is_of_sum: bool = False
    number: int = field(default=0, compare=False)
    """Of the check among all, as several may have one name."""

    def is_for(self, signal: str) -> bool:
        return fnmatchcase(signal, self.pattern)


def lines(limits: Iterable[Limit], times: Times, time_ns: TimeArray) -> list[Trace]:
    """Return a trace for each check, with its limits as lines over the time in which they hold and there are values."""
    if not time_ns.size:
        return []
    first_s, last_s = time_ns[0] / 1e9, time_ns[-1] / 1e9
    together: dict[tuple[int, str, float, float], list[float]] = {}
    for limit in limits:
        begins_s, ends_s = max(limit.from_s, first_s), last_s if limit.to_s is None else min(limit.to_s, last_s)
        if begins_s <= ends_s:
            together.setdefault((limit.number, limit.check, begins_s, ends_s), []).append(limit.value)
    return [_line(check, from_s, to_s, values, times) for (_, check, from_s, to_s), values in together.items()]


def _line(check: str, from_s: float, to_s: float, values: list[float], times: Times) -> Trace:
    at_ns = (np.tile([from_s, to_s, to_s], len(values))[:-1] * 1e9).astype(np.int64)
    drawn = np.ravel([[value, value, np.nan] for value in values])[:-1]  # with a gap between them
    name = f"{check}: {' to '.join(map(number, values))}"
    return traces.line(times, name, at_ns, drawn, "limit", dash="dash", width=1.4)


def limits_of(run: Mapping[str, Any], verdicts: list[Mapping[str, Any]]) -> tuple[Limit, ...]:
    """Return the limits of the run's checks, those within others too.

    From the settings of each check, where `run.json` has them; else the one that its verdict names.
    """
    judged = {str(v.get("check")): v for v in verdicts}
    checks = enumerate(each for check in checks_of(run) for each in _with_parts(check))
    found = [limit for number, check in checks for limit in _set(number, check, judged)]
    named = {limit.check for limit in found}
    unset = [limit for name, verdict in judged.items() if name not in named for limit in _judged(verdict)]
    return tuple(dict.fromkeys([*found, *unset]))


def checks_of(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the checks of `run.json`, or those of its scenario, with kind and settings."""
    scenario = run.get("scenario")
    listed = run.get("checks") or (scenario.get("checks") if isinstance(scenario, Mapping) else None)
    return [c for c in listed if isinstance(c, Mapping)] if isinstance(listed, list) else []


def settings_of(check: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a check: in `run.json` on their own, in a scenario beside its kind."""
    settings = check.get("settings", check)
    return settings if isinstance(settings, Mapping) else {}


def within(check: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the checks in a check of checks."""
    parts = settings_of(check).get("of")
    return [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []


def signal_named(verdict: Mapping[str, Any]) -> str:
    """Return the signal that a verdict is about: where it was worst says it, with the element or "in sum"."""
    return str(verdict.get("where", "")).partition(" at ")[0].removesuffix(" in sum")


def _with_parts(check: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for part in within(check):
        yield from _with_parts(part)
    yield check


def _set(number: int, check: Mapping[str, Any], judged: Mapping[str, Mapping[str, Any]]) -> Iterator[Limit]:
    settings = settings_of(check)
    name, kind = str(check.get("name") or check.get("kind")), str(check.get("kind"))
    signal = settings.get("signal") or signal_named(judged.get(name, {}))
    from_s, to_s = settings.get("from_s"), settings.get("to_s")
    if settings.get("change"):
        return  # they are of what was added to the signal, and no values that it may have
    window = float(from_s) if is_number(from_s) else 0.0, float(to_s) if is_number(to_s) else None  # type: ignore[arg-type]
    for value in (settings.get(key) for key in SETTINGS):
        if signal and is_number(value):
            is_of_sum = settings.get("of") == "sum"
            yield Limit(name, kind, str(signal), float(value), *window, is_of_sum, number)  # type: ignore[arg-type]


def _judged(verdict: Mapping[str, Any]) -> Iterator[Limit]:
    limit, kind, signal = verdict.get("limit"), str(verdict.get("kind")), signal_named(verdict)
    if is_number(limit) and signal and kind in OF_VALUES and verdict.get("unit") != "1":
        yield Limit(str(verdict.get("check")), kind, signal, float(limit))  # type: ignore[arg-type]
