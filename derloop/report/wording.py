"""Numbers, times and settings, as people read them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MINUS, THIN_SPACE = "\u2212", "\u2009"
LONGEST_TEXT = 300
LONGEST_LIST = 8


@dataclass(frozen=True, slots=True)
class Calendar:
    """Instants of the scenario as time of day at its place; as time since its start where that is unknown."""

    start: datetime | None

    @property
    def epoch_ms(self) -> float:
        """The start as ms since 1970, as if local time were UTC: what a chart's time axis counts in."""
        if self.start is None:
            return 0.0
        return self.start.replace(tzinfo=UTC).timestamp() * 1e3

    @property
    def zone(self) -> str:
        if self.start is None:
            return "time since the start of the scenario"
        return f"local time, {self.start.tzname() or 'without time zone'}"

    def at(self, time_ns: object) -> str:
        """Return the instant `time_ns` as text; empty for what is no number."""
        if not is_number(time_ns):
            return ""
        since = timedelta(microseconds=float(time_ns) / 1e3)  # type: ignore[arg-type]
        try:
            return elapsed(since) if self.start is None else _of_day(self.start + since)
        except OverflowError:
            return elapsed(since)


def _of_day(moment: datetime) -> str:
    return f"{moment:%-d %b, %H:%M:%S}{_part_of_second(moment.microsecond)}"


def _part_of_second(microseconds: int) -> str:
    """Return what follows whole seconds, for runs of shorter steps: ".5"; nothing for a whole second."""
    return f".{microseconds:06}".rstrip("0") if microseconds else ""


def elapsed(since: timedelta) -> str:
    """Return a time since the start: 13:40:00, 00:00:00.5, 2 d 01:00:00."""
    seconds = since.seconds
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    clock += _part_of_second(since.microseconds)
    return f"{since.days} d {clock}" if since.days else clock


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: object, digits: int = 5) -> str:
    """Return `value` with `digits` significant digits, thousands apart; what is no number as text, None as nothing."""
    if not is_number(value):
        return "" if value is None else plain(value)
    size = abs(float(value))  # type: ignore[arg-type]
    if size and not 1e-4 <= size < 1e9:
        return f"{value:.{digits - 1}e}".replace("-", MINUS)
    decimals = max(0, digits - 1 - math.floor(math.log10(size))) if size else 0
    text = f"{value:,.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace(",", THIN_SPACE).replace("-", MINUS)


def beyond(text: object, unit: object = "") -> str:
    """Return what `text` says beyond the number and unit with which it may begin."""
    ends = rf" {re.escape(plain(unit))}(?!\w)" if unit else "$"
    said = re.sub(rf"^[-{MINUS}]?\d[\d,.]*{ends}[,;]?\s*", "", plain(text))
    return said.removeprefix("(").removesuffix(")") if said.startswith("(") and said.count("(") == 1 else said


def duration(seconds: object) -> str:
    """Return a span of time: 24 h, 1 min, 90 s, 0.25 s."""
    if not is_number(seconds):
        return ""
    span = float(seconds)  # type: ignore[arg-type]
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if span >= (2 * size if unit == "d" else size) and span % size == 0:
            return f"{number(span / size)} {unit}"
    return f"{number(span)} s"


def plain(value: object) -> str:
    """Return any JSON value as short text."""
    if isinstance(value, str):
        return _short(value)
    if isinstance(value, list) and len(value) > LONGEST_LIST and not any(isinstance(v, dict | list) for v in value):
        shown = ", ".join(plain(v) for v in value[:LONGEST_LIST])
        return _short(f"{shown}, … ({len(value)} in all)")
    return _short(json.dumps(value, ensure_ascii=False, default=str))


def flat(settings: object, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as (dotted key, value) pairs."""
    if not isinstance(settings, Mapping):
        return [("", plain(settings))] if settings else []
    pairs: list[tuple[str, str]] = []
    for key, value in settings.items():
        name = f"{prefix}{key}"
        pairs += flat(value, f"{name}.") if isinstance(value, Mapping) and value else [(name, plain(value))]
    return pairs


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
