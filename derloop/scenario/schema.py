"""The JSON Schema of scenarios, for completion and checks in editors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from derloop import plugins
from derloop.errors import PluginError
from derloop.kind import Settings
from derloop.scenario.models import ScenarioFile
from derloop.texts import SHORT_NAME
from derloop.verdict import Composition

DIALECT = "https://json-schema.org/draft/2020-12/schema"
A_CHECK = {"$ref": "#/$defs/check"}


def scenario_schema() -> dict[str, Any]:
    """Return the schema with the settings of every kind that is installed."""
    schema = ScenarioFile.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    federates = [_federate(name, definitions) for name in plugins.names(plugins.KINDS)]
    checks = [_check(name, definitions) for name in plugins.names(plugins.CHECKS)]
    properties = schema["properties"]
    properties["federates"] |= {
        "propertyNames": {"pattern": SHORT_NAME.pattern},
        "additionalProperties": _by_kind(federates),
        "description": "Who takes part, by name. A port called <federate>.<port> is wired to that federate's port.",
    }
    definitions["check"] = _by_kind(checks)
    properties["checks"] |= {"items": A_CHECK, "description": "What must hold."}
    return {"$schema": DIALECT, **schema, "title": "derloop scenario"}


def _by_kind(branches: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "object", "required": ["kind"], "oneOf": list(branches)}


def _federate(name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    try:
        kind = plugins.kind(name)
    except PluginError as error:
        return _broken(name, error)
    extra: dict[str, Any] = {"kind": {"const": name, "description": kind.summary}}
    if kind.is_der:
        ways = ", ".join(plugins.names(plugins.REALISATIONS))
        extra["via"] = {
            "type": "string",
            "default": "model",
            "description": f"How the devices are realised: model, {ways}.",
        }
    if kind.meets_feeder:
        extra["feeder"] = {
            "type": "string",
            "description": "The feeder at which the devices stand, where the scenario has several.",
        }
    return _branch(kind.settings, extra, definitions)


def _check(name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    try:
        kind = plugins.check_kind(name)
    except PluginError as error:
        return _broken(name, error)
    extra = {
        "kind": {"const": name, "description": kind.summary},
        "name": {"type": "string", "description": "What the verdict is called; the kind's name without it."},
    }
    branch = _branch(kind.settings, extra, definitions)
    if isinstance(kind, Composition):
        branch["properties"]["of"]["items"] = A_CHECK
    return branch


def _broken(name: str, error: PluginError) -> dict[str, Any]:
    """Return a branch that takes any settings: those of the other kinds are not to be lost with this one's."""
    return {"type": "object", "properties": {"kind": {"const": name, "description": str(error)}}}


def _branch(settings: type[Settings], extra: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    schema = settings.model_json_schema(by_alias=True)
    definitions |= schema.pop("$defs", {})
    schema["properties"] = {**extra, **schema.get("properties", {})}
    schema["required"] = ["kind", *schema.get("required", [])]
    return schema
