"""Which fleets are the members of a plant: those that its settings name, or describe, and that take a setpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from derloop.errors import did_you_mean
from derloop.kind import Context, PlaceError
from federates.control.vpp.members import SET, Members, Pattern
from federates.fleets import Problems, untaken


def chosen(members: tuple[Pattern, ...] | Members, context: Context) -> tuple[str, ...]:
    """Return the names of the members, in the order in which they stand; raises PlaceError for those not reachable."""
    if isinstance(members, Members):
        return _fitting(members, context)
    names: list[str] = []
    problems: Problems = []
    for i, pattern in enumerate(members):
        found = [name for name in _others(context) if fnmatchcase(name, pattern)]
        if _is_pattern(pattern):
            found = [name for name in found if not untaken(name, SET, context)]
        if not found:
            problems.append((("members", i), _nobody(pattern, context)))
        problems += [(("members", i), what) for name in found if (what := untaken(name, SET, context))]
        problems += [(("members",), "a fleet is named twice") for name in found if name in names]
        names += found
    if problems:
        raise PlaceError([*dict.fromkeys(problems)])
    return tuple(names)


def _fitting(members: Members, context: Context) -> tuple[str, ...]:
    """Return the fleets of some names, kinds and buses that take a setpoint."""
    problems: Problems = []
    takers = left = [name for name in _others(context) if not untaken(name, SET, context)]
    for key, told in (("names", _names), ("kinds", _kinds), ("buses", _buses)):
        patterns, among = getattr(members, key), left or takers
        for i, pattern in enumerate(patterns):
            if not any(_fits(told(name, context), [pattern]) for name in among):
                there = sorted({t for name in takers for t in told(name, context)})
                what = f"no fleet that takes {SET} fits {pattern!r}" + did_you_mean(pattern, there)
                problems.append((("members", key, i), what))
        left = [name for name in left if _fits(told(name, context), patterns)]
    if not left and not problems:
        problems.append((("members",), f"no fleet that takes {SET} fits in names, kinds and buses"))
    if problems:
        raise PlaceError(problems)
    return tuple(left)


def _fits(told: Sequence[str], patterns: Sequence[str]) -> bool:
    return bool(told) and all(any(fnmatchcase(text, pattern) for pattern in patterns) for text in told)


def _names(name: str, context: Context) -> Sequence[str]:
    del context
    return [name]


def _kinds(name: str, context: Context) -> Sequence[str]:
    return [context.kinds[name]] if name in context.kinds else []


def _buses(name: str, context: Context) -> Sequence[str]:
    return [terminal.bus for terminal in context.terminals.get(name, ())] or [""]


def _others(context: Context) -> Iterator[str]:
    return (name for name in context.labels if name != context.name)


def _is_pattern(text: str) -> bool:
    return bool(set("*?[") & set(text))


def _nobody(pattern: str, context: Context) -> str:
    if _is_pattern(pattern):
        takers = [name for name in _others(context) if not untaken(name, SET, context)]
        return f"no fleet that takes {SET} is called like {pattern!r}" + did_you_mean(pattern, takers)
    return f"no fleet is called {pattern!r}" + did_you_mean(pattern, [*_others(context)])
