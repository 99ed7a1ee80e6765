"""Changing a scenario from the command line: --set path=value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from derloop import document
from derloop.errors import Problem, ScenarioError, did_you_mean

DEFAULTED = ("coupling", "deadlines", "pacing")
"""Sections that a scenario may leave out, and whose settings can be set all the same."""


def override(data: dict[str, Any], settings: Sequence[str]) -> list[Problem]:
    """Apply `path=value` settings in place and return what is wrong with them.

    The path is dotted from the top, or a JSON pointer; the value is JSON, and anything else is taken as a string. A
    federate that is set to null is taken out.
    """
    return [problem for setting in settings if (problem := _override_one(data, setting))]


def _override_one(data: dict[str, Any], setting: str) -> Problem | None:
    path, equals, text = setting.partition("=")
    if not equals or not path.strip("./"):
        what = f"--set {document.shown(setting)}: must be path=value, as in --set federates.battery.energy_kwh=13.5"
        return Problem("", what)
    try:
        parts, value = parts_of(path), _value(text)
        if value is None and len(parts) == 2 and parts[0] == "federates":
            return _take_out(data.get("federates"), parts[1], path)
        return _assign(data, parts, value, path)
    except ScenarioError as error:
        return Problem(error.problems[0].pointer, f"--set {path}: {error.problems[0].what}")


def parts_of(path: str) -> list[str]:
    """Return the way from the top along which a path leads, dotted or a JSON pointer."""
    if not path.startswith("/"):
        return path.split(".")
    return [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]


def _value(text: str) -> Any:
    try:
        value = document.decoded(text, "")
    except ScenarioError:
        return text
    if problems := list(document.absurd(value, ())):
        raise ScenarioError(problems)
    return value


def _take_out(federates: Any, name: str, path: str) -> Problem | None:
    if isinstance(federates, dict) and name in federates:
        del federates[name]
        return None
    possible = [*federates] if isinstance(federates, dict) else []
    return Problem("/federates", f"--set {path}: no federate {name!r}" + did_you_mean(name, possible))


def _assign(data: Any, parts: list[str], value: Any, path: str) -> Problem | None:
    at = data
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        key: str | int = part
        if isinstance(at, list):
            if not (part.isascii() and part.isdigit() and len(part) < 10 and int(part) < len(at)):
                what = f"--set {path}: {part!r} is no index of a list of {len(at)}"
                return Problem(document.pointer(parts[:depth]), what)
            key = int(part)
        elif not isinstance(at, dict):
            return Problem(document.pointer(parts[:depth]), f"--set {path}: {document.named(at)} has no {part!r}")
        elif part not in at and not last:
            if depth or part not in DEFAULTED:
                possible = [*at, *(() if depth else DEFAULTED)]
                return Problem(
                    document.pointer(parts[:depth]), f"--set {path}: no {part!r}" + did_you_mean(part, possible)
                )
            at[part] = {}
        if last:
            at[key] = value
        else:
            at = at[key]
    return None
