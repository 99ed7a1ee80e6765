"""The settings of a kind as rows of text, from its JSON Schema: what they are called, and what they may be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from derloop.kind import Settings

Spec = Mapping[str, Any]
Row = tuple[str, str, str, str, str]
"""Setting, type, default, range, description."""
DEEPEST = 5
"""Levels of objects within objects that are shown."""
TYPES = {"boolean": "true | false", "integer": "whole number"}


def settings_rows(settings: type[Settings]) -> Iterator[Row]:
    """Yield a row for each setting, also of the objects within: `at[].bus`."""
    schema = settings.model_json_schema(by_alias=True)
    yield from _rows_of(schema, schema.get("$defs", {}), "")


def _rows_of(schema: Spec, definitions: Spec, prefix: str) -> Iterator[Row]:
    for name, spec in schema.get("properties", {}).items():
        default = "required" if name in schema.get("required", ()) else _plain(spec.get("default"))
        yield prefix + name, _type_of(spec, definitions), default, _range_of(spec), spec.get("description", "")
        for suffix, inner in _within(spec, definitions) if prefix.count(".") < DEEPEST else ():
            yield from _rows_of(inner, definitions, f"{prefix}{name}{suffix}.")


def _within(spec: Spec, definitions: Spec) -> Iterator[tuple[str, Spec]]:
    """Yield the objects that may stand in a setting, each with [] for a list of them."""
    if "$ref" in spec:
        yield "", definitions[spec["$ref"].rsplit("/", 1)[-1]]
    for branch in _branches(spec):
        yield from _within(branch, definitions)
    if isinstance(spec.get("items"), dict):
        yield from (("[]" + suffix, inner) for suffix, inner in _within(spec["items"], definitions))


def _branches(spec: Spec) -> list[Spec]:
    return [*spec.get("anyOf", ()), *spec.get("oneOf", ()), *spec.get("allOf", ())]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "as below"
    return "none" if value is None else str(value) if isinstance(value, str) else json.dumps(value)


def _type_of(spec: Spec, definitions: Spec) -> str:
    if "enum" in spec:
        return " | ".join(map(str, spec["enum"]))
    if "const" in spec:
        return str(spec["const"])
    if branches := _branches(spec):
        types = dict.fromkeys(_type_of(branch, definitions) for branch in branches)
        return " | ".join(t for t in types if t != "null")
    if "$ref" in spec:
        return _type_of(definitions[spec["$ref"].rsplit("/", 1)[-1]], definitions)
    if spec.get("type") == "array":
        return _list_of(spec, definitions)
    return TYPES.get(str(spec.get("type")), str(spec.get("type", "any")))


def _list_of(spec: Spec, definitions: Spec) -> str:
    if "prefixItems" in spec:
        return f"[{', '.join(_type_of(item, definitions) for item in spec['prefixItems'])}]"
    one = _type_of(spec.get("items") or {}, definitions)
    if spec.get("maxItems") == spec.get("minItems") == 2:
        return f"[{one}, {one}]"
    return f"[{one}, ...]"


def _range_of(spec: Spec) -> str:
    """Return the range of a number, or of the numbers of a list; empty where there is none."""
    words = {"minimum": ">= ", "exclusiveMinimum": "> ", "maximum": "<= ", "exclusiveMaximum": "< "}
    if found := [f"{sign}{spec[key]:g}" for key, sign in words.items() if key in spec]:
        return ", ".join(found)
    if found := [text for branch in _branches(spec) if (text := _range_of(branch))]:
        return found[0]
    items = [spec["items"]] if isinstance(spec.get("items"), dict) else spec.get("prefixItems", ())
    of_items = {_range_of(item) for item in items}
    return of_items.pop() if len(of_items) == 1 else ""
