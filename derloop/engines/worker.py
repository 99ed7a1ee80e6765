"""The units of one process at work in a thread, watched from the thread that called.

Whatever an engine is waiting for, the watching thread sees who has been at work for too long, writes what is due, and
ends the run by name.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from mmap import mmap
from threading import Event, Thread
from time import monotonic

from derloop.crews import Crew
from derloop.engines.hunting import Hunting
from derloop.engines.stepping import Cancelled, Observe, Stepper
from derloop.errors import DerloopError, EngineError, FederateError, Unforeseen, said
from derloop.federation import Federation, Unit
from derloop.pacing import Clock

POLL_S = 0.05
SETTLE_S = 0.4
"""How long units that are at work may take to leave after the run was cancelled."""
LOOK_S = 0.01
STOP_S = 5.0
"""How long all federates together may take to stop."""
REST_S = 1.0
"""How long those may take whose turn to stop had not come by then, for one before them hangs."""
BOARD_BYTES = 16
STALL_S = 1.0
"""How much longer than a federate's deadline nothing may move."""

Move = Callable[[list[Stepper], int], None]


STUCK_SWITCH_S = 1e-4
"""How long a federate that spins may keep the interpreter from whoever writes down that it does."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Wall-clock seconds that a federate may take."""

    join_s: float = 60.0
    step_s: float = 30.0


class Stall:
    """Notices that nobody is at work and nothing moves: then the middleware has lost something."""

    def __init__(self, deadlines: Deadlines, wait_s: float = 0.0) -> None:
        """wait_s: for how long nothing may have to move, because no instant is due."""
        self._join_s, self._move_s = deadlines.join_s, wait_s + max(deadlines.step_s, STOP_S)
        self._seen: object = None
        self._since = monotonic()

    def check(self, instants: Sequence[int | None], stage: object = None) -> None:
        """Take in how far each unit is; raise EngineError when that has not changed for too long."""
        if (seen := ([*instants], stage)) != self._seen:
            self._seen, self._since = seen, monotonic()
        still_s = monotonic() - self._since
        begun = [now for now in instants if now is not None]
        if still_s > STALL_S + (self._move_s if begun else self._join_s):
            where = f"at {min(begun) / 1e9:g} s" if begun else "before the first step"
            raise EngineError(f"the run stands still {where}: for {still_s:.0f} s nobody was given a step")


def mover(engine: str, threads: Sequence[Crew] | None = None) -> Move:
    """Return what moves a federation under `engine`, importing its middleware only now.

    threads: who steps which units, each crew in a thread of its own; without it, one thread steps all.
    """
    module = importlib.import_module(f"derloop.engines.{engine}")
    return partial(module.run_in_threads, crews=threads) if threads else module.run


def _told(failure: BaseException) -> BaseException:
    """Return what a run ends with: for what nobody foresaw, Unforeseen, caused by it."""
    if isinstance(failure, DerloopError) or not isinstance(failure, Exception):
        return failure
    told = Unforeseen(said(failure))
    told.__cause__ = failure
    return told


class Worker:
    """Runs units to the end of the run, or ends them when one fails, hangs or the caller gives up.

    clock: that of a run in several processes, which is told when to begin. Without one, a paced run begins by itself.
    """

    def __init__(
        self,
        federation: Federation,
        units: Sequence[Unit],
        observe: Observe,
        deadlines: Deadlines,
        clock: Clock | None = None,
        stepper: Callable[..., Stepper] = Stepper,
    ) -> None:
        """stepper: makes the stepper of each unit."""
        self._cancelled = Event()
        if federation.pacing and clock is None:
            clock = Clock(federation.pacing.speed)
        self._steppers = [stepper(federation, unit, observe, self._cancelled, clock) for unit in units]
        self._wait_s, self._stop_s = federation.longest_wait_s, STOP_S + federation.stop_s(units)
        self._deadlines = deadlines
        self._is_alone = len(units) == len(federation.units)
        self._failure: BaseException | None = None
        self._hung = ""
        self._ending: list[FederateError] = []
        self._asked_to = "stopped"
        self._statistics: dict[str, Mapping[str, float]] = {}
        self._is_held = False
        """A federate is still at work in a step, or in stopping: nobody is asked for statistics then."""
        self.is_stopping = False
        self.is_stuck = False
        """A federate is still at work although it was told to end: this process cannot end it."""
        self.complaints: list[str] = []
        """What went wrong in stopping, beyond what `run` has raised."""

    def run(self, move: Move, until_ns: int, on_poll: Callable[[], None]) -> None:
        """Run to `until_ns`, calling `on_poll` every 50 ms; raise what failed. The federates are stopped then."""
        thread = Thread(target=self._work, args=(move, until_ns), name="derloop engine", daemon=True)
        on_poll()
        thread.start()
        try:
            self._watch(thread, on_poll)
        except BaseException:
            self._leave(thread)
            self.complaints += map(str, self._ending)
            raise
        self._leave(thread)
        self.complaints += map(str, self._ending[1:])
        if self._ending:
            raise self._ending[0]

    def _leave(self, thread: Thread) -> None:
        self._cancelled.set()
        self._settle(thread)
        self._is_held = any(stepper.is_busy for stepper in self._steppers)
        self._note_stuck(thread.is_alive() or bool(self.at_work()))
        self._stop()

    def _settle(self, thread: Thread) -> None:
        """Wait for units at work, but for nobody who hangs, nor for a middleware that waits for other processes."""
        until = monotonic() + SETTLE_S
        while thread.is_alive() and monotonic() < until:
            thread.join(LOOK_S)
            busy = [stepper for stepper in self._steppers if stepper.is_busy and self._hung not in stepper.unit.members]
            if not busy and (self._hung or not self._is_alone):
                return

    def show_work_on(self, board: mmap, members: Sequence[str]) -> None:
        """Write instants into `board` too, which another process may read, and who of `members` is at work on each."""
        shown, numbers = memoryview(board).cast("q"), {name: number for number, name in enumerate(members)}
        for stepper in self._steppers:
            stepper.progress.board, stepper.progress.numbers = shown, numbers

    def _watch(self, thread: Thread, on_poll: Callable[[], None]) -> None:
        stall = Stall(self._deadlines, self._wait_s)
        while thread.is_alive():
            thread.join(POLL_S)
            on_poll()
            self._check_deadlines()
            if self._is_alone and not self.at_work():
                stall.check([stepper.progress.now_ns for stepper in self._steppers])
        if self._failure:
            raise _told(self._failure)
        self.is_stopping = True
        on_poll()

    def _work(self, move: Move, until_ns: int) -> None:
        try:
            move(self._steppers, until_ns)
            for stepper in self._steppers:
                stepper.check_reached(until_ns)
        except Cancelled:
            pass
        except BaseException as error:  # noqa: BLE001 - raised in the watching thread
            self._failure = error

    def _note_stuck(self, is_stuck: bool) -> None:
        self.is_stuck = self.is_stuck or is_stuck
        if is_stuck:
            sys.setswitchinterval(STUCK_SWITCH_S)

    def _check_deadlines(self) -> None:
        for federate, now_ns, for_s in self.at_work():
            limit_s = self._deadlines.join_s if now_ns is None else self._deadlines.step_s
            if for_s > limit_s:
                doing = "starting" if now_ns is None else "one step"
                self._hung = federate
                why = f"hangs: {doing} has taken {for_s:.1f} s, its deadline is {limit_s:g} s"
                raise FederateError(federate, now_ns, why)

    def at_work(self) -> list[tuple[str, int | None, float]]:
        """Return who is at work on which instant, and for how many seconds."""
        found = []
        for progress in (stepper.progress for stepper in self._steppers):
            federate, now_ns, since = progress.federate, progress.now_ns, progress.since
            if federate is not None and progress.since == since:  # else it has gone on meanwhile
                found.append((federate, now_ns, monotonic() - since))
        return found

    @property
    def hunting(self) -> list[Hunting]:
        """Who hunts over a delayed wire, as far as is known by now."""
        return [hunting for stepper in self._steppers for hunting in stepper.hunting]

    @property
    def now_ns(self) -> int | None:
        """The instant that every unit has reached; None before the first step."""
        reached = [stepper.progress.now_ns for stepper in self._steppers]
        return None if None in reached else min(now for now in reached if now is not None)

    @property
    def has_started(self) -> bool:
        """Every unit has its first outputs, and waits for the others or is on its way."""
        return all(stepper.has_started for stepper in self._steppers)

    def statistics(self) -> dict[str, Mapping[str, float]]:
        """Return what the federates of this process said of their run when it was over."""
        return dict(self._statistics)

    def _stop(self) -> None:
        """Stop all federates, also those behind one that hangs in it: they may have equipment to leave safe."""
        limit_s, hung = self._stop_s, set[str]()
        while self._hangs_in_stopping(limit_s):
            self._is_held = True
            self._note_stuck(True)
            for federate, now_ns, _ in self.at_work():
                if federate not in hung:
                    hung.add(federate)
                    why = f"hangs: it has not {self._asked_to} after {limit_s:g} s"
                    self._ending.append(FederateError(federate, now_ns, why))
            if not any(stepper.is_to_stop for stepper in self._steppers):
                return
            limit_s = REST_S + self._stop_s - STOP_S

    def _hangs_in_stopping(self, limit_s: float) -> bool:
        thread = Thread(target=self._stop_each, name="derloop stop", daemon=True)
        thread.start()
        thread.join(limit_s)
        return thread.is_alive()

    def _stop_each(self) -> None:
        for stepper in reversed(self._steppers):
            self._ending += stepper.stop()
        self._asked_to = "given its statistics"
        for stepper in () if self._is_held else self._steppers:
            try:
                self._statistics |= stepper.statistics()
            except FederateError as error:
                self._ending.append(error)
