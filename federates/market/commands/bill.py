"""`derloop bill`: what the customers of a run pay, with their DER and without."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federates.market.commands.failing import loudly

app = typer.Typer(rich_markup_mode=None, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command(epilog="Examples: derloop bill runs/x, derloop bill runs/x --tariff other.json --customer 634a")
def bill(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder that a run has left.", show_default=False)],
    of: Annotated[str | None, typer.Option("--of", metavar="NAME", help="One tariff of the run; else all.")] = None,
    tariff: Annotated[
        Path | None, typer.Option("--tariff", metavar="FILE", help="Bill what was metered by another tariff.")
    ] = None,
    customer: Annotated[
        str | None, typer.Option("--customer", metavar="NAME", help="One customer; else all together.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every line of every bill, as JSON.")] = False,
) -> None:
    """Make the bills of a run, with DER and without.

    Of each federate of kind tariff that has customers. They are checked against what the run told of them.
    """
    from derloop.errors import DerloopError
    from derloop.results.store import RunFolder
    from federates.market.commands.recorded import ended
    from federates.market.commands.runs import billing_of, meters
    from federates.market.commands.services import unpaid
    from federates.market.commands.shown import bills_json, index_of, show_bills

    folder = ended(RunFolder(run))
    names = [of] if of else meters(folder)
    if not names:
        raise DerloopError(f"{run}: no federate of kind tariff has customers")
    with loudly():
        billings = {name: billing_of(folder, name, tariff) for name in names}
    if customer is not None:
        for billing in billings.values():
            index_of(billing, customer)
    if as_json:
        typer.echo(bills_json(billings))
        return
    show_bills(billings, customer)
    for said in [what for billing in billings.values() for what in unpaid(billing)]:
        typer.echo(said)
