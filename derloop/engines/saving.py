"""The state of a run at an instant that all its units have: what is kept of each, and how each takes it up again.

A unit's state at T is what it has before its first step at or after T: of its federates, of the iteration if it is a
loop, of what watches for hunting, and what it gave out last. T is a multiple of every unit's step, so that no value is
under way between units: what each reads next follows from what the others gave out last.

A run that is taken up at T is to its engine a run from 0 that is shorter by T.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import lcm
from threading import Event, Lock

from derloop import memory
from derloop.engines.exchange import layout_of
from derloop.engines.stepping import Observe, Stepper
from derloop.errors import FederateError, Problem
from derloop.federation import Federation, Unit
from derloop.pacing import Clock
from derloop.results.checkpoints import Checkpoint

Keep = Callable[[Checkpoint], None]


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
    if every_ns % (step_ns := grid_ns(federation)):
        what = f"checkpoints every {every_ns / 1e9:g} s: must be a multiple of {step_ns / 1e9:g} s, of every step"
        found.append(Problem("", what))
    if federation.pacing:
        found.append(Problem("/pacing", "a run that keeps time with the clock on the wall cannot be taken up again"))
    return found


def _why(kind: str, via: str) -> str:
    if via != "model":
        return (
            f"via {via!r}: the state of equipment, or of an emulator, cannot be taken and put back; only a model's can"
        )
    return f"the kind {kind!r} does not say what its state is, so no checkpoint can be taken"


class Saving:
    """Checkpoints of a run as it goes on, and the one from which it is taken up."""

    def __init__(self, every_ns: int, begun: Checkpoint | None = None, keep: Keep = lambda _: None) -> None:
        """every_ns: 0 for never. keep: called with each checkpoint as soon as it is whole."""
        self.every_ns, self._begun, self.keep = every_ns, begun, keep
        self._open: dict[int, tuple[Checkpoint, set[str]]] = {}
        self._lock = Lock()

    @property
    def from_ns(self) -> int:
        """The instant from which the run is taken up; 0 for one that begins."""
        return self._begun.at_ns if self._begun else 0

    @property
    def begun(self) -> Checkpoint | None:
        return self._begun

    def stepper(
        self, federation: Federation, unit: Unit, observe: Observe, cancelled: Event, clock: Clock | None = None
    ) -> Stepper:
        """Return a unit's stepper, as `Stepper` itself does."""
        if not (self.every_ns or self._begun):
            return Stepper(federation, unit, observe, cancelled, clock)
        return SavingStepper(self, federation, unit, observe, cancelled, clock)

    def is_due(self, now_ns: int) -> bool:
        return self.every_ns > 0 and now_ns % self.every_ns == 0 and now_ns > self.from_ns

    def take(self, stepper: SavingStepper, now_ns: int) -> None:
        """Take a unit's state at `now_ns`; the checkpoint is whole once all have given theirs."""
        with self._lock:
            checkpoint, missing = self._open.setdefault(now_ns, (Checkpoint(now_ns), set(stepper.every_unit)))
            if stepper.unit.name not in missing:
                return
            stepper.save(checkpoint)
            missing.discard(stepper.unit.name)
            if not missing:
                del self._open[now_ns]
                self.keep(checkpoint)


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
        self._saving, self._federation = saving, federation
        self.every_unit = [u.name for u in federation.units]

    def start(self) -> None:
        super().start()
        if self._saving.begun:
            self._take_up(self._saving.begun)

    def step(self, now_ns: int) -> None:
        """Step at `now_ns` of the engine, which begins at 0 whenever the run was taken up."""
        at_ns = now_ns + self._saving.from_ns
        if self._saving.is_due(at_ns):
            self._saving.take(self, at_ns)
        super().step(at_ns)

    def check_reached(self, until_ns: int) -> None:
        at_ns = until_ns + self._saving.from_ns
        super().check_reached(at_ns)
        if self._saving.is_due(at_ns):
            self._saving.take(self, at_ns)

    def save(self, into: Checkpoint) -> None:
        """Add this unit's state. Raises FederateError for one that cannot give it."""
        for name in self.unit.members:
            try:
                into.federates[name] = memory.taken(self._federation.federates[name])
            except memory.Forgetful as error:
                raise FederateError(name, into.at_ns, f"cannot give its state: {error}") from error
        into.units[self.unit.name] = memory.taken(self._own)
        layout, payload = layout_of(self._federation, self.unit), self.outbox.payload
        into.latest |= {str(ref): payload[part].copy() for ref, part in layout.latest.items()}
        into.earlier |= {str(ref): payload[part].copy() for ref, part in layout.earlier.items()}

    @property
    def _own(self) -> _Own:
        return _Own(self._runner, list(self._watches))

    def _take_up(self, begun: Checkpoint) -> None:
        for name in self.unit.members:
            if name in begun.federates:
                try:
                    memory.given(self._federation.federates[name], begun.federates[name])
                except memory.Forgetful as error:
                    raise FederateError(name, begun.at_ns, f"cannot be taken up again as it was: {error}") from error
        if own := begun.units.get(self.unit.name):
            memory.given(self._own, own)
        layout, payload = layout_of(self._federation, self.unit), self.outbox.payload
        payload[0] = begun.at_ns // self.unit.step_ns - 1
        for parts, said in ((layout.latest, begun.latest), (layout.earlier, begun.earlier)):
            for ref, part in parts.items():
                payload[part] = said.get(str(ref), payload[part])


class _Own:
    """What a stepper has besides its federates: the iteration of a loop, and what watches for hunting."""

    def __init__(self, runner: object, watches: list[object]) -> None:
        self.runner, self.watches = runner, watches
