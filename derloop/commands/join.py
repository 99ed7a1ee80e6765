"""`derloop join`: this machine takes part in a run that was started on another one."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from derloop.commands.conducting import SIGNALS
from derloop.commands.leaving import be_unheard, leave
from derloop.commands.options import Arm, Bench, TrustControl, TrustFeeder, application

if TYPE_CHECKING:
    from derloop.hosts.joining import Invitation

app = application()
LOST, INTERRUPTED = 3, 130
NAME = r"[a-z][a-z0-9_-]{0,39}"
LONGEST_S = 86_400.0


@app.command(epilog="Example: derloop join 10.0.0.1:7100 --name fleets --token-file run.token")
def join(
    address: Annotated[str, typer.Argument(metavar="ADDRESS:PORT", help="Where the run listens.", show_default=False)],
    name: Annotated[str, typer.Option(help="As which host of the run's hosts file.", show_default=False)],
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The run's token; - reads it from standard input.")
    ] = None,
    scenario: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The scenario on this machine; without it, it is sent.")
    ] = None,
    interface: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="This machine's address for HELICS; else that of the route.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to make the working folder, which is removed at the end.")
    ] = None,
    wait_s: Annotated[float, typer.Option("--wait", metavar="SECONDS", help="How long to look for the run.")] = 60.0,
    trust_feeder: TrustFeeder = False,
    trust_control: TrustControl = False,
    bench: Bench = None,
    arm: Arm = None,
) -> None:
    """Take part in a run that was started elsewhere.

    The run is started with `derloop run SCENARIO --hosts FILE`. This machine runs what is placed on it, sends what it
    records, and ends with the run. Exit status: 0 the run is over, also one that failed or was interrupted, 2 the
    command is wrong, 3 the run or this host was lost or refused, 130 interrupted.
    """
    from derloop.engines.helics import is_wedged
    from derloop.hosts.joining import Invitation
    from derloop.options import Options

    invitation = Invitation(
        *_split(address),
        name=_name(name),
        token=_token(token_file),
        wait_s=_wait(wait_s),
        scenario=_scenario(scenario),
        interface=_interface(interface),
        folder=folder,
        permissions=Options(
            trust_feeder=trust_feeder, bench=bench, arm=arm or (), trust_control=trust_control
        ).permissions,
    )
    for sign in SIGNALS:
        if signal.getsignal(sign) != signal.SIG_IGN:  # as `nohup` leaves SIGHUP
            signal.signal(sign, _interrupt)
    leave(_status(invitation), is_wedged())


def _status(invitation: Invitation) -> int:
    """Take part to the end, whichever that is; return the exit status."""
    from derloop.errors import HostError
    from derloop.hosts.joining import join as take_part

    try:
        take_part(invitation, _say)
    except HostError as error:
        _say(str(error))
        return LOST
    except KeyboardInterrupt:
        return INTERRUPTED
    _say("the run is over")
    return 0


def _token(file: Path | None) -> str:
    from derloop.hosts.greeting import TOKEN_VARIABLE, read_token

    if file is not None and str(file) == "-":
        return read_token(None, sys.stdin.readline())
    return read_token(file, os.environ.get(TOKEN_VARIABLE))


def _scenario(path: Path | None) -> Path | None:
    if path is not None and not path.is_file():
        raise typer.BadParameter(f"there is no file {path}", param_hint="--scenario")
    return path


def _name(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise typer.BadParameter(
            f"{name!r} is no host's name: lower-case letters, digits, _ and -", param_hint="--name"
        )
    return name


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not _is_host(host) or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise typer.BadParameter(f"{address!r} is no address with a port, as 10.0.0.1:7100", param_hint="ADDRESS:PORT")
    return host, int(port)


def _is_host(host: str) -> bool:
    """Return whether a name can be looked up: its labels are neither empty nor longer than 63 letters.

    What has a colon is none, but an address of IPv6, on which no run listens, or a URL.
    """
    try:
        return ":" not in host and bool(host.encode("idna"))
    except UnicodeError:
        return False


def _interface(address: str | None) -> str | None:
    """Return an address of this machine; BadParameter where it is none."""
    from derloop.hosts.file import one_interface

    if address is None:
        return None
    try:
        with socket.socket() as tried:
            tried.bind((one_interface(address), 0))
    except ValueError as error:
        raise typer.BadParameter(f"{error}, not {address!r}", param_hint="--interface") from error
    except OSError as error:
        what = f"{address} is no address of this machine: {error.strerror}"
        raise typer.BadParameter(what, param_hint="--interface") from error
    return address


def _wait(wait_s: float) -> float:
    if not 0.0 <= wait_s <= LONGEST_S:  # NaN neither
        raise typer.BadParameter(f"{wait_s:g} is not between 0 and {LONGEST_S:g} s", param_hint="--wait")
    return wait_s


def _interrupt(*_: object) -> NoReturn:
    for sign in SIGNALS:
        signal.signal(sign, signal.SIG_IGN)  # a terminal that is closed says so twice, and tidying up has its limits
    raise KeyboardInterrupt


def _say(text: str) -> None:
    from derloop.errors import visible

    try:
        typer.echo(f"derloop: {visible(text)}", err=True)
    except OSError:  # neither the run nor the status must depend on whether anybody reads it
        be_unheard(sys.stderr)
