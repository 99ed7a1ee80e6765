"""The state of a run at an instant that all its units have: what is kept of each, and how each takes it up again.

A unit's state at T is what it has before its first step at or after T: of its federates, of the iteration if it is a
loop, of what watches for hunting, and what it gave out last. T is a multiple of every unit's step, so that no value is
under way between units: what each reads next follows from what the others gave out last.

A run that is taken up at T is to its engine a run from 0 that is shorter by T.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Mapping
from math import lcm
from threading import Event, Lock
from typing import Any

from derloop import memory, plugins
from derloop.crews import Crew
from derloop.engines.exchange import layout_of
from derloop.engines.stepping import Observe, Stepper
from derloop.errors import FederateError, Problem, cause
from derloop.federation import Federation, Unit
from derloop.pacing import Clock
from derloop.results.checkpoints import Checkpoint, packed, unpacked

Keep = Callable[[Checkpoint], None]
MOST_NAMED = 5


def grid_ns(federation: Federation) -> int:
    """Return the time between instants that all units have, ns: checkpoints can be at its multiples."""
    return lcm(*(unit.step_ns for unit in federation.units))


def refusals(federation: Federation, kinds: Mapping[str, tuple[str, str]], every_ns: int) -> list[Problem]:
    """Return why no checkpoints can be taken of a federation. kinds: kind and realisation of each federate."""
    found = [
        Problem(f"/federates/{name}", _why(*kinds[name]))
        for name, federate in federation.federates.items()
        if not memory.gives_state(federate)
    ]
    found += [
        Problem(f"/federates/{name}", f"{', '.join(untold)}: the state of these cannot be taken and put back")
        for name, federate in federation.federates.items()
        if (untold := _untold(name, federate))
    ]
    if every_ns % (step_ns := grid_ns(federation)):
        what = f"checkpoints every {every_ns / 1e9:g} s: must be a multiple of {step_ns / 1e9:g} s, of every step"
        found.append(Problem("", what))
    if federation.pacing:
        found.append(Problem("/pacing", "a run that keeps time with the clock on the wall cannot be taken up again"))
    return found


def _untold(name: str, federate: object) -> list[str]:
    try:
        return [*federate.untold()][:MOST_NAMED] if isinstance(federate, memory.Untold) else []
    except (Exception, SystemExit) as error:
        raise FederateError(name, None, f"cannot say what of its state is untold: {cause(error)}") from error


def _why(kind: str, via: str) -> str:
    if via != "model":
        return (
            f"via {via!r}: the state of equipment, or of an emulator, cannot be taken and put back; only a model's can"
        )
    what = f"the kind {kind!r} does not say what its state is, so no checkpoint can be taken"
    return what if plugins.is_own(plugins.KINDS, kind) else f"{what}; its class can, with @remembers of derloop.memory"


class Parts:
    """Checkpoints of which each unit gives its part, in whichever process it is."""

    def __init__(self, units: Collection[str], keep: Keep) -> None:
        """keep: called with each checkpoint as soon as every one of `units` has given its part."""
        self._units, self._keep = frozenset(units), keep
        self._open: dict[int, Checkpoint] = {}
        self._lock = Lock()

    def take(self, part: Checkpoint) -> None:
        with self._lock:
            whole = self._open.setdefault(part.at_ns, Checkpoint(part.at_ns))
            whole.add(part)
            if self._units <= whole.units.keys():
                self._keep(self._open.pop(part.at_ns))


class Saving:
    """Checkpoints of a run as it goes on, and the one from which it is taken up."""

    def __init__(
        self, every_ns: int, begun: Checkpoint | None = None, keep: Keep = lambda _: None, most: int | None = None
    ) -> None:
        """every_ns: 0 for never. keep: called with the part of each unit, when that is at a checkpoint's instant.

        most: how many of the run's checkpoints stay, the last ones; None: all.
        """
        self.every_ns, self._begun, self.keep, self.most = every_ns, begun, keep, most

    @property
    def from_ns(self) -> int:
        """The instant from which the run is taken up; 0 for one that begins."""
        return self._begun.at_ns if self._begun else 0

    @property
    def begun(self) -> Checkpoint | None:
        return self._begun

    def cautions(self, until_ns: int) -> list[str]:
        """Return what to tell before the run, which ends at `until_ns`."""
        if self.every_ns and self.from_ns // self.every_ns == until_ns // self.every_ns:
            apart_s, until_s = self.every_ns / 1e9, until_ns / 1e9
            after = f" after {self.from_ns / 1e9:g} s" if self._begun else ""
            return [f"no checkpoint is kept{after}: they are {apart_s:g} s apart, and the run ends at {until_s:g} s"]
        return []

    def to_json(self, crew: Crew) -> dict[str, Any]:
        """Return what the process of a crew needs of this."""
        units = [unit.name for unit in crew.units]
        part = self._begun and b64encode(packed(self._begun.of(units, crew.members))).decode()
        return {"every_ns": self.every_ns, "begun": part}

    @classmethod
    def from_json(cls, said: Mapping[str, Any], keep: Keep) -> Saving:
        return cls(said["every_ns"], said["begun"] and unpacked(b64decode(said["begun"])), keep)

    def stepper(
        self, federation: Federation, unit: Unit, observe: Observe, cancelled: Event, clock: Clock | None = None
    ) -> Stepper:
        """Return a unit's stepper, as `Stepper` itself does."""
        if not (self.every_ns or self._begun):
            return Stepper(federation, unit, observe, cancelled, clock)
        return SavingStepper(self, federation, unit, observe, cancelled, clock)

    def is_due(self, now_ns: int) -> bool:
        return self.every_ns > 0 and now_ns % self.every_ns == 0 and now_ns > self.from_ns


class SavingStepper(Stepper):
    """A stepper whose state can be taken and put back."""

    def __init__(
        self,
        saving: Saving,
        federation: Federation,
        unit: Unit,
        observe: Observe,
        cancelled: Event,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(federation, unit, observe, cancelled, clock)
        self._saving = saving

    def start(self) -> None:
        super().start()
        if self._saving.begun:
            self._take_up(self._saving.begun)

    def step(self, now_ns: int) -> None:
        """Step at `now_ns` of the engine, which begins at 0 whenever the run was taken up."""
        at_ns = now_ns + self._saving.from_ns
        if self._saving.is_due(at_ns):
            self._saving.keep(self._part(at_ns))
        super().step(at_ns)

    def check_reached(self, until_ns: int) -> None:
        at_ns = until_ns + self._saving.from_ns
        super().check_reached(at_ns)
        if self._saving.is_due(at_ns):
            self._saving.keep(self._part(at_ns))

    def _part(self, at_ns: int) -> Checkpoint:
        """Return this unit's state. Raises FederateError for one that cannot give it."""
        part = Checkpoint(at_ns)
        for name in self.unit.members:
            try:
                part.federates[name] = memory.encoded(memory.taken(self.federation.federates[name]))
            except BaseException as error:  # SystemExit too: it would end the run as if all were well
                raise FederateError(name, at_ns, f"cannot give its state: {cause(error)}") from error
        part.units[self.unit.name] = memory.encoded(memory.taken(self._own))
        layout, payload = layout_of(self.federation, self.unit), self.outbox.payload
        part.latest = {str(ref): memory.encoded(payload[at]) for ref, at in layout.latest.items()}
        part.earlier = {str(ref): memory.encoded(payload[at]) for ref, at in layout.earlier.items()}
        return part

    @property
    def _own(self) -> _Own:
        return _Own(self._runner, list(self._watches))

    def _take_up(self, begun: Checkpoint) -> None:
        for name in self.unit.members:
            if name in begun.federates:
                try:
                    memory.given(self.federation.federates[name], memory.decoded(*begun.federates[name]))
                except BaseException as error:
                    why = f"cannot be taken up again as it was: {cause(error)}"
                    raise FederateError(name, begun.at_ns, why) from error
        if own := begun.units.get(self.unit.name):
            memory.given(self._own, memory.decoded(*own))
        layout, payload = layout_of(self.federation, self.unit), self.outbox.payload
        payload[0] = begun.at_ns // self.unit.step_ns - 1
        for slices, said in ((layout.latest, begun.latest), (layout.earlier, begun.earlier)):
            for ref, at in slices.items():
                if str(ref) in said:
                    payload[at] = memory.decoded(*said[str(ref)])


class _Own:
    """What a stepper has besides its federates: the iteration of a loop, and what watches for hunting."""

    def __init__(self, runner: object, watches: list[object]) -> None:
        self.runner, self.watches = runner, watches
