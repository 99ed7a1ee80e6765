"""A value that is stale, early, lost or never sent ends the run; nobody computes with it."""

from __future__ import annotations

import json
from threading import Event

import numpy as np
import pytest
from toys import Mixer, Recording, S, steppers_of, wire

from derloop.contract import Interface, Port, Values, interface_from_json, interface_to_json
from derloop.crews import one_each
from derloop.engines import cells, helics, local
from derloop.engines.stepping import Stepper
from derloop.errors import EngineError
from derloop.federation import Federation


def chain(coupling: str = "direct") -> Federation:
    federates = {"source": Mixer({}, {"x": 2}, 1, 1), "reader": Mixer({"x": 2}, {"y": 1}, 1, 2)}
    return Federation(federates, [wire(f"source.x -> reader.x {coupling}")])


def steppers(federation: Federation) -> dict[str, Stepper]:
    made = {stepper.unit.name: stepper for stepper in steppers_of(federation, Recording())}
    for stepper in made.values():
        stepper.start()
    made["reader"].inbox.attach({"source": made["source"].outbox.payload})
    return made


def test_a_value_of_the_step_before_is_refused_by_name() -> None:
    made = steppers(chain())
    made["source"].step(0)
    made["reader"].step(0)
    with pytest.raises(EngineError, match=r"reader at 1 s holds step 0 of source, expected step 1: a value was lost"):
        made["reader"].step(S)


def test_a_value_that_is_early_is_refused_by_name() -> None:
    made = steppers(chain())
    made["source"].step(0)
    made["source"].step(S)
    with pytest.raises(EngineError, match="reader at 0 s holds step 1 of source, expected step 0"):
        made["reader"].step(0)


@pytest.mark.parametrize("coupling", ["direct", "delayed"])
def test_a_source_that_has_never_sent_is_no_zero(coupling: str) -> None:
    reader = steppers_of(chain(coupling), Recording())[1]
    with pytest.raises(EngineError, match="reader at 0 s holds step nan of source"):
        reader.step(0)


def test_an_input_cannot_be_written_by_its_reader() -> None:
    made = steppers(chain())
    made["source"].step(0)
    values = made["reader"].inbox.read(0)["reader"]["x"]
    with pytest.raises(ValueError, match="read-only"):
        values[:] = 0


@pytest.mark.parametrize("lost", [0, 3])
@pytest.mark.parametrize("blocking", [False, True])
def test_a_reader_whose_source_falls_silent_under_helics_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, lost: int, blocking: bool
) -> None:
    """HELICS itself would give it the last value again, or -1e49."""
    publish = cells.Cell._publish
    sent = []

    def silent(cell: cells.Cell, unit: str) -> None:
        if unit == "source":
            sent.append(unit)
            if len(sent) > lost:
                return
        publish(cell, unit)

    monkeypatch.setattr(cells.Cell, "_publish", silent)
    federates = {"source": Mixer({}, {"x": 2}, 1, 1), "reader": Mixer({"x": 2}, {"y": 1}, 1, 2, blocking=blocking)}
    federation = Federation(federates, [wire("source.x -> reader.x")])
    recording = Recording()
    with pytest.raises(EngineError, match=r"reader at \d s holds step (nan|1) of source, expected step \d: a value"):
        helics.run(steppers_of(federation, recording), 100 * S, [[crew] for crew in one_each(federation.units)])
    assert len(recording.seen.get("reader", [])) == max(0, lost - 1)


def test_a_value_is_the_same_after_its_source_has_gone_on() -> None:
    recording = Recording()
    federation = chain("delayed")
    local.run(steppers_of(federation, recording), 5 * S)
    reference = Mixer({"x": 2}, {"y": 1}, 1, 2)
    before = Mixer({}, {"x": 2}, 1, 1).start()["x"]
    for (now_ns, given), (_, source) in zip(recording.seen["reader"], recording.seen["source"], strict=True):
        assert reference.step(now_ns, {"x": before})["y"].tobytes() == given["y"]
        before = np.frombuffer(source["x"])


class Listener:
    """Gives out what it hears on an input that needs no wire."""

    def __init__(self, otherwise: float) -> None:
        heard = Port("1", ("a", "b"), otherwise=otherwise)
        self.interface = Interface(S, {"heard": heard}, {"y": Port("1", ("a", "b"))})

    def start(self) -> Values:
        return {"y": np.zeros(2)}

    def step(self, now_ns: int, inputs: Values) -> Values:
        return {"y": inputs["heard"]}

    def stop(self) -> None:
        pass


@pytest.mark.parametrize("wires", [[], ["source.y -> listener.heard"]])
def test_an_input_that_needs_no_wire_is_what_it_otherwise_is(wires: list[str]) -> None:
    federates = {"source": Mixer({}, {"y": 2}, 1, 1), "listener": Listener(otherwise=7.0)}
    recording = Recording()
    local.run(steppers_of(Federation(federates, [wire(text) for text in wires]), recording), 3 * S)
    heard = [np.frombuffer(values["y"]) for _, values in recording.seen["listener"]]
    said = [np.frombuffer(values["y"]) for _, values in recording.seen["source"]]
    assert np.array_equal(heard, said if wires else np.full((3, 2), 7.0))


def test_another_process_knows_which_inputs_need_no_wire() -> None:
    interface = Listener(otherwise=7.0).interface
    assert interface_from_json(json.loads(json.dumps(interface_to_json(interface)))) == interface


@pytest.mark.parametrize("in_threads", [False, True])
def test_a_source_that_hears_nobody_stays_with_its_readers_under_helics(in_threads: bool) -> None:
    """Else its values pile up in HELICS: weather, days of it, at every place."""
    at_ns, ahead_ns = {"source": 0}, []

    def observe(federate: str, now_ns: int, values: Values) -> None:
        at_ns[federate] = now_ns
        if federate == "reader":
            ahead_ns.append(at_ns["source"] - now_ns)

    federates = {
        "source": Mixer({}, {"x": 2}, 1, 1),
        "reader": Mixer({"x": 2, "z": 1}, {"y": 1}, 1, 2),
        "grid": Mixer({"y": 1}, {"z": 1}, 1, 3),
    }
    wires = [wire("source.x -> reader.x"), wire("reader.y -> grid.y"), wire("grid.z -> reader.z delayed")]
    federation = Federation(federates, wires)
    steppers = [Stepper(federation, unit, observe, Event()) for unit in federation.units]
    helics.run(steppers, 500 * S, [[crew] for crew in one_each(federation.units)], in_threads)
    assert max(ahead_ns[len(ahead_ns) // 2 :]) <= 8 * S  # while all are still coming in, it may be further ahead
