"""A process that runs some units of a federation: `python -m derloop.engines.child`, started by the supervisor.

It reads its job as one line of JSON, says how it gets on in lines of JSON, and ends when told to or when the
supervisor's end of the pipe closes. What it prints otherwise goes to its log.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from mmap import mmap
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import Any, TextIO

from derloop.contract import Interface, interface_from_json
from derloop.engines.agenda import Agenda, seats_from_json
from derloop.engines.hunting import Hunting
from derloop.engines.link import CrewEnd, Memory
from derloop.engines.saving import Saving
from derloop.engines.stepping import Cancelled, Stepper
from derloop.engines.worker import BOARD_BYTES, Deadlines, Move, Worker
from derloop.errors import DerloopError, EngineError, FederateError, ScenarioError
from derloop.federation import Federation
from derloop.kind import permissions_from_json
from derloop.pacing import Clock
from derloop.results.checkpoints import Checkpoint, packed
from derloop.results.recorder import Recorder
from derloop.scenario.assembly import assemble
from derloop.scenario.consequences import blamed
from derloop.scenario.loading import typed

BEAT_S = 0.1
ORPHAN_S = 1.5
"""How long the federates may take to let go of their equipment once the supervisor is gone."""
PIECE_CHARS = 2**20
"""How long a line may be: state of many devices is longer, and comes in pieces."""
_PR_SET_PDEATHSIG = 1


class Supervisor:
    """The other end of the pipes."""

    def __init__(self, said: TextIO, heard: TextIO) -> None:
        self._said, self._heard, self._lock = said, heard, Lock()
        self._told_to_end = Event()
        self._last_beat, self._stage = 0.0, ""
        self._hunting_said: set[Hunting] = set()
        self.clock: Clock | None = None
        """That of a paced run: the supervisor says when it begins."""
        self._has_asked = False

    def job(self) -> dict[str, Any]:
        """Return what to do, and listen from now on for the word to end."""
        job = json.loads(self._heard.readline())
        Thread(target=self._listen, name="derloop supervisor", daemon=True).start()
        return job  # type: ignore[no-any-return]

    def _listen(self) -> None:
        while (said := self._heard.readline()).startswith("begin"):
            if self.clock:
                self.clock.begin(int(said.split()[1]))
        self._told_to_end.set()  # by "end", or by the end of the pipe
        if not said:
            sleep(ORPHAN_S)
            os._exit(3)

    def end(self) -> None:
        self._told_to_end.set()

    def say(self, **what: object) -> None:
        """Write one line; a supervisor that has gone will be noticed at the other pipe."""
        try:
            with self._lock:
                self._said.write(json.dumps(what) + "\n")
                self._said.flush()
        except OSError:
            self._told_to_end.set()

    def poll(self, worker: Worker) -> None:
        """Say how far this process is; raise Cancelled when it has been told to end."""
        if self._told_to_end.is_set():
            raise Cancelled
        self.say_hunting(worker)
        self._ask_when()
        stage = "stopping" if worker.is_stopping else "started" if worker.has_started else "starting"
        if stage != self._stage or monotonic() - self._last_beat >= BEAT_S:
            self._last_beat, self._stage = monotonic(), stage
            self.say(beat=stage)

    def _ask_when(self) -> None:
        if self.clock and self.clock.is_awaited and not self._has_asked:
            self._has_asked = True
            self.say(asks="when")

    def say_part(self, part: Checkpoint) -> None:
        """Say the state of a unit. For one thread: pieces of two states must not mix."""
        text = b64encode(packed(part)).decode()
        for at in range(0, len(text), PIECE_CHARS):
            self.say(part=text[at : at + PIECE_CHARS], is_last=at + PIECE_CHARS >= len(text))

    def say_hunting(self, worker: Worker) -> None:
        """Say who was found to hunt since this was called last."""
        for hunting in worker.hunting:
            if hunting not in self._hunting_said:
                self._hunting_said.add(hunting)
                self.say(hunting=asdict(hunting))


def _die_with_parent(is_holding: bool) -> None:
    """Have the kernel end this process when the supervisor is gone, also while it is stopped or hangs.

    is_holding: it may hold equipment, and is woken instead, to find the pipe closed and let go.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT if is_holding else signal.SIGKILL)


def _assembled(job: Mapping[str, Any], known: Mapping[str, Interface]) -> Federation:
    try:
        scenario, granted = typed(job["document"], Path(job["path"])), permissions_from_json(job["permissions"])
        return assemble(scenario, granted, job["members"], known)
    except FederateError:
        raise
    except BaseException as error:
        raise FederateError(_whose(error, job["members"]), None, f"could not be built: {_told(error)}") from error


def _whose(error: BaseException, members: Sequence[str]) -> str:
    """Return the federate that a scenario's problem is of; where none is named, all `members`."""
    named = blamed(error.problems) if isinstance(error, ScenarioError) else ()
    return min(named, default="+".join(members))


def _told(error: BaseException) -> str:
    """Return an error in words; of a scenario's problems without its file, which is a copy where this is a host."""
    if isinstance(error, ScenarioError):
        return "; ".join(map(str, error.problems))
    return str(error) if isinstance(error, DerloopError) else f"{type(error).__name__}: {error}"


def _move(job: Mapping[str, Any]) -> Move:
    """Return what takes the turns that the hub of this machine gives."""
    seats, end = seats_from_json(job["seats"]), CrewEnd(job["link"])

    def move(steppers: list[Stepper], until_ns: int) -> None:
        stepper_of = {stepper.unit.name: stepper for stepper in steppers}
        own = [seat for seat in seats if seat.name in stepper_of]
        cell = {seat.name for seat in seats if seat.cell == own[0].cell}
        payloads, agenda = Memory(seats, cell).opened(job["link"]["memory"]), Agenda(own, until_ns)
        os.close(job["link"]["memory"])
        for stepper in steppers:
            stepper.attach(payloads)
            stepper.start()
        end.ready()
        while (granted_ns := end.turn()) is not None:
            if granted_ns != agenda.next_ns:
                raise EngineError(f"was given turns of {granted_ns} ns, and expects those of {agenda.next_ns}")
            for name, now_ns in agenda.take(granted_ns):
                stepper_of[name].step(now_ns)
            end.taken(granted_ns)
        if agenda.next_ns is not None:
            raise EngineError("nobody gives any turns any more")

    return move


def _run(job: Mapping[str, Any], supervisor: Supervisor) -> None:
    known = {name: interface_from_json(said) for name, said in job["interfaces"].items()}
    _die_with_parent(is_holding=any(known[member].blocking for member in job["members"]))
    federation = _assembled(job, known)
    federation.keep_in(Path(job["folder"]))
    units = [unit for unit in federation.units if unit.members[0] in job["members"]]

    def keep(part: Checkpoint) -> None:
        recorder.flush()  # what was recorded before it must not be lost
        supervisor.say_part(part)

    saving = Saving.from_json(job["saving"], keep)
    recorder = Recorder(Path(job["folder"]), federation.recorded(job["members"]), goes_on=saving.from_ns > 0)
    supervisor.clock = Clock(federation.pacing.speed, is_told=True) if federation.pacing else None
    limits = Deadlines(**job["deadlines"])
    worker = Worker(federation, units, recorder.observe, limits, supervisor.clock, saving.stepper)
    worker.show_work_on(mmap(job["board"], BOARD_BYTES), job["members"])

    def poll() -> None:
        recorder.flush_due()
        supervisor.poll(worker)

    try:
        worker.run(_move(job), job["until_ns"], poll)
    finally:
        supervisor.say_hunting(worker)
        supervisor.say(complaints=worker.complaints)
        supervisor.say(statistics=worker.statistics())
        recorder.close()
    supervisor.say(done=True)  # not before all is written


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, FederateError):
        said = {"federate": error.federate, "now_ns": error.now_ns, "why": error.why, "inputs": error.inputs}
    else:
        said = {"federate": None, "now_ns": None, "why": _told(error), "inputs": {}}
    return said | {"is_echo": isinstance(error, EngineError)}  # as of a process that lacks its turns


def main() -> int:
    """Do one job; 0 when it was done or ended on command."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor hears it, and decides
    supervisor = Supervisor(said, sys.stdin)
    signal.signal(signal.SIGTERM, lambda *_: supervisor.end())
    job = supervisor.job()
    try:
        _run(job, supervisor)
    except Cancelled:
        return 0
    except BaseException as error:  # noqa: BLE001 - told to the supervisor, whoever failed
        with suppress(OSError):  # where the disk is full, what is wrong must be said all the same
            traceback.print_exception(error)  # into the log
        supervisor.say(failed=_failure(error))
        return 3
    return 0


if __name__ == "__main__":
    os._exit(main())  # a federate that hangs must not keep the process
