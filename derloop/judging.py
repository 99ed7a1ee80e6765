"""Judging what a run has recorded, and writing down everything that is known of it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from derloop.calendar import Calendar
from derloop.checks import cut, judge_all
from derloop.checks.junit import write_junit
from derloop.contract import Interface
from derloop.errors import NOT_STOPPED, DerloopError
from derloop.hosts.likeness import installed, offers_of
from derloop.kind import permissions_to_json
from derloop.moving import Ending
from derloop.options import Options
from derloop.plugins import CHECKS
from derloop.result import Result
from derloop.results.store import RunFolder
from derloop.results.summary import counted, summarise
from derloop.results.whole import whole
from derloop.scenario.models import MOVED_BY, Scenario
from derloop.verdict import CheckEntry, Doubt


def facts(scenario: Scenario, interfaces: Mapping[str, Interface], options: Options) -> dict[str, Any]:
    """Return what is known before the start: the scenario with its defaults, who runs it, with what."""
    file = scenario.file
    return {
        **file.model_dump(mode="json", include={"name", "description", "start", "time_zone"}),
        **file.model_dump(
            mode="json",
            include={*MOVED_BY, "duration_s", "step_s", "seed", "coupling", "deadlines", "pacing"},
        ),
        "scenario_path": str(scenario.path),
        "scenario": scenario.document,
        "overrides": scenario.overrides,
        "federates": {
            name: {
                "kind": entry.kind.name,
                "via": entry.via,
                "step_s": interfaces[name].step_ns / 1e9,
                "settings": entry.settings.model_dump(mode="json"),
            }
            for name, entry in scenario.federates.items()
        },
        "checks": [
            {"name": check.name, "kind": check.kind.name, "settings": check.settings.model_dump(mode="json")}
            for check in scenario.checks
        ],
        **permissions_to_json(options.permissions),
        "checkpoint_every_s": options.checkpoint_every_s,
        "checkpoint_keep": options.checkpoint_keep,
        "started": _now(),
        "versions": installed({**offers_of(scenario), CHECKS: sorted(_kinds(scenario.checks))}),
        "host": {"system": platform.platform(), "machine": platform.machine(), "cpus": os.cpu_count()},
        "git_commit": _git_commit(scenario.folder),
    }


def _kinds(checks: Sequence[CheckEntry]) -> set[str]:
    """Return which kinds of checks there are, also in compositions."""
    return {check.kind.name for check in checks}.union(*(_kinds(check.parts) for check in checks))


def judged(
    scenario: Scenario,
    folder: Path,
    facts: dict[str, Any],
    ending: Ending,
    wall_s: float,
    options: Options,
) -> Result:
    """Judge what was recorded, and write down everything that is known of the run."""
    recorded = RunFolder(folder)
    doubts = [*(Doubt(h.said(recorded.calendar), h.since_ns, h.affected) for h in ending.hunting), *ending.doubts]
    why_short = _cut_short(ending)
    verdicts = (*judge_all(scenario.checks, recorded, why_short, doubts), *cut(ending.balances, why_short))
    timed = ending.timing.figures() if ending.timing else ()
    summary = [*summarise(recorded), *timed, *counted(recorded, ending.statistics)]
    write_json(folder / "verdicts.json", [asdict(v) for v in verdicts])
    result = Result(recorded, ending.outcome, verdicts, tuple(summary), ending.text, ending.is_stuck, ending.complaints)
    result.hunting = ending.hunting
    said = {
        "outcome": ending.outcome,
        "failure": ending.failure,
        "complaints": ending.complaints,
        "hunting": [{**asdict(hunting), "text": hunting.said(recorded.calendar)} for hunting in ending.hunting],
        "status": result.status,
        "wall_s": wall_s,
        "ended": _now(),
        "timing": ending.timing and asdict(ending.timing),
        "statistics": ending.statistics,
        "hosts": ending.hosts,
        "loops": _loops(recorded),
        "summary": [asdict(figure) for figure in summary],
    }
    write_json(folder / "run.json", {**facts, **said})
    wrong = _wrong(ending, recorded.calendar)
    write_junit(folder / "junit.xml", scenario.name, verdicts, wrong or None, wall_s, recorded.calendar)
    result.folder = RunFolder(folder)
    if options.report:
        _write_page(result)
    return result


def _write_page(result: Result) -> None:
    """Write the run's page; where that cannot be, what came of the run is told all the same."""
    from derloop.report.page import write_report  # the templates, only where a page is wanted

    try:
        write_report(result.folder, result.folder.path / "report.html")
    except (DerloopError, OSError) as error:
        result.complaints = (*result.complaints, str(error))


def _wrong(ending: Ending, calendar: Calendar) -> str:
    """Return what is wrong with the run itself; empty if nothing is."""
    left = [text for text in ending.complaints if NOT_STOPPED in text]
    return "; ".join(filter(None, [ending.text, *left, *(hunting.said(calendar) for hunting in ending.hunting)]))


def _cut_short(ending: Ending) -> str:
    """Return why the run ended before its end, for then no check has passed; empty if it did not."""
    return {"completed": "", "failed": "the run failed", "interrupted": "the run was interrupted"}[ending.outcome]


def _loops(recorded: RunFolder) -> dict[str, dict[str, float]]:
    """Return how often each converged loop iterated."""
    passes = {signal.federate: recorded.read(signal.name)[1] for signal in recorded.select("loop@*.passes")}
    return {
        name: {"mean_passes": float(found.mean()), "most_passes": float(found.max())}
        for name, found in passes.items()
        if found.size
    }


def write_json(path: Path, data: object) -> None:
    """Write and rename, so that a reader never meets half a file. JSON has finite numbers alone: others are null."""
    with whole(path) as draft:
        draft.write_text(json.dumps(_plain(data), indent=1, default=str, allow_nan=False), encoding="utf-8")


def _plain(data: object) -> object:
    """Return it with what JSON has for the numbers in it: those of numpy's as numbers, what is not finite as null."""
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    value = data.item() if isinstance(data, np.generic) else data
    return None if isinstance(value, float) and not isfinite(value) else value


def _now() -> str:
    return datetime.now(UTC).astimezone().isoformat(timespec="milliseconds")


def _git_commit(folder: Path) -> str:
    """Return the commit of the scenario's folder, with "+changes" where files differ; empty outside git."""
    try:
        said = [_git(folder, *words) for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno"))]
    except (OSError, subprocess.SubprocessError):
        return ""
    return said[0].strip() + ("+changes" if said[1].strip() else "")


def _git(folder: Path, *words: str) -> str:
    """Return what git says of a folder; it takes no lock, and so is in nobody's way."""
    command = ["git", "--no-optional-locks", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=5, check=True).stdout
