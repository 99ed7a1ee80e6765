"""From a scenario file to a typed `Scenario`, with every problem at once."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from derloop import plugins
from derloop.errors import PluginError, Problem, ScenarioError, did_you_mean
from derloop.kind import Settings
from derloop.scenario import document
from derloop.scenario.models import NAME_PATTERN, CheckEntry, FederateEntry, Scenario, ScenarioFile

Model = TypeVar("Model", bound=BaseModel)

FEDERATE_KEYS = ("kind", "via")
CHECK_KEYS = ("kind", "name")


def load(path: Path | str, overrides: Sequence[str] = ()) -> Scenario:
    """Read a scenario file; raise ScenarioError with every problem that its text alone shows."""
    path = Path(path)
    data = document.read(path)
    document.override(data, overrides, str(path))
    return typed(data, path, overrides)


def typed(data: dict[str, Any], path: Path, overrides: Sequence[str] = ()) -> Scenario:
    """Return `data` as a Scenario whose relative paths start at the folder of `path`."""
    problems: list[Problem] = []
    file = _validated(ScenarioFile, data, (), problems)
    federates = dict(_federates(data.get("federates"), problems))
    checks = tuple(_checks(data.get("checks"), problems))
    if problems or file is None:
        raise ScenarioError(problems, str(path))
    return Scenario(path.resolve(), file, data, tuple(overrides), federates, checks)


def _federates(entries: Any, problems: list[Problem]) -> Iterator[tuple[str, FederateEntry]]:
    if not isinstance(entries, dict):
        return
    for name, entry in entries.items():
        at = ("federates", name)
        if not re.match(NAME_PATTERN, name):
            what = "a federate's name has lower-case letters, digits and _, begins with a letter, at most 40"
            problems.append(Problem(document.pointer(at), what))
        elif isinstance(entry, dict) and (found := _federate(name, entry, at, problems)):
            yield name, found


def _federate(
    name: str, entry: Mapping[str, Any], at: tuple[str, ...], problems: list[Problem]
) -> FederateEntry | None:
    kind = _kind_of(entry, plugins.KINDS, plugins.kind, at, problems)
    if kind is None:
        return None
    via = _via(entry, kind.is_der, at, problems)
    settings = _settings(kind.settings, entry, FEDERATE_KEYS if kind.is_der else ("kind",), at, problems)
    return FederateEntry(name, kind, settings, via) if settings and via else None


def _via(entry: Mapping[str, Any], is_der: bool, at: tuple[str, ...], problems: list[Problem]) -> str | None:
    if not is_der:
        return "model"
    via = entry.get("via", "model")
    possible = ("model", *plugins.names(plugins.REALISATIONS))
    if not isinstance(via, str) or via.split(":")[0] not in possible:
        where = document.pointer((*at, "via"))
        problems.append(Problem(where, f"{via!r} is no way to realise a device" + did_you_mean(str(via), possible)))
        return None
    return via


def _checks(entries: Any, problems: list[Problem]) -> Iterator[CheckEntry]:
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        at = ("checks", index)
        if not isinstance(entry, dict):
            continue
        kind = _kind_of(entry, plugins.CHECKS, plugins.check_kind, at, problems)
        name = entry.get("name", entry.get("kind"))
        if not isinstance(name, str):
            problems.append(Problem(document.pointer((*at, "name")), "must be a string"))
        elif kind and (settings := _settings(kind.settings, entry, CHECK_KEYS, at, problems)):
            yield CheckEntry(name, kind, settings)


def _kind_of(
    entry: Mapping[str, Any], group: str, load_kind: Any, at: Sequence[str | int], problems: list[Problem]
) -> Any:
    name = entry.get("kind")
    where = document.pointer((*at, "kind"))
    possible = plugins.names(group)
    if name is None:
        problems.append(Problem(where, "is missing; there are: " + ", ".join(possible)))
    elif name not in possible:
        problems.append(Problem(where, f"{name!r} is unknown" + did_you_mean(str(name), possible)))
    else:
        try:
            return load_kind(name)
        except PluginError as error:
            problems.append(Problem(where, str(error)))
    return None


def _settings(
    model: type[Settings],
    entry: Mapping[str, Any],
    ours: Sequence[str],
    at: Sequence[str | int],
    problems: list[Problem],
) -> Settings | None:
    theirs = {key: value for key, value in entry.items() if key not in ours}
    return _validated(model, theirs, at, problems, ours)


def _validated(
    model: type[Model],
    data: Mapping[str, Any],
    at: Sequence[str | int],
    problems: list[Problem],
    also: Sequence[str] = (),
) -> Model | None:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems += [_problem(model, data, at, details, also) for details in error.errors(include_url=False)]
        return None


def _problem(
    model: type[BaseModel], data: Any, at: Sequence[str | int], error: ErrorDetails, also: Sequence[str]
) -> Problem:
    path = _real_path(data, error["loc"], error["type"] == "missing")
    where = document.pointer((*at, *path))
    if error["type"] == "extra_forbidden":
        known = sorted({*_known(model, path[:-1]), *(also if len(path) == 1 else ())})
        return Problem(where, "unknown" + did_you_mean(str(path[-1]), known))
    if error["type"] == "missing":
        return Problem(where, "is missing")
    text = error["msg"].removeprefix("Value error, ")
    given = "" if isinstance(error["input"], dict | list) else f", not {_shown(error['input'])}"
    return Problem(where, text[:1].lower() + text[1:] + given)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _real_path(data: Any, loc: Sequence[str | int], missing: bool) -> tuple[str | int, ...]:
    """Return `loc` without the tags of unions that pydantic puts into it."""
    path: list[str | int] = []
    at = data
    for depth, part in enumerate(loc):
        last = depth == len(loc) - 1
        if (isinstance(at, dict) and part in at) or (isinstance(at, list) and isinstance(part, int) and part < len(at)):
            at = at[part]
        elif not (last and missing):
            continue
        path.append(part)
    return tuple(path)


def _known(model: Any, path: Sequence[str | int]) -> set[str]:
    """Return the names of the settings possible at `path` below `model`."""
    models = [model]
    for part in path:
        models = [m for known in models for m in _below(known, part)]
    return {info.alias or name for m in models for name, info in m.model_fields.items()}


def _below(model: type[BaseModel], part: str | int) -> list[type[BaseModel]]:
    if isinstance(part, int):
        return [model]
    fields = {info.alias or name: info.annotation for name, info in model.model_fields.items()}
    return list(_models_in(fields.get(str(part))))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)
