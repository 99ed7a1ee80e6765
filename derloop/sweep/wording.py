"""What is printed of a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from derloop.sweep.outcomes import Check, Row
from derloop.sweep.swept import Swept
from derloop.sweep.table import shown
from derloop.sweep.tally import Tally, tallies

MOST_ROWS = 60
"""Runs that are printed; of more, those first that did not pass. The table has all."""


def counted(rows: Sequence[Row]) -> str:
    """Return how many runs there are, and how they ended: "12 runs: 9 PASS, 2 FAIL, 1 killed"."""
    counts = Counter(ended(row) for row in rows)
    return f"{len(rows)} run{'s' * (len(rows) != 1)}: " + ", ".join(f"{n} {word}" for word, n in counts.most_common())


def ended(row: Row) -> str:
    """Return how a run ended, in a word: its verdict if it completed."""
    return row.ending if row.ending != "completed" else row.verdict or "not judged"


def margin(check: Check) -> str:
    if check.margin is None:
        return check.outcome
    return f"{check.margin:+.4g}" + (f" {check.unit}" if check.unit not in ("", "1") else "")


def lines(swept: Swept) -> Iterator[str]:
    """Yield what a terminal shows: every run, and which values fail which check."""
    rows = sorted(swept.rows, key=lambda row: ended(row) == "PASS") if len(swept.rows) > MOST_ROWS else swept.rows
    heading = ["run", *swept.plan.parameters, "ended", "not passed"]
    yield from _aligned([heading, *(_cells(row) for row in rows[:MOST_ROWS])])
    if len(rows) > MOST_ROWS:
        yield f"... and {len(rows) - MOST_ROWS} more"
    for tally in tallies(swept.plan.parameters, swept.rows):
        if tally.tells:
            yield ""
            yield from _told(tally)
    yield ""
    yield counted(swept.rows) + _before(swept)


def places(swept: Swept) -> Iterator[str]:
    """Yield where the rest is."""
    yield f"table    {swept.folder / 'table.csv'}, table.parquet"
    yield f"page     {swept.folder / 'sweep.html'}"


def _cells(row: Row) -> list[str]:
    failing = "; ".join(f"{name} {margin(check)}" for name, check in row.failing.items())
    return [row.trial.key, *map(shown, row.trial.values), ended(row), row.why or failing]


def _told(tally: Tally) -> Iterator[str]:
    yield f"{tally.check or 'the run'} {'does not pass' if tally.check else 'does not complete'}, by {tally.parameter}"
    width = max(map(len, tally.bad))
    for value, (bad, of) in tally.bad.items():
        yield f"  {value:>{width}}  {bad} of {of}".rstrip()


def _before(swept: Swept) -> str:
    there = len({row.trial.key for row in swept.rows if row.trial.key}) - swept.repeated
    text = f"; {there} of them there before" if there and not swept.is_interrupted else ""
    if swept.stale:
        text += f"; {swept.stale} more below runs/ are of an earlier form of the sweep"
    return text


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
