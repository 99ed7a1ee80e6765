"""Federates that hunt over a delayed wire are found and named, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import pytest
from toys import Recording, S, steppers_of, wire

from derloop.contract import Arrival, FloatArray, Interface, Port, Values
from derloop.engines import local
from derloop.engines.hunting import ROWS, Block, Hunting, watches
from derloop.federation import Federation

N = 3


def labels(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_{i}" for i in range(N))


class Grid:
    """v = 1 + x (q + load)."""

    def __init__(self) -> None:
        inputs = {"pv.q": Port("kvar", labels("pv")), "load.q": Port("kvar", labels("load"))}
        self.interface = Interface(S, inputs, {"pv.v": Port("pu", labels("pv"))})

    def start(self) -> Values:
        return {"pv.v": np.ones(N)}

    def step(self, now_ns: int, inputs: Values) -> Values:
        return {"pv.v": 1.0 + 0.01 * (inputs["pv.q"] + inputs["load.q"])}

    def stop(self) -> None:
        pass


class Pv:
    """q = -gain (v - 1.02), no more than 4 kvar."""

    def __init__(self, gain: float, arrival: Arrival, step_s: int = 1) -> None:
        self._gain = gain
        ports = {"v": Port("pu", labels("pv"), arrival)}
        self.interface = Interface(step_s * S, ports, {"q": Port("kvar", labels("pv"))})

    def start(self) -> Values:
        return {"q": np.zeros(N)}

    def step(self, now_ns: int, inputs: Values) -> Values:
        return {"q": np.clip(-self._gain * (inputs["v"] - 1.02), -4.0, 4.0)}

    def stop(self) -> None:
        pass


class Load:
    """Draws what its course says."""

    def __init__(self, course: Callable[[int], FloatArray]) -> None:
        self._course = course
        self.interface = Interface(S, {}, {"q": Port("kvar", labels("load"))})

    def start(self) -> Values:
        return {"q": np.zeros(N)}

    def step(self, now_ns: int, inputs: Values) -> Values:
        return {"q": self._course(now_ns // S)}

    def stop(self) -> None:
        pass


def calm(_: int) -> FloatArray:
    return np.full(N, 0.5)


def found(
    gain: float,
    course: Callable[[int], FloatArray] = calm,
    coupling: str = "delayed",
    arrival: Arrival = "coupled",
    steps: int = 60,
    pv_step_s: int = 1,
) -> list[Hunting]:
    federates = {"grid": Grid(), "pv": Pv(gain, arrival, pv_step_s), "load": Load(course)}
    wires = [wire(f"grid.pv.v -> pv.v {coupling}"), wire("pv.q -> grid.pv.q"), wire("load.q -> grid.load.q")]
    steppers = steppers_of(Federation(federates, wires), Recording())
    local.run(steppers, steps * S)
    return [hunting for stepper in steppers for hunting in stepper.hunting]


def test_a_steep_device_that_sees_the_voltage_of_a_step_ago_hunts_and_is_named() -> None:
    """Loop gain 2: it goes between its limits, 4 kvar up and down, which are 0.08 pu."""
    (hunting,) = found(gain=200.0)
    assert (hunting.source, hunting.target, hunting.signal) == ("grid", "pv", "grid.pv.v")
    assert (hunting.elements, hunting.size, hunting.unit) == (3, 3, "pu")
    assert hunting.amplitude == pytest.approx(0.08, abs=1e-12)
    assert hunting.since_ns <= 2 * ROWS * S
    assert hunting.affected == ("grid", "pv")
    text = str(hunting)
    assert text.startswith("grid and pv hunt since ")
    assert "grid.pv.v at 'pv_0' goes up and down by 0.08 pu from step to step (3 of 3 elements do)" in text
    assert text.endswith("let the coupling converge, take a smaller step, or a longer response time")


def test_it_is_found_within_thirty_odd_steps() -> None:
    assert found(gain=200.0, steps=3 * ROWS + 8)


def test_converged_it_does_not_hunt() -> None:
    assert found(gain=200.0, coupling="converged") == []


@pytest.mark.parametrize("gain", [20.0, 90.0, 98.0])
def test_what_comes_to_rest_is_not_marked(gain: float) -> None:
    """Loop gains 0.2 to 0.98: the last one leaves two thirds of the swing after twenty steps."""
    assert found(gain, steps=400) == []


def test_it_is_found_under_changing_weather_too() -> None:
    rng = np.random.default_rng(5)
    assert found(150.0, lambda k: np.full(N, 0.5 + 0.3 * np.sin(k / 50) + 0.02 * rng.normal()), steps=300)


def test_a_load_that_goes_on_and_off_each_step_makes_nobody_hunt() -> None:
    assert found(50.0, lambda k: np.full(N, 2.0 * (k % 2)), steps=400) == []


@pytest.mark.parametrize("seed", range(5))
def test_noise_makes_nobody_hunt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert found(70.0, lambda k: rng.normal(size=N), steps=2000) == []


def test_a_control_that_acts_on_what_was_measured_is_its_own_fault_and_no_artefact() -> None:
    assert found(gain=200.0, arrival="before") == []


def test_a_device_with_a_longer_step_is_watched_at_its_own() -> None:
    (hunting,) = found(gain=200.0, steps=400, pv_step_s=5)
    assert hunting.step_ns == 5 * S
    assert hunting.amplitude == pytest.approx(0.08, abs=1e-12)


def test_what_alternates_and_decays_is_not_alternating() -> None:
    block = Block(2)
    for k in range(ROWS + 2):
        block.add(np.array([1.0 + 0.1 * (-1) ** k, 1.0 + 0.1 * (-0.95) ** k]))
    assert block.alternating() == pytest.approx([0.2, 0.0])


class Bus:
    """One voltage for each feeder, of all that they draw."""

    def __init__(self, feeders: list[str]) -> None:
        inputs = {f"{name}.q": Port("kvar", labels("pv")) for name in feeders}
        self.interface = Interface(S, inputs, {f"{name}.v": Port("pu", labels("pv")) for name in feeders})

    def start(self) -> Values:
        return {port: np.ones(N) for port in self.interface.outputs}

    def step(self, now_ns: int, inputs: Values) -> Values:
        return {port: 1.0 + 0.01 * inputs[port.replace(".v", ".q")] for port in self.interface.outputs}

    def stop(self) -> None:
        pass


def test_what_is_looked_through_before_a_run_grows_with_its_delayed_wires_and_not_with_their_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    feeders = [f"pv{i}" for i in range(20)]
    federates = {"bus": Bus(feeders), **{name: Pv(1.0, "coupled") for name in feeders}}
    wires = [wire(f"{name}.q -> bus.{name}.q") for name in feeders]
    federation = Federation(federates, [*wires, *(wire(f"bus.{name}.v -> {name}.v delayed") for name in feeders)])
    looked, whole = 0, Federation.downstream

    def counted(self: Federation, starts: Collection[str], avoiding: Collection[str] = ()) -> set[str]:
        nonlocal looked
        looked += 1
        return whole(self, starts, avoiding)

    monkeypatch.setattr(Federation, "downstream", counted)
    assert len(watches(federation, federation.unit_of["bus"])) == len(feeders)
    assert looked <= 3 * len(feeders)
