"""`derloop resume` and `derloop fork`: going on from a checkpoint of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from derloop.commands.conducting import conduct
from derloop.commands.options import (
    CheckpointEvery,
    CheckpointKeep,
    EngineOf,
    Hosts,
    Listen,
    Out,
    PlacementOf,
    Quiet,
    Report,
    RunPath,
    Sets,
    TrustControl,
    TrustFeeder,
    Workers,
    application,
)

going_on = application()
branching = application()


@going_on.command(epilog="Example: derloop resume runs/quickstart-20250715-120000")
def resume(
    run: RunPath,
    engine: EngineOf = None,
    placement: PlacementOf = None,
    workers: Workers = None,
    hosts: Hosts = None,
    listen: Listen = None,
    trust_feeder: TrustFeeder = False,
    trust_control: TrustControl = False,
    checkpoint_every: CheckpointEvery = None,
    checkpoint_keep: CheckpointKeep = None,
    report: Report = True,
    quiet: Quiet = False,
) -> None:
    """Go on with a run that was stopped.

    From its last checkpoint, in its own folder. Its results are to the bit what they would have been without the stop.

    Exit status: as of `run`.
    """
    from derloop.options import Options
    from derloop.results.store import existing
    from derloop.resuming import resume as go_on

    options = Options(
        engine,
        placement,
        trust_feeder=trust_feeder,
        report=report,
        trust_control=trust_control,
        hosts=hosts,
        listen=listen,
        checkpoint_every_s=checkpoint_every,
        checkpoint_keep=checkpoint_keep,
        workers=workers,
    )
    conduct(quiet, lambda show, say: go_on(existing(run), options, show, say))


@branching.command(
    epilog="Example: derloop fork runs/day --at 28800 --set federates.vpp.services.0.limit_kw=2850 --out runs/tighter"
)
def fork(
    run: RunPath,
    at_s: Annotated[
        float | None, typer.Option("--at", metavar="SECONDS", help="The checkpoint; else the last.")
    ] = None,
    set_: Sets = None,
    engine: EngineOf = None,
    placement: PlacementOf = None,
    workers: Workers = None,
    hosts: Hosts = None,
    listen: Listen = None,
    out: Out = None,
    trust_feeder: TrustFeeder = False,
    trust_control: TrustControl = False,
    checkpoint_every: CheckpointEvery = None,
    checkpoint_keep: CheckpointKeep = None,
    report: Report = True,
    quiet: Quiet = False,
) -> None:
    """Go on from an instant of a run with other settings.

    The new run has what the old one recorded until then, and goes on from its state.

    Exit status: as of `run`.
    """
    from derloop.options import Options
    from derloop.results.store import existing
    from derloop.resuming import fork as branch

    options = Options(
        engine,
        placement,
        out,
        trust_feeder=trust_feeder,
        report=report,
        trust_control=trust_control,
        hosts=hosts,
        listen=listen,
        checkpoint_every_s=checkpoint_every,
        checkpoint_keep=checkpoint_keep,
        workers=workers,
    )
    conduct(quiet, lambda show, say: branch(existing(run), at_s, set_ or [], options, show, say))
