"""What a federate may do wrong, and what its stepper says of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import numpy as np
import pytest
from toys import Mixer, Recording, S, steppers_of, wire

from derloop.contract import Bundle, Values
from derloop.engines import local
from derloop.engines.stepping import Cancelled, Stepper
from derloop.engines.worker import Deadlines, Stall, Worker
from derloop.errors import EngineError, FederateError
from derloop.federation import Federation


class Faulty(Mixer):
    """Gives out what `outputs` returns from 3 s on."""

    def __init__(self, outputs: Callable[[], Any]) -> None:
        super().__init__({"y": 2}, {"x": 2}, 1, 1)
        self._faulty = outputs

    def step(self, now_ns: int, inputs: Values) -> Values:
        return self._faulty() if now_ns >= 3 * S else super().step(now_ns, inputs)


def pair(faulty: Mixer) -> Federation:
    return Federation(
        {"source": Mixer({"x": 2}, {"y": 2}, 1, 2), "faulty": faulty},
        [wire("source.y -> faulty.y"), wire("faulty.x -> source.x delayed")],
    )


def error_of(outputs: Callable[[], Any]) -> FederateError:
    with pytest.raises(FederateError) as caught:
        local.run(steppers_of(pair(Faulty(outputs)), Recording()), 10 * S)
    return caught.value


def raising(error: BaseException) -> Callable[[], Any]:
    def step() -> Any:
        raise error

    return step


class Unsayable(Exception):
    def __str__(self) -> str:
        raise AttributeError("status")


class OfAPlugIn(Exception):
    __module__ = "derloop_heaters.errors"


@contextmanager
def locked() -> Iterator[None]:
    yield


SHAPES = "ValueError: cannot reshape array of size 1 into shape (2,)"
OUTPUTS = {
    "not a number": (lambda: {"x": np.array([1.0, np.nan])}, "output 'x' is not finite at 'x_1'"),
    "infinite": (lambda: {"x": np.array([np.inf, -np.inf])}, "output 'x' is not finite at 'x_0', 'x_1'"),
    "too long": (lambda: {"x": np.zeros(3)}, r"output 'x' has shape (3,), declared (2,)"),
    "a column": (lambda: {"x": np.zeros((2, 1))}, "output 'x' has shape (2, 1), declared (2,)"),
    "missing": (dict, "did not return its output 'x'"),
    "more than declared": (
        lambda: {"x": np.zeros(2), "z": np.zeros(1)},
        "returned what it has not declared: z; there are: x",
    ),
    "a list": (lambda: {"x": [1.0, 2.0]}, "output 'x' is a list, not an array of numbers"),
    "a number": (lambda: {"x": 1.0}, "output 'x' is a float, not an array of numbers"),
    "texts": (lambda: {"x": np.array(["1", "2"])}, "output 'x' is an array of <U1, not an array of numbers"),
    "complex": (lambda: {"x": np.array([1j, 2j])}, "output 'x' is an array of complex128, not an array of numbers"),
    "masked": (
        lambda: {"x": np.ma.masked_array([1.0, 2.0], [False, True])},
        "output 'x' has no value where it is masked",
    ),
    "nothing": (lambda: None, "returned a NoneType, not its outputs by name"),
    "an array": (lambda: np.zeros(2), "returned a ndarray, not its outputs by name"),
    "an error": (raising(ValueError("no light")), "ValueError: no light (test_stepper.py, line LINE)"),
    "an error without words": (
        raising(Unsayable()),
        "Unsayable: what it says raises AttributeError (test_stepper.py, line LINE)",
    ),
    "an error of a plug-in": (raising(OfAPlugIn("cold")), "OfAPlugIn: cold (test_stepper.py, line LINE)"),
    "an exit": (lambda: sys.exit(0), "SystemExit: 0 (test_stepper.py, line LINE)"),
    "an interruption": (raising(KeyboardInterrupt()), "KeyboardInterrupt (test_stepper.py, line LINE)"),
    "of a library": (lambda: {"x": np.reshape([1.0], 2)}, SHAPES + " (test_stepper.py, line LINE)"),
    "of a decorator": (locked()(raising(ValueError("no light"))), "ValueError: no light (test_stepper.py, line LINE)"),
    "of derloop": (lambda: Bundle({}).update({"x": np.ones(2)}), "KeyError: 'x' (test_stepper.py, line LINE)"),
}


@pytest.mark.parametrize("what", OUTPUTS)
def test_what_a_federate_gives_out_is_checked_at_its_source(what: str) -> None:
    outputs, why = OUTPUTS[what]
    error = error_of(outputs)
    assert (error.federate, error.now_ns, re.sub(r"line \d+", "line LINE", error.why)) == ("faulty", 3 * S, why)
    assert [*error.inputs] == ["y"]


def test_a_federate_that_does_not_start_is_named() -> None:
    faulty = Faulty(dict)
    faulty._state = {"x": np.array([np.nan, 0.0])}
    with pytest.raises(FederateError, match="federate 'faulty' before the first step: output 'x' is not finite"):
        local.run(steppers_of(pair(faulty), Recording()), 10 * S)


class Scaling(Mixer):
    """Scales its input by `scale`, in place or by another name."""

    def __init__(self, scale: Callable[[Any], None]) -> None:
        super().__init__({"y": 2}, {"x": 2}, 1, 1)
        self._scale = scale

    def step(self, now_ns: int, inputs: Values) -> Values:
        self._scale(inputs)
        return super().step(now_ns, inputs)


def scaled_in_place(inputs: Any) -> None:
    inputs["y"] *= 0.5


def scaled_by_name(inputs: Any) -> None:
    inputs["y"] = inputs["y"] * 0.5


@pytest.mark.parametrize("coupling", ["direct", "delayed", "converged"])
@pytest.mark.parametrize("scale", [scaled_in_place, scaled_by_name])
def test_a_federate_that_writes_into_its_inputs_is_told_and_does_not_go_on_with_them(
    scale: Callable[[Any], None], coupling: str
) -> None:
    back = "converged" if coupling == "converged" else "delayed"
    wires = [wire(f"source.y -> faulty.y {coupling}"), wire(f"faulty.x -> source.x {back}")]
    federation = Federation({"source": Mixer({"x": 2}, {"y": 2}, 1, 2), "faulty": Scaling(scale)}, wires)
    with pytest.raises(FederateError, match=r"federate 'faulty' at 0 s: .*(read-only|not support item assignment)"):
        local.run(steppers_of(federation, Recording()), 3 * S)


class Stubborn(Mixer):
    def stop(self) -> None:
        super().stop()
        raise SystemExit("not now")


def test_every_federate_is_stopped_once_also_when_one_refuses() -> None:
    federation = pair(Stubborn({"y": 2}, {"x": 2}, 1, 1))
    worker = Worker(federation, federation.units, Recording(), Deadlines())
    with pytest.raises(FederateError, match="federate 'faulty' at 4 s: did not stop cleanly: SystemExit: not now"):
        worker.run(local.run, 5 * S, lambda: None)
    assert [f.stops for f in federation.federates.values()] == [1, 1]  # type: ignore[attr-defined]


def test_a_federate_that_hangs_in_stopping_does_not_keep_others_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    release = Event()

    class Staying(Mixer):
        def stop(self) -> None:
            super().stop()
            release.wait(30)

    monkeypatch.setattr("derloop.engines.worker.STOP_S", 0.2)
    federates = {name: Mixer({}, {"y": 1}, 1, 1) for name in ("first", "second", "last")}
    federates |= {"stays": Staying({}, {"y": 1}, 1, 1), "stays too": Staying({}, {"y": 1}, 1, 1)}
    names = ["first", "stays", "second", "stays too", "last"]
    federation = Federation({name: federates[name] for name in names}, [])
    worker = Worker(federation, federation.units, Recording(), Deadlines())
    with pytest.raises(FederateError, match=r"'stays too' at 1 s: hangs: it has not stopped after 0\.2 s"):
        worker.run(local.run, 2 * S, lambda: None)
    assert worker.complaints == ["federate 'stays' at 1 s: hangs: it has not stopped after 1 s"]
    assert [federates[name].stops for name in names] == [1] * 5
    assert worker.is_stuck
    release.set()


def test_what_goes_wrong_in_stopping_does_not_hide_the_failure() -> None:
    class Both(Stubborn):
        def step(self, now_ns: int, inputs: Values) -> Values:
            raise RuntimeError("broken")

    federation = pair(Both({"y": 2}, {"x": 2}, 1, 1))
    worker = Worker(federation, federation.units, Recording(), Deadlines())
    with pytest.raises(FederateError, match="RuntimeError: broken"):
        worker.run(local.run, 5 * S, lambda: None)
    (complaint,) = worker.complaints
    assert complaint.startswith("federate 'faulty' at 0 s: did not stop cleanly: SystemExit: not now (test_stepper.py")


def test_statistics_are_gathered_when_all_have_stopped() -> None:
    class Counting(Mixer):
        def statistics(self) -> dict[str, int]:
            return {"stops": self.stops}

    federation = pair(Counting({"y": 2}, {"x": 2}, 1, 1))
    worker = Worker(federation, federation.units, Recording(), Deadlines())
    worker.run(local.run, 5 * S, lambda: None)
    assert worker.statistics() == {"faulty": {"stops": 1.0}}
    assert not worker.is_stuck


def test_statistics_without_names_are_a_failure_by_name() -> None:
    class Numbering(Mixer):
        def statistics(self) -> Any:
            return {1: 2.0}

    federation = pair(Numbering({"y": 2}, {"x": 2}, 1, 1))
    worker = Worker(federation, federation.units, Recording(), Deadlines())
    with pytest.raises(FederateError, match="'faulty' at 4 s: has no statistics: 1 is no name"):
        worker.run(local.run, 5 * S, lambda: None)


def test_statistics_that_hang_are_a_failure_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    release = Event()

    class Pondering(Mixer):
        def statistics(self) -> dict[str, int]:
            release.wait(30)
            return {}

    monkeypatch.setattr("derloop.engines.worker.STOP_S", 0.2)
    federation = pair(Pondering({"y": 2}, {"x": 2}, 1, 1))
    worker = Worker(federation, federation.units, Recording(), Deadlines())
    with pytest.raises(FederateError, match=r"'faulty' at 4 s: hangs: it has not given its statistics after 0\.2 s"):
        worker.run(local.run, 5 * S, lambda: None)
    assert worker.is_stuck
    release.set()


def test_an_engine_that_returns_early_is_no_success() -> None:
    def lazy(steppers: list[Stepper], until_ns: int) -> None:
        local.run(steppers, until_ns - S)

    federation = pair(Faulty(dict))
    worker = Worker(federation, federation.units, Recording(), Deadlines())
    with pytest.raises(EngineError, match="the run ended with 'source' at step 1, before its last, 2"):
        worker.run(lazy, 3 * S, lambda: None)


def test_an_engine_that_stands_still_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    release = Event()

    def still(steppers: list[Stepper], until_ns: int) -> None:
        local.run(steppers, 2 * S)
        release.wait(30)

    monkeypatch.setattr("derloop.engines.worker.STOP_S", 0.1)
    monkeypatch.setattr("derloop.engines.worker.STALL_S", 0.1)
    federation = pair(Faulty(dict))
    worker = Worker(federation, federation.units, Recording(), Deadlines(step_s=0.2))
    with pytest.raises(EngineError, match="the run stands still at 1 s: for 0 s nobody was given a step"):
        worker.run(still, 5 * S, lambda: None)
    assert worker.is_stuck
    release.set()


def test_a_run_that_moves_does_not_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("derloop.engines.worker.monotonic", lambda: clock[0])
    stall = Stall(Deadlines(join_s=10, step_s=20))
    for now_ns in (None, 0, S, 2 * S):
        stall.check([now_ns, 0])
        clock[0] += 10.9
    clock[0] += 10.5
    with pytest.raises(EngineError, match="stands still at 0 s"):
        stall.check([2 * S, 0])


def test_nothing_is_stepped_once_the_run_is_cancelled() -> None:
    cancelled = Event()
    steppers = steppers_of(pair(Faulty(dict)), Recording(), cancelled)
    cancelled.set()
    for act in (steppers[0].start, lambda: steppers[0].step(0)):
        with pytest.raises(Cancelled):
            act()
