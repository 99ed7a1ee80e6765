"""Findings and points in the words and columns that people read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from hil.bench.findings import Finding
from hil.inverter.dialect import Rating

RATED: tuple[tuple[Rating, int, str], ...] = (
    ("s_max_va", 1000, "kVA"),
    ("p_max_w", 1000, "kW"),
    ("v_nominal_v", 1, "V"),
    ("energy_wh", 1000, "kWh"),
)
TOLD: Mapping[str, str] = {
    "limit_fraction": "limit of active power",
    "p_w": "active power",
    "q_var": "reactive power",
    "volt_var": "volt-var curve",
}
Line = tuple[str, str]
"""A label, and what it is about."""


def lines_of(finding: Finding) -> Iterator[Line]:
    """Yield what is known of a device, and what is wrong with it last."""
    if finding.models:
        yield "is", str(finding.identity) or "says nothing of itself"
        yield "models", _ranges(finding.models)
        yield "rated", _rated(finding)
        yield "commands", ", ".join(TOLD[each] for each in finding.commands) or "none: it can be measured only"
        yield "lease", finding.lease
    if finding.left:
        yield "is left", f"{finding.left} (what they hold cannot be read)"
    if finding.held_by:
        yield "held by", finding.held_by
    for problem in finding.problems:
        yield "PROBLEM", problem


def _rated(finding: Finding) -> str:
    facts = [f"{finding.rated[rating] / per:g} {unit}" for rating, per, unit in RATED if rating in finding.rated]
    return ", ".join(facts) or "says nothing"


def _ranges(models: Sequence[str]) -> str:
    """Return model numbers with what follows each other drawn together: "1, 701-713"."""
    numbers = [int(model) for model in models if model.isdigit()]
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    others = [model for model in models if not model.isdigit()]
    return ", ".join([*(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs), *others])
