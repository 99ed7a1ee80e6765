"""The table of a sweep: a row for each trial, its parameters, and what became of it."""

from __future__ import annotations

import csv
import json
from collections.abc import Container, Iterable, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from derloop.results.whole import whole
from derloop.sweep.outcomes import Row

Cell = str | float | int | bool | None
Columns = dict[str, list[Cell]]
OF_EVERY_TABLE = ("run", "outcome", "verdict", "why", "wall_s")
BEYOND_WHOLE = 2**63
"""From here on a whole number has no place in a table but as a real one."""


def columns_of(parameters: Sequence[str], rows: Sequence[Row]) -> Columns:
    """Return the table: run, parameters, ending, verdict, then each check with margin, then each figure.

    What a run does not have is None: it did not complete, or its scenario has another federate. A name that is taken
    has a number behind it: "outcome (2)" of a parameter that is called like a column of every table.
    """
    table: Columns = {"run": [row.trial.key or None for row in rows]}
    for at, name in enumerate(parameters):
        table[_free(name, {*table, *OF_EVERY_TABLE})] = _alike([row.trial.values[at] for row in rows])
    table["outcome"] = [row.ending for row in rows]
    table["verdict"] = [row.verdict for row in rows]
    table["why"] = [row.why or None for row in rows]
    table["wall_s"] = [row.wall_s for row in rows]
    for name in _every(row.checks for row in rows):
        said = [row.checks.get(name) for row in rows]
        table[_free(f"{name}: verdict", table)] = [check.outcome if check else None for check in said]
        table[_free(f"{name}: measured", table)] = [check.measured if check else None for check in said]
        table[_free(f"{name}: margin", table)] = [check.margin if check else None for check in said]
    for name in _every(row.figures for row in rows):
        table[_free(name, table)] = [row.figures.get(name) for row in rows]
    return table


def _free(name: str, taken: Container[str]) -> str:
    names = chain([name], (f"{name} ({number})" for number in count(2)))
    return next(free for free in names if free not in taken)


def _every(named: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for names in named for name in names))


def _alike(values: Sequence[Any]) -> list[Cell]:
    """Return values as they are where all are numbers, or all text; else as JSON."""
    if all(isinstance(value, str) for value in values):
        return list(values)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        is_whole = all(isinstance(value, int) and abs(value) < BEYOND_WHOLE for value in values)
        return list(values) if is_whole else [float(value) for value in values]
    return [value if isinstance(value, str) else json.dumps(value) for value in values]


def shown(value: Any) -> str:
    """Return a parameter's value for a person."""
    return value if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else json.dumps(value)


def write_csv(table: Columns, path: Path) -> None:
    with whole(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))


def write_parquet(table: Columns, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with whole(path) as draft:
        pq.write_table(pa.table({name: pa.array(cells) for name, cells in table.items()}), draft)
