"""The hosts file of a run: which machines take part, how they are reached, and which federates belong there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from derloop import document
from derloop.errors import DerloopError
from derloop.kind import Settings
from derloop.scenario.models import HostName
from derloop.texts import Shape
from derloop.validation import typed_model

LOOPBACK = "127.0.0.1"


def one_interface(address: str) -> str:
    """Return an IPv4 address that is one interface's; raise ValueError for any other."""
    try:
        if not IPv4Address(address).is_unspecified:
            return address
    except ValueError:
        pass
    raise ValueError("must be the IPv4 address of one interface, so that nothing is open to the world")


Address = Annotated[str, AfterValidator(one_interface)]
"""IPv4, of one interface."""
Destination = Annotated[
    str, Shape(r"^[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,250}$", "user@host, or a host of ssh's configuration")
]
"""What `ssh` is told: a host of its configuration, or user@host. It never looks like an option."""
Federates = Annotated[str, StringConstraints(min_length=1, max_length=200)]


TOLD = ("command", "scenario", "interface", "folder", "flags")
"""What a host is told that the run starts by ssh."""


class HostSettings(Settings):
    """One machine that takes part."""

    federates: tuple[Federates, ...] = Field(
        (), description="Federates that belong here, by name or pattern; besides those that the scenario places."
    )
    ssh: Destination | None = Field(
        None,
        description="Start it by `ssh` to this destination; what follows is told it so. Without it, `derloop join` is "
        "started there by hand, and told by its own options.",
    )
    command: tuple[str, ...] = Field(
        ("derloop",), min_length=1, description="The command that is derloop there: /opt/derloop/bin/derloop."
    )
    scenario: str | None = Field(
        None, description="The scenario's file on that machine. Without it, the files are sent from here."
    )
    interface: Address | None = Field(
        None, description="Its address on which HELICS listens there; without it, the one that reaches the run."
    )
    folder: str | None = Field(
        None,
        description="Where it makes its working folder, removed at the end; without it, where temporary files are.",
    )
    flags: tuple[Literal["--trust-feeder", "--trust-control"], ...] = Field(
        (), description="What the run may do there beyond what its scenario says."
    )

    @model_validator(mode="after")
    def _is_told_by_ssh(self) -> HostSettings:
        fields = type(self).model_fields
        told = [name for name in TOLD if getattr(self, name) != fields[name].default] if self.ssh is None else []
        if told:
            also = f" (also {', '.join(told[1:])})" if told[1:] else ""
            raise ValueError(f"{told[0]}{also} has no effect without ssh: who joins by hand says it to `derloop join`")
        return self


class HostsFile(Settings):
    """The machines of a run beside the one on which it is started."""

    listen: Address = Field(
        LOOPBACK, description="The address of this machine on which the run listens for the others."
    )
    port: int = Field(0, ge=0, le=65535, description="Where hosts join; 0: one that is free.")
    token_file: Path | None = Field(
        None, description="A file with the token that all share; made where there is none. Relative to the hosts file."
    )
    wait_s: float = Field(60.0, gt=0, le=86400, description="How long to wait until every host has joined.")
    silence_s: float = Field(
        4.0, ge=1.0, le=60.0, description="After how long a host of which nothing is heard is taken for lost."
    )
    versions: Literal["same", "told"] = Field(
        "same", description="same: hosts with other versions of packages are refused. told: that is only said."
    )
    hosts: dict[HostName, HostSettings] = Field(min_length=1, max_length=500)

    @model_validator(mode="after")
    def _can_be_joined_by_hand(self) -> HostsFile:
        by_hand = [name for name, host in self.hosts.items() if host.ssh is None]
        if by_hand and (self.port == 0 or self.token_file is None):
            lacking = "port" if self.port == 0 else "token_file"
            raise ValueError(f"{lacking} is needed, for {', '.join(by_hand)} must be told of it; or name their ssh")
        return self

    def wishes(self, stated: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
        """Return the federates of each host: those of this file, and those that the scenario has `stated`."""
        return {name: (*host.federates, *stated.get(name, ())) for name, host in self.hosts.items()}


def read_hosts(path: Path, listen: str | None = None) -> HostsFile:
    """Return what stands in a hosts file, paths resolved; raise ScenarioError with all that is wrong.

    listen: takes the place of the file's. Raises DerloopError where it is no address to listen on.
    """
    data = document.read(path)
    if listen is not None:
        data["listen"] = _listened(listen)  # in its place: the document remembers which of its keys stood twice
    file = typed_model(HostsFile, data, str(path))
    token = file.token_file and path.resolve().parent / file.token_file
    return file.model_copy(update={"token_file": token})


def _listened(address: str) -> str:
    try:
        return one_interface(address)
    except ValueError as error:
        raise DerloopError(f"--listen: {error}, not {address!r}") from error
