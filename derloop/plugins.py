"""Entry points: the only door through which kinds of federate, of check and of realisation come in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from derloop.contract import Federate
from derloop.errors import PluginError, did_you_mean
from derloop.kind import Context, Kind, Settings, Terminal
from derloop.verdict import CheckKind

KINDS = "derloop.kinds"
CHECKS = "derloop.checks"
REALISATIONS = "derloop.realisations"

Realise = Callable[[Federate, Settings, tuple[Terminal, ...], str, Context], Federate]
"""(model, its settings, its terminals, what follows the colon of `via`, context) -> what takes the model's place."""


@cache
def _offered(group: str) -> dict[str, EntryPoint]:
    offered: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        if point.name in offered and offered[point.name].value != point.value:
            raise PluginError(f"{group}: {point.name!r} is offered twice: {offered[point.name].value}, {point.value}")
        offered[point.name] = point
    return offered


def names(group: str) -> tuple[str, ...]:
    """Return what is installed in `group`, sorted, without importing it."""
    return tuple(sorted(_offered(group)))


@cache
def _loaded(group: str, name: str) -> Any:
    if name not in _offered(group):
        raise PluginError(
            f"no {group.split('.')[1].rstrip('s')} {name!r} is installed" + did_you_mean(name, names(group))
        )
    point = _offered(group)[name]
    try:
        return point.load()
    except Exception as error:
        raise PluginError(f"{point.name!r} ({point.value}) cannot be loaded: {error}") from error


def _load(group: str, name: str, expected: type) -> Any:
    found = _loaded(group, name)
    if not isinstance(found, expected):
        raise PluginError(f"{name!r} ({_offered(group)[name].value}) is no {expected.__name__}")
    return found


def kind(name: str) -> Kind:
    """Return the kind of federate called `name`; PluginError where there is none or it does not load."""
    return _load(KINDS, name, Kind)  # type: ignore[no-any-return]


def check_kind(name: str) -> CheckKind:
    """Return the kind of check called `name`."""
    return _load(CHECKS, name, CheckKind)  # type: ignore[no-any-return]


def realisation(name: str) -> Realise:
    """Return what puts an emulator or equipment in a model's place."""
    return _loaded(REALISATIONS, name)  # type: ignore[no-any-return]
