"""Which texts of a scenario name files: those whose settings are of a type that says so (`derloop.kind.Names`).

A kind of another package whose settings mark none says nothing of it: any of their texts may name a file, as may what
stands after the colon of a realisation that is not marked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, get_args

from pydantic import BaseModel, ValidationError

from derloop import plugins
from derloop.errors import PluginError
from derloop.kind import Names, names_no_file
from derloop.verdict import Composition

Name: TypeAlias = tuple[Names | None, str]
"""A text that names a file, and as what; None: it may name one."""
CHECK_OURS = ("kind", "name")
NO_FILES = ("kind", "$schema")
"""What names no file that a run reads: editors read the schema."""


def names(scenario: Mapping[str, Any]) -> Iterator[Name]:
    """Yield every text that names a file, or may, of a scenario's document as it stands after overrides."""
    for entry in scenario.get("federates", {}).values():
        yield from _of_federate(entry)
    for entry in scenario.get("checks", ()):
        yield from _of_check(entry)


def _of_federate(entry: Mapping[str, Any]) -> Iterator[Name]:
    try:
        kind = plugins.kind(entry["kind"])
    except PluginError:
        yield from guessed(entry)
        return
    ours = ("kind", *("via",) * kind.is_der, *("feeder",) * kind.meets_feeder)
    yield from _of_settings(kind.settings, entry, ours, plugins.is_own(plugins.KINDS, kind.name))
    if kind.is_der:
        yield from _of_realisation(*entry.get("via", "model").partition(":")[::2])


def _of_realisation(name: str, argument: str) -> Iterator[Name]:
    """Yield what stands after the colon of `via`, unless that is said to name no file."""
    if argument and not getattr(plugins.realisation(name), names_no_file.__name__, False):
        yield None, argument


def _of_check(entry: Mapping[str, Any]) -> Iterator[Name]:
    try:
        kind = plugins.check_kind(entry["kind"])
    except PluginError:
        yield from guessed(entry)
        return
    yield from _of_settings(kind.settings, entry, CHECK_OURS, plugins.is_own(plugins.CHECKS, kind.name))
    for part in entry["of"] if isinstance(kind, Composition) else ():
        yield from _of_check(part)


def _of_settings(
    model: type[BaseModel], entry: Mapping[str, Any], ours: Collection[str], is_own: bool
) -> Iterator[Name]:
    given = {key: value for key, value in entry.items() if key not in ours}
    if not is_own and not _marks(model):
        yield from guessed(given)
    try:
        yield from marked(model.model_validate(given))
    except ValidationError:  # of a run of another version of derloop, or of the plug-in
        yield from guessed(given)


def marked(settings: BaseModel) -> Iterator[Name]:
    """Yield the texts of settings that name files, as their types say, also within other settings."""
    marks = _marks(type(settings))
    for field in type(settings).model_fields:
        yield from _within(getattr(settings, field), marks.get(field))


def _within(value: object, mark: Names | None) -> Iterator[Name]:
    if isinstance(value, BaseModel):
        yield from marked(value)
    elif isinstance(value, str | Path):
        yield from [(mark, str(value))] if mark else ()
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _within(inner, mark)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _within(inner, mark)


@cache
def _marks(model: type[BaseModel]) -> Mapping[str, Names]:
    """Return as what the fields of a model name files; of models within it, their own say that."""
    marks = {name: _mark((info.annotation, *info.metadata)) for name, info in model.model_fields.items()}
    return {name: mark for name, mark in marks.items() if mark}


def _mark(hints: Iterable[Any]) -> Names | None:
    """Return the mark among type hints and their parts, `tuple[FileName, ...]`, `FileName | None`."""
    for hint in hints:
        if isinstance(hint, Names):
            return hint
        if mark := _mark(get_args(hint)):
            return mark
    return None


def guessed(document: object) -> Iterator[Name]:
    """Yield every text of a document that is a value, and what stands there after a colon (`replay:frames`)."""
    for text in _texts(document):
        yield None, text
        yield None, text.partition(":")[2]


def _texts(value: object) -> Iterator[str]:
    """Yield every text that is a value and may name a file: none is named by what is of a `kind`, or for editors."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from () if key in NO_FILES else _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
