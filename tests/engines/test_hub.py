"""How crews are given their turns, by pipes and shared memory or in threads, and what is noticed if that goes wrong."""

from __future__ import annotations

import os
import time
from threading import Event, Thread, get_ident

import numpy as np
import pytest
from toys import Mixer, Recording, S, steppers_of, wire

from derloop.contract import Values
from derloop.crews import Crew, one_each
from derloop.engines import cells, helics
from derloop.engines.agenda import Agenda, Seat, seats_from_json, seats_of, seats_to_json
from derloop.engines.hands import SideBySide
from derloop.engines.helics import Broker, Transport
from derloop.engines.hub import Hub
from derloop.engines.link import CrewEnd, Link, Memory
from derloop.errors import EngineError, FederateError
from derloop.federation import Federation


def federation() -> Federation:
    federates = {
        "source": Mixer({}, {"x": 3}, 1, 1),
        "reader": Mixer({"x": 3}, {"y": 1}, 2, 2),
        "other": Mixer({"x": 3}, {"z": 1}, 1, 3),
    }
    return Federation(federates, [wire("source.x -> reader.x"), wire("source.x -> other.x")])


def seats(made: Federation) -> tuple[Seat, ...]:
    return seats_of(made, [one_each(made.units)])


def test_seats_come_back_as_they_were_told() -> None:
    told = seats(federation())
    assert seats_from_json(seats_to_json(told)) == told
    assert [(seat.name, seat.size, seat.readers, seat.cell) for seat in told] == [
        ("source", 4, ("reader", "other"), "source"),
        ("reader", 1, (), "source"),
        ("other", 1, (), "source"),
    ]


def test_an_agenda_has_every_turn_by_phase_and_rank() -> None:
    agenda, turns = Agenda(seats(federation()), 3 * S), []
    while (next_ns := agenda.next_ns) is not None:
        turns.append(agenda.take(next_ns))
    assert turns == [
        [("source", 0)],
        [("reader", 0), ("other", 0)],
        [("source", S)],
        [("other", S)],
        [("source", 2 * S)],
        [("reader", 2 * S), ("other", 2 * S)],
    ]


def test_turns_that_meet_at_an_instant_are_by_rank_whatever_their_steps() -> None:
    """The first and the third, every second; the second, every other second; all of one phase."""
    made = [
        Seat(name, rank, step_s * S, 1000, 1, (), 0, "first")
        for rank, (name, step_s) in enumerate((("first", 1), ("second", 2), ("third", 1)))
    ]
    agenda = Agenda(made, 3 * S)
    assert agenda.take(1000) == [("first", 0), ("second", 0), ("third", 0)]
    assert agenda.take(S + 1000) == [("first", S), ("third", S)]
    assert agenda.take(2 * S + 1000) == [("first", 2 * S), ("second", 2 * S), ("third", 2 * S)]
    assert agenda.next_ns is None


def test_what_one_process_writes_another_reads() -> None:
    told = seats(federation())
    memory, here = Memory(told, {"reader"}).made()
    there = Memory(told, {"reader"}).opened(memory)
    os.close(memory)
    assert here.keys() == {"source", "reader"}
    assert np.isnan(there["source"]).all()
    here["source"][:] = [7.0, 1.0, 2.0, 3.0]
    here["reader"][:] = -1.0
    assert there["source"].tolist() == [7.0, 1.0, 2.0, 3.0]
    assert there["reader"].tolist() == [-1.0]


def linked() -> tuple[Link, CrewEnd]:
    """Return both ends of a link, each with its own numbers, as two processes have them."""
    link = Link("grid", 0)
    end = CrewEnd({name: os.dup(link.passed[name]) for name in ("given", "said")})
    link.pass_on()
    return link, end


def test_a_turn_goes_there_and_back() -> None:
    link, end = linked()
    end.ready()
    link.wait_ready()
    link.give(5 * S)
    assert end.turn() == 5 * S
    end.taken(5 * S)
    link.wait_taken(5 * S)
    link.end()
    assert end.turn() is None
    link.close()
    end.close()


def test_a_process_that_goes_is_noticed_at_once() -> None:
    link, end = linked()
    link.give(S)
    end.close()
    with pytest.raises(EngineError, match="the process of 'grid' takes no turns any more"):
        link.wait_taken(S)
    with pytest.raises(EngineError, match="the process of 'grid' takes no turns any more"):
        link.give(2 * S)
    link.close()


def test_an_answer_to_another_turn_is_refused() -> None:
    link, end = linked()
    end.taken(2 * S)
    with pytest.raises(EngineError, match="took turns of 2000000000 ns, and was given those of 1000000000"):
        link.wait_taken(S)
    link.close()
    end.close()


class Doing:
    """A mixer that does something in each step."""

    def __init__(self, mixer: Mixer, what: object) -> None:
        self._mixer, self._what = mixer, what
        self.interface, self.start, self.stop = mixer.interface, mixer.start, mixer.stop

    def step(self, now_ns: int, inputs: Values) -> Values:
        self._what()  # type: ignore[operator]
        return self._mixer.step(now_ns, inputs)


def fail() -> None:
    raise ValueError("no")


def test_a_failure_is_told_while_others_are_at_work() -> None:
    asleep, woken = Event(), Event()

    def sleep() -> None:
        asleep.set()
        woken.wait(30)

    def fail_then() -> None:
        asleep.wait(30)
        fail()

    made = federation()
    made.federates["reader"] = Doing(Mixer({"x": 3}, {"y": 1}, 2, 2), sleep)  # type: ignore[index]
    made.federates["other"] = Doing(Mixer({"x": 3}, {"z": 1}, 1, 3), fail_then)  # type: ignore[index]
    steppers = steppers_of(made, Recording())
    for stepper in steppers:
        stepper.start()
    hands = SideBySide([[stepper] for stepper in steppers])
    hands.take([("source", 0)])
    began = time.monotonic()
    with pytest.raises(FederateError, match="federate 'other' at 0 s: ValueError: no"):
        hands.take([("reader", 0), ("other", 0)])
    assert time.monotonic() - began < 25  # the other sleeps for 30
    woken.set()
    hands.close()


def test_a_cell_that_helics_lets_go_early_ends_the_run_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """HELICS ends a federate that it takes for lost as one that has come to its end."""
    granted = cells.Cell._granted

    def gone(cell: cells.Cell, at_s: float, *_: object) -> float:
        return 1e9 if at_s > 3 else granted(cell, at_s)

    monkeypatch.setattr(cells.Cell, "_granted", gone)
    with pytest.raises(EngineError, match="HELICS let go of unit 'source' before its last step"):
        helics.run(steppers_of(federation(), Recording()), 10 * S)


def test_crews_of_a_cell_are_at_work_at_once() -> None:
    first, second = Event(), Event()

    def meet(mine: Event, yours: Event) -> None:
        mine.set()
        assert yours.wait(20)

    made = federation()
    made.federates["reader"] = Doing(Mixer({"x": 3}, {"y": 1}, 2, 2), lambda: meet(first, second))  # type: ignore[index]
    made.federates["other"] = Doing(Mixer({"x": 3}, {"z": 1}, 1, 3), lambda: meet(second, first))  # type: ignore[index]
    crews = [Crew((unit,)) for unit in made.units]
    helics.run_in_threads(steppers_of(made, Recording()), 1 * S, crews)
    assert first.is_set()
    assert second.is_set()


def test_a_hub_waits_for_its_processes_and_ends_them() -> None:
    """Crews whose processes are threads here."""
    made, recording = federation(), Recording()
    told = seats_of(made, [one_each(made.units)])
    hub = Hub(["source"], told, 4 * S)
    steppers = {stepper.unit.name: stepper for stepper in steppers_of(made, recording)}

    def work(seat: Seat) -> None:
        link = hub.link(seat.crew)
        end, stepper = CrewEnd({name: os.dup(number) for name, number in link.passed.items()}), steppers[seat.name]
        link.pass_on()
        stepper.attach(Memory(told, {each.name for each in told}).opened(link.passed["memory"]))
        stepper.start()
        agenda = Agenda([seat], 4 * S)
        end.ready()
        while (granted_ns := end.turn()) is not None:
            for _, now_ns in agenda.take(granted_ns):
                stepper.step(now_ns)
            end.taken(granted_ns)
        end.close()

    threads = [Thread(target=work, args=(seat,)) for seat in told]
    for thread in threads:
        thread.start()
    broker = Broker(1)
    hub.start(Transport(core_options=f"--broker={broker.name}"), in_threads=False)
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    hub.check()
    hub.close()
    broker.close()
    assert {name: len(seen) for name, seen in recording.seen.items()} == {"source": 4, "reader": 2, "other": 4}


def test_a_unit_that_waits_on_sockets_stays_in_one_thread() -> None:
    """Also in instants in which it is alone: what it has opened may belong to the thread."""
    seen: dict[str, set[int]] = {"slow": set(), "fast": set()}

    def noted(name: str, step_s: float, seed: int) -> Doing:
        return Doing(Mixer({}, {"x": 1}, step_s, seed, blocking=True), lambda: seen[name].add(get_ident()))

    made = Federation({"slow": noted("slow", 2, 1), "fast": noted("fast", 1, 2)}, [])
    helics.run(steppers_of(made, Recording()), 6 * S)
    assert [len(idents) for idents in seen.values()] == [1, 1]
    assert seen["slow"] != seen["fast"]
