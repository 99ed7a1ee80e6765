"""From a scenario file to a typed `Scenario`, with every problem at once."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from derloop import plugins
from derloop.errors import PluginError, Problem, ScenarioError, did_you_mean
from derloop.kind import Settings
from derloop.scenario import document
from derloop.scenario.assembly import further_problems
from derloop.scenario.models import (
    MOST_CHECKS,
    MOST_FEDERATES,
    NAME_PATTERN,
    CheckEntry,
    FederateEntry,
    Scenario,
    ScenarioFile,
)

MAX_LISTED = 100
MAX_NAME = 200

Model = TypeVar("Model", bound=BaseModel)

WORDS = {
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "must be an object"),
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "must be a whole number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("datetime_type", "datetime_from_date_parsing"), "must be an instant such as 2025-07-15T00:00:00Z"),
    "string_type": "must be a string",
    "timezone_aware": "needs its offset from UTC, as in 2025-07-15T00:00:00-07:00",
}
LENGTHS = ("too_short", "too_long", "string_too_short", "string_too_long")
STRICT = ("float_type", "int_type", "bool_type", "string_type", "datetime_type")

FEDERATE_KEYS = ("kind", "via")
CHECK_KEYS = ("kind", "name")


def load(path: Path | str, overrides: Sequence[str] = (), trust_feeder: bool = False) -> Scenario:
    """Read a scenario file; raise ScenarioError where its text is wrong.

    The error then also has what can be told of the federates that are right: files, places, profiles, wires, checks.
    """
    path = Path(path)
    data = document.read(path)
    problems = [*document.override(data, overrides), *document.blemishes(data)]
    return _typed(document.readable(data) if problems else data, path, overrides, problems, trust_feeder)


def typed(data: dict[str, Any], path: Path, overrides: Sequence[str] = ()) -> Scenario:
    """Return `data` as a Scenario whose relative paths start at the folder of `path`."""
    return _typed(data, path, overrides, [], False)


def _typed(
    data: dict[str, Any], path: Path, overrides: Sequence[str], problems: list[Problem], trust_feeder: bool
) -> Scenario:
    file = _validated(ScenarioFile, data, (), problems)
    whole = file or _salvaged(data, problems)
    federates = dict(_federates(data.get("federates"), problems))
    checks = tuple(_checks(data.get("checks"), problems))
    if whole is None or (problems and not federates):
        raise ScenarioError(_listed(problems), str(path))
    scenario = Scenario(path.resolve(), whole, data, tuple(overrides), federates, checks)
    if problems:
        problems += further_problems(scenario, trust_feeder)
        raise ScenarioError(_listed(problems), str(path))
    return scenario


def _salvaged(data: Mapping[str, Any], problems: Sequence[Problem]) -> ScenarioFile | None:
    """Return the file without what is wrong at its top, to look further; None where its times are not known."""
    wrong = {p.pointer.split("/")[1] for p in problems if p.pointer} | {"name"}
    kept = {key: value for key, value in data.items() if key not in wrong}
    try:
        return ScenarioFile.model_validate({"federates": {"none": {}}, "name": "none", **kept})
    except ValidationError:
        return None


def _listed(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems, the first of each place and wording, and no more of them than somebody reads."""
    blemished = {p.pointer for p in problems if p.what in document.BLEMISHES}
    kept = [p for p in dict.fromkeys(problems) if p.pointer not in blemished or p.what in document.BLEMISHES]
    more = len(kept) - MAX_LISTED
    return kept if more <= 0 else [*kept[:MAX_LISTED], Problem("", f"and {more} problems more")]


def _federates(entries: Any, problems: list[Problem]) -> Iterator[tuple[str, FederateEntry]]:
    if not isinstance(entries, dict):
        return
    for name, entry in islice(entries.items(), MOST_FEDERATES):
        at = ("federates", name)
        if not re.fullmatch(NAME_PATTERN, name):
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
    if not isinstance(via, str) or via.split(":")[0] not in possible or via.startswith("model:"):
        where = document.pointer((*at, "via"))
        what = f"{document.shown(via)} is no way to realise a device" + did_you_mean(str(via)[:MAX_NAME], possible)
        problems.append(Problem(where, what))
        return None
    return via


def _checks(entries: Any, problems: list[Problem]) -> Iterator[CheckEntry]:
    for index, entry in enumerate(entries[:MOST_CHECKS] if isinstance(entries, list) else ()):
        at = ("checks", index)
        if not isinstance(entry, dict):
            continue
        kind = _kind_of(entry, plugins.CHECKS, plugins.check_kind, at, problems)
        name = entry.get("name", kind.name if kind else "")
        if not isinstance(name, str) or len(name) > MAX_NAME:
            what = f"must be a string of at most {MAX_NAME} characters"
            problems.append(Problem(document.pointer((*at, "name")), what))
        if kind and (settings := _settings(kind.settings, entry, CHECK_KEYS, at, problems)):
            yield CheckEntry(str(name), kind, settings)


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
    return _validated(model, theirs, at, problems, ours)


def _validated(
    model: type[Model],
    data: Mapping[str, Any],
    at: Sequence[str | int],
    problems: list[Problem],
    also: Sequence[str] = (),
) -> Model | None:
    found: Model | None = None
    errors: list[ErrorDetails] = []
    try:
        found = model.model_validate(data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    except Exception as error:  # noqa: BLE001 - a kind's own validator; whose it is, is said
        problems.append(Problem(document.pointer(at), f"its settings cannot be read: {plugins.said(error)}"))
        return None
    errors = [e for e in errors if e["type"] != "string_unicode"]  # half a surrogate pair: a blemish of the document
    said = {(p.pointer, p.what): p for p in (_problem(model, data, at, details, also) for details in errors)}
    places = {pointer for pointer, _ in said}
    said |= {(p.pointer, p.what): p for p in _converted(model, data, at) if p.pointer not in places}
    problems += said.values()
    return None if said else found


def _converted(model: type[BaseModel], data: Mapping[str, Any], at: Sequence[str | int]) -> Iterator[Problem]:
    """Yield a problem for each value that pydantic would turn into another type: "60" and true are no numbers."""
    try:
        model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            if details["type"] in STRICT and not _is_whole(details):
                yield _problem(model, data, at, details, ())


def _is_whole(error: ErrorDetails) -> bool:
    given = error["input"]
    return error["type"] == "int_type" and isinstance(given, float) and given.is_integer()


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
    if error["type"].startswith("union_tag") and isinstance(error["input"], dict):
        return _no_tag(where, error["ctx"])
    text = _worded(error)
    if error["type"] == "value_error" and text.split()[0] in _known(model, path):
        where += document.pointer((text.split()[0],))  # a rule between settings, told of the first
    return Problem(where, text)


def _no_tag(where: str, said: Mapping[str, Any]) -> Problem:
    """Return the problem of an object whose sort is told by one of its settings, which is missing or unknown."""
    where += document.pointer((said["discriminator"].strip("'"),))
    possible = said.get("expected_tags", "")
    given = f"must be one of {possible}, not {document.shown(said['tag'])}" if "tag" in said else "is missing"
    return Problem(where, given)


def _worded(error: ErrorDetails) -> str:
    """Return pydantic's message in the words of JSON."""
    text = WORDS.get(error["type"], error["msg"].removeprefix("Value error, ").removesuffix(" after validation"))
    text = re.sub(r"^(Input|String|Tuple|List|Dictionary) should ", "must ", text)
    text = text.replace(" after validation", "").replace("timezone", "time zone")
    given = error["input"]
    if error["type"] in LENGTHS or (isinstance(given, dict | list) and error["type"] == "value_error"):
        return text[:1].lower() + text[1:]
    return f"{text[:1].lower()}{text[1:]}, not {document.shown(given)}"


def _real_path(data: Any, loc: Sequence[str | int], missing: bool) -> tuple[str | int, ...]:
    """Return `loc` without the tags of unions that pydantic puts into it."""
    path: list[str | int] = []
    at: Any = data
    for depth, part in enumerate(loc):
        last = depth == len(loc) - 1
        if (isinstance(at, dict) and part in at) or (isinstance(at, list) and part in range(len(at))):
            at = at[part]  # type: ignore[index]  # part is a key of it
        elif not (last and missing):
            continue
        path.append(part)
    return tuple(path)


def _known(model: type[BaseModel], path: Sequence[str | int]) -> set[str]:
    """Return the names of the settings possible at `path` below `model`."""
    found: list[Any] = [model]
    for part in path:
        found = [inner for annotation in found for inner in _below(annotation, str(part))]
    return {info.alias or name for m in _plain(found) for name, info in m.model_fields.items()}


def _below(annotation: Any, part: str) -> Iterator[Any]:
    """Yield what may stand at `part` of what is annotated so: a field's annotation, or that of a container's items."""
    for choice in _plain([annotation], containers=True):
        if typing.get_origin(choice):
            yield from typing.get_args(choice)
        else:
            fields = {info.alias or name: info.annotation for name, info in choice.model_fields.items()}
            yield from [fields[part]] if part in fields else ()


def _plain(annotations: Iterable[Any], containers: bool = False) -> Iterator[Any]:
    """Yield the models, and the containers too if asked for, in annotations that may be unions."""
    for annotation in annotations:
        origin = typing.get_origin(annotation)
        if origin in (typing.Union, types.UnionType, typing.Annotated):
            yield from _plain(typing.get_args(annotation), containers)
        elif containers if origin else isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
