"""Going on with a run: after a stop (`resume`), or from an instant of it with other settings (`fork`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from derloop import document, memory
from derloop.errors import DerloopError, Problem, ScenarioError
from derloop.kind import Permissions
from derloop.options import Options, Progress, Say
from derloop.result import Result
from derloop.results.checkpoints import instants, read
from derloop.results.store import RunFolder, recorded_until_ns
from derloop.running import Begun, run_loaded
from derloop.scenario.assembly import assemble
from derloop.scenario.fingerprint import Fingerprints, fingerprint, offering
from derloop.scenario.loading import typed
from derloop.scenario.models import Scenario
from derloop.scenario.overrides import override

FIXED = ("start", "time_zone", "step_s", "seed")
"""What a fork cannot change: the state that it goes on from follows from it."""
CANNOT = "a fork cannot change it: the state that it goes on from follows from it"


def resume(run: Path, options: Options, on_progress: Progress | None = None, on_caution: Say | None = None) -> Result:
    """Go on with a run that was interrupted, killed or failed, from its last checkpoint, in its own folder.

    Raises DerloopError where it cannot go on: it has no checkpoint, or its scenario has changed meanwhile.
    """
    said = _said(run)
    if said.get("outcome") == "completed":
        raise DerloopError(
            f"{run} has run to its end; `derloop fork` goes on with other settings, as a longer duration_s"
        )
    at_ns, cautions = _last_whole(run)
    checkpoint = read(run, at_ns)
    scenario = _scenario(said, options.overrides)
    if not scenario.path.exists():
        raise DerloopError(f"{run} cannot go on: its scenario {scenario.path} is not there any more")
    if fingerprint(scenario, said.get("trust_feeder", False)) != checkpoint.scenario:
        what = f"its scenario's files, or derloop, are not what they were{_found_changed(scenario, said)}"
        raise DerloopError(f"{run} cannot go on as it was: {what}; run it anew, or fork it")
    options = replace(
        options,
        checkpoint_every_s=options.checkpoint_every_s or said.get("checkpoint_every_s"),
        checkpoint_keep=options.checkpoint_keep or said.get("checkpoint_keep"),
    )
    return run_loaded(scenario, options, on_progress, on_caution, Begun(checkpoint, run, run, cautions))


def fork(
    run: Path,
    at_s: float | None,
    overrides: Sequence[str],
    options: Options,
    on_progress: Progress | None = None,
    on_caution: Say | None = None,
) -> Result:
    """Go on from a checkpoint of a run with other settings, in a folder of its own.

    at_s: the checkpoint's instant; the last one without it. What was recorded before is that of `run`.
    Raises DerloopError where there is no such checkpoint, ScenarioError for settings that do not fit.
    """
    said, found = _said(run), _instants(run)
    last_ns, cautions = _last_whole(run)
    at_ns = last_ns if at_s is None else next((ns for ns in found if round(ns / 1e9, 9) == round(at_s, 9)), None)
    if at_ns is None:
        there = ", ".join(f"{ns / 1e9:g}" for ns in found[:12]) + (", ..." if len(found) > 12 else "")
        raise DerloopError(f"{run} has no checkpoint at {at_s:g} s; there are: {there}")
    if at_ns > last_ns:
        raise DerloopError(f"{run}: {cautions[0]}")
    scenario = _scenario(said, options.beside(overrides))
    problems = [Problem(f"/{key}", CANNOT) for key in FIXED if scenario.document.get(key) != said["scenario"].get(key)]
    if at_ns >= scenario.until_ns:
        problems.append(Problem("/duration_s", f"ends at {scenario.until_ns / 1e9:g} s, not after {at_ns / 1e9:g} s"))
    was, checkpoint = _scenario(said, ()), read(run, at_ns)
    problems += _without_effect(was, scenario, options.permissions)
    if problems:
        raise ScenarioError(problems, str(scenario.path))
    cautions = cautions if at_s is None else ()
    if fingerprint(was, said.get("trust_feeder", False)) != checkpoint.scenario:
        what = f"the files of {run}, or derloop, are not what they were{_found_changed(was, said)}"
        cautions = (*cautions, f"{what}: what goes on is with those of now")
    return run_loaded(scenario, options, on_progress, on_caution, Begun(checkpoint, run, None, cautions))


def _without_effect(was: Scenario, now: Scenario, permissions: Permissions) -> list[Problem]:
    """Return the settings that a fork would not heed: what they decide is state, of which it has the run's."""
    entries = was.document["federates"], now.document["federates"]
    changed = {
        name: [key for key in {**entries[0][name], **entry} if entries[0][name].get(key) != entry.get(key)]
        for name, entry in entries[1].items()
        if entry != entries[0].get(name, entry)
    }
    if not changed:
        return []
    before, after = (assemble(scenario, permissions).federates for scenario in (was, now))
    return [
        Problem(f"/federates/{name}/{key}", f"{CANNOT} ({', '.join(found)})")
        for name, keys in changed.items()
        if (found := memory.settled_otherwise(before[name], after[name]))
        for key in keys
    ]


def _found_changed(scenario: Scenario, said: dict[str, Any]) -> str:
    """Return what has changed since the run began, in brackets, as far as that can be told."""
    began, was = datetime.fromisoformat(said["started"]).timestamp(), said["versions"]
    files = Fingerprints(said.get("trust_feeder", False)).files(scenario.document, scenario.folder)
    newer = [path.name for path in files if path.stat().st_mtime > began]
    found = [f"written since it began: {', '.join(newer)}"] if newer else []
    for name, here in offering(scenario.document).items():
        if was.get(name) != here:
            found.append(f"it began with {name} {was.get(name)}, this is {here}")
    return f" ({'; '.join(found)})" if found else ""


def _said(run: Path) -> dict[str, Any]:
    said = RunFolder(run).run
    if not isinstance(said.get("scenario"), dict) or not isinstance(said.get("scenario_path"), str):
        raise DerloopError(f"{run} does not say of which scenario it is: it has no run.json of a run")
    return said


def _instants(run: Path) -> list[int]:
    found = instants(run)
    if not found:
        raise DerloopError(
            f"{run} has no checkpoint to go on from; `derloop run --checkpoint-every SECONDS` keeps them"
        )
    return found


def _last_whole(run: Path) -> tuple[int, tuple[str, ...]]:
    """Return the last checkpoint up to which all was recorded, and what to say where there are later ones.

    Of a host that was lost, results may lack that it had not sent yet. Raises DerloopError where there is no such one.
    """
    found, until = _instants(run), recorded_until_ns(run)
    least = min(until, key=until.__getitem__, default=None)
    if least is None or until[least] >= found[-1]:
        return found[-1], ()
    lacks = f"nothing of {least!r} is recorded from {until[least] / 1e9:g} s on"
    whole = [ns for ns in found if ns <= until[least]]
    if not whole:
        raise DerloopError(f"{run} cannot go on: {lacks}, and its first checkpoint is at {found[0] / 1e9:g} s")
    return whole[-1], (f"{lacks}, so it cannot go on from a checkpoint after {whole[-1] / 1e9:g} s",)


def _scenario(said: dict[str, Any], overrides: Sequence[str]) -> Scenario:
    """Return a run's scenario, as it says itself, with overrides. Raises ScenarioError."""
    path = Path(said["scenario_path"])
    data = document.parse(json.dumps(said["scenario"]), str(path))
    if problems := override(data, overrides):
        raise ScenarioError(problems, str(path))
    return typed(data, path, (*said.get("overrides", ()), *overrides))
