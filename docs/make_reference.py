#!/usr/bin/env python3
"""Write the reference from what is installed: a page for each kind, the checks, and the settings that are shared.

    python docs/make_reference.py

Ports and balances are read off the federates of the shipped scenarios, as they stand when wired.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from pathlib import Path
from typing import Any, NamedTuple

from derloop import plugins
from derloop.contract import Balance, Interface, Port
from derloop.errors import ScenarioError
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load
from derloop.scenario.models import ScenarioFile

DOCS = Path(__file__).parent
SCENARIOS = DOCS.parent / "scenarios"
REFERENCE = DOCS / "reference"
KINDS, CHECKS, SETTINGS = REFERENCE / "kinds", REFERENCE / "checks.md", REFERENCE / "settings.md"
Spec = Mapping[str, Any]

UNITS = {
    **{"_kw": "kW", "_kvar": "kvar", "_kva": "kVA", "_kwh": "kWh", "_pu": "pu", "_s": "s", "_m": "m", "_c": "°C"},
    **{"_h": "h", "_l": "l", "_mw": "MW", "_k": "K", "_kw_per_k": "kW/K", "_kwh_per_k": "kWh/K", "_k_per_kw": "K/kW"},
    **{"_l_per_min": "l/min", "_per_h": "1/h", "_per_s": "1/s", "_pu_per_h": "pu/h", "_pu_per_min": "pu/min"},
    **{"_deg": "°", "_hz": "Hz", "_wm2": "W/m2", "_per_k": "1/K", "_m_per_s": "m/s", "_ns": "ns"},
    **{"_w_per_m2_k": "W/(m2 K)", "_w_s_per_m3_k": "W s/(m3 K)"},
}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
KINDS_HEAD = """\
# Kinds of federate

Each has a page: what it computes and by which source, its settings, its ports, what it conserves, and a scenario that
shows it. `derloop kinds` lists what is installed where you are, other packages' kinds included. What is here is written
from the code, so it is what the loader takes; settings that are not here are refused.
"""
SETTINGS_HEAD = """\
# Settings that are shared

The scenario's own settings, and the parts that several kinds have in common. Those of one kind are on
[its page](kinds/index.md), those of checks [on theirs](checks.md).
"""
CHECKS_HEAD = """\
# Checks

What a scenario can ask for in its `checks`. Besides these every run is judged by its
[balances](../concepts.md#nothing-is-made-nothing-is-lost).
"""


class Example(NamedTuple):
    """A federate of a kind as it stands in a shipped scenario."""

    path: Path
    federate: str
    interface: Interface
    entry: Mapping[str, Any]
    """As the scenario's author wrote it."""


def main() -> int:
    """Write the pages; 0 when they are there."""
    KINDS.mkdir(parents=True, exist_ok=True)
    for stale in KINDS.glob("*.md"):
        stale.unlink()
    names, examples = plugins.names(plugins.KINDS), dict(_examples())
    shared = _shared([*map(_schema_of_kind, names), ScenarioFile.model_json_schema(by_alias=True)])
    _write(KINDS / "index.md", _index(names, examples))
    for name in names:
        _write(KINDS / f"{name}.md", _kind(name, examples.get(name), shared))
    _write(CHECKS, _checks())
    _write(SETTINGS, _shared_settings(shared))
    sys.stdout.write(f"{KINDS.relative_to(DOCS.parent)}: {len(names)} kinds; checks.md, settings.md\n")
    return 0


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _schema_of_kind(name: str) -> Spec:
    return plugins.kind(name).settings.model_json_schema(by_alias=True)


def _shared(schemas: Iterable[Spec]) -> dict[str, Spec]:
    """Return the parts of settings that more than one of `schemas` refers to, by name."""
    found = [(title, json.dumps(part)) for schema in schemas for title, part in schema.get("$defs", {}).items()]
    return {title: json.loads(part) for (title, part), count in sorted(Counter(found).items()) if count > 1}


# --- pages -------------------------------------------------------------------------------------------


def _index(names: Iterable[str], examples: Mapping[str, Example]) -> Iterator[str]:
    yield KINDS_HEAD
    yield "| kind | what | `via` | a scenario that shows it |"
    yield "|---|---|---|---|"
    for name in names:
        kind, example = plugins.kind(name), examples.get(name)
        via = ", ".join(f"`{way}`" for way in _ways()) if kind.is_der else ""
        shown = f"`{example.path.name}`" if example else ""
        yield _row(f"[{name}]({name}.md)", _cell(_sentence(kind.summary)), via, shown)
    yield "\n`via` says how a DER is realised: [](../../concepts.md#one-device-three-ways).\n"
    yield "\n".join(["```{toctree}", ":hidden:", ":maxdepth: 1", "", *names, "```"])


def _ways() -> tuple[str, ...]:
    return ("model", *plugins.names(plugins.REALISATIONS))


def _kind(name: str, example: Example | None, shared: Mapping[str, Spec]) -> Iterator[str]:
    kind = plugins.kind(name)
    yield f"# {name}\n"
    title, _, body = cleandoc(sys.modules[kind.settings.__module__].__doc__ or kind.summary).partition("\n")
    yield _sentence(re.sub(r"^Kind `[^`]*`: (.)", lambda found: found[1].upper(), title)) + "\n"
    if kind.is_der:
        yield f"A DER: its `via` is one of {', '.join(f'`{way}`' for way in _ways())}.\n"
    if body.strip():
        yield "## How it works\n"
        yield body.strip() + "\n"
        yield from _named_in(body, set())
    if example:
        yield from _shown(example)
    schema = _schema_of_kind(name)
    own = {title: part for title, part in schema.get("$defs", {}).items() if shared.get(title) != part}
    yield "## Settings\n"
    yield from _settings(schema, own)
    if example:
        yield "## Inputs and outputs\n"
        yield f"As `{example.federate}` in `{example.path.name}`; which there are can depend on the settings.\n"
        yield from _ports(example)
        yield "## What it conserves\n"
        yield from _conserved(example)
    if own:
        yield "## Parts of its settings\n"
        yield from _parts(own, own)


def _named_in(text: str, done: set[str]) -> Iterator[str]:
    """Yield what the modules say that a text names, and those that these name."""
    for name in re.findall(r"`((?:federates|hil)(?:\.[a-z_]+)+)`", text):
        said = getattr(sys.modules.get(name), "__doc__", None)
        if said and name not in done:
            done.add(name)
            yield f"### `{name}`\n"
            yield cleandoc(said) + "\n"
            yield from _named_in(said, done)


def _shown(example: Example) -> Iterator[str]:
    yield "## A scenario that shows it\n"
    shipped = f"{{download}}`{example.path.name} <../../../scenarios/{example.path.name}>`"
    yield f"In {shipped}, which runs with `derloop run scenarios/{example.path.name}`:\n"
    yield f"```json\n{_laid_out({example.federate: example.entry})}\n```\n"


def _laid_out(value: Any, indent: str = "", most: int = 96) -> str:
    """Return JSON, on one line where that is short."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= most and not (isinstance(value, dict) and not indent):
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        rows = [f"{inner}{json.dumps(key)}: {_laid_out(part, inner, most)}" for key, part in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + _laid_out(part, inner, most) for part in value) + f"\n{indent}]"
    return flat


def _checks() -> Iterator[str]:
    yield CHECKS_HEAD
    said: set[str] = set()
    for name in plugins.names(plugins.CHECKS):
        kind = plugins.check_kind(name)
        schema = kind.settings.model_json_schema(by_alias=True)
        yield f"## {name}\n"
        yield _sentence(kind.summary) + "\n"
        body = cleandoc(sys.modules[kind.settings.__module__].__doc__ or "").partition("\n")[2].strip()
        if body and body not in said:  # of several that are one, the first has it
            said.add(body)
            yield body + "\n"
        yield from _settings(schema, schema.get("$defs", {}))
        yield from _parts(schema.get("$defs", {}), schema.get("$defs", {}))


def _shared_settings(shared: Mapping[str, Spec]) -> Iterator[str]:
    scenario = ScenarioFile.model_json_schema(by_alias=True)
    here = {**shared, **scenario.get("$defs", {})}
    yield SETTINGS_HEAD
    yield "## The scenario itself\n"
    yield from _settings(scenario, here)
    yield "## Parts\n"
    yield from _parts(here, here)


def _parts(parts: Mapping[str, Spec], here: Mapping[str, Spec]) -> Iterator[str]:
    for title, part in sorted(parts.items()):
        yield f"### {title}\n"
        yield from _described(part)
        yield from _settings(part, here)


# --- a kind as it stands in a scenario ---------------------------------------------------------------


def _examples() -> Iterator[tuple[str, Example]]:
    """Yield an example of each kind: of the scenario that is named for it, else of the first that has one."""
    found: dict[str, Example] = {}
    for path in sorted(SCENARIOS.glob("*.json")):
        for kind, example in _of(path) if path.name != "scenario.schema.json" else ():
            if kind not in found or path == _own(kind):
                found[kind] = example
    yield from found.items()


def _own(kind: str) -> Path:
    return SCENARIOS / f"kind_{kind.replace('-', '_')}.json"


def _of(path: Path) -> Iterator[tuple[str, Example]]:
    try:
        scenario = load(path)
        federation = assemble(scenario)
    except ScenarioError:
        return  # of another installation
    for name, entry in scenario.federates.items():
        written = scenario.document["federates"][name]
        yield entry.kind.name, Example(path, name, federation.interfaces[name], written)


def _conserved(example: Example) -> Iterator[str]:
    if not example.interface.balances:
        yield "It has nothing that a run could add up; what it injects or draws is in the feeder's balance with it.\n"
        return
    yield "Recomputed in every run from what was recorded, at each instant and over the run:\n"
    for balance in example.interface.balances:
        partner = f" with `{balance.partner}`" if balance.partner else ""
        summed = ", summed over all elements" if balance.whole else ""
        yield f"- {balance.quantity}{partner}, to {_figure(balance.tolerance)} of the largest term{summed}:\n"
        yield f"  ```text\n  {_equation(balance)}\n  ```\n"
        if balance.passed:
            yield f"  {', '.join(f'`{port}`' for port in balance.passed)}: means over the step that has just passed.\n"
        if balance.times:
            yield "  `k` is a constant of each element.\n"


def _equation(balance: Balance) -> str:
    def term(port: str) -> str:
        return f"{port} * k" if port in balance.times else port

    leaving = [*map(term, (*balance.leaves, *balance.lost)), *(f"change of {port} / h" for port in balance.stored)]
    return f"{' + '.join(map(term, balance.enters)) or '0'} = {' + '.join(leaving) or '0'}"


def _figure(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-").replace("e+0", "e")


def _ports(example: Example) -> Iterator[str]:
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


def _settings(schema: Spec, here: Mapping[str, Spec]) -> Iterator[str]:
    """Yield the table of a settings model; `here` are the parts that are described on the same page."""
    required = schema.get("required", [])
    if not schema.get("properties"):
        return
    yield "| setting | type | unit | range | default | what |"
    yield "|---|---|---|---|---|---|"
    for name, spec in schema["properties"].items():
        default = "**required**" if name in required else _default(spec.get("default"))
        what = _cell(spec.get("description", "")) + _example(spec)
        yield _row(f"`{name}`", _type(spec, here), _unit(name), _range(spec), default, what)
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


def _type(spec: Spec, here: Mapping[str, Spec]) -> str:
    if "enum" in spec:
        return " or ".join(f"`{value}`" for value in spec["enum"])
    if "const" in spec:
        return f"`{spec['const']}`"
    if "$ref" in spec:
        title = str(spec["$ref"]).rsplit("/", 1)[-1]
        return f"[{title}]({'' if title in here else '../settings.md'}#{title.lower()})"
    for union in ("anyOf", "oneOf"):
        if union in spec:
            return " or ".join(dict.fromkeys(t for branch in spec[union] if (t := _type(branch, here)) != "null"))
    if spec.get("type") == "array":
        return _array(spec, here)
    return str(spec.get("type", "object"))


def _array(spec: Spec, here: Mapping[str, Spec]) -> str:
    items = spec.get("prefixItems") or [spec.get("items", {})]
    if "prefixItems" in spec or spec.get("minItems") == spec.get("maxItems") == 2:
        return "[" + ", ".join(_type(item, here) for item in (items if len(items) > 1 else items * 2)) + "]"
    return f"list of {_type(items[0], here)}"


def _range(spec: Spec) -> str:
    found = [f"{sign}\N{NO-BREAK SPACE}{_figure(spec[key])}" for key, sign in BOUNDS.items() if key in spec]
    found += [f"{spec[key]} {word}" for key, word in (("minItems", "or more"),) if spec.get(key, 0) > 1]
    found += [f"at most {spec[key]}" for key in ("maxItems",) if key in spec]
    if not found:
        inner = [*spec.get("anyOf", ()), *spec.get("oneOf", ()), *spec.get("prefixItems", ())[:1]]
        inner += [spec["items"]] if isinstance(spec.get("items"), dict) else []
        return next((text for branch in inner if (text := _range(branch))), "")
    return ", ".join(found)


if __name__ == "__main__":
    sys.exit(main())
