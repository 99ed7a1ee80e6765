"""A sweep that is asked for by options, without a file: `--vary federates.batteries.energy_kwh=5,10,13.5`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from derloop import document
from derloop.errors import DerloopError, Problem, ScenarioError
from derloop.sweep.models import MOST_TRIALS, SweepFile
from derloop.validation import typed_model

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
JSON_BEGINS = ("[", "{", '"')
RANGE = re.compile(rf"^(?P<low>{NUMBER})\.\.(?P<high>{NUMBER})(?::(?P<count>\d+))?$")


def asked(scenario: Path, varied: Sequence[str], seeds: str, together: bool, samples: int | None) -> SweepFile:
    """Return the sweep of `scenario` over `varied`, each PATH=V1,V2,... or PATH=LOW..HIGH or PATH=LOW..HIGH:COUNT.

    seeds: "1..10" or "1,2,3". together: the first values, then the second ... Raises DerloopError, ScenarioError.
    """
    said: dict[str, Any] = {
        "name": re.sub(r"[^a-z0-9_]+", "_", f"s_{scenario.stem.lower()}")[:40].removeprefix("s_") or "sweep",
        "scenario": scenario.name,
        "vary": [_parameter(text, samples is not None) for text in varied],
        "seeds": _seeds(seeds),
        "design": "latin-hypercube" if samples else "list" if together else "grid",
        "samples": samples,
    }
    if not re.match("[a-z]", said["name"]):
        said["name"] = f"s_{said['name']}"[:40]
    return typed_model(SweepFile, document.parse(json.dumps(said)), "the sweep's options")


def _parameter(text: str, is_sampled: bool) -> dict[str, Any]:
    path, equals, values = text.partition("=")
    if not equals or not path or not values:
        what = "must be PATH=V1,V2,... or PATH=LOW..HIGH, as in --vary federates.batteries.energy_kwh=5,10,13.5"
        raise DerloopError(f"--vary {document.shown(text)}: {what}")
    if found := RANGE.match(values):
        low, high = float(found["low"]), float(found["high"])
        whole = "." not in found["low"] + found["high"] and not found["count"]
        count = {"count": int(found["count"])} if found["count"] else {}
        return {"path": path, "low": low, "high": high, "whole": whole and not is_sampled, **count}
    return {"path": path, "values": _values(text, values)}


def _values(said: str, text: str) -> list[Any]:
    """Return the values of a JSON list, or between commas: each as JSON, or the text that it is.

    said: what was typed, for messages.
    """
    for listed in (text, f"[{text}]"):
        with suppress(ScenarioError):
            if listed.startswith("["):
                return list(document.decoded(listed, "--vary"))
    return [_value(said, part) for part in text.split(",")]


def _value(said: str, text: str) -> Any:
    if not text.strip():
        raise DerloopError(f'--vary {document.shown(said)}: a value is empty; "" is an empty text')
    try:
        return document.decoded(text, "--vary")
    except ScenarioError as error:
        if text.strip().startswith(JSON_BEGINS):
            what = f"{document.shown(text)} is no JSON, as lists, objects and what is quoted must be"
            raise DerloopError(f"--vary {document.shown(said)}: {what}") from error
        return text


def _seeds(text: str) -> list[int]:
    if not text:
        return []
    found = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if found and int(found[1]) > int(found[2]):
        raise ScenarioError([Problem("/seeds", f"--seeds {text}: {found[1]} is above {found[2]}")], "the options")
    if found and int(found[2]) - int(found[1]) >= MOST_TRIALS:
        what = f"--seeds {text}: more than {MOST_TRIALS:,} runs, the most that a sweep has"
        raise ScenarioError([Problem("/seeds", what)], "the options")
    if found:
        return list(range(int(found[1]), int(found[2]) + 1))
    if re.fullmatch(r"\d+(,\d+)*", text):
        return [int(part) for part in text.split(",")]
    raise ScenarioError([Problem("/seeds", f"--seeds {document.shown(text)}: must be 1..10 or 1,2,3")], "the options")
