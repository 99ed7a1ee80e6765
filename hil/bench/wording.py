"""Findings and points in the words and columns that people read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from hil.bench.findings import Finding

Line = tuple[str, str]
"""A label, and what it is about."""


def lines_of(finding: Finding) -> Iterator[Line]:
    """Yield what is known of a device, and what is wrong with it last."""
    if finding.models:
        yield "is", str(finding.identity)
        yield "models", _ranges(finding.models)
        yield "rated", _rated(finding)
        yield "commands", ", ".join(finding.commands) or "none that derloop knows: it can be measured only"
        yield "lease", finding.lease
    for problem in finding.problems:
        yield "PROBLEM", problem


def _rated(finding: Finding) -> str:
    facts = (
        (finding.rated_va, 1000, "kVA"),
        (finding.rated_w, 1000, "kW"),
        (finding.v_nominal_v, 1, "V"),
        (finding.energy_wh, 1000, "kWh"),
    )
    return ", ".join(f"{value / per:g} {unit}" for value, per, unit in facts if value is not None) or "says nothing"


def _ranges(models: Sequence[str]) -> str:
    """Return model numbers with what follows each other drawn together: "1, 701-713"."""
    numbers = [int(model) for model in models if model.isdigit()]
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    others = [model for model in models if not model.isdigit()]
    return ", ".join([*(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs), *others])
