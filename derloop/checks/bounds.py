"""A measured value against its limit, as a verdict."""

from __future__ import annotations

from dataclasses import dataclass

from derloop.verdict import Verdict

ROUNDING = 1e-9
"""Of the limit: what adding up may add to a value."""


DIGITS = 17
"""With so many, any two numbers of double precision differ as text."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, and where and when it was worst."""

    value: float
    unit: str
    where: str = ""
    when_ns: int | None = None


def at_most(kind: str, found: Measured, limit: float, text: str, source: str = "scenario") -> Verdict:
    """Return whether the value is at or below `limit`."""
    return _verdict(kind, found, limit, limit - found.value, text, source)


def at_least(kind: str, found: Measured, limit: float, text: str, source: str = "scenario") -> Verdict:
    """Return whether the value is at or above `limit`."""
    return _verdict(kind, found, limit, found.value - limit, text, source)


def just_beyond(limit: float) -> float:
    """Return a value above `limit` by more than rounding, for what has not happened while it was looked at."""
    return limit + 2 * ROUNDING * abs(limit)


def between(kind: str, found: Measured, low: float | None, high: float | None, text: str) -> Verdict:
    """Return whether the value lies within limits, of which one may be None; the nearer one is the verdict's."""
    if high is None or (low is not None and found.value - low < high - found.value):
        assert low is not None
        return at_least(kind, found, low, text)
    return at_most(kind, found, high, text)


def amount(value: float, unit: str, digits: int = 6, beyond: float | None = None) -> str:
    """Return a value with its unit, as text; what is a mere number has none: "10 kWh", "2".

    beyond: a limit that it does not keep; it then has as many digits more as it takes to be seen.
    """
    while beyond not in (None, value) and digits < DIGITS and float(f"{value:.{digits}g}") == beyond:
        digits += 1
    return f"{value:.{digits}g}" if unit == "1" else f"{value:.{digits}g} {unit}"


def allowed(low: float | None, high: float | None, unit: str) -> str:
    """Return limits as text: "10 to 20 kWh are allowed"."""
    if low is None:
        return f"at most {amount(high, unit)} are allowed"  # type: ignore[arg-type]
    least = f"at least {amount(low, unit)} are asked for"
    return least if high is None else f"{low:g} to {amount(high, unit)} are allowed"


def limits_problem(low: float | None, high: float | None, names: tuple[str, str]) -> str:
    """Return what is wrong with two limits that are called `names`; empty if nothing is."""
    if low is None and high is None:
        return f"{names[0]}, {names[1]} or both are needed"
    if low is not None and high is not None and low > high:
        return f"{names[0]} {low:g} must not be greater than {names[1]} {high:g}"
    return ""


def _verdict(kind: str, found: Measured, limit: float, margin: float, text: str, source: str) -> Verdict:
    return Verdict(
        check=kind,
        kind=kind,
        outcome="PASS" if margin >= -ROUNDING * abs(limit) else "FAIL",
        text=text,
        measured=found.value,
        limit=limit,
        margin=margin + 0.0,
        unit=found.unit,
        where=found.where,
        when_ns=found.when_ns,
        source=source,
    )
