"""Sweeping: plan, run what has not been run, tell.

A sweep's folder has `sweep.json`, a folder for each run below `runs/`, `table.csv`, `table.parquet` and `sweep.html`.
A run's folder is named by its fingerprint: a run that is there and complete is not repeated, and a scenario, a file
that it names, or a setting that has changed makes another run of it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from derloop.errors import DerloopError
from derloop.results.alone import alone_in
from derloop.results.store import RunFolder
from derloop.results.whole import whole
from derloop.scenario.fingerprint import Fingerprints
from derloop.sweep.outcomes import Row, is_complete, row_of
from derloop.sweep.page import write_page
from derloop.sweep.plan import Plan, Trial, facts
from derloop.sweep.processes import Process, run_each
from derloop.sweep.swept import NotWritten, Swept
from derloop.sweep.table import columns_of, write_csv, write_parquet

OTHERS = "another sweep, or a run of it, is"
CHANGED = "its scenario, or a file of it, has changed since the sweep began; the same command runs it anew"
Progress = Callable[[int, int], None]
"""Called with how many runs have ended, and how many there are to do."""


def sweep(plan: Plan, folder: Path, jobs: int, options: Sequence[str], on_progress: Progress) -> Swept:
    """Run the trials of `plan` that are not there yet, and write the table of all. Interrupted, it does so at once.

    options: of `derloop run`, for every trial. Raises DerloopError where another sweep is at work in `folder`, and
    NotWritten where the runs have ended and the table cannot be written.
    """
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    with alone_in(folder, OTHERS) as lock:  # its runs hold it too, so that none is taken for dead which outlives it
        _write(folder / "sweep.json", json.dumps(facts(plan), indent=1))
        missing = {t.key: t for t in plan.trials if not (t.refused or is_complete(_run_folder(folder, t)))}
        statuses: dict[str, int] = {}
        changed: set[str] = set()

        def on_end(trial: Trial, status: int) -> None:
            statuses[trial.key] = status
            if _is_another(plan, trial, run := _run_folder(folder, trial)):
                changed.add(trial.key)
                shutil.rmtree(run)
            on_progress(len(statuses), len(missing))

        interrupted = False
        on_progress(0, len(missing))
        try:
            run_each(missing.values(), jobs, lambda trial: _start(plan, trial, folder, options, lock), on_end)
        except KeyboardInterrupt:
            interrupted = True
        rows = [
            Row(trial, "failed", CHANGED) if trial.key in changed else _row(trial, folder, statuses)
            for trial in plan.trials
        ]
        swept = Swept(plan, folder, rows, len(statuses), _stale(plan, folder), interrupted)
        _tell(swept, "--report" in options and not interrupted)
        return swept


def _is_another(plan: Plan, trial: Trial, run: Path) -> bool:
    """Return whether what has run is not what was planned: its scenario was edited meanwhile, or a file of it."""
    said = RunFolder(run).run if run.is_dir() else {}
    if not isinstance(said.get("scenario"), dict):
        return False
    stated = {**said["scenario"], "name": said.get("name")}
    prints = Fingerprints(said.get("trust_feeder", False))
    return prints.of(stated, plan.scenario.resolve().parent) != trial.key


def _run_folder(folder: Path, trial: Trial) -> Path:
    return folder / "runs" / trial.key


def _log(folder: Path, trial: Trial) -> Path:
    return folder / "runs" / f"{trial.key}.log"


def _start(plan: Plan, trial: Trial, folder: Path, options: Sequence[str], lock: int) -> Process:
    """Start a trial in a process and a process group of its own: Ctrl-C reaches it through the sweep alone."""
    out = _run_folder(folder, trial)
    shutil.rmtree(out, ignore_errors=True)  # what an earlier attempt has left
    with _log(folder, trial).open("wb") as log:
        return subprocess.Popen(
            command(plan.scenario.resolve(), trial, options, out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            pass_fds=(lock,),
            process_group=0,
        )


def command(scenario: Path, trial: Trial, options: Sequence[str], out: Path) -> list[str]:
    """Return the command that runs a trial."""
    sets = [f"--set={override}" for override in trial.overrides]
    words = ["run", str(scenario), *sets, *options, f"--out={out}", "--quiet"]
    return [sys.executable, "-P", "-m", "derloop.cli", *words]


def _row(trial: Trial, folder: Path, statuses: dict[str, int]) -> Row:
    log = _log(folder, trial)
    said = log.read_text("utf-8", errors="replace") if trial.key and log.exists() else ""
    return row_of(trial, _run_folder(folder, trial), statuses.get(trial.key), said)


def _stale(plan: Plan, folder: Path) -> int:
    known = {trial.key for trial in plan.trials}
    return sum(path.is_dir() and path.name not in known for path in (folder / "runs").iterdir())


def _tell(swept: Swept, with_pages: bool) -> None:
    table = columns_of(swept.plan.parameters, swept.rows)
    try:
        write_csv(table, swept.folder / "table.csv")
        write_parquet(table, swept.folder / "table.parquet")
        write_page(swept.plan, swept.rows, swept.folder / "sweep.html")
        if with_pages:
            _add_pages(_run_folder(swept.folder, trial) for trial in swept.plan.trials if trial.key)
    except DerloopError as error:
        raise NotWritten(swept, str(error)) from error


def _add_pages(runs: Iterable[Path]) -> None:
    """Write the page of each complete run that has none: it was there before, when no pages were asked for."""
    from derloop.report.page import write_report  # the templates, only where a page is wanted

    for run in runs:
        if is_complete(run) and not (run / "report.html").exists():
            write_report(RunFolder(run), run / "report.html")


def _write(path: Path, text: str) -> None:
    with whole(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")
