"""Who takes the turns of a cell's units: their steppers in this process, in one thread or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from threading import Event, Thread
from typing import Protocol

from derloop.contract import FloatArray
from derloop.engines.stepping import Stepper

LEAVE_S = 0.4
"""How long a thread that is at work may take to leave."""

Turn = tuple[str, int]
"""A unit and the instant for which it is stepped, ns."""


class Hands(Protocol):
    """What takes the turns of some units."""

    @property
    def payloads(self) -> Mapping[str, FloatArray]:
        """What each unit gives out, and what each gives out that they read, by the name of the unit."""
        ...

    @property
    def cancelled(self) -> Event: ...

    @property
    def is_paced(self) -> bool:
        """The run keeps time with the clock on the wall, and turns wait for it."""
        ...

    def wait(self, now_ns: int) -> None:
        """Return when `now_ns` is due on the wall, or the run is cancelled."""
        ...

    def take(self, turns: Sequence[Turn]) -> None:
        """Step the units whose turn it is in one phase, by rank; what they give out is in `payloads` then."""
        ...


class OwnHands:
    """Steppers in this process, one after the other. Values stay where they were written."""

    def __init__(self, steppers: Sequence[Stepper]) -> None:
        self._steppers = {stepper.unit.name: stepper for stepper in steppers}
        first = steppers[0]
        self.cancelled, self.wait, self.is_paced = first.cancelled, first.wait, first.is_paced
        heard = {source: feed.payload for stepper in steppers for source, feed in stepper.inbox.feeds.items()}
        self.payloads = {**heard, **{name: stepper.outbox.payload for name, stepper in self._steppers.items()}}
        for stepper in steppers:
            stepper.inbox.attach({source: self.payloads[source] for source in stepper.inbox.feeds})

    def take(self, turns: Sequence[Turn]) -> None:
        for name, now_ns in turns:
            self._steppers[name].step(now_ns)

    def close(self) -> None:
        """There is nothing to let go of."""


class SideBySide:
    """Crews in this process: those that have turns in one phase take them at once, each in a thread.

    A crew that is alone in a phase takes its turns in the thread that gives them, unless it waits on sockets or
    hardware: whatever that has made stays in one thread.
    """

    def __init__(self, crews: Sequence[Sequence[Stepper]]) -> None:
        self._all = OwnHands([stepper for crew in crews for stepper in crew])
        self.cancelled, self.wait, self.is_paced = self._all.cancelled, self._all.wait, self._all.is_paced
        self.payloads = self._all.payloads
        self._crew_of = {stepper.unit.name: number for number, crew in enumerate(crews) for stepper in crew}
        self._blocking = {number for number, crew in enumerate(crews) if any(each.unit.blocking for each in crew)}
        self._helpers: dict[int, Helper] = {}
        self._taken: SimpleQueue[BaseException | None] = SimpleQueue()

    def take(self, turns: Sequence[Turn]) -> None:
        """See `Hands`. Raises what a unit raised at once, while others may be at work."""
        crews: dict[int, list[Turn]] = {}
        for turn in turns:
            crews.setdefault(self._crew_of[turn[0]], []).append(turn)
        if len(crews) == 1 and not self._blocking & crews.keys():
            self._all.take(turns)
            return
        for crew, theirs in crews.items():
            self._helper(crew).give(theirs)
        for _ in crews:
            if (failed := self._taken.get()) is not None:
                raise failed

    def _helper(self, crew: int) -> Helper:
        if crew not in self._helpers:
            self._helpers[crew] = Helper(self._all, self._taken)
        return self._helpers[crew]

    def close(self) -> None:
        for helper in self._helpers.values():
            helper.close()


class Helper:
    """A thread that takes turns. A daemon: one that hangs keeps no process from its end."""

    def __init__(self, hands: OwnHands, taken: SimpleQueue[BaseException | None]) -> None:
        """taken: is told of each time, with what failed."""
        self._hands, self._taken = hands, taken
        self._given: SimpleQueue[Sequence[Turn]] = SimpleQueue()
        self._thread = Thread(target=self._work, name="derloop crew", daemon=True)
        self._thread.start()

    def give(self, turns: Sequence[Turn]) -> None:
        self._given.put(turns)

    def _work(self) -> None:
        while turns := self._given.get():
            failed: BaseException | None = None
            try:
                self._hands.take(turns)
            except BaseException as error:  # noqa: BLE001 - raised by whoever waits
                failed = error
            self._taken.put(failed)

    def close(self) -> None:
        self._given.put(())
        self._thread.join(LEAVE_S)


def hands_of(crews: Sequence[Sequence[Stepper]]) -> OwnHands | SideBySide:
    """Return what takes the turns of these crews in this process."""
    return SideBySide(crews) if len(crews) > 1 else OwnHands(crews[0])
