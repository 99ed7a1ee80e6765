"""A scenario whose fleets are open to clients from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from derloop.contract import Federate
from derloop.errors import Problem, ScenarioError, did_you_mean
from derloop.federation import Federation
from derloop.kind import Permissions
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load
from derloop.scenario.models import Scenario, to_ns
from hil.fleet.model import HasInverters
from hil.fleet.served import OpenFleet
from hil.serving.file import EmulatorFile

TRIED = 100
"""How much shorter a step may become to be a whole part of the one that was too long."""


class Wishes(NamedTuple):
    """What the command line asks for."""

    overrides: tuple[str, ...] = ()
    step_s: float = 1.0
    """The scenario's step is no longer."""
    for_s: float | None = None
    permissions: Permissions = Permissions()


class Opened(NamedTuple):
    """A scenario that can be run, and its fleets that others command."""

    scenario: Scenario
    federation: Federation
    fleets: dict[str, OpenFleet]


def opened(file: EmulatorFile, path: Path, wishes: Wishes, source: str) -> Opened:
    """Return the scenario at `path` with the fleets of `file`, or all that have inverters, open to others.

    Nothing is judged: its checks, which may look at what devices do not tell, are left out.
    Raises ScenarioError for what is wrong in it, or in the fleets that the file, called `source`, names.
    """
    overrides = [*file.set, *wishes.overrides, "checks=[]"]
    known = load(path, overrides, wishes.permissions).file
    overrides += _shorter("step_s", known.step_s, wishes.step_s)
    able = _able(path, overrides, wishes.permissions)
    _refuse_unable(file, able, source)
    for name in file.fleets or able:
        own_s = known.federates[name].get("step_s") or 0.0
        overrides += [f'federates.{name}.via="served"', *_shorter(f"federates.{name}.step_s", own_s, wishes.step_s)]
    scenario = load(path, overrides, wishes.permissions)
    federation = assemble(scenario, wishes.permissions)
    fleets = {name: each for name, each in federation.federates.items() if isinstance(each, OpenFleet)}
    for name, fleet in fleets.items():
        fleet.entry = file.fleets.get(name, fleet.entry)
    _refuse_strangers(fleets, source)
    _refuse_misfits(fleets, source)
    return Opened(scenario, federation, fleets)


def _shorter(key: str, step_s: float, most_s: float) -> list[str]:
    """Return what makes a step no longer than `most_s`, where it is: a whole part of it, as it must divide the run."""
    step_ns, most_ns = to_ns(step_s), to_ns(most_s)
    if step_ns <= most_ns:
        return []
    least = -(-step_ns // most_ns)
    parts = next((count for count in range(least, TRIED * least) if step_ns % count == 0), step_s / most_s)
    return [f"{key}={step_s / parts!r}"]


def _able(path: Path, overrides: Sequence[str], permissions: Permissions) -> list[str]:
    """Return the federates that can be steered through registers."""
    entries = load(path, overrides, permissions).federates
    ders = [name for name, entry in entries.items() if entry.kind.is_der]

    def federates(via: str) -> Mapping[str, Federate]:
        all_via = [*overrides, *(f'federates.{name}.via="{via}"' for name in ders)]
        return assemble(load(path, all_via, permissions), permissions).federates

    try:
        found = federates("served")  # whom nobody in the scenario commands, as no model may be
    except ScenarioError:
        found = federates("model")  # one of them has no inverters; or the scenario is wrong, which it says
    return [name for name in ders if isinstance(found[name], OpenFleet | HasInverters)]


def _refuse_unable(file: EmulatorFile, able: Sequence[str], source: str) -> None:
    problems = [
        Problem(f"/fleets/{name}", f"no fleet of the scenario that has inverters{did_you_mean(name, able)}")
        for name in file.fleets
        if name not in able
    ]
    if problems:
        raise ScenarioError(problems, source)


def _refuse_strangers(fleets: dict[str, OpenFleet], source: str) -> None:
    problems = [
        Problem(f"/fleets/{name}{each.pointer}", each.what)
        for name, fleet in fleets.items()
        for each in fleet.entry.strangers(fleet.labels)
    ]
    if problems:
        raise ScenarioError(problems, source)


def _refuse_misfits(fleets: dict[str, OpenFleet], source: str) -> None:
    problems = [Problem(f"/fleets/{name}/profile", each) for name, fleet in fleets.items() for each in fleet.misfits()]
    if problems:
        raise ScenarioError(problems, source)
