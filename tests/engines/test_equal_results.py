"""Every engine moves the same bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toys import Mixer, Record, Recording, S, star, steppers_of, wire

from derloop.crews import Crew, one_each
from derloop.engines import helics, local, mosaik
from derloop.engines.stepping import Stepper
from derloop.errors import EngineError, ScenarioError
from derloop.federation import Federation

Run = Callable[[list[Stepper], int], None]


def in_two_crews(steppers: list[Stepper], until_ns: int) -> None:
    """Every other unit in one crew, so that wires run to and fro between the two, and inside each."""
    units = [stepper.unit for stepper in steppers]
    helics.run(steppers, until_ns, [[Crew(tuple(half))] for half in (units[::2], units[1::2]) if half])


def in_a_crew_each(steppers: list[Stepper], until_ns: int) -> None:
    helics.run(steppers, until_ns, [[crew] for crew in one_each([stepper.unit for stepper in steppers])])


ENGINES = {
    "helics": helics.run,
    "helics, each": in_a_crew_each,
    "threads": helics.run_in_threads,
    "crews": in_two_crews,
    "mosaik": mosaik.run,
}


def record(federation: Federation, run: Run, until_s: float) -> Record:
    recording = Recording()
    run(steppers_of(federation, recording), round(until_s * S))
    return recording.seen


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("coupling", ["delayed", "converged"])
@pytest.mark.parametrize("blocking", [False, True])
def test_a_star_with_five_steps_and_loops_gives_equal_bytes(engine: str, coupling: str, blocking: bool) -> None:
    reference = record(star(coupling, blocking), local.run, 6000)
    assert record(star(coupling, blocking), ENGINES[engine], 6000) == reference
    assert {name: len(seen) for name, seen in reference.items()}["fast"] == 300


def test_the_reference_itself_depends_on_every_wire() -> None:
    reference = record(star(), local.run, 600)
    for index in range(len(star().wires)):
        changed = star()
        source = changed.wires[index].source
        federate = changed.federates[source.federate]
        assert isinstance(federate, Mixer)
        federate._state[source.port] = federate._state[source.port] + 1e-12
        assert record(changed, local.run, 600) != reference


@st.composite
def federations(draw: st.DrawFn) -> Callable[[], Federation]:
    """Random federates, steps and wires; every input wired once."""
    count = draw(st.integers(2, 6))
    steps = [draw(st.sampled_from([1, 2, 3, 5, 10])) for _ in range(count)]
    wires = []
    for target in range(count):
        for k in range(draw(st.integers(0, 3))):
            source = draw(st.integers(0, count - 1).filter(lambda s, t=target: s != t))
            coupling = draw(st.sampled_from(["direct", "delayed", "delayed", "converged"]))
            wires.append(f"f{source}.out -> f{target}.in{k} {coupling}")
    blocking = [draw(st.booleans()) for _ in range(count)]

    def make() -> Federation:
        inputs: list[dict[str, int]] = [{} for _ in range(count)]
        for text in wires:
            federate, port = text.split()[2].split(".")
            inputs[int(federate[1:])][port] = 3
        mixers = {f"f{i}": Mixer(inputs[i], {"out": 3}, steps[i], i, blocking[i], gain=0.01) for i in range(count)}
        return Federation(mixers, [wire(text) for text in wires])

    return make


@pytest.mark.parametrize("engine", ENGINES)
@given(make=federations())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_any_wiring_gives_equal_bytes_or_is_refused(engine: str, make: Callable[[], Federation]) -> None:
    try:
        federation = make()
    except ScenarioError as refused:
        problems = refused.problems
        assert all("loop" in p.what for p in problems)
        return
    reference = record(federation, local.run, 60)
    assert record(make(), ENGINES[engine], 60) == reference


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("beyond_ns", [1, 500, 1000, 2500])
def test_a_run_that_ends_just_after_an_instant_takes_that_too(engine: str, beyond_ns: int) -> None:
    """Phases of an instant are microseconds apart under HELICS: those of the last one are beyond the end."""

    def three() -> Federation:
        federates = {
            "a": Mixer({}, {"x": 2}, 1, 1),
            "b": Mixer({"x": 2}, {"y": 2}, 2, 2),
            "c": Mixer({"y": 2}, {"z": 2}, 3, 3),
        }
        return Federation(federates, [wire("a.x -> b.x"), wire("b.y -> c.y")])

    until_s = 6 + beyond_ns * 1e-9
    reference = record(three(), local.run, until_s)
    assert len(reference["a"]) == 7
    assert record(three(), ENGINES[engine], until_s) == reference


def test_seventy_thousand_steps_do_not_hang() -> None:
    def pair() -> Federation:
        federates = {"a": Mixer({"x": 3}, {"y": 3}, 1, 1), "b": Mixer({"y": 3}, {"x": 3}, 1, 2)}
        return Federation(federates, [wire("a.y -> b.y"), wire("b.x -> a.x delayed")])

    steps = 70_000
    reference = record(pair(), local.run, steps)
    found = record(pair(), helics.run, steps)
    assert len(found["a"]) == steps
    assert found == reference


def test_a_year_of_hours_keeps_its_phases() -> None:
    """A double of 3.2e7 s resolves 4 ns: the phases must be coarser than that."""

    def pair() -> Federation:
        federates = {"a": Mixer({"x": 3}, {"y": 3}, 3600, 1), "b": Mixer({"y": 3}, {"x": 3}, 3600, 2)}
        return Federation(federates, [wire("a.y -> b.y"), wire("b.x -> a.x delayed")])

    assert record(pair(), helics.run, 8760 * 3600) == record(pair(), local.run, 8760 * 3600)


def test_vectors_of_ten_thousand_elements_arrive_whole() -> None:
    def pair() -> Federation:
        federates = {"a": Mixer({"x": 3}, {"y": 10_000}, 1, 1), "b": Mixer({"y": 10_000}, {"x": 3}, 1, 2)}
        return Federation(federates, [wire("a.y -> b.y"), wire("b.x -> a.x delayed")])

    reference = record(pair(), local.run, 10)
    assert np.frombuffer(reference["a"][0][1]["y"]).size == 10_000
    for run in ENGINES.values():
        assert record(pair(), run, 10) == reference


def test_a_step_that_has_no_room_for_the_phases_of_all_units_is_refused() -> None:
    federates = {f"f{i}": Mixer({"x": 1} if i else {}, {"y": 1}, 1e-5, i) for i in range(9)}
    chain = [wire(f"f{i}.y -> f{i + 1}.x") for i in range(8)]
    with pytest.raises(EngineError, match=r"a step of 1e-05 s of 'f0' is too short for HELICS: 9 units, one after"):
        in_a_crew_each(steppers_of(Federation(federates, chain), Recording()), S)
