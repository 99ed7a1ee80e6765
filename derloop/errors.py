"""What can go wrong, by who must act.

A failed check is a verdict and no exception: see `derloop.checks`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from traceback import walk_tb
from types import FrameType


class DerloopError(Exception):
    """Something that derloop itself names; everything else that escapes is a defect of derloop."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a scenario, and what would be possible instead."""

    pointer: str
    """JSON pointer (RFC 6901) into the scenario; empty for the whole document."""
    what: str
    lacks_equipment: bool = False
    """Nothing is wrong with the scenario: it names equipment that is not here."""

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.what}"


class ScenarioError(DerloopError):
    """The scenario is wrong and its author must act. Carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem], source: str = "scenario") -> None:
        self.problems, self.source = tuple(problems), source
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {p}" for p in self.problems)]))


class PluginError(DerloopError):
    """Something that is needed is not installed, or what is installed does not fit."""


class FederateError(DerloopError):
    """A federate failed or broke the contract: its author must act."""

    def __init__(self, federate: str, now_ns: int | None, why: str, inputs: Mapping[str, object] | None = None) -> None:
        self.federate, self.now_ns, self.why, self.inputs = federate, now_ns, why, dict(inputs or {})
        super().__init__(f"federate {federate!r} {_when(now_ns)}: {why}")


NOT_STOPPED = "did not stop cleanly"
"""Said of a federate whose `stop` failed: what it holds may not be as it should be left."""


class EngineError(DerloopError):
    """HELICS or mosaik failed where no federate did."""


class HostError(DerloopError):
    """A machine of a run does not take part, or does so no more: who runs them must act."""

    def __init__(self, host: str, why: str) -> None:
        self.host, self.why = host, why
        super().__init__(f"host {host!r} {why}")


class DeviceError(DerloopError):
    """Equipment does not do what was asked: the lab must act."""

    def __init__(self, device: str, why: str) -> None:
        self.device, self.why = device, why
        super().__init__(f"device {device!r}: {why}")


class Unreachable(DeviceError):
    """The device did not answer within its deadline, or nothing listens there."""


class Rejected(DeviceError):
    """The device answered and refused, or did not do what it had acknowledged."""


class Interlocked(DeviceError):
    """derloop itself refused to touch the device: not armed, out of limits, or held by another run."""


class Unforeseen(DerloopError):
    """A defect, or a machine that gives too little, has ended a run; its cause is what was raised."""


def _when(now_ns: int | None) -> str:
    return "before the first step" if now_ns is None else f"at {now_ns / 1e9:g} s"


def said(error: BaseException) -> str:
    """Return an error of somebody else's code in one line: what, and where in their code it came from."""
    text = " ".join(_text(error).split())
    return type(error).__name__ + (text and f": {text}") + _place(error)


NOT_THEIRS = sys.stdlib_module_names | {"derloop", "pydantic"}
"""Packages by which derloop calls the code of others, or they their own: decorators, cached properties, pools."""


def _place(error: BaseException) -> str:
    """Return where an error came from, in brackets: the last line of whoever derloop called.

    Not that of a library which they called in turn, as numpy, nor of an import, whose own error says where it is. Only
    of derloop where nobody else was called.
    """
    frames = [(_package(frame), frame, line) for frame, line in walk_tb(error.__traceback__)]
    called = next((package for package, *_ in frames if package not in NOT_THEIRS), "")
    is_import = any(package == "importlib" for package, *_ in frames)
    theirs = [(frame, line) for package, frame, line in frames if package == called or not (called or is_import)]
    return f" ({Path(theirs[-1][0].f_code.co_filename).name}, line {theirs[-1][1]})" if theirs else ""


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def visible(text: str) -> str:
    """Return `text` with what would steer a terminal as Python writes it: \\x1b; only a line's end ends a line."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def did_you_mean(word: str, possible: Sequence[str], limit: int = 12) -> str:
    """Return "; did you mean 'x'?" for a near miss, else what is possible, for the end of a message."""
    near = get_close_matches(word, possible, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    if not possible:
        return "; there are none"
    shown = ", ".join(sorted(possible)[:limit])
    return f"; there are: {shown}" + (", ..." if len(possible) > limit else "")


def some_of(names: Sequence[str], shown: int = 5) -> str:
    """Return names for a message: the first ones, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def cause(error: BaseException) -> str:
    """Return what a federate's own code has raised, for a message that says whose it is.

    Of an error that was not written for who reads it, its kind and where it was raised are said.
    """
    is_ours = type(error).__module__.partition(".")[0] == "derloop"
    return _text(error) if is_ours or isinstance(error, DerloopError) else said(error)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as untold:  # noqa: BLE001 - somebody else's own error, which must not hide whose it is
        return f"what it says raises {type(untold).__name__}"
