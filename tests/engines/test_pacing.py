"""A run held to the wall clock: due times are absolute, nothing is early, and nothing else changes.

How long a step takes on a busy machine is not asserted: only what must hold however slow it is.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from resource import RUSAGE_SELF, getrusage
from threading import Event, Thread, Timer
from time import monotonic, monotonic_ns, sleep

import numpy as np
import pytest
from pydantic import ValidationError
from toys import Mixer, Record, Recording, S, ports, star, wire

from derloop.contract import FloatArray, Interface, Values, interface_from_json, interface_to_json
from derloop.engines.stepping import Cancelled, Stepper
from derloop.engines.worker import Deadlines, Worker, mover
from derloop.errors import FederateError
from derloop.federation import PACE, Federation
from derloop.pacing import Clock, Pacing
from derloop.scenario.pacing import PacingSettings

ENGINES = ("local", "helics", "mosaik")
LONG_S = 30.0


class Moments(Mixer):
    """Notes when it is stepped, and sleeps in the first step at `slow_from_s` or later, as equipment may."""

    def __init__(self, slow_s: float = 0.0, slow_from_s: float | None = None, paced: bool = True) -> None:
        super().__init__({}, {"y": 1, "age_s": 1}, 1, 1)
        self._interface = Interface(S, {}, ports({"y": 1, "age_s": 1}), repeatable=False, paced=paced)
        self._slow_s, self._slow_from_s = slow_s, slow_from_s
        self.stepped: list[tuple[float, int]] = []
        """Instant in s and `time.monotonic_ns` of each step."""

    def step(self, now_ns: int, inputs: Values) -> Values:
        self.stepped.append((now_ns / S, monotonic_ns()))
        if self._slow_from_s is not None and now_ns / S >= self._slow_from_s:
            self._slow_from_s = None
            sleep(self._slow_s)
        return {"y": np.full(1, now_ns / S), "age_s": np.full(1, 0.25)}


def paced(federation: Federation, pacing: Pacing) -> Federation:
    return Federation(federation.federates, federation.wires, federation.convergence, pacing)


def ran(
    federation: Federation, engine: str, until_s: float, deadlines: Deadlines | None = None, clock: Clock | None = None
) -> Record:
    recording = Recording()
    worker = Worker(federation, federation.units, recording, deadlines or Deadlines(LONG_S, LONG_S), clock)
    worker.run(mover(engine), round(until_s * S), lambda: None)
    return recording.seen


def values(record: Record, federate: str, port: str) -> FloatArray:
    """Return (instants, elements)."""
    return np.array([np.frombuffer(seen[port]) for _, seen in record[federate]])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("coupling", ["delayed", "converged"])
def test_the_values_of_a_paced_run_are_those_of_a_run_that_is_not(engine: str, coupling: str) -> None:
    found = ran(paced(star(coupling), Pacing(speed=20_000)), engine, 1200)
    clock = {name for name in found if name.startswith(PACE)}
    assert clock == {f"{PACE}{unit.members[0]}" for unit in star(coupling).units}
    assert {name: seen for name, seen in found.items() if name not in clock} == ran(star(coupling), "local", 1200)


def test_units_that_wait_under_helics_leave_each_other_alone() -> None:
    """With requests for time left open, five units switched threads some 40 000 times in a wait of half a second."""
    fleets = {f"fleet_{i}": Mixer({"v": 1, "x": 1}, {"p": 1}, 1, i) for i in range(3)}
    federates = {"grid": Mixer({f"p_{i}": 1 for i in range(3)}, {"v": 1}, 1, 7), "vpp": Mixer({"p": 1}, {"x": 1}, 1, 8)}
    wires = [f"fleet_{i}.p -> grid.p_{i}" for i in range(3)] + ["fleet_0.p -> vpp.p delayed"]
    wires += [end for i in range(3) for end in (f"grid.v -> fleet_{i}.v delayed", f"vpp.x -> fleet_{i}.x")]
    federation = Federation(fleets | federates, [wire(w) for w in wires], pacing=Pacing(speed=2))
    before = getrusage(RUSAGE_SELF).ru_nvcsw
    ran(federation, "helics", 6)
    assert getrusage(RUSAGE_SELF).ru_nvcsw - before < 6 * 5000


@pytest.mark.parametrize("engine", ENGINES)
def test_no_step_begins_before_it_is_due_and_what_one_loses_the_next_do_not(engine: str) -> None:
    device = Moments(slow_s=0.25, slow_from_s=2.0)
    federation = Federation({"device": device}, [], pacing=Pacing(speed=10))
    clock, epoch_ns = Clock(speed=10), monotonic_ns() + S // 5
    clock.begin(epoch_ns)
    late_s = values(ran(federation, engine, 8, clock=clock), f"{PACE}device", "late_s")
    begin_s, end_s = late_s.T
    due_ns = epoch_ns + np.arange(8) * (S // 10)
    seen_s = (np.array([at_ns for _, at_ns in device.stepped]) - due_ns) / S
    assert (seen_s >= 0).all()
    assert (begin_s >= 0).all()
    assert (begin_s <= seen_s).all(), "the step is taken after its turn has begun"
    assert (seen_s <= end_s).all()
    assert end_s[2] >= 0.25
    assert begin_s[3] >= end_s[2] - 0.1 - 1e-9, "the next step begins when the one before it has ended"
    assert begin_s[3:].min() < begin_s[3], "what it has lost becomes less"


@pytest.mark.parametrize("engine", ENGINES)
def test_what_each_step_took_is_recorded(engine: str) -> None:
    federation = Federation({"device": Moments(0.12, 1.0)}, [], pacing=Pacing(speed=10))
    found = ran(federation, engine, 3)
    took_s, late_s = values(found, f"{PACE}device", "step_s")[:, 0], values(found, f"{PACE}device", "late_s")
    assert took_s[1] >= 0.12
    assert (took_s <= late_s[:, 1] - late_s[:, 0]).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_equipment_that_missed_instants_wholly_is_not_stepped_in_them(engine: str) -> None:
    device = Moments(slow_s=0.55, slow_from_s=1.0)
    federates = {"device": device, "model": Mixer({"y": 1}, {"x": 1}, 1, 2)}
    federation = Federation(federates, [wire("device.y -> model.y")], pacing=Pacing(speed=10, overrun="skip"))
    found = ran(federation, engine, 9)
    skipped = values(found, f"{PACE}device", "skipped")[:, 0]
    late_s = values(found, f"{PACE}device", "late_s")[:, 0]
    slow = int(values(found, f"{PACE}device", "step_s")[:, 0].argmax())
    after = slice(slow + 1, slow + 5)
    assert skipped[after].all()
    assert (skipped == (late_s >= 0.1)).all()
    assert [at_s for at_s, _ in device.stepped] == [*np.flatnonzero(skipped == 0)]
    assert (values(found, "device", "y")[after, 0] == slow).all(), "the last values hold"
    ages_s = values(found, "device", "age_s")[slow : slow + 5, 0]
    assert ages_s[0] == 0.25
    assert (np.diff(ages_s) > 0).all(), "what is held grows older"
    assert len(found["model"]) == 9, "a model is stepped in every instant"
    assert not values(found, f"{PACE}model", "skipped").any()


def test_models_are_never_skipped() -> None:
    model = Moments(slow_s=0.55, slow_from_s=1.0, paced=False)
    ran(Federation({"model": model}, [], pacing=Pacing(speed=10, overrun="skip")), "local", 9)
    assert len(model.stepped) == 9


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_that_must_be_in_time_ends_naming_who_was_slow(engine: str) -> None:
    federates = {"quick": Mixer({"y": 1}, {"x": 1}, 1, 2), "slow": Moments(1.3, 2.0)}
    federation = Federation(federates, [wire("slow.y -> quick.y")], pacing=Pacing(10, "abort", late_s=1.2))
    with pytest.raises(FederateError) as caught:
        ran(federation, engine, 9)
    assert (caught.value.federate, caught.value.now_ns) == ("slow", 2 * S)
    assert "not in time: slow ended 1." in caught.value.why
    assert "allowed are 1.2 s" in caught.value.why
    assert "as far as they are known here: slow 1." in caught.value.why


@pytest.mark.parametrize("engine", ENGINES)
def test_who_waits_for_a_late_federate_is_not_blamed_for_it(engine: str) -> None:
    """`slow` takes long enough for the one that follows to be too late, although itself it is not."""
    federates = {"slow": Moments(1.1, 2.0), "follows": Moments(0.2, 2.0)}
    federates["follows"]._interface = Interface(S, ports({"y": 1}), ports({"y": 1, "age_s": 1}), paced=True)
    federation = Federation(federates, [wire("slow.y -> follows.y")], pacing=Pacing(10, "abort", late_s=1.2))
    with pytest.raises(FederateError) as caught:
        ran(federation, engine, 9)
    assert (caught.value.federate, caught.value.now_ns) == ("slow", 2 * S)
    assert "as far as they are known here: slow 1." in caught.value.why


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_that_waits_for_its_next_instant_is_ended_at_once(engine: str) -> None:
    federation = Federation({"device": Moments(), "other": Moments()}, [], pacing=Pacing(speed=0.001))
    worker = Worker(federation, federation.units, Recording(), Deadlines(LONG_S, LONG_S))
    asked = 0.0

    def poll() -> None:
        nonlocal asked
        if worker.now_ns == 0 and not worker.at_work():
            asked = monotonic()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.run(mover(engine), 100 * S, poll)
    assert monotonic() - asked < LONG_S, "the next instant is due 1000 s later"
    assert not worker.is_stuck
    assert worker.complaints == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_federate_that_fails_ends_the_waits_of_the_others(engine: str) -> None:
    class Broken(Moments):
        def step(self, now_ns: int, inputs: Values) -> Values:
            raise ValueError("no light")

    federates = {"waits": Mixer({}, {"y": 1}, 1, 1), "broken": Broken()}
    federation = Federation(federates, [], pacing=Pacing(speed=0.001))
    with pytest.raises(FederateError, match="federate 'broken' at 0 s: ValueError: no light"):
        ran(federation, engine, 100)


def test_waiting_for_the_clock_is_not_hanging() -> None:
    """A step's deadline of 0.5 s, and 7 s in which nothing moves: longer than a run may stand still.

    Both engines wait at the same time.
    """

    def steps(engine: str) -> int:
        federation = Federation({"device": Moments(), "other": Moments()}, [], pacing=Pacing(speed=1 / 7))
        assert federation.longest_wait_s == 7.0
        return len(ran(federation, engine, 2, Deadlines(LONG_S, 0.5))["device"])

    with ThreadPoolExecutor() as pool:
        assert [*pool.map(steps, ("local", "helics"))] == [2, 2]


def test_a_clock_that_is_told_when_to_begin_lets_nothing_begin_before() -> None:
    clock, cancelled = Clock(is_told=True), Event()
    begun: list[int] = []

    def work() -> None:
        clock.wait(0, cancelled)
        begun.append(monotonic_ns())

    thread = Thread(target=work)
    thread.start()
    while not clock.is_awaited:
        sleep(0.001)
    epoch_ns = monotonic_ns() + S // 20
    clock.begin(epoch_ns)
    thread.join()
    assert begun[0] >= epoch_ns
    assert clock.late_s(0) >= 0.0


def test_a_wait_of_a_thousand_years_is_no_overflow() -> None:
    clock, cancelled = Clock(1e-6), Event()
    clock.wait(0, cancelled)
    Timer(0.05, cancelled.set).start()
    clock.wait(86400 * S, cancelled)
    assert cancelled.is_set()


@pytest.mark.parametrize("speed", [0, 1e-300, 1e-7, 1e7])
def test_a_speed_at_which_no_instant_would_come_is_refused(speed: float) -> None:
    with pytest.raises(ValidationError, match="speed"):
        PacingSettings(speed=speed)
    PacingSettings(speed=1e-6)


def test_due_times_are_exact_after_a_century_of_nanoseconds() -> None:
    clock = Clock()
    clock.begin(0)
    century_ns = 100 * 366 * 86400 * S
    now_ns = monotonic_ns()
    assert clock.late_s(century_ns + 1) == pytest.approx((now_ns - century_ns - 1) / 1e9, abs=60)
    assert clock._since_ns(century_ns + 1) == century_ns + 1
    assert Clock(speed=10)._since_ns(5 * S) == S // 2


def test_a_wait_that_is_cancelled_steps_nothing() -> None:
    cancelled = Event()
    device = Moments()
    federation = Federation({"device": device}, [], pacing=Pacing())
    stepper = Stepper(federation, federation.units[0], Recording(), cancelled, Clock())
    stepper.start()
    cancelled.set()
    with pytest.raises(Cancelled):
        stepper.step(10 * S)
    assert device.stepped == []


@pytest.mark.parametrize("is_paced", [False, True])
def test_another_process_learns_that_a_federate_lives_in_wall_clock_time(is_paced: bool) -> None:
    interface = Moments(paced=is_paced).interface
    assert interface_from_json(interface_to_json(interface)) == interface
