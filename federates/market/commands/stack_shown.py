"""A value stack as a table, as JSON, and as a page."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from rich.markup import escape as plain
from rich.table import Table

from derloop.console import console
from federates.market.value.part import Input
from federates.market.value.total import Total

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{name}</title>
<style>body{{font:16px system-ui;margin:2em;max-width:70em}}td,th{{padding:.3em .8em;text-align:left;
vertical-align:top;border-bottom:1px solid #8888}}td.n{{text-align:right;white-space:nowrap}}</style>
<h1>{name}</h1>
<table><tr><th>part<th>{currency}<th>formula<th>inputs</tr>
{rows}
<tr><th>total<td class="n"><b>{amount:,.2f}</b><td>sum of parts<td></tr></table>
<p>Found equal: {reconciled}.</p></html>
"""


def show_total(total: Total) -> None:
    """Print each part with its formula and inputs, and the total."""
    table = Table(title=plain(f"{total.name}, {total.currency}"), title_justify="left", show_lines=True)
    for head in ("part", "amount", "formula", "inputs"):
        table.add_column(head, justify="right" if head == "amount" else "left")
    for name, _, worth in total.parts:
        said = "\n".join(map(_said, worth.inputs))
        table.add_row(*map(plain, (name, _money(worth.amount), worth.formula, said)))
    table.add_row("total", _money(total.amount), "sum of parts", "", style="bold")
    console().print(table)
    console().print("found equal: " + "; ".join(total.reconciled), markup=False)


def total_json(total: Total) -> str:
    """Return the same as JSON."""
    parts = [
        {
            **{"name": name, "kind": kind, "amount": worth.amount, "formula": worth.formula},
            "inputs": [entry._asdict() for entry in worth.inputs],
        }
        for name, kind, worth in total.parts
    ]
    head = {"name": total.name, "currency": total.currency}
    return json.dumps(head | {"parts": parts, "total": total.amount, "reconciled": total.reconciled}, indent=1)


def write_page(total: Total, path: Path) -> None:
    """Write the same as a page."""
    rows = [
        f'<tr><td>{escape(name)}<td class="n">{_money(worth.amount)}<td>{escape(worth.formula)}'
        f"<td>{'<br>'.join(escape(_said(entry)) for entry in worth.inputs)}</tr>"
        for name, _, worth in total.parts
    ]
    text = PAGE.format(
        name=escape(total.name),
        currency=total.currency,
        rows="\n".join(rows),
        amount=total.amount,
        reconciled=escape("; ".join(total.reconciled)),
    )
    path.write_text(text, encoding="utf-8")


def _said(entry: Input) -> str:
    return f"{entry.name} = {entry.value:,.6g} {entry.unit}"


def _money(amount: float) -> str:
    return f"{amount + 0.0:,.2f}"
