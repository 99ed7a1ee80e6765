"""The logbook of a bench: the frames of what is done to it outside of runs, whose folders have theirs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, Self

from derloop.errors import DerloopError
from hil.bench.devices import peers_of
from hil.bench.file import Bench
from hil.frames.journal import SUFFIX, Journal
from hil.frames.layout import Peer
from hil.modbus.tap import Tap
from hil.safety.folder import StateFolder


class Logbook:
    """A journal of frames for one command; its file is made when somebody is about to be spoken to.

    What cannot be kept keeps nobody from making devices safe: `failure` says it, once closed.
    """

    def __init__(self, bench: Bench, command: Literal["safe", "write"]) -> None:
        self._bench = bench
        self.path = StateFolder.of_user().frames / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S.%f}-{command}{SUFFIX}"
        self.failure = ""
        self._journal: Journal | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._journal is not None:
            try:
                self._journal.close()
            except DerloopError as lost:
                self.failure = str(lost)

    @property
    def is_kept(self) -> bool:
        """Whether there is a journal."""
        return self._journal is not None

    def of_devices(self, names: Sequence[str]) -> Tap | None:
        """Return what hears the connection of some devices."""
        return self._tap(*peers_of(self._bench, names))

    def of_instrument(self, instrument: Peer) -> Tap | None:
        """Return what hears what is said to an instrument."""
        return self._tap(instrument)

    def _tap(self, *peers: Peer) -> Tap | None:
        if self._journal is None and not self.failure:
            try:
                self._journal = Journal(self.path)
            except DerloopError as failure:
                self.failure = str(failure)
        return None if self._journal is None else self._journal.tap(*peers)
