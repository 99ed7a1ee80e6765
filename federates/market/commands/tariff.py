"""`derloop tariff`: tariff files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Check tariff files.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(epilog="Example: derloop tariff check scenarios/tariffs/example_feed_in.json")
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="A tariff's JSON file.")]) -> None:
    """Check a tariff: hours that it leaves out or has twice, tiers out of order ..."""
    from federates.market.tariff import read_tariff

    tariff = read_tariff(file)
    counts = {"period": len(tariff.periods), "demand charge": len(tariff.demand), "season": len(tariff.seasons)}
    counted = ", ".join(f"{n} {word}{'s' * (n != 1)}" for word, n in counts.items() if n)
    typer.echo(f"{tariff.name}: {tariff.currency}; {counted or 'no periods'}; injecting: {tariff.export.kind}")


@app.command(epilog="Example: derloop tariff schema > tariff.schema.json")
def schema() -> None:
    """Print the JSON Schema of tariff files."""
    from federates.market.tariff import tariff_schema

    typer.echo(json.dumps(tariff_schema(), indent=1))
