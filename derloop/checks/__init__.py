"""Verdicts: what must hold in a run, judged on what was recorded.

One module for each kind of check, which names itself as `KIND`; they come in through the entry-point group
`derloop.checks`, as a check of anybody else does. `balance` is built in and judged in every run. `window` reads what is
to be judged, `junit` writes verdicts for continuous integration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from derloop.errors import DerloopError
from derloop.kind import Settings
from derloop.verdict import CheckKind, Recorded, Verdict


def judge_all(
    checks: Iterable[tuple[str, CheckKind, Settings]], recorded: Recorded, cut_short: str = ""
) -> tuple[Verdict, ...]:
    """Return a verdict for each check (name, kind, settings), in this order.

    A check that raises a DerloopError is INCONCLUSIVE, with the error's text. `cut_short` says why the run ended
    before its time, if it did: what had not failed until then is INCONCLUSIVE.
    """
    return cut((_judged(name, kind, settings, recorded) for name, kind, settings in checks), cut_short)


def cut(verdicts: Iterable[Verdict], cut_short: str) -> tuple[Verdict, ...]:
    """Return the verdicts with those that passed as INCONCLUSIVE where `cut_short` says why the run ended early."""
    return tuple(_cut(verdict, cut_short) for verdict in verdicts)


def _judged(name: str, kind: CheckKind, settings: Settings, recorded: Recorded) -> Verdict:
    try:
        return replace(kind.judge(settings, recorded), check=name)
    except DerloopError as error:
        return Verdict(name, kind.name, "INCONCLUSIVE", str(error))


def _cut(verdict: Verdict, cut_short: str) -> Verdict:
    if not cut_short or verdict.outcome != "PASS":
        return verdict
    return replace(verdict, outcome="INCONCLUSIVE", text=f"{cut_short}; until then: {verdict.text}")
