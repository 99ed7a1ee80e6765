"""Who steps which units: as even as can be, in phases that let no value be early or late, with equal results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from toys import Mixer, Recording, S, steppers_of, wire

from derloop.crews import Crew, computing_together, crews_of, one_each, phases_of
from derloop.engines import helics, local
from derloop.engines.apart import Child
from derloop.engines.worker import Deadlines
from derloop.errors import FederateError
from derloop.federation import Federation


def two_feeders() -> Federation:
    """Two feeders on a bus that is a step late, each with a fleet under one sky."""
    inputs = {"sky": {}, "fleet_n": {"g": 1, "v": 9}, "fleet_s": {"g": 1, "v": 9}}
    inputs |= {"north": {"p": 3, "q": 3, "u": 1}, "south": {"p": 3, "q": 3, "u": 1}, "bus": {"n": 1, "s": 1}}
    outputs = {"sky": {"g": 1}, "fleet_n": {"p": 3, "q": 3}, "fleet_s": {"p": 3, "q": 3}}
    outputs |= {"north": {"v": 9, "head": 1}, "south": {"v": 9, "head": 1}, "bus": {"u": 1}}
    federates = {name: Mixer(inputs[name], outputs[name], 1, i) for i, name in enumerate(inputs)}
    wires = ["north.head -> bus.n", "south.head -> bus.s"]
    for feeder, fleet in (("north", "fleet_n"), ("south", "fleet_s")):
        wires += [f"sky.g -> {fleet}.g", f"{fleet}.p -> {feeder}.p", f"{fleet}.q -> {feeder}.q"]
        wires += [f"{feeder}.v -> {fleet}.v delayed", f"bus.u -> {feeder}.u delayed"]
    return Federation(federates, [wire(text) for text in wires])


def named(crews: Sequence[Crew]) -> list[set[str]]:
    return [{*crew.members} for crew in crews]


def test_a_fleet_comes_with_its_feeder_and_the_two_crews_are_even() -> None:
    federation = two_feeders()
    crews = named(crews_of(federation, federation.units, 2))
    assert len(crews) == 2
    assert any({"north", "fleet_n"} <= crew for crew in crews)
    assert any({"south", "fleet_s"} <= crew for crew in crews)
    assert not any({"north", "south"} <= crew for crew in crews)


@pytest.mark.parametrize("most", [None, 6, 7])
def test_with_room_for_all_each_unit_has_a_crew(most: int | None) -> None:
    federation = two_feeders()
    assert crews_of(federation, federation.units, most) == one_each(federation.units)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_every_unit_is_in_one_crew_and_there_are_no_more_than_asked(most: int) -> None:
    federation = two_feeders()
    crews = crews_of(federation, federation.units, most)
    assert len(crews) == most
    assert sorted(name for crew in crews for name in crew.members) == sorted(federation.federates)


def test_units_that_say_nothing_to_each_other_are_shared_out_evenly() -> None:
    federation = Federation({f"f{i}": Mixer({}, {"y": 1}, 1, i) for i in range(6)}, [])
    assert sorted(len(crew.units) for crew in crews_of(federation, federation.units, 3)) == [2, 2, 2]


def test_of_many_feeders_on_one_bus_each_crew_has_its_share_and_each_fleet_is_at_its_feeder() -> None:
    """Forty feeders with a fleet each, 15 values, for eight crews: five feeders each, and the bus somewhere."""
    federates = {"bus": Mixer({f"h{i}": 1 for i in range(40)}, {"u": 1}, 1, 0)}
    wires = []
    for i in range(40):
        federates[f"fleet{i}"] = Mixer({"v": 9}, {"p": 3, "q": 3}, 1, i)
        federates[f"feeder{i}"] = Mixer({"p": 3, "q": 3, "u": 1}, {"v": 9, "h": 1}, 1, i)
        wires += [f"fleet{i}.p -> feeder{i}.p", f"fleet{i}.q -> feeder{i}.q", f"feeder{i}.v -> fleet{i}.v delayed"]
        wires += [f"feeder{i}.h -> bus.h{i}", f"bus.u -> feeder{i}.u delayed"]
    federation = Federation(federates, [wire(text) for text in wires])
    crews = named(crews_of(federation, federation.units, 8))
    assert sorted(len(crew - {"bus"}) for crew in crews) == [10] * 8
    assert all((f"fleet{i}" in crew) == (f"feeder{i}" in crew) for crew in crews for i in range(40))


def test_units_between_which_no_wire_runs_have_one_phase() -> None:
    """Two feeders on a bus, and a third federate that hears one of them a step late: it may not run beside that."""
    inputs = {"north": {"v": 1}, "south": {"v": 1}, "bus": {"n": 1, "s": 1}, "late": {"n": 1}}
    federates = {name: Mixer(ports, {"y": 1}, 1, i) for i, (name, ports) in enumerate(inputs.items())}
    wires = ["north.y -> bus.n", "south.y -> bus.s", "bus.y -> north.v delayed", "bus.y -> south.v delayed"]
    federation = Federation(federates, [*map(wire, wires), wire("north.y -> late.n delayed")])
    phases = phases_of(one_each(federation.units))
    assert phases == {"north": 0, "south": 0, "bus": 1, "late": 1}


def test_a_phase_ends_only_where_a_wire_leads_to_another_crew_and_feeders_are_side_by_side() -> None:
    federation = two_feeders()
    phases = phases_of(crews_of(federation, federation.units, 2))
    assert phases == {"sky": 0, "fleet_n": 1, "fleet_s": 1, "north": 1, "south": 1, "bus": 2}
    assert phases_of([Crew(federation.units)]) == dict.fromkeys(federation.federates, 0)


def test_in_one_process_what_computes_is_one_crew_by_rank_and_what_waits_has_its_own() -> None:
    federates = {f"f{i}": Mixer({}, {"y": 1}, 1, i, blocking=i in {0, 3}) for i in range(5)}
    federation = Federation(federates, [])
    crews = computing_together(federation.units[::-1])
    assert named(crews) == [{"f1", "f2", "f4"}, {"f3"}, {"f0"}]
    assert [unit.rank for unit in crews[0].units] == sorted(unit.rank for unit in crews[0].units)


def silent(federation: Federation) -> Child:
    """The process of all units, of which nothing is heard for 100 s."""
    reach = SimpleNamespace(where="", now_ns=None, at_work=0, heard=list, gone=lambda: None, is_stopped=lambda: False)
    child = Child(Crew(federation.units), cast("Any", reach))
    child.beat -= 100
    return child


def test_of_a_process_that_takes_too_long_to_read_its_feeders_nobody_is_said_to_be_at_work() -> None:
    with pytest.raises(FederateError) as told:
        silent(two_feeders()).check(Deadlines())
    assert "and it was not built; deadlines.join_s leaves it 60 s" in str(told.value)
    assert "at work" not in str(told.value)


def test_of_many_that_did_not_leave_the_first_are_named() -> None:
    told = "federates sky, fleet_n, fleet_s, north, south and 1 more did not leave and were killed"
    assert silent(two_feeders()).was_killed() == told


def test_of_many_that_have_not_joined_one_is_named() -> None:
    told = silent(two_feeders()).error("has not joined within 60 s")
    assert told.federate == "sky"
    assert told.why == (
        "has not joined within 60 s; it was to be built there, beside fleet_n, fleet_s, north, south, bus"
    )


def test_what_ends_a_process_and_no_federate_of_it_is_told_with_the_first_of_them() -> None:
    child, why = silent(two_feeders()), "no space left on device"
    failed = {"federate": None, "now_ns": None, "why": why, "inputs": {}, "is_echo": False}
    child._take({"failed": failed})
    assert str(child.failed) == f"sky, fleet_n, fleet_s, north, south and 1 more: {why}"


def record(federation: Federation, run: Callable[..., None], steps: int) -> dict[str, list[object]]:
    recording = Recording()
    run(steppers_of(federation, recording), steps * S)
    return recording.seen


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("in_threads", [False, True])
def test_crews_change_no_bit(most: int, in_threads: bool) -> None:
    federation = two_feeders()
    crews = crews_of(federation, federation.units, most)
    found = record(
        federation, lambda steppers, until: helics.run(steppers, until, [[crew] for crew in crews], in_threads), 50
    )
    assert found == record(two_feeders(), local.run, 50)
