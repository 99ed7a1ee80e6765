"""Entry points: the only door through which kinds of federate, of check and of realisation come in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, TypeAlias

from derloop.errors import PluginError, did_you_mean, said

if TYPE_CHECKING:  # the commands look here for their names, before anything heavy is needed
    from derloop.contract import Federate
    from derloop.kind import Context, Kind, Settings, Terminal
    from derloop.verdict import AnyCheck

KINDS = "derloop.kinds"
CHECKS = "derloop.checks"
REALISATIONS = "derloop.realisations"
COMMANDS = "derloop.commands"

Realise: TypeAlias = "Callable[[Federate, Settings, tuple[Terminal, ...], str, Context], Federate]"
"""(model, its settings, its terminals, what follows the colon of `via`, context) -> what takes the model's place."""


@cache
def _offered(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """Return what is offered under each name; more than one thing only where packages disagree."""
    offered: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        others = offered.get(point.name, ())
        if point.value not in {other.value for other in others}:
            offered[point.name] = (*others, point)
    return offered


def names(group: str) -> tuple[str, ...]:
    """Return what is installed in `group`, sorted, without importing it."""
    return tuple(sorted(_offered(group)))


@cache
def _loaded(group: str, name: str) -> Any:
    what = group.split(".")[1].rstrip("s")
    if name not in _offered(group):
        raise PluginError(f"no {what} {name!r} is installed" + did_you_mean(name, names(group)))
    points = _offered(group)[name]
    if len(points) > 1:
        offers = " and ".join(sorted(map(_origin, points)))
        raise PluginError(f"{what} {name!r} is offered more than once, by {offers}; uninstall all but one")
    try:
        return points[0].load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"{what} {name!r} of {_origin(points[0])} cannot be loaded: {said(error)}") from error


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version} ({point.value})" if point.dist else point.value


def _load(group: str, name: str, *expected: type) -> Any:
    found = _loaded(group, name)
    if not isinstance(found, expected):
        possible = " or ".join(kind.__name__ for kind in expected)
        raise PluginError(f"{name!r} of {_origin(_offered(group)[name][0])} is no {possible}")
    if (own := getattr(found, "name", name)) != name:
        raise PluginError(f"{name!r} of {_origin(_offered(group)[name][0])} is named {own!r}; let both be one")
    if not _is_model(getattr(found, "settings", None)):
        origin = _origin(_offered(group)[name][0])
        raise PluginError(f"the settings of {name!r} of {origin} are no class of derloop.kind.Settings")
    return found


def _is_model(settings: object) -> bool:
    from derloop.kind import Settings

    return isinstance(settings, type) and issubclass(settings, Settings)


def packages(group: str, wanted: Iterable[str]) -> dict[str, str]:
    """Return the version of each package that offers something of a group that is `wanted`, by the package's name."""
    points = [point for name in wanted for point in _offered(group).get(name, ())]
    return {point.dist.name: point.dist.version for point in points if point.dist}


def is_own(group: str, name: str) -> bool:
    """Return whether derloop itself offers it."""
    return packages(group, [name]).keys() == {"derloop"}


def kind(name: str) -> Kind:
    """Return the kind of federate called `name`; PluginError where there is none or it does not load."""
    from derloop.kind import Kind

    return _load(KINDS, name, Kind)  # type: ignore[no-any-return]


def check_kind(name: str) -> AnyCheck:
    """Return the kind of check called `name`."""
    from derloop.verdict import CheckKind, Composition

    return _load(CHECKS, name, CheckKind, Composition)  # type: ignore[no-any-return]


def realisation(name: str) -> Realise:
    """Return what puts an emulator or equipment in a model's place."""
    return _loaded(REALISATIONS, name)  # type: ignore[no-any-return]


def command(name: str) -> Any:
    """Return the typer application that is the command called `name`."""
    return _loaded(COMMANDS, name)
