#!/usr/bin/env python3
"""Write `reference/smart-functions.md`: each smart-inverter function with its equations, numbers and ranges.

    python docs/make_smart_reference.py

The equations are the docstrings of the modules in `federates/der/smart`, the numbers what their settings take.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from typing import Any, get_args

import numpy as np

from federates.der.smart.capability import MINIMUM_ABSORBED_PU, MINIMUM_INJECTED_PU
from federates.der.smart.held import Response
from federates.der.smart.points import Function
from federates.der.smart.settings import Smart

TARGET = Path(__file__).parent / "reference" / "smart-functions.md"
UNITS = {"_pu": "pu", "_s": "s", "_hz": "Hz"}
HEAD = """\
# Smart-inverter functions

Written by `docs/make_smart_reference.py` from `federates/der/smart`: what is here is what the code computes and takes.
How to switch them on, wire and change them: [](../how-to/smart-functions.md).

Voltages are pu of nominal, active powers pu of rated kW, reactive powers pu of rated kVA; powers are positive when
injected. A range that depends on other numbers is shown as it is beside their defaults; the last column says how it
moves. Frequencies are for 60 Hz, and are scaled by 50/60 on a 50 Hz grid. Settings outside their range are refused.
"""
GENERAL = (
    ("Order of priority", "priority"),
    ("Abnormal conditions", "abnormal"),
    ("What an inverter can carry", "capability"),
)


def main() -> int:
    """Write the page; 0 when it is there."""
    TARGET.write_text("\n".join(page()) + "\n", encoding="utf-8")
    sys.stdout.write(f"{TARGET}: {len(TARGET.read_text('utf-8').splitlines())} lines\n")
    return 0


def page() -> Iterator[str]:
    """Yield the lines of the page."""
    yield HEAD
    for title, module in GENERAL:
        yield f"## {title}\n"
        yield _docstring(f"federates.der.smart.{module}")
    yield from _capability()
    yield "## Response times\n"
    yield cleandoc(Response.__doc__ or "") + "\n"
    shown: set[str] = set()
    for name, field in Smart.model_fields.items():
        for kind in _functions(field.annotation):
            yield f"## `{name}`\n"
            if kind.__module__ not in shown:
                shown.add(kind.__module__)
                yield _docstring(kind.__module__)
            yield from _table(kind)


def _docstring(module: str) -> str:
    return cleandoc(import_module(module).__doc__ or "") + "\n"


def _capability() -> Iterator[str]:
    yield "| least reactive capability, pu of rated kVA | " + " | ".join(MINIMUM_ABSORBED_PU) + " |"
    yield "|---|" + "---|" * len(MINIMUM_ABSORBED_PU)
    yield "| injected |" + f" {MINIMUM_INJECTED_PU:g} |" * len(MINIMUM_ABSORBED_PU)
    yield "| absorbed | " + " | ".join(f"{most:g}" for most in MINIMUM_ABSORBED_PU.values()) + " |\n"


def _functions(annotation: Any) -> list[type[Function]]:
    """Return the settings of functions that stand in a type."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Function) else []
    return [kind for part in get_args(annotation) for kind in _functions(part)]


def _table(kind: type[Function]) -> Iterator[str]:
    """Yield the numbers of a function: the default and the range of each category."""
    category = kind.model_fields.get("category")
    categories: Sequence[str] = get_args(category.annotation) if category else ("",)
    columns = [_numbers(kind, one) for one in categories]
    heads = [f"default, {one}" if one else "default" for one in categories]
    heads += [f"range, {one}" if one else "range" for one in categories]
    yield "| setting | unit | " + " | ".join(heads) + " | |"
    yield "|---" * (len(heads) + 3) + "|"
    for name in columns[0]:
        field = kind.model_fields.get(name)
        if field is None:
            continue  # what a settings model says in words, and the equations take as a number
        cells = [column[name][0] for column in columns] + [column[name][1] for column in columns]
        yield f"| `{name}` | {_unit(name)} | " + " | ".join(cells) + f" | {field.description} |"
    yield ""


def _numbers(kind: type[Function], category: str) -> dict[str, tuple[str, str]]:
    """Return the default and the range of every number, as text."""
    required = {name: field.examples[0] for name, field in kind.model_fields.items() if field.is_required()}
    made = kind(**(required | ({"category": category} if category else {})))
    defaults = made.defaults()
    ranges = made.ranges({name: np.array([value]) for name, value in defaults.items()})
    return {name: (_number(value), _range(*ranges[name])) for name, value in defaults.items()}


def _range(low: Any, high: Any) -> str:
    low, high = _number(np.ravel(low)[0]), _number(np.ravel(high)[0])
    return f"{low}, fixed" if low == high else f"{low} to {high}"


def _number(value: float) -> str:
    return f"{round(float(value), 9) + 0.0:g}".replace("-", "\N{MINUS SIGN}")


def _unit(name: str) -> str:
    return next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")


if __name__ == "__main__":
    sys.exit(main())
