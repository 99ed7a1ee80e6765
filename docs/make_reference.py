#!/usr/bin/env python3
"""Write `reference/kinds.md` from the settings models of every kind and check that is installed.

    python docs/make_reference.py

Ports are read off the federates of the shipped scenarios and the starter project, as they stand when wired.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from derloop import plugins
from derloop.contract import Interface, Port
from derloop.errors import ScenarioError
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load
from derloop.scenario.models import ScenarioFile
from derloop.starter import write_starter

DOCS = Path(__file__).parent
TARGET = DOCS / "reference" / "kinds.md"
Spec = Mapping[str, Any]

UNITS = {
    **{"_kw": "kW", "_kvar": "kvar", "_kva": "kVA", "_kwh": "kWh", "_pu": "pu", "_s": "s", "_m": "m", "_c": "°C"},
    **{"_h": "h", "_l": "l", "_mw": "MW", "_k": "K", "_kw_per_k": "kW/K", "_kwh_per_k": "kWh/K", "_k_per_kw": "K/kW"},
    **{"_l_per_min": "l/min", "_per_h": "1/h", "_per_s": "1/s", "_pu_per_h": "pu/h", "_pu_per_min": "pu/min"},
    **{"_deg": "°", "_hz": "Hz", "_wm2": "W/m2", "_per_k": "1/K", "_m_per_s": "m/s", "_ns": "ns"},
    **{"_w_per_m2_k": "W/(m2 K)", "_w_s_per_m3_k": "W s/(m3 K)"},
}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
HEAD = """\
# Kinds, checks and settings

Written by `docs/make_reference.py` from the settings models: what is here is what the loader takes. Unknown settings
are refused. `derloop kinds` lists what is installed where you are, other packages' kinds included.
"""


class Example(NamedTuple):
    """A federate of a kind as it stands in a scenario."""

    scenario: str
    federate: str
    interface: Interface


def main() -> int:
    """Write the page; 0 when it is there."""
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text("\n".join(page()) + "\n", encoding="utf-8")
    sys.stdout.write(f"{TARGET.relative_to(DOCS.parent)}: {len(TARGET.read_text('utf-8').splitlines())} lines\n")
    return 0


def page() -> Iterator[str]:
    """Yield the lines of the page."""
    parts: dict[str, Spec] = {}
    yield HEAD
    yield "## The scenario itself\n"
    yield from _settings(ScenarioFile.model_json_schema(by_alias=True), parts)
    examples = dict(_examples())
    for name in plugins.names(plugins.KINDS):
        yield from _kind(name, examples.get(name), parts)
    for name in plugins.names(plugins.CHECKS):
        yield from _check(name, parts)
    yield "## Realisations\n"
    ways = ", ".join(f"`{way}`" for way in ("model", *plugins.names(plugins.REALISATIONS)))
    yield f"What `via` can be for a kind that is a DER: {ways}.\n"
    yield "## Parts of settings\n"
    done: set[str] = set()
    while left := sorted(parts.keys() - done):
        for title in left:
            done.add(title)
            yield f"### {title}\n"
            yield from _described(parts[title])
            yield from _settings(parts[title], parts)


def _kind(name: str, example: Example | None, parts: dict[str, Spec]) -> Iterator[str]:
    kind = plugins.kind(name)
    yield f"## `{name}`\n"
    yield _sentence(kind.summary) + ("\n" if not kind.is_der else " A DER: `via` says how it is realised.\n")
    yield f"### Settings of `{name}`\n"
    yield from _settings(kind.settings.model_json_schema(by_alias=True), parts)
    yield f"### Ports of `{name}`\n"
    yield from _ports(example)
    if text := sys.modules[kind.settings.__module__].__doc__:
        yield f"### How `{name}` works\n"
        yield cleandoc(text) + "\n"
        yield from _named_in(text, set())


def _named_in(text: str, done: set[str]) -> Iterator[str]:
    """Yield what the modules say that a text names, and those that these name."""
    for name in re.findall(r"`((?:federates|hil)(?:\.[a-z_]+)+)`", text):
        said = getattr(sys.modules.get(name), "__doc__", None)
        if said and name not in done:
            done.add(name)
            yield f"#### `{name}`\n"
            yield cleandoc(said) + "\n"
            yield from _named_in(said, done)


def _check(name: str, parts: dict[str, Spec]) -> Iterator[str]:
    kind = plugins.check_kind(name)
    yield f"## Check `{name}`\n"
    yield _sentence(kind.summary) + "\n"
    yield from _settings(kind.settings.model_json_schema(by_alias=True), parts)


def _examples() -> Iterator[tuple[str, Example]]:
    """Yield an example of each kind, the starter project's first; what a scenario cannot show is left out."""
    seen: set[str] = set()
    with TemporaryDirectory() as scratch:
        starter = Path(scratch) / "starter"
        write_starter(starter)
        for path in (starter / "scenario.json", *sorted((DOCS.parent / "scenarios").glob("*.json"))):
            for kind, example in _of(path):
                if kind not in seen:
                    seen.add(kind)
                    yield kind, example


def _of(path: Path) -> Iterator[tuple[str, Example]]:
    try:
        scenario = load(path)
        federation = assemble(scenario)
    except ScenarioError:
        return  # no scenario (a schema lies there too), or one of another installation
    shown = "the starter project" if path.name == "scenario.json" else f"`{path.name}`"
    for name, entry in scenario.federates.items():
        yield entry.kind.name, Example(shown, name, federation.interfaces[name])


def _ports(example: Example | None) -> Iterator[str]:
    if example is None:
        yield "No shipped scenario has one.\n"
        return
    yield f"As `{example.federate}` in {example.scenario}:\n"
    yield "| port | | unit | elements | sees |"
    yield "|---|---|---|---|---|"
    for name, port in example.interface.inputs.items():
        sees = {"now": "this instant", "before": "the last instant", "coupled": "what `coupling` says"}[port.arrival]
        yield _row(f"`{name}`", "in", port.unit, _elements(port), sees)
    for name, port in example.interface.outputs.items():
        yield _row(f"`{name}`", "out", port.unit, _elements(port), "")
    yield ""


def _elements(port: Port) -> str:
    few = ", ".join(f"`{label}`" for label in port.labels[:3])
    return f"{port.size}: {few}" + (" …" if port.size > 3 else "")


# --- settings ----------------------------------------------------------------------------------------


def _settings(schema: Spec, parts: dict[str, Spec]) -> Iterator[str]:
    """Yield the table of a settings model, and add the models that it refers to."""
    parts |= schema.get("$defs", {})
    required = schema.get("required", [])
    if not schema.get("properties"):
        return
    yield "| setting | type | unit | range | default | what |"
    yield "|---|---|---|---|---|---|"
    for name, spec in schema["properties"].items():
        default = "**required**" if name in required else _default(spec.get("default"))
        what = _cell(spec.get("description", "")) + _example(spec)
        yield _row(f"`{name}`", _type(spec), _unit(name), _range(spec), default, what)
    yield ""


def _described(spec: Spec) -> Iterator[str]:
    if spec.get("description"):
        yield _cell(spec["description"]) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."


def _cell(text: str) -> str:
    """Return text for a cell of a table; what stands in backticks stays as it is."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


def _default(value: object) -> str:
    if value is None:
        return "none"
    return "see there" if isinstance(value, dict) else f"`{_json(value)}`"


def _example(spec: Spec) -> str:
    given = [_json(value) for value in spec.get("examples", ())]
    return f" Such as `{'`, `'.join(given)}`." if given else ""


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("|", "\\|")


def _unit(name: str) -> str:
    fitting = [suffix for suffix in UNITS if name.endswith(suffix)]
    return UNITS[max(fitting, key=len)] if fitting else ""


def _type(spec: Spec) -> str:
    if "enum" in spec:
        return " or ".join(f"`{value}`" for value in spec["enum"])
    if "const" in spec:
        return f"`{spec['const']}`"
    if "$ref" in spec:
        title = str(spec["$ref"]).rsplit("/", 1)[-1]
        return f"[{title}](#{title.lower()})"
    for union in ("anyOf", "oneOf"):
        if union in spec:
            return " or ".join(dict.fromkeys(t for branch in spec[union] if (t := _type(branch)) != "null"))
    if spec.get("type") == "array":
        return _array(spec)
    return str(spec.get("type", "object"))


def _array(spec: Spec) -> str:
    items = spec.get("prefixItems") or [spec.get("items", {})]
    if "prefixItems" in spec or spec.get("minItems") == spec.get("maxItems") == 2:
        return "[" + ", ".join(_type(item) for item in (items if len(items) > 1 else items * 2)) + "]"
    return f"list of {_type(items[0])}"


def _range(spec: Spec) -> str:
    found = [f"{sign}\N{NO-BREAK SPACE}{spec[key]:g}" for key, sign in BOUNDS.items() if key in spec]
    found += [f"{spec[key]} {word}" for key, word in (("minItems", "or more"),) if spec.get(key, 0) > 1]
    found += [f"at most {spec[key]}" for key in ("maxItems",) if key in spec]
    if not found:
        inner = [*spec.get("anyOf", ()), *spec.get("oneOf", ()), *spec.get("prefixItems", ())[:1]]
        inner += [spec["items"]] if isinstance(spec.get("items"), dict) else []
        return next((text for branch in inner if (text := _range(branch))), "")
    return ", ".join(found)


if __name__ == "__main__":
    sys.exit(main())
