"""Reading JSON as strictly as a file needs it that people write: scenarios, bench files, register maps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from derloop.errors import Problem, ScenarioError

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 40
MAX_ELEMENTS = 100_000
"""Of one list or object."""
MAX_KEY, MAX_TEXT = 200, 100_000
"""Characters of a key, and of any other text."""
MAX_SHOWN = 60
NOT_FINITE, NO_TEXT = "must be a finite number", "holds half a surrogate pair, which is no character"
BLEMISHES = (NOT_FINITE, NO_TEXT)
"""Where one of these is said of a value, nothing else needs to be said of it."""

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
    """Return the JSON object in `path`, small enough to be looked at; raise ScenarioError where there is none.

    What is wrong with single values is left to `blemishes`, so that it does not hide what else is wrong.
    """
    return parse(_text(path), str(path))


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise ScenarioError([Problem("", "is a folder" if path.is_dir() else "is no regular file")], str(path))
        if path.stat().st_size > MAX_BYTES:
            raise ScenarioError([Problem("", f"is larger than {MAX_BYTES // 2**20} MiB")], str(path))
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ScenarioError([Problem("", f"cannot be read: {error.strerror or error}")], str(path)) from error
    except UnicodeDecodeError as error:
        raise ScenarioError([Problem("", f"is not UTF-8 text: {error}")], str(path)) from error
    except ValueError as error:  # a null character in the path
        raise ScenarioError([Problem("", f"cannot be read: {error}")], repr(str(path))) from error


def parse(text: str, source: str = "scenario") -> dict[str, Any]:
    """Return the JSON object in `text`; raise ScenarioError where there is none, or an absurd one."""
    data = decoded(text, source)
    if not isinstance(data, dict):
        raise ScenarioError([Problem("", f"must be an object, not {named(data)}")], source)
    if problems := list(absurd(data, ())):
        raise ScenarioError(problems, source)
    return data


def decoded(text: str, source: str) -> Any:
    """Return the JSON value in `text`; raise ScenarioError where there is none."""
    hooks: dict[str, Any] = {"object_pairs_hook": _object, "parse_constant": _NotFinite}
    try:
        return json.loads(text, parse_float=_float, parse_int=_int, **hooks)
    except json.JSONDecodeError as error:
        what = f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}" if text.strip() else "is empty"
        raise ScenarioError([Problem("", what)], source) from error
    except RecursionError as error:
        raise ScenarioError([Problem("", f"nested deeper than {MAX_DEPTH} levels")], source) from error


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        made.repeated = tuple(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
    return made


def _float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _NotFinite(value)


def _int(text: str) -> int | float:
    return int(text) if math.isfinite(float(text)) else _NotFinite("inf")


def absurd(data: Any, path: Path_) -> Iterator[Problem]:
    """Yield what is too deep, too many or too long to be looked at any further."""
    if len(path) > MAX_DEPTH:
        yield Problem(pointer(path[:8]) + "/...", f"nested deeper than {MAX_DEPTH} levels")
    elif isinstance(data, str) and len(data) > MAX_TEXT:
        yield Problem(pointer(path), f"has {len(data)} characters, more than {MAX_TEXT}")
    elif isinstance(data, dict | list) and len(data) > MAX_ELEMENTS:
        yield Problem(pointer(path), f"has {len(data)} elements, more than {MAX_ELEMENTS}")
    elif isinstance(data, dict) and (long := max(map(len, data), default=0)) > MAX_KEY:
        yield Problem(pointer(path), f"has a key of {long} characters, more than {MAX_KEY}")
    else:
        for key, value in _below(data):
            yield from absurd(value, (*path, key))


def _below(data: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(data, dict):
        return data.items()
    return enumerate(data) if isinstance(data, list) else ()


def blemishes(data: Any, path: Path_ = ()) -> Iterator[Problem]:
    """Yield every key that stands twice, number that is not finite, and text that is none."""
    if isinstance(data, _NotFinite):
        yield Problem(pointer(path), NOT_FINITE)
    elif isinstance(data, str) and not _is_text(data):
        yield Problem(pointer(path), NO_TEXT)
    elif isinstance(data, dict):
        for key in dict.fromkeys(getattr(data, "repeated", ())):
            yield Problem(pointer((*path, key)), f"the key {key!r} stands more than once")
        for key in data:
            if not _is_text(key):
                yield Problem(pointer(path), f"the key {key!r} holds half a surrogate pair, which is no character")
    for key, value in _below(data):
        yield from blemishes(value, (*path, key))


def readable(data: Any) -> Any:
    """Return `data` without the keys that are no text: they have been told of, and pydantic would see nothing else."""
    if isinstance(data, dict):
        return {key: readable(value) for key, value in data.items() if _is_text(key)}
    return [readable(value) for value in data] if isinstance(data, list) else data


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def named(value: object) -> str:
    """Return what a JSON value is, in a word."""
    if isinstance(value, dict):
        return "an object"
    names = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def shown(value: object) -> str:
    """Return a JSON value for a message, short and on one line."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = named(value) if isinstance(value, dict | list) else repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
