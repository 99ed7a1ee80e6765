"""A run that has ended: what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from derloop.engines.hunting import Hunting
from derloop.results.store import RunFolder
from derloop.results.summary import Figure
from derloop.verdict import Verdict, overall

Outcome = Literal["completed", "failed", "interrupted"]

PASSED, FAILED_CHECK, WRONG_SCENARIO, INCONCLUSIVE, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit statuses."""


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
        found = overall((v.kind, v.outcome) for v in self.verdicts)
        if self.outcome == "failed" or self.hunting or found == "INCONCLUSIVE":
            return INCONCLUSIVE
        return FAILED_CHECK if found == "FAIL" else PASSED

    def __getitem__(self, signal: str) -> Any:
        """Return the values of "federate.port", shape (instants, elements)."""
        return self.folder.read(signal)[1]

    def time_s(self, signal: str) -> Any:
        """Return the instants of "federate.port" in seconds since the scenario's start."""
        return self.folder.read(signal)[0] / 1e9

    def frame(self, signal: str) -> Any:
        """Return "federate.port", or all ports of "federate", as a pandas frame; needs pandas."""
        return self.folder.frame(signal)
