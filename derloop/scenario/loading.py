"""From a scenario file to a typed `Scenario`, with every problem at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from derloop import document, plugins
from derloop.errors import PluginError, Problem, ScenarioError, did_you_mean, said
from derloop.kind import NONE_GRANTED, Permissions, PlaceError, Settings
from derloop.scenario.assembly import further_problems
from derloop.scenario.models import (
    MOST_CHECKS,
    MOST_FEDERATES,
    FederateEntry,
    Scenario,
    ScenarioFile,
)
from derloop.scenario.overrides import override
from derloop.texts import SHORT_NAME
from derloop.validation import listed, validated
from derloop.verdict import CheckEntry, Composition

MAX_NAME = 200

CHECK_KEYS = ("kind", "name")


def load(path: Path | str, overrides: Sequence[str] = (), permissions: Permissions = NONE_GRANTED) -> Scenario:
    """Read a scenario file; raise ScenarioError where its text is wrong.

    The error then also has what can be told of the federates that are right: files, places, profiles, wires, checks.
    """
    path = Path(path)
    data = document.read(path)
    problems = [*override(data, overrides), *document.blemishes(data)]
    return _typed(document.readable(data) if problems else data, path, overrides, problems, permissions)


def typed(data: dict[str, Any], path: Path, overrides: Sequence[str] = ()) -> Scenario:
    """Return `data` as a Scenario whose relative paths start at the folder of `path`."""
    return _typed(data, path, overrides, [], NONE_GRANTED)


def _typed(
    data: dict[str, Any], path: Path, overrides: Sequence[str], problems: list[Problem], permissions: Permissions
) -> Scenario:
    file = validated(ScenarioFile, data, (), problems)
    whole = file or _salvaged(data, problems)
    federates = dict(_federates(data.get("federates"), problems))
    checks = tuple(_checks(data.get("checks"), ("checks",), path.resolve().parent, problems))
    if whole is None or (problems and not federates):
        raise ScenarioError(listed(problems), str(path))
    scenario = Scenario(path.resolve(), whole, data, tuple(overrides), federates, checks)
    if problems:
        problems += further_problems(scenario, permissions)
        raise ScenarioError(listed(problems), str(path))
    return scenario


def _salvaged(data: Mapping[str, Any], problems: Sequence[Problem]) -> ScenarioFile | None:
    """Return the file without what is wrong at its top, to look further; None where its times are not known."""
    wrong = {p.pointer.split("/")[1] for p in problems if p.pointer} | {"name"}
    kept = {key: value for key, value in data.items() if key not in wrong}
    try:
        return ScenarioFile.model_validate({"federates": {"none": {}}, "name": "none", **kept})
    except ValidationError:
        return None


def _federates(entries: Any, problems: list[Problem]) -> Iterator[tuple[str, FederateEntry]]:
    if not isinstance(entries, dict):
        return
    for name, entry in islice(entries.items(), MOST_FEDERATES):
        at = ("federates", name)
        if not re.fullmatch(SHORT_NAME.pattern, name):
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
    feeder = _feeder(entry, kind.meets_feeder, at, problems)
    keys = ("kind", *("via",) * kind.is_der, *("feeder",) * kind.meets_feeder)
    settings = _settings(kind.settings, entry, keys, at, problems)
    return FederateEntry(name, kind, settings, via, feeder) if settings and via and feeder is not None else None


def _via(entry: Mapping[str, Any], is_der: bool, at: tuple[str, ...], problems: list[Problem]) -> str | None:
    if not is_der:
        return "model"
    via = entry.get("via", "model")
    possible = ("model", *plugins.names(plugins.REALISATIONS))
    if not isinstance(via, str) or via.split(":")[0] not in possible or via.startswith("model:"):
        where = document.pointer((*at, "via"))
        what = f"{document.shown(via)} is no way to realise a device" + did_you_mean(str(via)[:MAX_NAME], possible)
        problems.append(Problem(where, what))
        return None
    return via


def _feeder(entry: Mapping[str, Any], meets: bool, at: tuple[str, ...], problems: list[Problem]) -> str | None:
    feeder = entry.get("feeder", "") if meets else ""
    if isinstance(feeder, str):
        return feeder
    what = f"must be the name of a feeder's federate, not {document.shown(feeder)}"
    problems.append(Problem(document.pointer((*at, "feeder")), what))
    return None


def _checks(entries: Any, at: tuple[str | int, ...], folder: Path, problems: list[Problem]) -> Iterator[CheckEntry]:
    """Yield the checks of a list that stands at `at` of the scenario in `folder`."""
    for index, entry in enumerate(entries[:MOST_CHECKS] if isinstance(entries, list) else ()):
        if isinstance(entry, dict) and (found := _check(entry, (*at, index), folder, problems)):
            yield found


def _check(
    entry: Mapping[str, Any], at: tuple[str | int, ...], folder: Path, problems: list[Problem]
) -> CheckEntry | None:
    kind = _kind_of(entry, plugins.CHECKS, plugins.check_kind, at, problems)
    name = entry.get("name", kind.name if kind else "")
    if not isinstance(name, str) or len(name) > MAX_NAME:
        what = f"must be a string of at most {MAX_NAME} characters"
        problems.append(Problem(document.pointer((*at, "name")), what))
    settings = _settings(kind.settings, entry, CHECK_KEYS, at, problems) if kind else None
    if isinstance(kind, Composition):
        parts = tuple(_checks(entry.get("of"), (*at, "of"), folder, problems))
        return CheckEntry(str(name), kind, settings, parts) if settings else None
    if settings is None:
        return None
    try:
        placed = kind.placed(settings, folder)
        _require_pairs(kind.signals(placed))
        return CheckEntry(str(name), kind, placed)
    except PlaceError as error:
        problems += [Problem(document.pointer((*at, *path)), what) for path, what in error.problems]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a kind's own; whose it is, is said
        problems.append(Problem(document.pointer(at), f"the check {kind.name!r} cannot be read: {said(error)}"))
    return None


def _require_pairs(signals: Iterable[object]) -> None:
    """Raise PluginError unless the signals that a check needs are told as pairs of a path and a pattern."""
    for each in signals:
        if not (isinstance(each, tuple) and [*map(type, each)] == [tuple, str]):
            raise PluginError(f"{each!r} is no pair of the path of a setting and a pattern of signals")


def _kind_of(
    entry: Mapping[str, Any], group: str, load_kind: Any, at: Sequence[str | int], problems: list[Problem]
) -> Any:
    name = entry.get("kind")
    where = document.pointer((*at, "kind"))
    possible = plugins.names(group)
    if name is None:
        problems.append(Problem(where, "is missing; there are: " + ", ".join(possible)))
    elif not isinstance(name, str):
        problems.append(Problem(where, f"must be a string, not {document.shown(name)}"))
    elif name not in possible:
        problems.append(Problem(where, f"{document.shown(name)} is unknown" + did_you_mean(name[:MAX_NAME], possible)))
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
    return validated(model, theirs, at, problems, ours)
