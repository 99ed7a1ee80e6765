"""Sums that are not equal end a command with a status of their own: the user can mend nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

FAILED = 3


@contextmanager
def loudly() -> Iterator[None]:
    """Print which sums are not equal, and exit with 3."""
    from federates.market.billing import Unreconciled

    try:
        yield
    except Unreconciled as error:
        typer.echo(f"derloop: {error}", err=True)
        raise typer.Exit(FAILED) from error
