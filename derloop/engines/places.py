"""Where the processes of a run are: on this machine, or as whoever implements `Places` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from derloop.crews import Crew, crews_of
from derloop.engines import helics
from derloop.engines.agenda import Crews
from derloop.engines.hub import Hub
from derloop.engines.process import Process, Reach
from derloop.federation import Federation


class Places(Protocol):
    """Where the processes of a run are, and how those elsewhere find its broker."""

    def meet(self, on_poll: Callable[[], None]) -> None:
        """Return when every place is ready for its processes."""
        ...

    def cells(self, federation: Federation, most: int | None) -> tuple[Crews, ...]:
        """Return who steps which units, in at most so many processes in each place; None: one for each unit.

        The crews of a cell are in one place.
        """
        ...

    def here(self, cells: Sequence[Crews]) -> Sequence[Crews]:
        """Return those of the cells that are on this machine."""
        ...

    def broker(self, cells: int) -> tuple[helics.Broker, helics.Transport]:
        """Return a broker for so many cells, and how those of this machine reach it; tell the other places."""
        ...

    @property
    def are_many(self) -> bool:
        """There are other machines than this."""
        ...

    def reach(self, crew: Crew, job: Mapping[str, Any], log: Path, hub: Hub) -> Reach:
        """Start the process of a crew where that belongs. hub: of this machine."""
        ...

    @property
    def told_within_s(self) -> float:
        """How long it takes at most until every process has heard when a paced run begins."""
        ...

    def check(self) -> None:
        """Raise the error of a place that was lost."""
        ...

    @property
    def wish_within_s(self) -> float:
        """For how long after a failure a wish to end comes first: who ends all machines may reach this one last."""
        ...

    def check_hubs(self) -> None:
        """Raise EngineError where the processes of another place are given no turns any more."""
        ...

    def close(self, is_whole: bool) -> list[str]:
        """Take back what the places hold, once no process runs there; return what went wrong in doing so.

        is_whole: the run has come to its end, and what it has left is worth waiting for, while it comes.
        """
        ...

    def check_results(self) -> None:
        """Raise the error of a place that is closed and did not give all of its results."""
        ...


def cells_of(federation: Federation, crews: Crews) -> tuple[Crews, ...]:
    """Return the crews of a place as one cell; in real time each is one, so that nobody waits for another's clock."""
    return tuple((crew,) for crew in crews) if federation.pacing else (crews,)


class Here:
    """Every process on this machine."""

    are_many = False
    told_within_s = 0.02
    wish_within_s = 0.0

    def meet(self, on_poll: Callable[[], None]) -> None:
        """There is nobody to wait for."""

    def cells(self, federation: Federation, most: int | None) -> tuple[Crews, ...]:
        return cells_of(federation, crews_of(federation, federation.units, most))

    def here(self, cells: Sequence[Crews]) -> Sequence[Crews]:
        return cells

    def broker(self, cells: int) -> tuple[helics.Broker, helics.Transport]:
        broker = helics.Broker(cells)
        return broker, helics.Transport(core_options=f"--broker={broker.name}")

    def reach(self, crew: Crew, job: Mapping[str, Any], log: Path, hub: Hub) -> Reach:
        return Process(crew.name, job, log, crew.blocking, hub.link(job["crew"]))

    def check(self) -> None:
        """What is lost here is a process, and is told by it."""

    def check_hubs(self) -> None:
        """There is no other place."""

    def close(self, is_whole: bool) -> list[str]:
        del is_whole  # all is here
        return []

    def check_results(self) -> None:
        """They are where they were written."""
