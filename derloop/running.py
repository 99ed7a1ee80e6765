"""Running a scenario: load, wire, run, judge, report."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from derloop.calendar import Calendar
from derloop.checks import cut, judge_all
from derloop.checks.balance import judge_balances
from derloop.checks.junit import write_junit
from derloop.checks.stale import stale
from derloop.checks.unproven import unproven
from derloop.engines.hunting import Hunting
from derloop.engines.saving import Saving, refusals
from derloop.engines.worker import Deadlines, Worker, mover
from derloop.errors import DerloopError, FederateError, Problem, ScenarioError
from derloop.federation import Federation
from derloop.installed import versions
from derloop.kind import Permissions, permissions_to_json
from derloop.results.checkpoints import Checkpoint, write
from derloop.results.events import Events
from derloop.results.recorder import Recorder
from derloop.results.store import RunFolder, finish, rewind
from derloop.results.summary import Figure, counted, summarise
from derloop.results.timing import Timing, timing
from derloop.scenario.assembly import assemble
from derloop.scenario.fingerprint import fingerprint
from derloop.scenario.loading import load
from derloop.scenario.models import Scenario, to_ns
from derloop.verdict import Doubt, Verdict

if TYPE_CHECKING:
    from derloop.hosts.gathering import Plan

Outcome = Literal["completed", "failed", "interrupted"]
Progress = Callable[[int | None, int], None]
"""Called about every 50 ms with the instant that every federate has reached (None: no step yet) and the end, in ns."""
Say = Callable[[str], None]
"""Called with what must be known before the run begins."""

PASSED, FAILED_CHECK, WRONG_SCENARIO, INCONCLUSIVE, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True, slots=True)
class Options:
    """How a scenario is run, beyond what it says itself."""

    engine: str | None = None
    placement: str | None = None
    out: Path | str | None = None
    """The folder of the run; without it, a new one below `runs/`."""
    trust_feeder: bool = False
    """Give the feeder file to OpenDSS unchecked. It can then run programs and write files."""
    report: bool = True
    bench: Path | str | None = None
    """The bench file, that says what equipment there is."""
    arm: Sequence[str] = ()
    """Equipment of the bench that may be written to; everything else is only read."""
    trust_control: bool = False
    """Run a control of the user's that the scenario names: a file of code, or a process that answers."""

    hosts: Path | str | None = None
    """The hosts file: which machines take part beside this one."""
    listen: str | None = None
    """The address of this machine on which the others find the run, instead of the hosts file's."""

    checkpoint_every_s: float | None = None
    """Keep the run's state so often, simulated seconds; None: never."""

    @property
    def permissions(self) -> Permissions:
        """What the run may do beyond what its scenario says."""
        if self.arm and self.bench is None:
            raise DerloopError(f"there is no bench file on which {', '.join(self.arm)} could be armed")
        bench = None if self.bench is None else Path(self.bench).resolve()
        return Permissions(self.trust_feeder, bench, tuple(self.arm), self.trust_control)


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that another one, or an earlier attempt at it, has begun."""

    checkpoint: Checkpoint
    source: Path
    """The folder of the run that took it."""
    folder: Path | None
    """In which it goes on; None: in a new one."""

    def problems(self, federation: Federation) -> list[Problem]:
        """Return which federates do not give out what they did: what was recorded could not go on."""
        had: dict[str, dict[str, tuple[str, ...]]] = {}
        for signal in RunFolder(self.source).signals():
            had.setdefault(signal.federate, {})[signal.port] = signal.labels
        return [
            Problem(f"/federates/{name}", f"gives out other values than in {self.source}, whose series cannot go on")
            for name, interface in federation.recorded([*federation.federates]).items()
            if name in had and had[name] != {port: spec.labels for port, spec in interface.outputs.items() if spec.size}
        ]

    def rewind(self, folder: Path, federation: Federation) -> dict[str, Any]:
        """Have in `folder` what was recorded before the checkpoint; return what is noted of it."""
        (folder / "series").mkdir(parents=True, exist_ok=True)
        for name in federation.recorded([*federation.federates]):
            rewind(self.source / "series", folder / "series", name, self.checkpoint.at_ns)
        return {"begun": {"run": str(self.source.resolve()), "at_s": self.checkpoint.at_ns / 1e9}}


@dataclass(slots=True)
class Result:
    """A run that has ended."""

    folder: RunFolder
    outcome: Outcome
    verdicts: tuple[Verdict, ...]
    summary: tuple[Figure, ...]
    failure: str = ""
    is_stuck: bool = False
    """A federate could not be ended; only the end of this process ends it."""
    complaints: tuple[str, ...] = ()
    hunting: tuple[Hunting, ...] = ()
    """Who hunted over a delayed wire. What they and all that they reach gave is an artefact of the coupling."""

    @property
    def status(self) -> int:
        """The exit status: 0 all passed, 1 a check failed, 3 inconclusive or the run failed, 130 interrupted."""
        if self.outcome == "interrupted":
            return INTERRUPTED
        outcomes = {v.outcome for v in self.verdicts}
        if self.outcome == "failed" or self.hunting or "INCONCLUSIVE" in outcomes:
            return INCONCLUSIVE
        return FAILED_CHECK if "FAIL" in outcomes else PASSED

    def __getitem__(self, signal: str) -> Any:
        """Return the values of "federate.port", shape (instants, elements)."""
        return self.folder.read(signal)[1]

    def time_s(self, signal: str) -> Any:
        """Return the instants of "federate.port" in seconds since the scenario's start."""
        return self.folder.read(signal)[0] / 1e9

    def frame(self, signal: str) -> Any:
        """Return "federate.port", or all ports of "federate", as a pandas frame; needs pandas."""
        return self.folder.frame(signal)


@dataclass(slots=True)
class _Ending:
    """How the federates' part of a run ended."""

    outcome: Outcome = "completed"
    failure: dict[str, Any] | None = None
    text: str = ""
    statistics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    is_stuck: bool = False
    complaints: tuple[str, ...] = ()
    balances: tuple[Verdict, ...] = ()
    hunting: tuple[Hunting, ...] = ()
    timing: Timing | None = None
    hosts: Mapping[str, Any] = field(default_factory=dict)
    doubts: tuple[Doubt, ...] = ()

    def take_timing(self, federation: Federation, recorded: RunFolder) -> None:
        """Take in how a paced run kept time, and what is in doubt because it did not, or commands did not show."""
        self.timing = timing(federation, recorded)
        self.doubts = (*stale(federation, recorded), *unproven(federation, recorded))
        if self.timing and (late := self.timing.complaint(recorded.calendar)):
            self.complaints = (*self.complaints, late)


class _Noted:
    """Notes in the run's events who is found to hunt, once and as soon as it is known."""

    def __init__(self, folder: Path) -> None:
        self._events = Events(folder / "events.jsonl")
        self._calendar = RunFolder(folder).calendar
        self._found: set[Hunting] = set()

    def note(self, found: Sequence[Hunting]) -> None:
        for hunting in found:
            if hunting not in self._found:
                self._found.add(hunting)
                self._events.add("hunting", **asdict(hunting), text=hunting.said(self._calendar))

    @property
    def all(self) -> tuple[Hunting, ...]:
        return tuple(sorted(self._found, key=lambda h: (h.since_ns, h.signal, h.target)))


def run(
    scenario: Path | str,
    overrides: Sequence[str] = (),
    options: Options | None = None,
    on_progress: Progress | None = None,
    on_caution: Say | None = None,
) -> Result:
    """Run a scenario file and judge it.

    Raises ScenarioError where the scenario is wrong. A run that fails or is interrupted is a Result like any other.
    """
    options = options or Options()
    loaded = load(scenario, [*overrides, *stated(options)], options.permissions)
    return run_loaded(loaded, options, on_progress, on_caution)


def run_loaded(
    loaded: Scenario,
    options: Options,
    on_progress: Progress | None = None,
    on_caution: Say | None = None,
    begun: Begun | None = None,
) -> Result:
    """Run a scenario that has been read, from its start or as it was `begun`; see `run`."""
    federation = assemble(loaded, options.permissions)
    plan = _plan(loaded, federation, options)
    saving = _saving(loaded, federation, options, begun)
    folder = begun.folder if begun and begun.folder else _folder(loaded, options)
    events, facts, began = Events(folder / "events.jsonl"), _facts(loaded, options), monotonic()
    facts["cautions"] = federation.cautions
    if begun:
        facts |= begun.rewind(folder, federation)
    _write_json(folder / "run.json", {**facts, "outcome": "running"})
    events.add("started", engine=loaded.file.engine, placement=loaded.file.placement)
    for caution in federation.cautions:
        events.add("caution", text=caution)
        (on_caution or _mute)(caution)
    places = _Places(plan, on_caution or _mute, saving)
    ending = _move(loaded, federation, folder, options, on_progress or _silent, places)
    ending.balances = judge_balances(federation.interfaces, federation.wires, RunFolder(folder))
    ending.take_timing(federation, RunFolder(folder))
    _finish(folder, ending)  # later, because streams are read several times faster than Parquet
    events.add(ending.outcome, failure=ending.failure, complaints=ending.complaints)
    return _judged(loaded, folder, facts, ending, monotonic() - began, options)


def stated(options: Options) -> list[str]:
    chosen = {"engine": options.engine, "placement": "hosts" if options.hosts else options.placement}
    return [f'{key}="{value}"' for key, value in chosen.items() if value]


def _silent(now_ns: int | None, until_ns: int) -> None:
    """Show nothing."""


def _mute(text: str) -> None:
    """Say nothing."""


def _saving(scenario: Scenario, federation: Federation, options: Options, begun: Begun | None) -> Saving:
    """Return how a run's state is kept, and where it begins; raise ScenarioError where it cannot be."""
    every_ns = to_ns(options.checkpoint_every_s or 0.0)
    if begun or options.checkpoint_every_s:
        kinds = {name: (entry.kind.name, entry.via) for name, entry in scenario.federates.items()}
        problems = refusals(federation, kinds, every_ns) + (begun.problems(federation) if begun else [])
        if scenario.file.placement != "together":
            what = f"{scenario.file.placement!r}: checkpoints are taken in one process; let it be 'together'"
            problems.append(Problem("/placement", what))
        if problems:
            raise ScenarioError(problems, str(scenario.path))
    return Saving(every_ns, begun.checkpoint if begun else None)


def _kept(scenario: Scenario, recorder: Recorder, folder: Path) -> Callable[[Checkpoint], None]:
    """Return what keeps a checkpoint: after all that was recorded before it."""

    known_as = fingerprint(scenario)

    def keep(checkpoint: Checkpoint) -> None:
        checkpoint.scenario = known_as
        recorder.flush()
        write(checkpoint, folder)

    return keep


@dataclass(frozen=True, slots=True)
class _Places:
    """On which machines a run is, who hears of it, and where it begins."""

    plan: Plan | None
    say: Say
    saving: Saving


def _plan(scenario: Scenario, federation: Federation, options: Options) -> Plan | None:
    """Return which hosts take part; None where the run stays on this machine."""
    if scenario.file.placement != "hosts":
        return None
    from derloop.hosts.gathering import plan  # HELICS, only where it is used

    return plan(scenario, federation, options.hosts, options.listen)


def _move(
    scenario: Scenario, federation: Federation, folder: Path, options: Options, on_progress: Progress, places: _Places
) -> _Ending:
    """Step the federation to its end, whichever that is."""
    try:
        if scenario.file.placement != "together":
            return _apart(scenario, federation, folder, options, on_progress, places)
        return _together(scenario, federation, folder, on_progress, places.saving)
    except KeyboardInterrupt:  # just before, or just after, the federates were at work
        return _Ending("interrupted", text="interrupted")


def _together(
    scenario: Scenario, federation: Federation, folder: Path, on_progress: Progress, saving: Saving
) -> _Ending:
    federation.keep_in(folder)
    recorder = Recorder(folder, federation.recorded([*federation.federates]), goes_on=saving.from_ns > 0)
    if saving.every_ns:
        saving.keep = _kept(scenario, recorder, folder)
    limits = Deadlines(scenario.file.deadlines.join_s, scenario.file.deadlines.step_s)
    worker = Worker(federation, federation.units, recorder.observe, limits, stepper=saving.stepper)
    hunting = _Noted(folder)

    def poll() -> None:
        recorder.flush_due()
        hunting.note(worker.hunting)
        on_progress(worker.now_ns, scenario.until_ns)

    def move() -> None:
        try:
            worker.run(mover(scenario.file.engine), scenario.until_ns - saving.from_ns, poll)
        finally:
            recorder.close()

    ending = _ended(move)
    hunting.note(worker.hunting)
    ending.hunting = hunting.all
    ending.is_stuck, ending.complaints = worker.is_stuck, tuple(worker.complaints)
    ending.statistics = {} if worker.is_stuck else worker.statistics()
    return ending


def _apart(
    scenario: Scenario, federation: Federation, folder: Path, options: Options, on_progress: Progress, places: _Places
) -> _Ending:
    from derloop.engines.apart import Apart  # HELICS, only where it is used

    gathering = places.plan.gathering(scenario, folder, places.say) if places.plan else None
    apart = Apart(scenario, federation, folder, options.permissions, gathering)
    hunting = _Noted(folder)

    def poll() -> None:
        hunting.note(apart.hunting)
        on_progress(apart.now_ns, scenario.until_ns)

    ending = _ended(lambda: apart.run(poll))
    hunting.note(apart.hunting)
    ending.hunting = hunting.all
    ending.statistics, ending.complaints = apart.statistics(), tuple(apart.complaints)
    ending.hosts = gathering.facts() if gathering else {}
    return ending


def _ended(move: Callable[[], None]) -> _Ending:
    try:
        move()
    except KeyboardInterrupt:
        return _Ending("interrupted", text="interrupted")
    except FederateError as error:
        facts = {"federate": error.federate, "time_s": _seconds(error.now_ns), "why": error.why, "inputs": error.inputs}
        return _Ending("failed", facts, str(error))
    except DerloopError as error:
        return _Ending("failed", {"federate": None, "time_s": None, "why": str(error), "inputs": {}}, str(error))
    return _Ending()


def _finish(folder: Path, ending: _Ending) -> None:
    """Turn the streams into Parquet; a stream that cannot be is kept as it is, and says why."""
    try:
        finish(folder)
    except DerloopError as error:
        ending.complaints = (*ending.complaints, str(error))


def _seconds(now_ns: int | None) -> float | None:
    return None if now_ns is None else now_ns / 1e9


def _judged(
    scenario: Scenario,
    folder: Path,
    facts: dict[str, Any],
    ending: _Ending,
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
    _write_json(folder / "verdicts.json", [asdict(v) for v in verdicts])
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
    _write_json(folder / "run.json", {**facts, **said})
    wrong = _wrong(ending, recorded.calendar)
    write_junit(folder / "junit.xml", scenario.name, verdicts, wrong or None, wall_s, recorded.calendar)
    result.folder = RunFolder(folder)
    if options.report:
        from derloop.report.page import write_report  # the templates, only where a page is wanted

        write_report(result.folder, folder / "report.html")
    return result


def _wrong(ending: _Ending, calendar: Calendar) -> str:
    """Return what is wrong with the run itself; empty if nothing is."""
    return "; ".join(filter(None, [ending.text, *(hunting.said(calendar) for hunting in ending.hunting)]))


def _cut_short(ending: _Ending) -> str:
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


def _folder(scenario: Scenario, options: Options) -> Path:
    if options.out:
        folder = Path(options.out)
        if folder.exists() and any(folder.iterdir()):
            raise DerloopError(f"{folder} holds something already; a run needs a folder of its own")
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for number in range(1000):
        folder = Path("runs") / f"{scenario.name}-{stamp}{f'-{number}' if number else ''}"
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise DerloopError(f"no free folder for the run below {Path('runs').absolute()}")


def _facts(scenario: Scenario, options: Options) -> dict[str, Any]:
    """Return what is known before the start: the scenario with its defaults, who runs it, with what."""
    file = scenario.file
    return {
        **file.model_dump(mode="json", include={"name", "description", "start", "time_zone"}),
        **file.model_dump(
            mode="json",
            include={"duration_s", "step_s", "seed", "engine", "placement", "coupling", "deadlines", "pacing"},
        ),
        "scenario_path": str(scenario.path),
        "scenario": scenario.document,
        "overrides": scenario.overrides,
        "federates": {
            name: {"kind": entry.kind.name, "via": entry.via, "settings": entry.settings.model_dump(mode="json")}
            for name, entry in scenario.federates.items()
        },
        "checks": [
            {"name": check.name, "kind": check.kind.name, "settings": check.settings.model_dump(mode="json")}
            for check in scenario.checks
        ],
        **permissions_to_json(options.permissions),
        "checkpoint_every_s": options.checkpoint_every_s,
        "started": _now(),
        "versions": versions(),
        "host": {"system": platform.platform(), "machine": platform.machine(), "cpus": os.cpu_count()},
        "git_commit": _git_commit(scenario.folder),
    }


def _now() -> str:
    return datetime.now(UTC).astimezone().isoformat(timespec="milliseconds")


def _git_commit(folder: Path) -> str:
    """Return the commit of the scenario's folder, with "+changes" where files differ; empty outside git."""
    try:
        said = [
            subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=5, check=True).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return ""
    return said[0].strip() + ("+changes" if said[1].strip() else "")


def _write_json(path: Path, data: object) -> None:
    """Write and rename, so that a reader never meets half a file."""
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(data, indent=1, default=str), encoding="utf-8")
    draft.replace(path)
