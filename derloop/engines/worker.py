"""The units of one process at work in a thread, watched from the thread that called.

Whatever an engine is waiting for, the watching thread sees who has been at work for too long, writes what is due, and
ends the run by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic

from derloop.engines.stepping import Cancelled, Observe, Stepper
from derloop.errors import FederateError
from derloop.federation import Federation, Unit

POLL_S = 0.05
SETTLE_S = 0.4
"""How long units may take to leave after the run was cancelled."""
STOP_S = 5.0
"""How long all federates together may take to stop."""

Move = Callable[[list[Stepper], int], None]


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Wall-clock seconds that a federate may take."""

    join_s: float = 30.0
    step_s: float = 30.0


def mover(engine: str) -> Move:
    """Return what moves a federation under `engine`, importing its middleware only now."""
    return importlib.import_module(f"derloop.engines.{engine}").run  # type: ignore[no-any-return]


class Worker:
    """Runs units to the end of the run, or ends them when one fails, hangs or the caller gives up."""

    def __init__(self, federation: Federation, units: Sequence[Unit], observe: Observe, deadlines: Deadlines) -> None:
        self._cancelled = Event()
        self._steppers = [Stepper(federation, unit, observe, self._cancelled) for unit in units]
        self._deadlines = deadlines
        self._federation = federation
        self._failure: BaseException | None = None
        self._began = monotonic()
        self.is_stuck = False
        """A federate is still at work although it was told to end: this process cannot end it."""
        self.complaints: list[str] = []
        """What went wrong in stopping."""

    def run(self, move: Move, until_ns: int, on_poll: Callable[[], None]) -> None:
        """Run to `until_ns`, calling `on_poll` every 50 ms; raise what failed. The federates are stopped then."""
        thread = Thread(target=self._work, args=(move, until_ns), name="derloop engine", daemon=True)
        self._began = monotonic()
        thread.start()
        try:
            while thread.is_alive():
                thread.join(POLL_S)
                on_poll()
                self._check_deadlines()
        finally:
            self._cancelled.set()
            thread.join(SETTLE_S)
            self._stop()
            self.is_stuck = self.is_stuck or thread.is_alive()
        if self._failure:
            raise self._failure

    def _work(self, move: Move, until_ns: int) -> None:
        try:
            move(self._steppers, until_ns)
        except Cancelled:
            pass
        except BaseException as error:  # noqa: BLE001 - raised in the watching thread
            self._failure = error

    def _check_deadlines(self) -> None:
        for federate, now_ns, for_s in self.at_work():
            limit_s = self._deadlines.join_s if now_ns is None else self._deadlines.step_s
            if for_s > limit_s:
                doing = "starting" if now_ns is None else "one step"
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
    def now_ns(self) -> int | None:
        """The instant that every unit has reached; None before the first step."""
        reached = [stepper.progress.now_ns for stepper in self._steppers]
        return None if None in reached else min(now for now in reached if now is not None)

    @property
    def has_started(self) -> bool:
        """Every unit has its first outputs, and waits for the others or is on its way."""
        return all(stepper.has_started for stepper in self._steppers)

    def statistics(self) -> dict[str, Mapping[str, float]]:
        """Return what the federates of this process say of their run."""
        members = [m for stepper in self._steppers for m in stepper.unit.members]
        found: dict[str, Mapping[str, float]] = {
            name: getattr(self._federation.federates[name], "statistics", dict)() for name in members
        }
        return {name: {k: float(v) for k, v in said.items()} for name, said in found.items() if said}

    def _stop(self) -> None:
        thread = Thread(target=self._stop_each, name="derloop stop", daemon=True)
        thread.start()
        thread.join(STOP_S)
        if thread.is_alive():
            self.is_stuck = True
            self.complaints.append(f"not every federate had stopped after {STOP_S:g} s")

    def _stop_each(self) -> None:
        for stepper in reversed(self._steppers):
            self.complaints += stepper.stop()
