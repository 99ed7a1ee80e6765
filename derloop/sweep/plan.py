"""From a sweep file to the trials it asks for, with every problem at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from derloop import document
from derloop.errors import Problem, ScenarioError
from derloop.kind import Permissions
from derloop.scenario.fingerprint import Fingerprints
from derloop.scenario.loading import load
from derloop.scenario.overrides import override
from derloop.sweep.collisions import collisions
from derloop.sweep.design import Combination, combinations
from derloop.sweep.models import SweepFile
from derloop.validation import listed, typed_model


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a sweep."""

    number: int
    values: tuple[Any, ...]
    """Of the sweep's parameters, in their order."""
    overrides: tuple[str, ...]
    key: str
    """The fingerprint of its run, and its folder's name; empty where it is refused."""
    refused: str = ""
    """Why it cannot be run: its values do not fit the scenario."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep will do."""

    name: str
    scenario: Path
    parameters: tuple[str, ...]
    trials: tuple[Trial, ...]


def plan(file: Path, sweep: SweepFile, also: Sequence[str], permissions: Permissions) -> Plan:
    """Return the trials of `sweep`, whose `file` says where its scenario is.

    also: overrides of every run, after those of the file. A combination that the scenario refuses is a trial that is
    refused. Raises ScenarioError where the sweep is wrong, or the scenario refuses every combination.
    """
    scenario = file.parent / sweep.scenario
    fixed = [*(_assigned(path, value) for path, value in sweep.set_.items()), *also]
    tried = _combinations(file, sweep)
    _check_paths(file, sweep, also, fixed, tried[0])
    headings = (*(p.heading for p in sweep.vary), *(("seed",) if sweep.seeds else ()))
    prints = Fingerprints(permissions.trust_feeder)
    trials: list[Trial] = []
    first: ScenarioError | None = None
    for number, values in enumerate(tried, 1):
        overrides = (*fixed, *_overrides(sweep, values))
        try:
            loaded = load(scenario, overrides, permissions)
            stated = {**loaded.document, "name": loaded.name}
            trials.append(Trial(number, values, overrides, prints.of(stated, loaded.folder)))
        except ScenarioError as error:
            first = first or error
            trials.append(Trial(number, values, overrides, "", "; ".join(map(str, error.problems))))
    if first and all(trial.refused for trial in trials):
        raise first
    return Plan(sweep.name, scenario, headings, tuple(trials))


def sweep_of(file: Path) -> SweepFile:
    """Return what a sweep file says. Raises ScenarioError."""
    return typed_model(SweepFile, document.read(file), str(file))


def _combinations(file: Path, sweep: SweepFile) -> list[Combination]:
    try:
        return combinations(sweep)
    except ValueError as error:
        raise ScenarioError([Problem("/vary", str(error))], str(file)) from error


def _assigned(path: str, value: Any) -> str:
    return f"{path}={json.dumps(value)}"


def _overrides(sweep: SweepFile, values: Combination) -> list[str]:
    seed = [_assigned("seed", value) for value in values[len(sweep.vary) :]]
    return [_assigned(path, v) for p, v in zip(sweep.vary, values, strict=False) for path in p.paths] + seed


def _check_paths(file: Path, sweep: SweepFile, also: Sequence[str], fixed: Sequence[str], values: Combination) -> None:
    """Refuse paths that meet, or lead nowhere in the scenario: they would be wrong in every trial."""
    data = document.read(file.parent / sweep.scenario)
    problems = collisions(sweep, also)
    problems += [Problem("/set", problem.what) for problem in override(data, fixed)]
    for index, (parameter, value) in enumerate(zip(sweep.vary, values, strict=False)):
        wrong = override(data, [_assigned(path, value) for path in parameter.paths])
        problems += [Problem(document.pointer(("vary", index, "path")), problem.what) for problem in wrong]
    if problems:
        raise ScenarioError(listed(problems), str(file))


def facts(plan: Plan) -> Mapping[str, Any]:
    """Return what is written of a plan beside its runs."""
    said = [
        {"number": t.number, "values": list(t.values), "run": t.key, "overrides": list(t.overrides), "why": t.refused}
        for t in plan.trials
    ]
    return {
        "name": plan.name,
        "scenario": str(plan.scenario.resolve()),
        "parameters": list(plan.parameters),
        "trials": said,
    }
