"""The run's side of many machines: it listens, lets hosts in that are alike, and gives them their processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from derloop.crews import Crew, crews_of
from derloop.engines import broker, helics
from derloop.engines.agenda import Crews, cell_name
from derloop.engines.hub import Hub
from derloop.engines.places import cells_of
from derloop.engines.process import Process, Reach
from derloop.errors import DerloopError, EngineError, HostError
from derloop.federation import Federation, loop_name
from derloop.hosts.clocks import HostClock
from derloop.hosts.door import Door
from derloop.hosts.guest import Guest
from derloop.hosts.likeness import Hashes, differences, facts, file_differences, hashes, offers_of
from derloop.hosts.plan import Plan
from derloop.hosts.starting import Started, end_all
from derloop.scenario.models import Scenario

CORE_TYPE = "zmq"
POLL_S = 0.05
TOLD_S = 0.1
"""How long it takes at most, beside the network, until every process of a host has heard what it is told."""
ECHO_S = 0.5
"""How much later than of a lost host a wish to end may be heard."""
TOLD_LAST_S = 4.0
"""The same where the host was told to end: who ends all machines, one after the other, may come to this one last."""
COPY_S = 60.0
"""How long a host may send nothing of what is left of its results; of a run that was ended, how long it may send."""

Say = Callable[[str], None]


class Gathering:
    """The hosts of a run: `derloop.engines.places.Places` of which some are other machines."""

    are_many = True

    def __init__(self, plan: Plan, scenario: Scenario, folder: Path, say: Say) -> None:
        self._file, self._placed, self._token = plan.file, plan.placed, plan.token
        self._speed = plan.speed
        self._scenario, self._folder, self._say = scenario, folder, say
        self._files, self._offers = [*plan.files], offers_of(scenario)
        self._interface = plan.file.listen
        self._names = sorted({*plan.placed.values()})
        self._guests: dict[str, Guest] = {}
        self._host_of: dict[str, str] = {}
        """The host of each crew that is not here, by the crew's name."""
        self._cells_of: dict[str, list[str]] = {}
        self._door: Door | None = None
        self._started: list[Started] = []
        self._complaints: list[str] = []
        self._lost: list[HostError] = []
        self._torn: list[HostError] = []
        """Why results are not all here once they were fetched: a host was lost meanwhile, or some did not arrive."""

    def meet(self, on_poll: Callable[[], None]) -> None:
        """Return when every host has joined and is alike; raise HostError for one that has not, or is not."""
        self._door = Door(self._interface, self._file.port, self._token)
        self._start_hosts(self._door.port)
        until = monotonic() + self._file.wait_s
        while missing := [name for name in self._names if not self._has_greeted(name)]:
            on_poll()
            self._check_started()
            self.check()
            if monotonic() > until:
                raise HostError(missing[0], self._missing(missing))
            sleep(POLL_S)
        self._compare()
        while not all(clock.is_known for clock in self._clocks()):
            on_poll()
            self.check()
            sleep(POLL_S)

    def _start_hosts(self, port: int) -> None:
        by_hand = []
        for name in self._names:
            host = self._file.hosts[name]
            if host.ssh is None:
                by_hand.append(name)
                continue
            log = self._folder / "logs" / f"host-{name}.log"
            self._started.append(Started(name, host, (self._interface, port), self._token, log))
        if by_hand:
            count = "1 host" if len(by_hand) == 1 else f"{len(by_hand)} hosts"
            others = f", and so for {', '.join(by_hand[1:])}" if by_hand[1:] else ""
            self._say(
                f"waiting for {count}, at most {self._file.wait_s:g} s: "
                f"derloop join {self._interface}:{port} --name {by_hand[0]} --token-file FILE{others}"
            )

    def _missing(self, missing: list[str]) -> str:
        others = f", nor have {', '.join(missing[1:])}" if missing[1:] else ""
        refused = f" ({'; '.join(self._door.refused[:5])})" if self._door and self._door.refused else ""
        return f"has not joined within {self._file.wait_s:g} s{others}{refused}"

    def _has_greeted(self, name: str) -> bool:
        return name in self._guests and self._guests[name].has_greeted

    def _let_in(self) -> None:
        assert self._door
        for channel in self._door.arrived():
            guest = Guest(channel, self._folder, self._file.silence_s, is_paced=self._speed is not None)
            if channel.peer not in self._names:
                names = ", ".join(self._names)
                self._turn_away(guest, f"the run has no federates for a host {channel.peer!r}; it has hosts {names}")
            elif channel.peer in self._guests:
                self._turn_away(guest, f"a host {channel.peer!r} has joined already")
            else:
                self._guests[channel.peer] = guest
                guest.ask(self._scenario.path.name, self._files, self._offers)

    def _turn_away(self, guest: Guest, why: str) -> None:
        guest.refuse(why)
        guest.close()
        self._complaints.append(f"a host was turned away: {why}")

    def _check_started(self) -> None:
        for started in self._started:
            if started.name not in self._guests and (how := started.ended()) is not None:
                raise HostError(started.name, f"was not started: {how}")

    def _compare(self) -> None:
        """Send the scenario's files where they are not; raise HostError where hosts are others than this machine."""
        here, own = self._hashes(), facts(self._offers)
        refused: dict[str, str] = {}
        for name, guest in sorted(self._guests.items()):
            found = differences(own, guest.facts)
            files = [] if guest.files is None else file_differences(here, guest.files)
            if files or (found and self._file.versions == "same"):
                refused[name] = f"is not as this machine is: {'; '.join([*found, *files])}"
                guest.refuse(refused[name])
            elif found:
                self._complaints.append(f"host {name!r} is not as this machine is: {'; '.join(found)}")
                self._say(self._complaints[-1])
        if refused:
            (first, why), *others = refused.items()
            raise HostError(first, "; ".join([why, *(str(HostError(*other)) for other in others)]))
        for guest in self._guests.values():
            if guest.files is None:
                guest.give(self._scenario.folder, self._files)

    def _hashes(self) -> Hashes:
        """Return how the scenario's files are here; raise DerloopError for one that cannot be read any more."""
        try:
            found = hashes(self._scenario.folder, self._files)
        except OSError as error:
            raise DerloopError(f"{error.filename} cannot be read: {error.strerror}") from error
        if gone := [path for path, digest in found.items() if digest is None]:
            raise DerloopError(f"{', '.join(gone)}: gone while the run waited for its hosts")
        return {path: str(digest) for path, digest in found.items()}

    def cells(self, federation: Federation, most: int | None) -> tuple[Crews, ...]:
        """Return the cells of each machine."""
        units = {
            host: [u for u in federation.units if self._placed.get(u.name) == host] for host in (None, *self._names)
        }
        crews = {host: crews_of(federation, these, most) for host, these in units.items() if these}
        self._host_of = {crew.name: host for host, these in crews.items() if host for crew in these}
        cells = {host: cells_of(federation, these) for host, these in crews.items()}
        self._cells_of = {host: [cell_name(each) for each in these] for host, these in cells.items() if host}
        return tuple(cell for these in cells.values() for cell in these)

    def here(self, cells: Sequence[Crews]) -> Sequence[Crews]:
        return [crews for crews in cells if crews[0].name not in self._host_of]

    def broker(self, cells: int) -> tuple[helics.Broker, helics.Transport]:
        opened, port = broker.opened(cells, CORE_TYPE, self._interface)
        for guest in self._guests.values():
            crews = [crew for crew, host in self._host_of.items() if host == guest.name]
            guest.open(self._interface, port, CORE_TYPE, len(crews), self._cells_of[guest.name], self._speed)
        return opened, helics.Transport(CORE_TYPE, broker.core_options(self._interface, port, self._interface))

    def reach(self, crew: Crew, job: Mapping[str, Any], log: Path, hub: Hub) -> Reach:
        host = self._host_of.get(crew.name)
        if host is None:
            return Process(crew.name, job, log, crew.blocking, hub.link(job["crew"]))
        log.unlink(missing_ok=True)  # that of an earlier attempt
        return self._guests[host].start(crew, job, log.stem, _begun(crew) if job["saving"]["begun"] else ())

    @property
    def told_within_s(self) -> float:
        return TOLD_S + 2 * max(clock.within_s for clock in self._clocks())

    def _clocks(self) -> list[HostClock]:
        """Return the clocks of the hosts, in a run that keeps real time."""
        return [guest.clock for guest in self._guests.values() if guest.clock]

    def check(self) -> None:
        self._let_in()  # somebody who comes late is told that there is nothing to do
        for guest in self._guests.values():
            try:
                guest.check()
            except HostError as error:
                self._say(f"{error}; the run ends")  # at once: letting go of the other hosts takes its time
                raise

    @property
    def wish_within_s(self) -> float:
        is_told = any(guest.is_told_to_end for guest in self._guests.values())
        return TOLD_LAST_S if is_told else ECHO_S

    def check_hubs(self) -> None:
        for guest in self._guests.values():
            if guest.hub_failed is not None:
                raise EngineError(f"host {guest.name!r}: {guest.hub_failed}")

    def close(self, is_whole: bool) -> list[str]:
        for guest in self._guests.values():
            guest.send("over")
        self._fetch_the_rest(is_whole)
        for guest in self._guests.values():
            self._torn += [HostError(guest.name, f"has sent {path}, and it is another here") for path in guest.torn]
            guest.close()
        if self._door:
            self._complaints += self._door.refused
            self._door.close()
        end_all(self._started)
        return self._complaints + [str(error) for error in self._torn]

    def check_results(self) -> None:
        for error in (*self._lost, *self._torn):
            raise error

    def _fetch_the_rest(self, is_whole: bool) -> None:
        began = monotonic()
        while waiting := [guest for guest in self._guests.values() if not guest.has_copied]:
            for guest in waiting:
                try:
                    guest.check()
                except HostError as error:
                    guest.has_copied = True  # as far as it has come
                    self._lost.append(HostError(error.host, f"{error.why}, and has not sent all of its results"))
                since = max(began, guest.kept_at) if is_whole else began
                if not guest.has_copied and monotonic() - since > COPY_S:
                    guest.has_copied = True
                    self._torn.append(HostError(guest.name, "has not sent all of its results"))
            sleep(POLL_S / 5)

    def facts(self) -> dict[str, Any]:
        """Return what is known of each host, for the run's record."""
        placed = {name: [unit for unit, host in self._placed.items() if host == name] for name in self._names}
        return {
            name: {"units": placed[name], "interface": guest.interface, **guest.facts, **_timing(guest)}
            for name, guest in self._guests.items()
        }


def _timing(guest: Guest) -> dict[str, float]:
    return {"clock_within_s": guest.clock.within_s} if guest.clock and guest.clock.is_known else {}


def _begun(crew: Crew) -> list[str]:
    """Return the streams of a crew, as far as there are any, from the run's folder."""
    from derloop.results.series import stem

    names = [*crew.members, *map(loop_name, crew.units)]
    return [f"series/{stem(name)}.arrows" for name in names]
