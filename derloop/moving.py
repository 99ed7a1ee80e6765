"""Stepping a federation to its end, whichever that is: in this process, in others, or on other machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from derloop.checks.stale import stale
from derloop.checks.unproven import unproven
from derloop.crews import crews_of
from derloop.engines.hunting import Hunting
from derloop.engines.saving import Keep, Parts, Saving
from derloop.engines.worker import Deadlines, Worker, mover
from derloop.errors import DerloopError, FederateError
from derloop.federation import Federation
from derloop.kind import Permissions
from derloop.options import Progress, Say
from derloop.result import Outcome
from derloop.results.checkpoints import Checkpoint, keep_last, write
from derloop.results.events import Events
from derloop.results.recorder import Recorder
from derloop.results.store import RunFolder
from derloop.results.timing import Timing, timing
from derloop.scenario.models import Scenario
from derloop.verdict import Doubt, Verdict

if TYPE_CHECKING:
    from derloop.hosts.plan import Plan


@dataclass(slots=True)
class Ending:
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


@dataclass(frozen=True, slots=True)
class Moving:
    """A federation that is stepped: what it is of, where it may be, who hears of it, and where it begins."""

    scenario: Scenario
    federation: Federation
    folder: Path
    permissions: Permissions
    plan: Plan | None
    """Which hosts take part; None where the run stays on this machine."""
    saving: Saving
    known_as: str
    """The scenario's fingerprint, of which checkpoints are; empty where none are kept."""
    on_progress: Progress
    say: Say

    def to_its_end(self) -> Ending:
        """Step the federation to its end, whichever that is."""
        try:
            is_apart = self.scenario.file.placement in ("apart", "hosts") and not self._is_at_its_end
            return self._apart() if is_apart else self._together()
        except KeyboardInterrupt:  # just before, or just after, the federates were at work
            return Ending("interrupted", text="interrupted")

    @property
    def _is_at_its_end(self) -> bool:
        """Whether no step is left: the run was stopped after its last one, and is only to be judged."""
        return self.saving.from_ns >= self.scenario.until_ns

    def _together(self) -> Ending:
        federation, saving, file = self.federation, self.saving, self.scenario.file
        recorder = Recorder(self.folder, federation.recorded([*federation.federates]), goes_on=saving.from_ns > 0)
        saving.keep = self._kept(recorder.flush)
        limits = Deadlines(file.deadlines.join_s + federation.start_s, file.deadlines.step_s)
        worker = Worker(federation, federation.units, recorder.observe, limits, stepper=saving.stepper)
        hunting = _Noted(self.folder)

        def poll() -> None:
            recorder.flush_due()
            hunting.note(worker.hunting)
            self.on_progress(worker.now_ns, self.scenario.until_ns)

        threads = crews_of(federation, federation.units, file.workers) if file.placement == "threads" else None
        moved_by = mover("local") if self._is_at_its_end else mover(file.engine, threads)

        def move() -> None:
            try:
                federation.keep_in(self.folder)
                worker.run(moved_by, self.scenario.until_ns - saving.from_ns, poll)
            finally:
                recorder.close()

        ending = _ended(move)
        hunting.note(worker.hunting)
        ending.hunting = hunting.all
        ending.is_stuck, ending.complaints = worker.is_stuck, tuple(worker.complaints)
        ending.statistics = {} if worker.is_stuck else worker.statistics()
        return ending

    def _apart(self) -> Ending:
        from derloop.engines.apart import Apart  # HELICS, only where it is used
        from derloop.hosts.gathering import Gathering

        gathering = Gathering(self.plan, self.scenario, self.folder, self.say) if self.plan else None
        self.saving.keep = self._kept()
        apart = Apart(self.scenario, self.federation, self.folder, self.permissions, self.saving, gathering)
        hunting = _Noted(self.folder)

        def poll() -> None:
            hunting.note(apart.hunting)
            self.on_progress(apart.now_ns, self.scenario.until_ns)

        ending = _ended(lambda: apart.run(poll))
        hunting.note(apart.hunting)
        ending.hunting = hunting.all
        ending.statistics, ending.complaints = apart.statistics(), tuple(apart.complaints)
        ending.hosts = gathering.facts() if gathering else {}
        ending.is_stuck = apart.is_stuck
        return ending

    def _kept(self, first: Callable[[], None] = lambda: None) -> Keep:
        """Return what takes each unit's part of the checkpoints and writes those that are whole; before that, `first`.

        That is to write what was recorded before them; processes of their own have done so when they give their parts.
        """

        def keep(checkpoint: Checkpoint) -> None:
            first()
            checkpoint.scenario = self.known_as
            write(checkpoint, self.folder)
            if self.saving.most:
                keep_last(self.folder, self.saving.most)

        return Parts([unit.name for unit in self.federation.units], keep).take


def _ended(move: Callable[[], None]) -> Ending:
    try:
        move()
    except KeyboardInterrupt:
        return Ending("interrupted", text="interrupted")
    except FederateError as error:
        facts = {"federate": error.federate, "time_s": _seconds(error.now_ns), "why": error.why, "inputs": error.inputs}
        return Ending("failed", {**facts, **_traceback(error)}, str(error))
    except DerloopError as error:
        facts = {"federate": None, "time_s": None, "why": str(error), "inputs": {}}
        return Ending("failed", {**facts, **_traceback(error)}, str(error))
    return Ending()


def _traceback(error: DerloopError) -> dict[str, str]:
    """Return where what has caused an error was raised; nothing where that was in another process, whose log has it."""
    return {"traceback": "".join(format_exception(error.__cause__))} if error.__cause__ else {}


def _seconds(now_ns: int | None) -> float | None:
    return None if now_ns is None else now_ns / 1e9


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
