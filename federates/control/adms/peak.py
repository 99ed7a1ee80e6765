"""Measures against a peak, one after the other: less voltage, then members are asked; and back."""

from __future__ import annotations

from typing import Literal, NamedTuple

from federates.control.adms.settings import PeakSettings

Measure = Literal["voltage", "members"]


class PeakState(NamedTuple):
    """How many measures are taken, since when, and until when the head was last above the release."""

    level: int = 0
    since_s: float = -1e12
    high_at_s: float = -1e12


def measures(settings: PeakSettings) -> tuple[Measure, ...]:
    """Return what is done, in this order."""
    voltage: tuple[Measure, ...] = ("voltage",) if settings.v_low_pu is not None else ()
    return (*voltage, "members") if settings.members else voltage


def next_level(settings: PeakSettings, state: PeakState, head_kw: float, now_s: float) -> PeakState:
    """Return one measure more while the head is above the limit, one less when it was below the release for hold_s."""
    most = len(measures(settings))
    high_at_s = now_s if head_kw > settings.below_kw else state.high_at_s
    if head_kw > settings.limit_kw and state.level < most:
        return PeakState(state.level + 1, now_s, high_at_s)
    calm_s = now_s - max(high_at_s, state.since_s)
    if state.level and calm_s >= settings.hold_s:
        return PeakState(state.level - 1, now_s, high_at_s)
    return state._replace(high_at_s=high_at_s)


def is_on(settings: PeakSettings | None, state: PeakState, measure: Measure) -> bool:
    """Return whether this measure is taken."""
    return settings is not None and measure in measures(settings)[: state.level]
