"""Equipment as a federate: a fleet whose devices are on a bench, in wall-clock time.

In each step, commands go out (read back and verified, under a lease that runs out unrenewed), then every device is
polled. What the federation sees is what came over the wire, with its age in `age_s`; `unproven` is 1 where what was
commanded does not show in what is measured, and `modbus_s` is how long the exchange took.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from derloop.contract import Interface, Port, Values
from derloop.errors import DeviceError, Rejected
from derloop.kind import Context, Terminal
from hil.bench.file import Bench
from hil.bench.power import enlarged, leaving_s, power_of, reduced, scales, seen_by_feeder, settling_s, voltages
from hil.bench.sources import SourceLocks
from hil.fleet.model import HasStorage, InverterModel, told_outputs
from hil.fleet.told import commands_of, curves_of, outputs_of
from hil.inverter.commands import Commands
from hil.safety.folder import Run
from hil.safety.rules import NoLease
from hil.safety.stop import EmergencyStopped

if TYPE_CHECKING:
    from hil.bench.session import Session
    from hil.frames.journal import Journal
    from hil.frames.layout import Peer
    from hil.modbus.tap import Direction, Tap
    from hil.modbus.thread import LoopThread
    from hil.safety.key import RunKey

T = TypeVar("T")
RATED_DIFFERS = 0.01
"""How far a nameplate may be from the scenario's rating, as a fraction."""

UNTOLD_POWER = (
    "no control sets the power of this equipment (p_set_kw): what its mode does as a model is left to what it is set to"
)


class BenchFleet:
    """n devices of a bench in the place of a fleet's model, of which only the ports and the settings are used."""

    def __init__(
        self,
        model: InverterModel,
        bench: Bench,
        names: Sequence[str],
        terminals: tuple[Terminal, ...],
        context: Context,
    ) -> None:
        self._model, self._bench, self._names, self._terminals = model, bench, tuple(names), terminals
        self._federate, self._armed = context.name, context.permissions.armed
        self._storage = model.storage if isinstance(model, HasStorage) else None
        rules = [bench.device(name).safety for name in names]
        self._scale = scales([bench.device(name).power for name in names])
        self._power = power_of(bench, names, terminals, context, model.inverters, self._tap_instrument)
        stop_s = max(each.restore_s for each in rules) + leaving_s(bench, names)
        self._interface = replace(
            _interface(model.interface, terminals, is_powered=self._power is not None),
            start_s=settling_s(bench, names),
            stop_s=stop_s,
        )
        self._folder: Path | None = None
        self._journal: Journal | None = None
        self._thread: LoopThread | None = None
        self._session: Session | None = None
        self._key: RunKey | None = None
        self._sources: SourceLocks | None = None

    @property
    def interface(self) -> Interface:
        return self._interface

    @property
    def cautions(self) -> tuple[str, ...]:
        """What devices are not told; which armed ones nothing would end if the run dies; loops that may not settle."""
        leases = {name: self._bench.device(name).safety.lease for name in self._names if name in self._armed}
        goes_on = "has no lease: should this run die, it goes on with what it was told last"
        said = tuple(f"device {n!r} {goes_on} ({x.because})" for n, x in leases.items() if isinstance(x, NoLease))
        if self._storage is not None and "p_set_kw" not in self._model.interface.inputs:
            said += (f"{self._federate}: {UNTOLD_POWER}",)
        return said if self._power is None else said + self._power.cautions

    def keep_in(self, folder: Path) -> None:
        """Keep every frame in the run's folder, and who the devices were."""
        self._folder = folder

    def start(self) -> Values:
        """Reach the devices, record what they hold, give them their curve, and poll them."""
        session = self._open()
        self._run(session.stand_by())
        with self._stopped_first(session):
            if self._power is not None:
                sources = self._lock_sources()
                self._power.energise(sources.shared, sources.feed)  # without its grid a device may not answer
            self._run(session.open())
            self._keep_who(session)
            self._plate = enlarged(session.plate, self._scale)
            self._refuse_other_ratings()
            self._refuse_unrated()
            return self._exchange(self._first_commands(session))

    def _lock_sources(self) -> SourceLocks:
        """Keep the sources from other runs, which would set them, and switch them off, under this one."""
        wired = [power for name in self._names if (power := self._bench.device(name).power) is not None]
        run = Run(self._folder or Path.cwd(), self._bench.path, self._bench.addresses)
        sources = SourceLocks(self._bench, wired, run)
        sources.acquire()
        self._sources = sources
        return sources

    @contextmanager
    def _stopped_first(self, session: Session) -> Iterator[None]:
        """Say that the bench was stopped, rather than what that led to: without power a device does not answer."""
        try:
            yield
        except EmergencyStopped:
            raise
        except DeviceError:
            self._run(session.refuse_stopped())
            raise

    def _keep_who(self, session: Session) -> None:
        from hil.bench.evidence import keep_who

        if self._folder is not None:
            keep_who(self._folder, self._federate, self._bench, session.devices, self._armed)

    def step(self, now_ns: int, inputs: Values) -> Values:
        if self._journal:
            self._journal.instant_ns = now_ns
        assert self._session
        with self._stopped_first(self._session):
            if self._power is not None:
                self._power.apply(*voltages(inputs, len(self._names)))
            return self._exchange(self._commands(inputs))

    def _commands(self, inputs: Values) -> Commands:
        """Return what the devices are told. q_set_pu is of the rating that the scenario gives them."""
        return commands_of(inputs, self._plate, np.array([1000 * terminal.rated_kva for terminal in self._terminals]))

    def stop(self) -> None:
        """Leave every device as it was found. Raises NotRestored where that could not be done, or not be verified."""
        try:
            if self._session:
                self._run(self._session.close())
        finally:
            self._close()

    def _close(self) -> None:
        """Give back what is held beside the devices, whatever of it there is."""
        with ExitStack() as closing:
            if self._journal is not None:
                closing.callback(self._journal.close)  # when all has been said
            if self._sources is not None:
                closing.callback(self._sources.release)
            closing.callback(self._leave_power)
            closing.callback(self._model.stop)
            for held in (self._thread, self._key):
                if held is not None:
                    closing.callback(held.close)

    def _leave_power(self) -> None:
        """Switch the sources off, but for those that devices of the run's other fleets still need to be restored."""
        if self._power is not None:
            self._power.leave(self._sources.give_up() if self._sources is not None else ())

    def _cut_power(self) -> None:
        if self._power is not None:
            self._power.leave()

    def statistics(self) -> Mapping[str, float]:
        """Return what went over the wire."""
        return self._session.statistics() if self._session else {}

    def _open(self) -> Session:
        from hil.bench.session import Session  # what speaks Modbus, not before a run begins
        from hil.frames.journal import Journal, journal_path
        from hil.modbus.thread import LoopThread
        from hil.safety.key import RunKey

        if self._folder is not None:
            self._journal = Journal(journal_path(self._folder, self._federate))
        self._thread = LoopThread(f"bench {self._federate}")
        run = Run(self._folder or Path.cwd(), self._bench.path, self._bench.addresses)
        self._key = RunKey() if self._bench.file.emergency_stop.key else None
        if self._key:
            self._key.open()
        smart = self._model.inverters
        self._session = Session(
            self._bench, self._names, self._armed, run, self._tap, self._key, self._cut_power, smart
        )
        return self._session

    def _tap(self, names: Sequence[str]) -> Tap | None:
        from hil.bench.devices import peers_of

        return None if self._journal is None else self._journal.tap(*peers_of(self._bench, names))

    def _tap_instrument(self, peer: Peer) -> Tap:
        """Return what notes what is said to an instrument, which is known before there is a journal."""

        def note(direction: Direction, data: bytes) -> None:
            if self._journal is not None:
                self._journal.tap(peer)(direction, data)

        return note

    def _first_commands(self, session: Session) -> Commands:
        """Return the volt-var curve; without one, volt-var is turned off, but for devices that are only read."""
        curves = curves_of(self._model.inverters, len(self._names))
        if self._model.inverters.volt_var is None and not session.is_armed:
            return Commands()
        return Commands(volt_var=curves)

    def _exchange(self, commands: Commands) -> Values:
        assert self._session
        began_s, step_s = monotonic(), self._interface.step_ns / 1e9
        unproven = self._run(self._session.exchange(reduced(commands, self._scale), began_s, step_s))
        modbus_s = np.array([monotonic() - began_s])
        measured, ages_s = seen_by_feeder(self._session.measured(), self._session.ages_s(), self._scale, self._power)
        values = outputs_of(measured, self._plate, self._storage, step_s)
        doubtful = np.isin(self._names, [each.device for each in unproven]).astype(np.float64)
        given = {} if self._power is None else {"v_applied_pu": self._power.v_applied_pu}
        return {**values, **given, "unproven": doubtful, "age_s": ages_s, "modbus_s": modbus_s}

    def _refuse_other_ratings(self) -> None:
        """Raise Rejected for a device that is rated otherwise than the scenario has it in its place."""
        for name, terminal, s_va in zip(self._names, self._terminals, self._plate.s_max_va, strict=True):
            if abs(s_va / 1000 - terminal.rated_kva) > RATED_DIFFERS * terminal.rated_kva:
                what = f"says that it is rated {s_va / 1000:g} kVA; the scenario has {terminal.rated_kva:g} kVA"
                raise Rejected(name, f"{what} in its place ({terminal.label!r})")

    def _refuse_unrated(self) -> None:
        """Raise Rejected for a device that does not say its greatest power, where limits are told as a part of it."""
        if "p_limit_kw" not in self._model.interface.inputs:
            return
        for name, p_max_w in zip(self._names, self._plate.p_max_w, strict=True):
            if not p_max_w > 0:
                what = "does not say its greatest power (p_max_w), of which a limit would be a part (p_limit_kw)"
                raise Rejected(name, f"{what}; a register map may say it (nameplate)")

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._thread
        return self._thread.run(work)


def _interface(model: Interface, terminals: Sequence[Terminal], *, is_powered: bool) -> Interface:
    labels = tuple(terminal.label for terminal in terminals)
    told = told_outputs(model)
    ours = {"unproven": Port("1", labels), "age_s": Port("s", labels), "modbus_s": Port("s", ("exchange",))}
    if is_powered:
        ours["v_applied_pu"] = Port("pu", labels)
    return Interface(model.step_ns, model.inputs, {**told, **ours}, repeatable=False, blocking=True, paced=True)
