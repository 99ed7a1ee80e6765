"""A host of a run: it greets the run, shows that it is alike, and runs the processes that it is given.

When the run says so, is silent for too long, or hangs up, its processes are ended, as they are when this one dies:
nothing is left.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, monotonic_ns, sleep

from derloop.engines import broker  # HELICS and all: nothing heavy is loaded once the run listens for this host
from derloop.engines.agenda import seats_from_json
from derloop.engines.helics import Transport
from derloop.engines.hub import Hub
from derloop.engines.process import Process, is_of_part
from derloop.errors import EngineError, HostError
from derloop.hosts.channel import Channel, Malformed, Message
from derloop.hosts.copying import Copies, Source, plain
from derloop.hosts.greeting import approach
from derloop.hosts.likeness import facts, file_differences, hashes
from derloop.hosts.workplace import working_folder
from derloop.kind import NONE_GRANTED, Permissions, permissions_to_json
from derloop.pacing import Clock

POLL_S = 0.02
COPY_S = 0.25
RETRY_S = 0.3
SILENCE_S = 4.0
"""After how long a run of which nothing is heard is lost, until it says another time itself."""
END_S = 1.5
"""How long processes may take to leave once the run is over or lost, beside what their federates take to stop."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Invitation:
    """Where a run is, and as whom a host joins it."""

    address: str
    port: int
    name: str
    token: str = field(repr=False)
    wait_s: float = 60.0
    """How long to look for the run."""
    scenario: Path | None = None
    """The scenario's file on this machine; without one its files are sent."""
    interface: str | None = None
    """The address of this machine on which HELICS listens; without one, that which reaches the run."""
    folder: Path | None = None
    """Where the working folder is made, and removed at the end; without it, where temporary files are."""
    permissions: Permissions = NONE_GRANTED
    """What the run's federates may do on this machine."""


def join(invitation: Invitation, say: Say) -> None:
    """Take part in one run to its end; raise HostError where that is not the run's own.

    Raises DerloopError for a folder that cannot be worked in, before the run hears of this host.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(working_folder(invitation.folder))  # before the run counts on this host
        channel, interface = _connected(invitation)
        stack.callback(channel.close)
        host = Host(invitation, channel, invitation.interface or interface, folder)
        stack.callback(host.close)
        say(f"{invitation.name} has joined the run at {invitation.address}:{invitation.port}")
        try:
            host.run()
        except KeyboardInterrupt:
            host.tell_leaving()  # before its processes are ended: else one of them is taken for the cause
            raise


def _connected(invitation: Invitation) -> tuple[Channel, str]:
    until = monotonic() + invitation.wait_s
    where = f"{invitation.address}:{invitation.port}"
    while True:
        try:
            bound = (invitation.interface, 0) if invitation.interface else None
            with ExitStack() as stack:
                sock = socket.create_connection((invitation.address, invitation.port), 5.0, bound)
                stack.callback(sock.close)
                channel = approach(sock, invitation.token, invitation.name)
                stack.pop_all()
                return channel, str(sock.getsockname()[0])
        except Malformed as error:
            raise HostError(invitation.name, f"was not admitted at {where}: {error}") from error
        except OSError as error:
            if monotonic() > until:
                own = f" from {invitation.interface}" if invitation.interface else ""
                raise HostError(invitation.name, f"found no run at {where}{own}: {error.strerror or error}") from error
            sleep(RETRY_S)


class Host:
    """What runs here, as the run wants it."""

    def __init__(self, invitation: Invitation, channel: Channel, interface: str, folder: Path) -> None:
        self._invitation, self._channel, self._interface = invitation, channel, interface
        self._given, self._run = folder / "scenario", folder / "run"
        self._run.mkdir()
        self._scenario = invitation.scenario and invitation.scenario.resolve()
        self._called = ""
        """The name of the scenario's file where the run was started."""
        self._shown: dict[str, str | None] = {}
        """How the scenario's files were here when it was asked."""
        self._copies = Copies(self._given)
        self._source, self._copied_at = Source(self._run), monotonic()
        self._jobs: dict[str, bytearray] = {}
        self._processes: dict[str, Process] = {}
        self._stop_s: dict[str, float] = {}
        self._states: dict[str, tuple[int | None, int, bool]] = {}
        self._gone: set[str] = set()
        self._silence_s = SILENCE_S
        self._transport, self._crews, self._cells = Transport(), 0, list[str]()
        self._clock: Clock | None = None
        self._hub: Hub | None = None
        self._has_told = False
        self._has_finished, self._is_over = False, False

    def run(self) -> None:
        """Do what the run says until it says that it is over; raise HostError where it is lost."""
        while not self._is_over:
            for message in self._channel.heard():
                self._take(message)
            self._check_run()
            self._report()
            if monotonic() - self._copied_at > COPY_S and not self._channel.is_crowded:
                self._copy()
            sleep(POLL_S)

    def _check_run(self) -> None:
        if self._has_finished and (self._channel.lost or self._channel.silent_s > self._silence_s):
            self._is_over = True
        if self._is_over:
            return
        if self._channel.lost is not None:
            raise self._error(f"has lost the run: {self._channel.lost}")
        if (silent_s := self._channel.silent_s) > self._silence_s:
            # a run that was stopped hears this when it goes on, and takes no host for lost that left because of it
            self._channel.send("failed", why=f"has left: it heard nothing of this run for {silent_s:.1f} s")
            raise self._error(f"has lost the run: nothing was heard of it for {silent_s:.1f} s")

    def _error(self, why: str) -> HostError:
        return HostError(self._invitation.name, why)

    def _take(self, message: Message) -> None:
        takers: dict[str, Callable[[Message], None]] = {
            "about": self._show,
            "file": self._keep,
            "refused": self._leave_refused,
            "broker": self._open,
            "job": self._hear_job,
            "start": self._start,
            "clock": self._tell_time,
            "begin": self._begin,
            "end": lambda m: self._process(m).end(m["is_lost"]),
            "kill": lambda m: self._process(m).kill(),
            "over": lambda _: self._finish(),
            "bye": lambda _: self._leave(),
        }
        if message.what not in takers:
            raise self._error(f"does not know what {message.what!r} is; the run has another version")
        try:
            takers[message.what](message)
        except (Malformed, EngineError, OSError, TypeError, ValueError) as error:
            self._channel.send("failed", why=f"cannot do {message.what!r}: {error}")

    def _show(self, message: Message) -> None:
        """Tell what this machine is, and how the scenario's files are here."""
        self._silence_s = float(message["silence_s"])
        self._called, found = plain(message["scenario"]), None
        if self._scenario:
            self._shown = found = self._hashed(self._scenario, message["files"])
        self._channel.send("hello", facts=facts(message["offers"]), files=found, interface=self._interface)
        if self._scenario is None:
            self._scenario = self._given / self._called

    def _hashed(self, scenario: Path, files: list[str]) -> dict[str, str | None]:
        """Return how files are here; that of the scenario may be called otherwise."""
        own = hashes(scenario.parent, [scenario.name])[scenario.name]
        return {**hashes(scenario.parent, files), self._called: own}

    def _keep(self, message: Message) -> None:
        self._given.mkdir(exist_ok=True)
        self._copies.take(message["path"], message["at"], message.data)

    def _leave_refused(self, message: Message) -> None:
        self._is_over = True
        raise self._error(f"was refused: {message['why']}")

    def _open(self, message: Message) -> None:
        """Note where the run's broker is, how many processes there will be, and whether they keep real time."""
        self._require_as_shown()
        options = broker.core_options(message["address"], int(message["port"]), self._interface)
        self._transport = Transport(message["core_type"], options)
        self._crews, self._cells = message.integer("crews"), list(message["cells"])
        self._clock = None if message["speed"] is None else Clock(float(message["speed"]), is_told=True)

    def _require_as_shown(self) -> None:
        """Raise HostError, and tell the run, where files have changed since: other hosts may have come much later."""
        own = {path: digest for path, digest in self._shown.items() if digest is not None}
        if self._scenario and (changed := file_differences(own, self._hashed(self._scenario, [*own]))):
            why = f"has changed since it joined: {'; '.join(changed)}"
            self._channel.send("failed", why=why)
            raise self._error(why)

    def _hear_job(self, message: Message) -> None:
        """Take the next piece of what a process is to do."""
        self._jobs.setdefault(str(message["crew"]), bytearray()).extend(message.data)

    def _start(self, message: Message) -> None:
        """Start a process; once all are, have them given their turns."""
        crew, log = str(message["crew"]), self._run / "logs" / f"{plain(message['log'])}.log"
        job = {
            **json.loads(self._jobs.pop(crew, b"")),
            "path": str(self._scenario),
            "folder": str(self._run),
            "permissions": permissions_to_json(self._invitation.permissions),
        }
        hub = self._hub = self._hub or Hub(self._cells, seats_from_json(job["seats"]), job["until_ns"], self._clock)
        self._processes[crew] = process = Process(crew, job, log, message["is_holding"], hub.link(job["crew"]))
        self._stop_s[crew] = float(job["stop_s"])
        self._channel.send("started", crew=crew, whose=process.whose)
        if len(self._processes) == self._crews:
            hub.start(self._transport, in_threads=True)

    def _tell_time(self, message: Message) -> None:
        """Say what this machine's clock was when that was asked, and is now."""
        times = {"asked_ns": message["asked_ns"], "heard_ns": message.heard_ns}
        self._channel.send("clock", **times, said_ns=monotonic_ns())

    def _begin(self, message: Message) -> None:
        """Take it that the instant 0 is due then, by this machine's clock."""
        epoch_ns = message.integer("epoch_ns")
        for process in self._processes.values():
            process.begin(epoch_ns)
        if self._clock:
            self._clock.begin(epoch_ns)

    def _process(self, message: Message) -> Process:
        try:
            return self._processes[message["crew"]]
        except KeyError:
            raise Malformed(f"no crew {message['crew']!r} runs here") from None

    def _report(self) -> None:
        """Say what each process says, how far it is, and whether it lives."""
        for crew, process in self._processes.items():
            if crew in self._gone:
                continue
            how = process.gone()
            lines = process.heard()
            if any(is_of_part(line) for line in lines):
                self._copy()  # a checkpoint must not come before what was recorded until then
            for line in lines:  # each by itself: state of many devices is many long lines
                self._channel.send("said", crew=crew, line=line)
            state = (process.now_ns, process.at_work, how is None and process.is_stopped())
            if state != self._states.get(crew):
                now_ns, at_work, is_stopped = self._states[crew] = state
                self._channel.send("state", crew=crew, now_ns=now_ns, at_work=at_work, is_stopped=is_stopped)
            if how is not None:
                self._gone.add(crew)
                self._channel.send("gone", crew=crew, how=how, words=process.last_words())
        self._report_hub()

    def _report_hub(self) -> None:
        """Say that no more turns can be given: the run asks the processes first why."""
        if self._hub and not self._has_told:
            try:
                self._hub.check()
            except EngineError as error:
                self._has_told = True
                self._channel.send("hub", why=str(error))

    def _copy(self) -> None:
        self._copied_at = monotonic()
        for path, at, piece in self._source.pieces():
            self._channel.send("copy", piece, path=path, at=at)

    def _finish(self) -> None:
        self._end_processes()
        self._report()
        self._copy()
        self._channel.send("copied", digests=self._source.digests())
        self._has_finished = True

    def _leave(self) -> None:
        self._is_over = True

    def tell_leaving(self) -> None:
        """Say that this host was told to end, where the run has not all that it wants of it."""
        if not self._has_finished:
            self._channel.send("leaving")

    def close(self) -> None:
        """End whatever runs here. Only what was started here is ended."""
        self._end_processes()
        if self._hub:
            self._hub.close()

    def _end_processes(self) -> None:
        living = {crew: process for crew, process in self._processes.items() if process.gone() is None}
        for process in living.values():
            process.end(is_lost=False)
        asked = monotonic()
        for crew, process in living.items():
            if not process.ended_by(asked + self._stop_s[crew] + END_S):
                process.kill()
        for process in self._processes.values():
            process.close()
