"""From JSON to a typed, frozen model, with every problem at once: its JSON pointer and what is possible instead."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from derloop import document
from derloop.errors import Problem, ScenarioError, did_you_mean, said

Model = TypeVar("Model", bound=BaseModel)

DATES = ("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact")
LISTS = ("tuple_type", "list_type")
WORDS = {
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "must be an object"),
    **dict.fromkeys(LISTS, "must be a list"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "must be a whole number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("datetime_type", "datetime_from_date_parsing"), "must be an instant such as 2025-07-15T00:00:00Z"),
    **dict.fromkeys(DATES, "must be a day such as 2025-07-04"),
    "string_type": "must be a string",
    "path_type": "must be the path of a file",
    "timezone_aware": "needs its offset from UTC, as in 2025-07-15T00:00:00-07:00",
}
LENGTHS = ("too_short", "too_long", "string_too_short", "string_too_long")
MAX_LISTED = 100
STRICT = ("float_type", "int_type", "bool_type", "string_type", "datetime_type")


def read_model(model: type[Model], path: Path) -> Model:
    """Return what a JSON file holds as a `model`; raise ScenarioError, which names the file, with all that is wrong."""
    return typed_model(model, document.read(path), str(path))


def typed_model(model: type[Model], data: Any, source: str) -> Model:
    """Return `data`, as `document` has read it, as a `model`; raise ScenarioError with all that is wrong."""
    problems = list(document.blemishes(data))
    found = validated(model, document.readable(data), (), problems)
    if problems or found is None:
        raise ScenarioError(listed(problems), source)
    return found


def listed(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems, the first of each place and wording, and no more of them than somebody reads."""
    blemished = {p.pointer for p in problems if p.what in document.BLEMISHES}
    kept = [p for p in dict.fromkeys(problems) if p.pointer not in blemished or p.what in document.BLEMISHES]
    more = len(kept) - MAX_LISTED
    return kept if more <= 0 else [*kept[:MAX_LISTED], Problem("", f"and {more} problems more")]


def validated(
    model: type[Model],
    data: Mapping[str, Any],
    at: Sequence[str | int],
    problems: list[Problem],
    also: Sequence[str] = (),
) -> Model | None:
    """Return `data` as a `model`, or None, having added every problem, `at` leading to it.

    also: keys that belong to somebody else and may stand beside the model's.
    """
    found: Model | None = None
    errors: list[ErrorDetails] = []
    try:
        found = model.model_validate(data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a kind's own validator; whose it is, is said
        problems.append(Problem(document.pointer(at), f"its settings cannot be read: {said(error)}"))
        return None
    errors = [e for e in errors if not _is_echo(e)]
    errors = [e for e in errors if e["type"] != "string_unicode"]  # half a surrogate pair: a blemish of the document
    told = {(p.pointer, p.what): p for p in (_problem(model, data, at, details, also) for details in errors)}
    places = {pointer for pointer, _ in told}
    told |= {(p.pointer, p.what): p for p in _converted(model, data, at) if p.pointer not in places}
    problems += told.values()
    return None if told else found


def _converted(model: type[BaseModel], data: Mapping[str, Any], at: Sequence[str | int]) -> Iterator[Problem]:
    """Yield a problem for each value that pydantic would turn into another type: "60" and true are no numbers."""
    try:
        model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            if details["type"] in STRICT and not _is_whole(details):
                yield _problem(model, data, at, details, ())


def _is_echo(error: ErrorDetails) -> bool:
    """Return whether something is called too short only as pydantic counts those of its elements that are right."""
    given = error["input"]
    return error["type"] == "too_short" and isinstance(given, list | dict) and len(given) >= error["ctx"]["min_length"]


def _is_whole(error: ErrorDetails) -> bool:
    given = error["input"]
    return error["type"] == "int_type" and isinstance(given, float) and given.is_integer()


def _problem(
    model: type[BaseModel], data: Any, at: Sequence[str | int], error: ErrorDetails, also: Sequence[str]
) -> Problem:
    path = _real_path(data, error["loc"], error["type"] == "missing")
    where = document.pointer((*at, *path))
    if error["type"] == "extra_forbidden":
        known = sorted({*_known(model, path[:-1], data), *(also if len(path) == 1 else ())})
        return Problem(where, "unknown" + did_you_mean(str(path[-1]), known))
    if error["type"] == "missing":
        return Problem(where, "is missing")
    if error["type"].startswith("union_tag") and isinstance(error["input"], dict):
        return _no_tag(where, error["ctx"])
    text = _worded(error, _listed(error["input"], model, path) if error["type"] in LISTS else "")
    if error["type"] == "value_error" and text.split()[0] in _known(model, path, data):
        where += document.pointer((text.split()[0],))  # a rule between settings, told of the first
    return Problem(where, text)


def _no_tag(where: str, context: Mapping[str, Any]) -> Problem:
    """Return the problem of an object whose sort is told by one of its settings, which is missing or unknown."""
    where += document.pointer((context["discriminator"].strip("'"),))
    possible = context.get("expected_tags", "")
    if "tag" not in context:
        return Problem(where, "is missing")
    near = did_you_mean(str(context["tag"])[: document.MAX_SHOWN], re.findall(r"'([^']*)'", possible), 0)
    meant = near if near.endswith("?") else ""
    return Problem(where, f"must be one of {possible}, not {document.shown(context['tag'])}{meant}")


def _worded(error: ErrorDetails, listed: str) -> str:
    """Return pydantic's message in the words of JSON. listed: what is said of a list that is to stand there."""
    text = WORDS.get(error["type"], error["msg"].removeprefix("Value error, ").removesuffix(" after validation"))
    text = re.sub(r"^(Input|String|Tuple|List|Dictionary) should ", "must ", text)
    text = text.replace(" after validation", "").replace("timezone", "time zone")
    given = error["input"]
    if error["type"] in LISTS:
        text += listed
    if error["type"] in LENGTHS or (isinstance(given, dict | list) and error["type"] == "value_error"):
        return text[:1].lower() + text[1:]
    return f"{text[:1].lower()}{text[1:]}, not {document.shown(given)}"


def _listed(given: object, model: type[BaseModel], path: Sequence[str | int]) -> str:
    """Return of how many a list at `path` must be, if that is fixed, or how `given` would be in one."""
    choices = _plain(_annotated(model, path), containers=True)
    lengths = {len(typing.get_args(choice)) for choice in choices if _is_of_fixed_length(choice)}
    return f" of {lengths.pop()}" if len(lengths) == 1 else _listed_alone(given, _annotated(model, (*path, 0)))


def _is_of_fixed_length(annotation: Any) -> bool:
    return typing.get_origin(annotation) is tuple and Ellipsis not in typing.get_args(annotation)


def _listed_alone(given: object, items: Iterable[Any]) -> str:
    """Return how what stands alone would be in a list, where it may be one of its `items`, annotated so.

    A number says nothing: points of curves are lists of several.
    """
    choices = [*_choices(items)]
    if isinstance(given, dict) and any(typing.get_origin(each) is dict or _is_model(each) for each in choices):
        return ", as [{...}]"
    takes_texts = any(each is str or typing.get_origin(each) is typing.Literal for each in choices)
    if takes_texts and isinstance(given, str) and len(given) <= document.MAX_SHOWN:
        return f", as [{json.dumps(given, ensure_ascii=False)}]"
    return ""


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


def _known(model: type[BaseModel], path: Sequence[str | int], data: Any) -> set[str]:
    """Return the names of the settings possible at `path` below `model`, which is where `data` stands."""
    at = data
    for part in path:
        at = at[part] if isinstance(at, dict | list) else None  # type: ignore[index]  # part is a key of it
    models = list(_plain(_annotated(model, path)))
    meant = [m for m in models if _may_be(m, at)] or models
    return {info.alias or name for m in meant for name, info in m.model_fields.items()}


def _annotated(model: type[BaseModel], path: Sequence[str | int]) -> list[Any]:
    """Return the annotations of what may stand at `path` below `model`."""
    found: list[Any] = [model]
    for part in path:
        found = [inner for annotation in found for inner in _below(annotation, str(part))]
    return found


def _may_be(model: type[BaseModel], data: Any) -> bool:
    """Return whether the settings by which sorts are told apart say that `data` is of this one."""
    fixed = {
        info.alias or name: typing.get_args(info.annotation)
        for name, info in model.model_fields.items()
        if typing.get_origin(info.annotation) is typing.Literal
    }
    return isinstance(data, dict) and all(data[name] in words for name, words in fixed.items() if name in data)


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
    for choice in _choices(annotations):
        if containers if typing.get_origin(choice) else _is_model(choice):
            yield choice


def _choices(annotations: Iterable[Any]) -> Iterator[Any]:
    """Yield each annotation, and of a union those that it is of."""
    for annotation in annotations:
        if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
            yield from _choices(typing.get_args(annotation))
        else:
            yield annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
