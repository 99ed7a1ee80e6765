"""A host as the run sees it, from its greeting on: what it is, and the processes that it runs."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from derloop.crews import Crew
from derloop.errors import HostError
from derloop.hosts.channel import Channel, Malformed, Message
from derloop.hosts.clocks import HostClock
from derloop.hosts.copying import PIECE_BYTES, Copies
from derloop.hosts.likeness import Offers

POLL_S = 0.02
KILLED_S = 1.0
"""How long a process may take to be gone once it was killed."""


class Guest:
    """A host that has joined. What it says is taken in whenever somebody looks, by the one thread that looks."""

    def __init__(self, channel: Channel, folder: Path, silence_s: float, is_paced: bool = False) -> None:
        self.name, self._channel, self._silence_s = channel.peer, channel, silence_s
        self._copies = Copies(folder)
        self._processes: dict[str, Relayed] = {}
        self.facts: dict[str, str] = {}
        self.files: dict[str, str | None] | None = None
        """How the scenario's files are there; None: they are to be sent."""
        self.interface = ""
        self.has_greeted, self.has_copied = False, False
        self.kept_at = 0.0
        """When it last had sent something of its results, by `time.monotonic`."""
        self.torn: list[str] = []
        """Files that did not arrive as they are there."""
        self.is_told_to_end = False
        """Somebody there has told it to end, and it leaves."""
        self._failed: str | None = None
        self.clock = HostClock(channel.send) if is_paced else None
        self.hub_failed: str | None = None
        """Why its processes are given no turns any more; whose fault it is, they may know better."""

    def ask(self, scenario: str, files: list[str], offers: Offers) -> None:
        """Ask what it is, what offers these there, and how these files are there."""
        self._channel.send("about", scenario=scenario, files=files, offers=offers, silence_s=self._silence_s)

    def refuse(self, why: str) -> None:
        self._channel.send("refused", why=why)

    def give(self, folder: Path, files: list[str]) -> None:
        """Send the scenario's files."""
        for path in files:
            with (folder / path).open("rb") as file:
                at = 0
                while (piece := file.read(PIECE_BYTES)) or at == 0:
                    self._channel.send("file", piece, path=path, at=at)
                    at += len(piece)
                    if not piece:
                        break

    def open(
        self, address: str, port: int, core_type: str, crews: int, cells: Sequence[str], speed: float | None
    ) -> None:
        """Tell where the run's broker is, how many processes there will be, which cells of HELICS, and the pace."""
        pace = {"crews": crews, "cells": [*cells], "speed": speed}
        self.send("broker", address=address, port=port, core_type=core_type, **pace)

    def start(self, crew: Crew, job: Mapping[str, Any], log: str, begun: Sequence[str] = ()) -> Relayed:
        """Have the process of a crew started there.

        begun: the streams of which the run's folder has the beginning.
        """
        self._processes[crew.name] = process = Relayed(self, crew.name)
        for path in begun:
            self._copies.go_on(path)
        text = json.dumps(job).encode()  # with the state of many devices it is longer than a message
        for at in range(0, len(text), PIECE_BYTES):
            self._channel.send("job", text[at : at + PIECE_BYTES], crew=crew.name)
        self.send("start", crew=crew.name, log=log, is_holding=crew.blocking)
        return process

    def send(self, what: str, **fields: Any) -> None:
        self._channel.send(what, **fields)

    def check(self) -> None:
        """Take in what it has said; raise HostError where it is lost, or cannot do what it should."""
        if self.clock and self.has_greeted:
            self.clock.keep()
        lost = self._channel.lost  # before what came is taken in: the last of it may say why
        try:
            for message in self._channel.heard():
                self._take(message)
        except (Malformed, TypeError, ValueError) as error:
            raise HostError(self.name, f"says what nobody understands: {error}") from error
        if self.is_told_to_end:
            raise HostError(self.name, "was told to end, and has left")
        if self._failed is not None:
            raise HostError(self.name, self._failed)
        if lost is not None:
            raise HostError(self.name, f"is lost: {lost}")
        if (silent_s := self._channel.silent_s) > self._silence_s:
            raise HostError(self.name, f"is lost: nothing was heard of it for {silent_s:.1f} s")

    def _take(self, message: Message) -> None:
        match message.what:
            case "hello":
                self.facts, self.files = dict(message["facts"]), message["files"]
                self.interface, self.has_greeted = str(message["interface"]), True
            case "copy":
                self._keep(message)
            case "copied":
                self.has_copied = True
                self.torn = self._copies.incomplete(message["digests"])
            case "failed":
                self._failed = str(message["why"])
            case "leaving":
                self.is_told_to_end = True
            case "clock" if self.clock:
                asked_ns, heard_ns, said_ns = map(message.integer, ("asked_ns", "heard_ns", "said_ns"))
                self.clock.take(asked_ns, heard_ns, said_ns, message.heard_ns)
            case "hub":
                self.hub_failed = str(message["why"])
            case "started" | "said" | "state" | "gone":
                self._process(message).take(message)
            case _:
                raise Malformed(f"{message.what!r} is nothing that a host says")

    def _keep(self, message: Message) -> None:
        """Write a piece of what it has recorded; raise HostError where that cannot be written here."""
        try:
            self._copies.take(message["path"], message["at"], message.data)
        except OSError as error:
            why = f"has sent {message['path']}, which cannot be written here: {error.strerror or error}"
            raise HostError(self.name, why) from error
        self.kept_at = monotonic()

    def _process(self, message: Message) -> Relayed:
        try:
            return self._processes[message["crew"]]
        except KeyError:
            raise Malformed(f"no crew {message['crew']!r} runs there") from None

    def close(self) -> None:
        self._channel.send("bye")
        self._channel.close()


class Relayed:
    """A process on another host: a `derloop.engines.process.Reach`."""

    def __init__(self, guest: Guest, crew: str) -> None:
        self._guest, self._crew = guest, crew
        self._lines: deque[str] = deque()
        self._whose, self._how, self._words = "its process", None, ""
        self._is_stopped = False
        self.now_ns: int | None = None
        self.at_work = 0

    _how: str | None

    def take(self, message: Message) -> None:
        """Take in what its host says of it."""
        match message.what:
            case "started":
                self._whose = str(message["whose"])
            case "said":
                self._lines.append(str(message["line"]))
            case "state":
                self.now_ns, self._is_stopped = message["now_ns"], bool(message["is_stopped"])
                self.at_work = int(message["at_work"])
            case "gone":
                self._how, self._words = str(message["how"]), str(message["words"])

    @property
    def whose(self) -> str:
        return f"{self._whose}{self.where}"

    @property
    def where(self) -> str:
        return f" on host {self._guest.name!r}"

    def begin(self, epoch_ns: int) -> None:
        if self._guest.clock:
            self._guest.clock.begin(epoch_ns)

    def heard(self) -> list[str]:
        lines = [*self._lines]
        self._lines.clear()
        return lines

    def gone(self) -> str | None:
        return self._how

    def is_stopped(self) -> bool:
        return self._is_stopped

    def last_words(self) -> str:
        return self._words

    def end(self, is_lost: bool) -> None:
        self._guest.send("end", crew=self._crew, is_lost=is_lost)

    def ended_by(self, deadline: float) -> bool:
        """Return whether it has ended; where its host is lost, the host itself ends it."""
        while self._how is None:
            try:
                self._guest.check()
            except HostError:
                return True
            if monotonic() > deadline:
                return self._how is not None
            sleep(POLL_S)
        return True

    def kill(self) -> None:
        self._guest.send("kill", crew=self._crew)
        self.ended_by(monotonic() + KILLED_S)

    def close(self) -> None:
        """What it has said is here already."""
