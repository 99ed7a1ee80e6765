"""Which machines a run needs, and for what, by its hosts file; what must be so before any of them is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from derloop.errors import Problem, ScenarioError, did_you_mean
from derloop.federation import Federation
from derloop.hosts.channel import Malformed
from derloop.hosts.copying import plain
from derloop.hosts.file import HostsFile, read_hosts
from derloop.hosts.greeting import keep_token, make_token, read_token
from derloop.hosts.likeness import named_files
from derloop.placement import hosts_of
from derloop.scenario.models import Scenario


@dataclass(frozen=True, slots=True)
class Plan:
    """Which machines a run needs, and for what."""

    file: HostsFile
    placed: Mapping[str, str]
    """The host of each unit that does not run here, by the unit's name."""
    files: Sequence[str]
    """Of the scenario, from its folder."""
    speed: float | None
    """Scenario seconds in a second of a run in real time; None where it is not."""
    token: str = field(repr=False)


def plan(
    scenario: Scenario, federation: Federation, path: Path | str | None, listen: str | None, trust_feeder: bool
) -> Plan:
    """Return which hosts take part by the hosts file at `path`; raise ScenarioError where that does not fit."""
    if path is None:
        why = "'hosts' needs a file that says how they are reached: --hosts FILE; or let it be 'together' or 'apart'"
        raise ScenarioError([Problem("/placement", why)], str(scenario.path))
    file, files = read_hosts(Path(path), listen), named_files(scenario.path, scenario.document, trust_feeder)
    placed, problems = hosts_of(federation.units, file.wishes(scenario.file.hosts), ("federates",))
    for name in scenario.file.hosts.keys() - file.hosts.keys():
        problems.append(Problem("/hosts", f"the scenario has a host {name!r}" + did_you_mean(name, [*file.hosts])))
    if not placed and not problems:
        problems = [Problem("/hosts", "no federate is on any of these hosts; name some in `federates`")]
    if problems:
        raise ScenarioError(problems, str(path))
    if problems := [Problem("", f"its file {name!r} cannot be sent: {why}") for name, why in _unsendable(files)]:
        raise ScenarioError(problems, str(scenario.path))
    return Plan(file, placed, files, federation.pacing.speed if federation.pacing else None, _token(file))


def _unsendable(files: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the files that no host would take, and why."""
    for name in files:
        if Path(name).parts[0] == "..":
            yield name, "it lies outside of the scenario's folder, in which alone files are sent and compared"
            continue
        try:
            plain(name)
        except Malformed:
            yield name, "its names must be printable, and none hidden"


def _token(file: HostsFile) -> str:
    if file.token_file is None:
        return make_token()
    if not file.token_file.exists():
        keep_token(file.token_file, make_token())
    return read_token(file.token_file)
