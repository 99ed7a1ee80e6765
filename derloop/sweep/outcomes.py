"""What became of each trial, read from the folder that its run has left."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from derloop.results.store import RunFolder
from derloop.sweep.plan import Trial
from derloop.verdict import BALANCE, OUTCOMES, in_short, overall

Ending = Literal["completed", "failed", "interrupted", "refused", "killed", "crashed", "not run"]
"""completed: to its end, whatever its checks say. failed: a federate or the engine did, by name. refused: the scenario
does not take these values. killed: by a signal. crashed: its process ended without a word of how."""
Judged = Literal["PASS", "FAIL", "INCONCLUSIVE"]
PASSED, FAILED_CHECK, REFUSED, INCONCLUSIVE = 0, 1, 2, 3
SHOWN = 400
"""Characters of what a process said last."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one check said of one run."""

    outcome: Judged
    measured: float | None
    limit: float | None
    margin: float | None
    unit: str
    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One trial and what became of it."""

    trial: Trial
    ending: Ending
    why: str = ""
    checks: Mapping[str, Check] = field(default_factory=dict)
    """By name; a second check of the same name has a number behind it."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Of the run's summary, with their units: "peak, kW"."""
    hunts: bool = False
    wall_s: float | None = None

    @property
    def verdict(self) -> Judged | None:
        """What its checks come to; None where the run did not complete, or nothing was asked of it."""
        if self.ending != "completed":
            return None
        doubts = [("hunting", "INCONCLUSIVE")] if self.hunts else []
        return overall([*doubts, *((check.kind, check.outcome) for check in self.checks.values())])

    @property
    def is_conclusive(self) -> bool:
        """Whether it went to its end, and none of its checks is inconclusive."""
        return self.ending == "completed" and self.verdict != "INCONCLUSIVE"

    @property
    def failing(self) -> dict[str, Check]:
        """The checks that have not passed."""
        return {name: check for name, check in self.checks.items() if check.outcome != "PASS"}


def is_complete(folder: Path) -> bool:
    """Return whether the run in `folder` went to its end and was judged: it need not be repeated."""
    if not folder.is_dir() or RunFolder(folder).run.get("outcome") != "completed":
        return False
    return _verdicts(folder) is not None


def row_of(trial: Trial, folder: Path, status: int | None, said: str = "") -> Row:
    """Return what became of `trial`, whose run is in `folder`.

    status: of its process; None where it was not started. said: what that wrote to its standard error.
    """
    if trial.refused:
        return Row(trial, "refused", trial.refused)
    run = RunFolder(folder).run if folder.is_dir() else {}
    ending, why = _ending(run, status, said)
    verdicts = _verdicts(folder)
    if ending == "completed" and verdicts is None:
        ending, why = "crashed", "its verdicts.json is not there, or is none"
    return Row(
        trial, ending, why, _checks(verdicts or ()), _figures(run), bool(run.get("hunting")), _number(run.get("wall_s"))
    )


def _ending(run: Mapping[str, Any], status: int | None, said: str) -> tuple[Ending, str]:
    outcome = run.get("outcome")
    if outcome in ("completed", "interrupted"):
        return ("completed", "") if outcome == "completed" else ("interrupted", "")
    if outcome == "failed":
        return "failed", _failure(run)
    if status is None:
        return "not run", ""
    if status < 0:
        return "killed", f"by {signal.Signals(-status).name}"
    if status == REFUSED:
        return "refused", " ".join(said.removeprefix("derloop: ").split())[:SHOWN]
    return "crashed", f"with exit status {status}: " + " ".join(said.splitlines()[-1:])[-SHOWN:]


def _failure(run: Mapping[str, Any]) -> str:
    failure = run.get("failure") or {}
    who = f"federate {failure['federate']!r}: " if failure.get("federate") else ""
    return f"{who}{failure.get('why', '')}"[:SHOWN]


def _verdicts(folder: Path) -> list[Mapping[str, Any]] | None:
    """Return the verdicts that a run has left; None where there are none that could be read."""
    try:
        said = json.loads((folder / "verdicts.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return said if isinstance(said, list) and all(_is_verdict(each) for each in said) else None


def _is_verdict(said: object) -> bool:
    """Return whether it is one as a run writes it."""
    if not isinstance(said, dict) or said.get("outcome") not in OUTCOMES:
        return False
    is_measured = all(_number(said.get(key)) is not None for key in ("measured", "limit"))
    return (
        isinstance(said.get("check"), str)
        and isinstance(said.get("text"), str)
        and (is_measured or said["outcome"] == "FAIL" or said.get("kind") != BALANCE)
    )


def _checks(verdicts: Iterable[Mapping[str, Any]]) -> dict[str, Check]:
    found: dict[str, Check] = {}
    for said in in_short(verdicts):
        name = _free(str(said["check"]), found)
        measured, limit, margin = (_number(said.get(key)) for key in ("measured", "limit", "margin"))
        unit, text, kind = (str(said.get(key, "")) for key in ("unit", "text", "kind"))
        found[name] = Check(said["outcome"], measured, limit, margin, unit, text, kind)
    return found


def _free(name: str, taken: Mapping[str, object]) -> str:
    names = (name, *(f"{name} {number}" for number in range(2, len(taken) + 3)))
    return next(free for free in names if free not in taken)


def _figures(run: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for figure in run.get("summary") or ():
        unit = "" if figure["unit"] in ("", "1") else f", {figure['unit']}"
        if (value := _number(figure["value"])) is not None:
            found[_free(figure["label"] + unit, found)] = value
    return found


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def status_of(rows: list[Row]) -> int:
    """Return the exit status of a sweep.

    0 all passed, 1 a check failed, 2 every run was refused: the sweep is wrong, 3 some run did not complete or is
    inconclusive, as of a run.
    """
    if rows and all(row.ending == "refused" for row in rows):
        return REFUSED
    if not all(row.is_conclusive for row in rows):
        return INCONCLUSIVE
    return FAILED_CHECK if any(row.verdict == "FAIL" for row in rows) else PASSED
