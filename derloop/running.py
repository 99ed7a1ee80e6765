"""Running a scenario: load, wire, run, judge, report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from shutil import rmtree
from time import monotonic
from typing import TYPE_CHECKING, Any

from derloop import memory
from derloop.checks import ahead
from derloop.checks.balance import judge_balances
from derloop.checks.hunted import doubt, hunted
from derloop.engines.exchange import layout_of
from derloop.engines.saving import Saving, refusals
from derloop.errors import DerloopError, Problem, ScenarioError
from derloop.federation import Federation
from derloop.judging import facts, judged, write_json
from derloop.moving import Ending, Moving
from derloop.options import Options, Progress, Say
from derloop.result import Result
from derloop.results.alone import LOCK, alone_in
from derloop.results.checkpoints import Checkpoint
from derloop.results.events import Events
from derloop.results.store import RunFolder, finish, rewind
from derloop.scenario.assembly import assemble
from derloop.scenario.fingerprint import fingerprint
from derloop.scenario.loading import load
from derloop.scenario.models import Scenario, to_ns

if TYPE_CHECKING:
    from derloop.hosts.plan import Plan

SELDOM_S = 1e9
"""The longest time between checkpoints: 31 years."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that another one, or an earlier attempt at it, has begun."""

    checkpoint: Checkpoint
    source: Path
    """The folder of the run that took it."""
    folder: Path | None
    """In which it goes on; None: in a new one."""
    cautions: tuple[str, ...] = ()
    """What must be known of where it goes on."""

    def problems(self, federation: Federation) -> list[Problem]:
        """Return which federates do not give out what they did: what was recorded could not go on."""
        had: dict[str, dict[str, tuple[str, ...]]] = {}
        steps_ns: dict[str, int] = {}
        for signal in RunFolder(self.source).signals():
            had.setdefault(signal.federate, {})[signal.port] = signal.labels
            steps_ns[signal.federate] = signal.step_ns
        changed = [
            Problem(f"/federates/{name}/step_s", f"was {steps_ns[name] / 1e9:g} s: what goes on has the same steps")
            for name, interface in federation.interfaces.items()
            if steps_ns.get(name, interface.step_ns) != interface.step_ns
        ]
        given = {
            name: {port: spec.labels for port, spec in interface.outputs.items() if spec.size}
            for name, interface in federation.recorded([*federation.federates]).items()
        }
        changed += [
            Problem(f"/federates/{name}", f"its series are not in {self.source}")
            for name in self.checkpoint.units
            if given.get(name) and name not in had
        ]
        return changed + [
            Problem(f"/federates/{name}", f"gives out other values than in {self.source}, whose series cannot go on")
            for name, told in given.items()
            if name in had and had[name] != told
        ]

    def completed(self, federation: Federation) -> Checkpoint:
        """Return the checkpoint with what units read now, and did not then: the last that was recorded of it."""
        run, at_ns = RunFolder(self.source), self.checkpoint.at_ns
        recorded = {signal.name: signal.step_ns for signal in run.signals()}
        read = {str(ref) for unit in federation.units for ref in layout_of(federation, unit).latest}
        found = {
            name: memory.encoded(run.read(name, at_ns - recorded[name], at_ns)[1][-1])
            for name in sorted(read - self.checkpoint.latest.keys())
            if name in recorded
        }
        return replace(self.checkpoint, latest={**self.checkpoint.latest, **found})

    def hunted(self, ending: Ending) -> list[dict[str, Any]]:
        """Return who hunted before the checkpoint, over wires that a fork has no more; see `checks.hunted`."""
        if self.folder:
            return []
        known = [(h.signal, h.target, h.since_ns) for h in ending.hunting]
        return hunted(RunFolder(self.source), self.checkpoint.at_ns, known)

    def rewind(self, folder: Path, federation: Federation) -> dict[str, Any]:
        """Have in `folder` what was recorded before the checkpoint; return what is noted of it.

        Where that cannot be, a folder that was made for it is no run's.
        """
        (folder / "series").mkdir(parents=True, exist_ok=True)
        try:
            for name in federation.recorded([*federation.federates]):
                rewind(self.source / "series", folder / "series", name, self.checkpoint.at_ns)
        except DerloopError:
            if self.folder is None:
                rmtree(folder)
            raise
        return {"begun": {"run": str(self.source.resolve()), "at_s": self.checkpoint.at_ns / 1e9}}


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
    loaded = load(scenario, options.beside(overrides), options.permissions)
    return run_loaded(loaded, options, on_progress, on_caution)


def run_loaded(
    loaded: Scenario,
    options: Options,
    on_progress: Progress | None = None,
    on_caution: Say | None = None,
    begun: Begun | None = None,
) -> Result:
    """Run a scenario that has been read, from its start or as it was `begun`; see `run`."""
    here = Path.cwd()  # a control of the user's may change it, also while it is imported
    federation = assemble(loaded, options.permissions)
    plan = _plan(loaded, federation, options)
    saving = _saving(loaded, federation, options, begun)
    known_as = fingerprint(loaded, options.permissions.trust_feeder) if saving.every_ns else ""
    folder = here / begun.folder if begun and begun.folder else _folder(loaded, options, here)
    with _own(folder, begun):
        events, known = Events(folder / "events.jsonl"), facts(loaded, federation.interfaces, options)
        began = monotonic()
        own = begun.cautions if begun else ()
        known["cautions"] = cautions = (*own, *ahead.cautions(loaded, federation), *saving.cautions(loaded.until_ns))
        if begun:
            known |= begun.rewind(folder, federation)
        write_json(folder / "run.json", {**known, "outcome": "running"})
        events.add("started", engine=loaded.file.engine, placement=loaded.file.placement)
        for caution in cautions:
            events.add("caution", text=caution)
            (on_caution or _mute)(caution)
        say, show = on_caution or _mute, on_progress or _silent
        moving = Moving(loaded, federation, folder, options.permissions, plan, saving, known_as, show, say)
        ending = moving.to_its_end()
        ending.balances = judge_balances(federation.interfaces, federation.wires, RunFolder(folder))
        ending.take_timing(federation, RunFolder(folder))
        for said in begun.hunted(ending) if begun else ():
            ending.doubts = (*ending.doubts, doubt(said))
            events.add("hunting", **said)
        _finish(folder, ending)  # later, because streams are read several times faster than Parquet
        events.add(ending.outcome, failure=ending.failure, complaints=ending.complaints)
        return judged(loaded, folder, known, ending, monotonic() - began, options)


@contextmanager
def _own(folder: Path, begun: Begun | None) -> Iterator[None]:
    """Let nobody else run in the folder; raise DerloopError where somebody does, or has, unless a run goes on in it."""
    with alone_in(folder, "another run is"):
        try:
            if not (begun and begun.folder) and any(path.name != LOCK for path in folder.iterdir()):
                raise DerloopError(f"{folder} holds something already; a run needs a folder of its own")
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)


def _silent(now_ns: int | None, until_ns: int) -> None:
    """Show nothing."""


def _mute(text: str) -> None:
    """Say nothing."""


def _saving(scenario: Scenario, federation: Federation, options: Options, begun: Begun | None) -> Saving:
    """Return how a run's state is kept, and where it begins; raise ScenarioError where it cannot be."""
    if options.checkpoint_every_s and not 0.0 < options.checkpoint_every_s <= SELDOM_S:
        what = f"must be above 0, and at most {SELDOM_S:g}"
        raise DerloopError(f"--checkpoint-every {options.checkpoint_every_s:g}: {what}")
    every_ns = to_ns(options.checkpoint_every_s or 0.0)
    if begun or options.checkpoint_every_s:
        kinds = {name: (entry.kind.name, entry.via) for name, entry in scenario.federates.items()}
        problems = refusals(federation, kinds, every_ns) + (begun.problems(federation) if begun else [])
        if problems:
            raise ScenarioError(problems, str(scenario.path))
    if options.checkpoint_keep and not every_ns:
        raise DerloopError("--checkpoint-keep says how many stay; --checkpoint-every says how often there is one")
    return Saving(every_ns, begun.completed(federation) if begun else None, most=options.checkpoint_keep)


def _plan(scenario: Scenario, federation: Federation, options: Options) -> Plan | None:
    """Return which hosts take part; None where the run stays on this machine."""
    if scenario.file.placement != "hosts":
        return None
    from derloop.hosts.door import check_free
    from derloop.hosts.plan import plan  # only where other machines take part

    planned = plan(scenario, federation, options.hosts, options.listen, options.trust_feeder)
    check_free(planned.file.listen, planned.file.port)
    return planned


def _finish(folder: Path, ending: Ending) -> None:
    """Turn the streams into Parquet; a stream that cannot be is kept as it is, and says why."""
    try:
        finish(folder)
    except DerloopError as error:
        ending.complaints = (*ending.complaints, str(error))


def _folder(scenario: Scenario, options: Options, here: Path) -> Path:
    if options.out:
        return here / options.out
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for number in range(1000):
        folder = here / "runs" / f"{scenario.name}-{stamp}{f'-{number}' if number else ''}"
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise DerloopError(f"no free folder for the run below {here / 'runs'}")
