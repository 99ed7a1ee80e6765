"""Services that cannot be done together: two that decide on the same, and powers that voltages are not kept with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TypeVar

from federates.control.vpp.service import ServiceSettings

WORDS = {
    "power": "the power of all members",
    "recharge": "when members charge",
    "headroom": "what is held back",
    "sites": "the power of each site",
    "voltage": "voltages",
}
ALLOWED = {frozenset(("peak-shaving", "arbitrage")), frozenset(("frequency-regulation", "reserve"))}
"""Pairs that share what they decide on: arbitrage does what a peak leaves, and headroom can be held back twice."""
SHARED = ("power", "headroom")

Found = TypeVar("Found", bound=ServiceSettings)


def compatible(services: tuple[Found, ...]) -> tuple[Found, ...]:
    """Return the services; raises ValueError for none, and for two that contradict each other."""
    if not services:
        raise ValueError("at least one service is needed")
    for (i, one), (k, other) in combinations(enumerate(services), 2):
        if what := _contradiction(one, other):
            hint = _hint(what, {i: one, k: other})
            raise ValueError(f"services {i} and {k} contradict each other: both decide on {what}{hint}")
    return services


def unkept(services: Sequence[ServiceSettings], kept: str | None) -> str:
    """Return which services move powers that voltage support does not see; empty where limits of its feeder hold.

    kept: the feeder whose limits cut in the end what all services ask for.
    """
    at = next((i for i, service in enumerate(services) if "voltage" in service.decides), None)
    if at is None or at == len(services) - 1 or kept == (feeder := getattr(services[at], "feeder", None)):
        return ""
    after = ", ".join(f"{i} ({_kind(service)})" for i, service in enumerate(services) if i > at)
    what = f"service {at} ({_kind(services[at])}) does not see what those after it ask for, {after}"
    return f"{what}: it could break its limits; give the plant constraints of {feeder!r}, or rank it last"


def _contradiction(one: ServiceSettings, other: ServiceSettings) -> str:
    pair = frozenset((_kind(one), _kind(other)))
    if len(pair) == 1:
        return "the same, and there can be but one of a kind"
    for what in _common(one.decides, other.decides):
        if not (pair in ALLOWED and what in SHARED):
            return WORDS[what]
    return ""


def _hint(what: str, services: Mapping[int, ServiceSettings]) -> str:
    """Return which service of a pair could leave charging to the other one."""
    could = [f"service {at} ({_kind(service)})" for at, service in services.items() if hasattr(service, "recharges")]
    return f"; set recharges to false in {could[0]}" if could and what == WORDS["recharge"] else ""


def _common(one: Sequence[str], other: Sequence[str]) -> list[str]:
    return [what for what in one if what in other]


def _kind(service: ServiceSettings) -> str:
    return str(getattr(service, "kind", ""))
