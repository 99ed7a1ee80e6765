"""`derloop emulate`: the devices of a scenario, or copies of real ones, for clients from outside."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from derloop.errors import FederateError, visible

if TYPE_CHECKING:
    from hil.commands.emulation import Found, Show
    from hil.commands.opened import Wishes

FAILED = 3
"""Exit status: the scenario around the devices failed."""

app = typer.Typer(rich_markup_mode=None, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command(epilog="Examples: derloop emulate scenarios/quickstart.json, derloop emulate devices.json --for 60 --json")
def emulate(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A scenario, or an emulator file.", show_default=False),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change a setting of the scenario: --set duration_s=3600"),
    ] = None,
    step_s: Annotated[
        float, typer.Option("--step", metavar="SECONDS", help="Longest step of the scenario.", min=0.01, max=60)
    ] = 1.0,
    for_s: Annotated[
        float | None,
        typer.Option("--for", metavar="SECONDS", help="End after so long; else at the scenario's end.", min=0),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each device.")] = False,
    bench: Annotated[
        Path | None, typer.Option("--bench", metavar="FILE", help="Write a bench file of the devices.")
    ] = None,
    trust_feeder: Annotated[
        bool, typer.Option("--trust-feeder", help="Give the feeder file to OpenDSS unchecked.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of emulator files.")] = False,
) -> None:
    """Serve devices over Modbus, on the clock of the wall.

    Prints where they are. Of a scenario: every fleet that has inverters, on free ports of this machine, with the feeder
    and all else around them. An emulator file says where they listen and what is wrong with them, and can add copies of
    scanned devices and recorded sessions. What clients from outside write is what the devices do; nobody else commands
    them.

    Ends with the scenario, after --for, or with Ctrl-C.
    """
    if schema:
        _print_schema()
    elif file is None:
        raise typer.BadParameter("a scenario or an emulator file is needed", param_hint="FILE")
    else:
        from derloop.kind import Permissions
        from hil.commands.opened import Wishes

        wishes = Wishes(tuple(set_ or ()), step_s, for_s, Permissions(trust_feeder=trust_feeder))
        _serve(file, wishes, _shown(_show_lines if as_json else _show_table, bench))


def _print_schema() -> None:
    from hil.serving.file import emulator_schema

    typer.echo(json.dumps(emulator_schema(), indent=1))


def _serve(file: Path, wishes: Wishes, show: Show) -> None:
    """Serve until it is over; exit with `FAILED` where the scenario around the devices fails."""
    from hil.commands.emulation import Emulation

    emulation = Emulation(file, wishes, show)
    with _ended_by_sigterm():
        try:
            emulation.run()
        except FederateError as error:
            typer.echo(f"derloop: {visible(str(error))}", err=True)
            raise typer.Exit(FAILED) from error


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the session as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _shown(show: Show, bench: Path | None) -> Show:
    """Return what also writes a bench file, before anything is shown: who reads that may use it at once."""
    if bench is None:
        return show
    from hil.bench.draft import refuse_unserved, write_served

    refuse_unserved(bench)

    def write_and_show(found: Sequence[Found]) -> None:
        write_served(bench, [(device.name, device.address) for device in found])
        show(found)

    return write_and_show


def _show_lines(found: Sequence[Found]) -> None:
    """Print a line of JSON for each device; `left` says how many lines are still to come."""
    for left, device in zip(reversed(range(len(found))), found, strict=True):
        at = device.address
        line = {"device": device.name, "part_of": device.part_of, "unit": at.unit, "left": left}
        typer.echo(json.dumps({**line, "endpoint": at.endpoint.model_dump(mode="json")}))
    sys.stdout.flush()


def _show_table(found: Sequence[Found]) -> None:
    """Print a line for each device, and how it ends."""
    heads = ("device", "of", "where", "unit")
    rows = [heads, *((d.name, d.part_of, str(d.address.endpoint), str(d.address.unit)) for d in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    typer.echo("Whoever knows where may command them. Ctrl-C ends it.")
    sys.stdout.flush()
