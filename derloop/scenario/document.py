"""Reading JSON as strictly as a scenario needs it, and changing it from the command line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from derloop.errors import Problem, ScenarioError, did_you_mean

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 40
MAX_LISTED = 50

Path_ = tuple[str | int, ...]


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its keys stood twice."""

    repeated: tuple[str, ...] = ()


class _NotFinite(float):
    """NaN, Infinity, or a number that overflows."""


def pointer(path: Sequence[str | int]) -> str:
    """Return `path` as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def read(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`; raise ScenarioError with every problem found."""
    return parse(_text(path), str(path))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ScenarioError([Problem("", f"larger than {MAX_BYTES // 2**20} MiB")], str(path))
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ScenarioError([Problem("", f"cannot be read: {error.strerror or error}")], str(path)) from error
    except (UnicodeDecodeError, ValueError) as error:
        raise ScenarioError([Problem("", f"is not UTF-8 text: {error}")], str(path)) from error


def parse(text: str, source: str = "scenario") -> dict[str, Any]:
    """Return the JSON object in `text`. Refuses repeated keys, NaN, Infinity, overflow and absurd depth."""
    try:
        data = json.loads(text, object_pairs_hook=_object, parse_constant=_NotFinite, parse_float=_float)
    except json.JSONDecodeError as error:
        what = f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise ScenarioError([Problem("", what)], source) from error
    except RecursionError as error:
        raise ScenarioError([Problem("", f"nested deeper than {MAX_DEPTH} levels")], source) from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise ScenarioError([Problem("", f"not JSON: {error}")], source) from error
    if not isinstance(data, dict):
        raise ScenarioError([Problem("", f"must be an object, not {_named(data)}")], source)
    if problems := list(_document_problems(data, ())):
        raise ScenarioError(problems[:MAX_LISTED], source)
    return data


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        made.repeated = tuple(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
    return made


def _float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _NotFinite(value)


def _document_problems(data: Any, path: Path_) -> Iterator[Problem]:
    if len(path) > MAX_DEPTH:
        yield Problem(pointer(path[:8]) + "/...", f"nested deeper than {MAX_DEPTH} levels")
        return
    if isinstance(data, _NotFinite):
        yield Problem(pointer(path), "must be a finite number")
    elif isinstance(data, _Object):
        for key in dict.fromkeys(data.repeated):
            yield Problem(pointer((*path, key)), f"the key {key!r} stands more than once")
        for key, value in data.items():
            yield from _document_problems(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _document_problems(value, (*path, index))
    elif isinstance(data, str) and not _is_text(data):
        yield Problem(pointer(path), "holds half a surrogate pair, which is no character")


def _is_text(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _named(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def override(data: dict[str, Any], settings: Sequence[str], source: str) -> None:
    """Apply `path=value` settings in place: a dotted path from the top, a JSON value (else taken as a string)."""
    problems = [p for setting in settings if (p := _override_one(data, setting))]
    if problems:
        raise ScenarioError(problems, source)


def _override_one(data: dict[str, Any], setting: str) -> Problem | None:
    dotted, equals, text = setting.partition("=")
    if not equals or not dotted:
        return Problem("", f"--set {setting}: must be path=value, as in --set federates.battery.energy_kwh=13.5")
    parts = dotted.strip("/").split("/") if dotted.startswith("/") else dotted.split(".")
    return _assign(data, parts, _value(text), setting)


def _value(text: str) -> Any:
    try:
        return parse('{"value":' + text + "}")["value"]
    except ScenarioError:
        return text


def _assign(data: Any, parts: list[str], value: Any, setting: str) -> Problem | None:
    at = data
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(at, list):
            if not part.isdigit() or int(part) >= len(at):
                return Problem(pointer(parts[:depth]), f"--set {setting}: {part!r} is no index of {len(at)} elements")
            key: str | int = int(part)
        elif isinstance(at, dict):
            if part not in at and not last:
                return Problem(pointer(parts[:depth]), f"--set {setting}: no {part!r}" + did_you_mean(part, [*at]))
            key = part
        else:
            return Problem(pointer(parts[:depth]), f"--set {setting}: {_named(at)} has no {part!r}")
        if last:
            at[key] = value
        else:
            at = at[key]
    return None
