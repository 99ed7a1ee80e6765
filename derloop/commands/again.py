"""`derloop resume` and `derloop fork`: going on from a checkpoint of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from derloop.commands.conducting import conduct, existing
from derloop.commands.options import (
    CheckpointEvery,
    Engine,
    EngineOf,
    Hosts,
    Listen,
    Out,
    Placement,
    PlacementOf,
    Quiet,
    Report,
    RunPath,
    Sets,
    TrustControl,
    TrustFeeder,
    application,
)

if TYPE_CHECKING:
    from derloop.options import Options

going_on = application()
branching = application()


@going_on.command(epilog="Example: derloop resume runs/quickstart-20250715-120000")
def resume(
    run: RunPath,
    engine: EngineOf = None,
    placement: PlacementOf = None,
    hosts: Hosts = None,
    listen: Listen = None,
    trust_feeder: TrustFeeder = False,
    trust_control: TrustControl = False,
    checkpoint_every: CheckpointEvery = None,
    report: Report = True,
    quiet: Quiet = False,
) -> None:
    """Go on with a run that was stopped.

    From its last checkpoint, in its own folder. Its results are to the bit what they would have been without the stop.

    Exit status: as of `run`.
    """
    from derloop.resuming import resume as go_on

    options = _options(engine, placement, hosts, listen, trust_feeder, trust_control, checkpoint_every, report)
    conduct(quiet, lambda show, say: go_on(existing(run), options, show, say))


@branching.command(epilog="Example: derloop fork runs/day --at 61200 --set federates.vpp=null --out runs/day-without")
def fork(
    run: RunPath,
    at_s: Annotated[
        float | None, typer.Option("--at", metavar="SECONDS", help="The checkpoint; else the last.")
    ] = None,
    set_: Sets = None,
    engine: EngineOf = None,
    placement: PlacementOf = None,
    hosts: Hosts = None,
    listen: Listen = None,
    out: Out = None,
    trust_feeder: TrustFeeder = False,
    trust_control: TrustControl = False,
    checkpoint_every: CheckpointEvery = None,
    report: Report = True,
    quiet: Quiet = False,
) -> None:
    """Go on from an instant of a run with other settings.

    The new run has what the old one recorded until then, and goes on from its state.

    Exit status: as of `run`.
    """
    from derloop.resuming import fork as branch

    options = replace(
        _options(engine, placement, hosts, listen, trust_feeder, trust_control, checkpoint_every, report), out=out
    )
    conduct(quiet, lambda show, say: branch(existing(run), at_s, set_ or [], options, show, say))


def _options(
    engine: Engine | None,
    placement: Placement | None,
    hosts: Path | None,
    listen: str | None,
    trust_feeder: bool,
    trust_control: bool,
    every_s: float | None,
    report: bool,
) -> Options:
    from derloop.options import Options

    return Options(
        engine and engine.value,
        placement and placement.value,
        trust_feeder=trust_feeder,
        trust_control=trust_control,
        hosts=hosts,
        listen=listen,
        checkpoint_every_s=every_s,
        report=report,
    )
