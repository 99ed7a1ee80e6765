"""How a scenario is run, beyond what it says itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from derloop.document import shown
from derloop.errors import DerloopError
from derloop.kind import Permissions

Progress = Callable[[int | None, int], None]
"""Called about every 50 ms with the instant that every federate has reached (None: no step yet) and the end, in ns."""
Say = Callable[[str], None]
"""Called with what must be known before the run begins."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a scenario is run, beyond what it says itself."""

    engine: str | None = None
    placement: str | None = None
    out: Path | str | None = None
    """The folder of the run; without it, a new one below `runs/`."""
    trust_feeder: bool = False
    """Give the feeder file to OpenDSS unchecked. It can then run programs and write files."""
    report: bool = True
    bench: Path | str | None = None
    """The bench file, that says what equipment there is."""
    arm: Sequence[str] = ()
    """Equipment of the bench that may be written to; everything else is only read."""
    trust_control: bool = False
    """Run a control of the user's that the scenario names: a file of code, or a process that answers."""
    hosts: Path | str | None = None
    """The hosts file: which machines take part beside this one."""
    listen: str | None = None
    """The address of this machine on which the others find the run, instead of the hosts file's."""
    checkpoint_every_s: float | None = None
    """Keep the run's state so often, simulated seconds; None: never."""
    checkpoint_keep: int | None = None
    """How many of these checkpoints stay, the last ones; None: all."""
    workers: int | None = None
    """At most so many threads, or processes on each machine; None: the scenario's."""

    def __post_init__(self) -> None:
        _check_listed("arm", self.arm)

    @property
    def permissions(self) -> Permissions:
        """What the run may do beyond what its scenario says."""
        if self.arm and self.bench is None:
            raise DerloopError(f"there is no bench file on which {', '.join(self.arm)} could be armed")
        bench = None if self.bench is None else Path(self.bench).resolve()
        if bench and not bench.is_file():
            raise DerloopError(f"--bench {self.bench}: there is no such file")
        return Permissions(self.trust_feeder, bench, tuple(self.arm), self.trust_control)

    @property
    def overrides(self) -> list[str]:
        """What of the scenario these options replace, as `--set` would say it."""
        self._check_hosts()
        placement = "hosts" if self.hosts is not None else self.placement
        workers = "null" if placement == "together" and self.workers is None else self.workers
        chosen = {"engine": self.engine, "placement": placement}
        told = [f'{key}="{value}"' for key, value in chosen.items() if value]
        return told if workers is None else [*told, f"workers={workers}"]

    def beside(self, overrides: Sequence[str]) -> list[str]:
        """Return these overrides, and after them what these options replace.

        Raises: DerloopError for an override that says otherwise than an option, and where they are no list of texts.
        """
        _check_listed("overrides", overrides)
        own = self.overrides
        meant = {path: value for path, _, value in (each.partition("=") for each in own)}
        for each in overrides:
            path, _, value = each.partition("=")
            if (path := path.removeprefix("/")) in meant and value.strip('"') != meant[path].strip('"'):
                raise DerloopError(
                    f"--set {each} and {self._option_of(path)} contradict each other: leave one of both out"
                )
        return [*overrides, *own]

    def _option_of(self, path: str) -> str:
        """Return the option that decides on the setting at this path, as it was given."""
        if path == "engine":
            return f"--engine {self.engine}"
        if path == "workers" and self.workers is not None:
            return f"--workers {self.workers}"
        return f"--placement {self.placement}" if self.hosts is None else f"--hosts {self.hosts}"

    def _check_hosts(self) -> None:
        """Raise DerloopError for what contradicts the hosts file, or says nothing without one."""
        if self.hosts is not None and self.placement not in (None, "hosts"):
            what = "on hosts each federate, or each worker, has a process; leave one of both out"
            raise DerloopError(f"--hosts and --placement {self.placement} contradict each other: {what}")
        if self.hosts is None and self.listen is not None:
            raise DerloopError("--listen is where other machines find the run; --hosts FILE says which those are")


def _check_listed(name: str, given: object) -> None:
    """Raise DerloopError for what is no sequence of texts; a text alone is one of its letters."""
    if isinstance(given, str):
        raise DerloopError(f"{name}: {shown(given)} is one text; must be a list of them, as [{shown(given)}]")
    if not isinstance(given, Sequence) or not all(isinstance(each, str) for each in given):
        raise DerloopError(f"{name}: {str(given)[:60]} is no list of texts")
