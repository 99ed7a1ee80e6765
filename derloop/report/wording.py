"""Numbers, times and settings, as people read them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

MINUS, THIN_SPACE = "\u2212", "\u2009"
LONGEST_TEXT = 300
LONGEST_LIST = 8


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
    text = f"{value if size else 0:,.{decimals}f}"
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
