"""Checks of checks: `all-of`, `any-of`, `none-of`.

Each check in them is judged for itself, with its own window and its own doubts, and is true (PASS), false (FAIL) or
unknown (INCONCLUSIVE). What follows is the logic of three values (Kleene):

| | PASS | FAIL | INCONCLUSIVE |
|---|---|---|---|
| all-of | all pass | one fails | else |
| any-of | one passes | all fail | else |
| none-of | all fail | one passes | else |

The verdict is that of the check that decided it, and names it: the one that is nearest to its limit where several would
do. What `none-of` measures has its margin the other way round: a check that fails by far is far from passing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from derloop.kind import Settings
from derloop.verdict import Composition, Outcome, Verdict

OPPOSITE: dict[Outcome, Outcome] = {"PASS": "FAIL", "FAIL": "PASS", "INCONCLUSIVE": "INCONCLUSIVE"}
SAID = {
    "PASS": ("passes", "pass"),
    "FAIL": ("fails", "fail"),
    "INCONCLUSIVE": ("is inconclusive", "are inconclusive"),
}
"""Of one check, and of several."""


class Several(Settings):
    """Checks that are judged together."""

    of: tuple[dict[str, Any], ...] = Field(
        min_length=1,
        max_length=100,
        description="The checks, each as it would stand in the scenario, with its kind and its settings.",
        examples=[[{"kind": "peak", "signal": "grid.head_kw", "limit_kw": 2800}]],
    )


def all_of(parts: Sequence[Verdict]) -> Verdict:
    """Return PASS where all pass, FAIL where one fails."""
    return _decided("all-of", _settled(parts, "FAIL"), parts)


def any_of(parts: Sequence[Verdict]) -> Verdict:
    """Return PASS where one passes, FAIL where all fail."""
    return _decided("any-of", _settled(parts, "PASS"), parts)


def none_of(parts: Sequence[Verdict]) -> Verdict:
    """Return PASS where all fail, FAIL where one passes."""
    found = _settled(parts, "PASS")
    margin = None if found.margin is None else -found.margin
    verdict = _decided("none-of", found, parts)
    return replace(verdict, outcome=OPPOSITE[found.outcome], margin=margin)


def _settled(parts: Sequence[Verdict], decisive: Outcome) -> Verdict:
    """Return the part that decides: one of outcome `decisive`, else one that is unknown, else the nearest of all."""
    for outcome in (decisive, "INCONCLUSIVE"):
        if found := [part for part in parts if part.outcome == outcome]:
            return max(found, key=_clearness)
    return min(parts, key=_clearness)


def _clearness(part: Verdict) -> float:
    """Return how far from its limit a verdict is, relative to it: margins in several units can be compared so."""
    if part.margin is None:
        return 0.0
    scale = max(abs(part.limit or 0.0), abs(part.measured or 0.0))
    return abs(part.margin) / scale if scale else 0.0


def _decided(kind: str, by: Verdict, parts: Sequence[Verdict]) -> Verdict:
    one, several = SAID[by.outcome]
    alike = sum(part.outcome == by.outcome for part in parts)
    said = f"{alike} of {len(parts)} {one if alike == 1 else several}; decided by {by.check!r}"
    said = said if len(parts) > 1 else f"{by.check!r} {one}"
    return replace(by, check=kind, kind=kind, text=f"{said}: {by.text}", parts=tuple(parts))


def _kind(name: str, summary: str, combine: Callable[[Sequence[Verdict]], Verdict]) -> Composition:
    return Composition(name, summary, Several, combine)


ALL_OF = _kind("all-of", "Every one of several checks passes.", all_of)
ANY_OF = _kind("any-of", "At least one of several checks passes.", any_of)
NONE_OF = _kind("none-of", "No one of several checks passes: what must not hold.", none_of)
