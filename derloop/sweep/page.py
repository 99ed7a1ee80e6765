"""The page of a sweep: which values fail which check, and every run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from derloop.results.whole import whole
from derloop.sweep.outcomes import Row
from derloop.sweep.plan import Plan
from derloop.sweep.table import shown
from derloop.sweep.tally import tallies
from derloop.sweep.wording import counted, ended, margin

MOST_FIGURES = 8


def write_page(plan: Plan, rows: Sequence[Row], path: Path) -> None:
    """Write the page, whole or not at all."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("derloop.sweep", ""), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"shown": shown, "margin": margin}
    checks = list(dict.fromkeys(name for row in rows for name in row.checks))
    figures = list(dict.fromkeys(name for row in rows for name in row.figures))
    style = environment.loader.get_source(environment, "page.css")[0] if environment.loader else ""
    text = environment.get_template("page.html.j2").render(
        plan=plan,
        rows=rows,
        checks=checks,
        figures=figures[:MOST_FIGURES],
        more=figures[MOST_FIGURES:],
        tallies=tallies(plan.parameters, rows),
        counted=counted(rows),
        ended=ended,
        style=style,
    )
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8")
