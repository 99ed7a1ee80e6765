"""What the commands of the market print."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from derloop.console import console
from derloop.errors import DerloopError, did_you_mean
from federates.market.bill import Bill, Line
from federates.market.billing import Billing

MOST_CUSTOMERS = 20
"""That are listed."""


def show_bills(billings: Mapping[str, Billing], customer: str | None) -> None:
    """Print the bills of all customers together, or of one, line by line; then what each pays."""
    for name, billing in billings.items():
        at = slice(None) if customer is None else index_of(billing, customer)
        console().print(_lines(name, billing, at, customer))
        if customer is None and len(billing.customers) > 1:
            console().print(_customers(billing))


def index_of(billing: Billing, customer: str) -> slice:
    """Return where a customer is; raise DerloopError where there is none of that name."""
    if customer not in billing.customers:
        raise DerloopError(f"no customer {customer!r}" + did_you_mean(customer, billing.customers))
    at = billing.customers.index(customer)
    return slice(at, at + 1)


def _lines(name: str, billing: Billing, at: slice, customer: str | None) -> Table:
    whose = customer or f"{len(billing.customers)} customer{'s' * (len(billing.customers) != 1)}"
    table = _table(f"{name}: {billing.tariff.name}, {whose}, {billing.tariff.currency}")
    table.add_column("line", overflow="fold")
    for head in ("quantity\nwith DER", "amount\nwith DER", "quantity\nwithout", "amount\nwithout"):
        table.add_column(head, justify="right", no_wrap=True)
    for one, other in zip(billing.with_der, billing.without_der, strict=True):
        table.add_row(one.period, style="bold")
        for line, without in zip(one.lines, other.lines, strict=True):
            shown = (x.amount if x.group == "fixed" else x.quantity for x in (line, without))
            if any(np.any(values[at]) for values in shown):
                table.add_row(f"  {escape(line.name)}", *_cells(line, at), *_cells(without, at))
        table.add_row("  total", "", _money(one.total[at]), "", _money(other.total[at]), style="bold")
    return table


def _table(title: str) -> Table:
    """Return a table without upright lines: it fits in a terminal 80 wide."""
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)


def _cells(line: Line, at: slice) -> tuple[str, str]:
    return f"{line.quantity[at].sum():,.2f} {line.unit}", _money(line.amount[at])


def _money(amounts: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    return f"{amounts.sum() + 0.0:,.2f}"


def _customers(billing: Billing) -> Table:
    table = _table("each customer")
    for head in ("customer", "bill", "without DER", "saved"):
        table.add_column(head, justify="left" if head == "customer" else "right")
    saved = billing.total_without - billing.total
    for i, customer in enumerate(billing.customers[:MOST_CUSTOMERS]):
        table.add_row(customer, *(f"{values[i]:,.2f}" for values in (billing.total, billing.total_without, saved)))
    if (more := len(billing.customers) - MOST_CUSTOMERS) > 0:
        table.add_row(f"and {more} more", "", "", "")
    return table


def bills_json(billings: Mapping[str, Billing]) -> str:
    """Return every line of every bill as JSON."""
    return json.dumps({name: _document(billing) for name, billing in billings.items()}, indent=1)


def _document(billing: Billing) -> dict[str, Any]:
    both = {"with_der": billing.with_der, "without_der": billing.without_der}
    made = {
        customer: {key: [_bill(bill, i) for bill in bills] for key, bills in both.items()}
        | {"bill": float(billing.total[i]), "bill_without": float(billing.total_without[i])}
        for i, customer in enumerate(billing.customers)
    }
    return {"tariff": billing.tariff.name, "currency": billing.tariff.currency, "customers": made}


def _bill(bill: Bill, i: int) -> dict[str, Any]:
    lines = [
        {
            **{"group": line.group, "name": line.name, "quantity": float(line.quantity[i]), "unit": line.unit},
            "amount": float(line.amount[i]) + 0.0,
        }
        for line in bill.lines
    ]
    return {"period": bill.period, "lines": lines, "total": float(bill.total[i])}
