"""What a check says of a run, and how a kind of check comes in.

A package offers a `CheckKind` under the entry-point group `derloop.checks`; `derloop.plugins` finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from derloop.calendar import Calendar
from derloop.contract import FloatArray
from derloop.kind import Settings

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
WEIGHTIEST: tuple[Outcome, ...] = ("INCONCLUSIVE", "FAIL", "PASS")
"""The first of these that a check comes to is the outcome of its run."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check, judged: what was measured against which limit, where and when it was worst."""

    check: str
    """The name that the scenario gives it, or the kind's."""
    kind: str
    outcome: Outcome
    text: str
    """One sentence for a person."""
    measured: float | None = None
    limit: float | None = None
    margin: float | None = None
    """How far on the good side of the limit; negative when the check failed."""
    unit: str = ""
    where: str = ""
    """Signal and element where it was worst: "grid.v_pu at '671.2'"."""
    when_ns: int | None = None
    source: str = ""
    """Where the limit comes from: standard and clause, or 'scenario'."""
    parts: tuple[Verdict, ...] = ()
    """The verdicts from which this one follows, of a check of checks."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why nothing can be concluded from what some federates gave, from an instant on."""

    why: str
    since_ns: int
    federates: tuple[str, ...]
    until_ns: int | None = None
    """None: to the end of the run."""


BALANCE = "balance"
"""The kind of the verdicts that every run has."""


def unasked(kinds: Iterable[object]) -> str:
    """Return what to say of a run of whose verdicts these are the kinds, if no check was asked for; else nothing."""
    kinds = list(kinds)
    if any(kind != BALANCE for kind in kinds):
        return ""
    return "nothing was asked of the run: its scenario has no checks" + ", only its balances were judged" * bool(kinds)


def overall(judged: Iterable[tuple[object, object]]) -> Outcome | None:
    """Return what verdicts, each given as (kind, outcome), come to: one that is inconclusive outweighs a failed one.

    None where nothing was asked of the run: balances alone are no PASS of it.
    """
    judged = list(judged)
    outcomes = {outcome for _, outcome in judged}
    found = next((each for each in WEIGHTIEST if each in outcomes), None)
    return None if found == "PASS" and unasked(kind for kind, _ in judged) else found


def in_short(verdicts: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return verdicts (their fields by name) for a person: balances that have not failed are one, the last."""
    verdicts = list(verdicts)
    quiet = [v for v in verdicts if v.get("kind") == BALANCE and v.get("outcome") != "FAIL"]
    shown = [v for v in verdicts if v not in quiet]
    return [*shown, _together(quiet)] if quiet else shown


def _together(balances: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the balance that is nearest to its limit, with a text about all of them."""
    worst = max(balances, key=lambda v: v["measured"] / v["limit"])
    federates = {str(v["where"]).partition(" at ")[0] for v in balances}
    counts = {"balance": len(balances), "federate": len(federates)}
    counted = " of ".join(f"{count} {word}{'s' * (count != 1)}" for word, count in counts.items())
    text = f"{counted}, worst {worst['measured']:.1g} of the largest term"
    return {
        **worst,
        "check": "energy balances",
        "text": text if worst["outcome"] == "PASS" else f"until the end: {text}",
    }


class SignalInfo(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def step_ns(self) -> int: ...


class Recorded(Protocol):
    """What a check reads of a run."""

    @property
    def calendar(self) -> Calendar:
        """How its instants are said."""
        ...

    def select(self, pattern: str) -> tuple[SignalInfo, ...]:
        """Return the signals whose "federate.port" fits a glob pattern."""
        ...

    def read(self, name: str) -> tuple[NDArray[np.int64], FloatArray]:
        """Return instants in ns, shape (k,), and values, shape (k, n)."""
        ...

    def batches(self, name: str) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
        """Yield what `read` returns in pieces of a few MB at most."""
        ...


def as_written(settings: Any, folder: Path) -> Any:
    """Return `settings` as they are: they name nothing in the scenario's folder."""
    del folder
    return settings


def suits_any(settings: Any, signal: SignalInfo) -> str:  # noqa: ARG001
    """Return nothing: every signal can be judged."""
    return ""


def always(settings: Any) -> bool:  # noqa: ARG001
    """Return True: nothing that comes later could mend it."""
    return True


def never(settings: Any) -> bool:  # noqa: ARG001
    """Return False: what comes later could mend it."""
    return False


@dataclass(frozen=True, slots=True)
class CheckKind:
    """One kind of check, as `derloop kinds` lists it."""

    name: str
    summary: str
    settings: type[Settings]
    judge: Callable[[Any, Recorded], Verdict]
    signals: Callable[[Any], tuple[tuple[tuple[str, ...], str], ...]]
    """The signals it needs, each with the path of the setting that names it: ((("signal",), "grid.v_pu"),)."""
    placed: Callable[[Any, Path], Any] = as_written
    """From its settings and the scenario's folder to settings that name what is there; raises `PlaceError`."""
    misfit: Callable[[Any, SignalInfo], str] = suits_any
    """Why a signal, as its federate gives it out, could not be judged whatever its values are; empty if it could."""
    fails_for_good: Callable[[Any], bool] = always
    """Whether, with such settings, what has failed in a part of a run has failed in all of it.

    Not so where more time could mend it: a sum, a share, a mean, where a signal ends ...
    """


@dataclass(frozen=True, slots=True)
class Composition:
    """One kind of check of checks: it reads no signal, and its verdict follows from those of the checks in it."""

    name: str
    summary: str
    settings: type[Settings]
    """With `of`: the checks, each as it would stand in the scenario."""
    combine: Callable[[Sequence[Verdict]], Verdict]


AnyCheck: TypeAlias = CheckKind | Composition


@dataclass(frozen=True, slots=True)
class CheckEntry:
    """One check of a scenario: its kind and its settings, typed."""

    name: str
    kind: AnyCheck
    settings: Settings
    parts: tuple[CheckEntry, ...] = ()
    """Of a composition."""
