"""Wirings that do not fit are refused, every problem at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from toys import Mixer, wire

from derloop.contract import Interface, Port
from derloop.errors import FederateError, ScenarioError
from derloop.federation import Federation


def problems(wires: list[str], **federates: Mixer) -> list[str]:
    """Return the problems of the wires between `a` and `b`, or the federates given."""
    default = {"a": Mixer({"u": 2}, {"x": 2}, 1, 1), "b": Mixer({"v": 2}, {"y": 2}, 1, 2)}
    with pytest.raises(ScenarioError) as caught:
        Federation(federates or default, [wire(text) for text in wires])
    return [str(problem) for problem in caught.value.problems]


def test_a_loop_without_delay_is_refused() -> None:
    found = problems(["a.x -> b.v", "b.y -> a.u"])
    assert len(found) == 1
    assert "make one of its wires delayed, or let it converge" in found[0]
    assert "a -> b -> a" in found[0] or "b -> a -> b" in found[0]


def test_every_problem_is_told_at_once() -> None:
    found = problems(["a.z -> b.v", "c.x -> b.v", "a.x -> a.u"])
    assert any("'a' has no output 'z'" in p for p in found)
    assert any("no federate 'c'" in p for p in found)
    assert any("a federate keeps its own state" in p for p in found)
    assert any("2 wires end at b.v: a.z, c.x" in p for p in found)


def test_an_input_without_a_wire_is_refused_and_what_would_fit_is_named() -> None:
    assert problems(["a.x -> b.v"]) == ["/federates/a: no wire ends at a.u (2 x 1); fitting outputs: b.y"]


def test_an_input_that_is_called_as_what_it_hears_says_who_is_not_there() -> None:
    found = problems([], a=Mixer({"grid.x": 1, "b.x": 1}, {}, 1, 1), b=Mixer({}, {"y": 2}, 1, 2))
    assert found == [
        "/federates/a: no wire ends at a.grid.x (1 x 1): no federate is called 'grid'; no output fits it",
        "/federates/a: no wire ends at a.b.x (1 x 1): 'b' has no output 'x'; no output fits it",
    ]


def test_an_input_that_a_control_sends_to_others_says_to_whom() -> None:
    control, fleet = Mixer({}, {"a.u": 1, "c.v": 1, "x.u": 1}, 1, 1), Mixer({"u": 1}, {"y": 1}, 1, 2)
    assert problems(["control.a.u -> a.u"], control=control, a=fleet, b=fleet) == [
        "/federates/b: no wire ends at b.u (1 x 1); 'control' sends u to a"
    ]


def test_a_wire_to_nothing_is_refused_with_a_near_miss() -> None:
    found = problems(
        ["a.x -> b.w", "b.y -> a.u delayed"], a=Mixer({"u": 2}, {"x": 2}, 1, 1), b=Mixer({}, {"y": 2}, 1, 2)
    )
    assert found == ["/: a.x -> b.w: 'b' has no input 'w'; there are none"]


def test_sizes_that_differ_are_refused() -> None:
    found = problems(["a.x -> b.v"], a=Mixer({}, {"x": 2}, 1, 1), b=Mixer({"v": 3}, {}, 1, 2))
    assert found == ["/: a.x -> b.v: 2 elements do not fit 3"]


class Meter(Mixer):
    """Its output is in kW."""

    @property
    def interface(self) -> Interface:
        return Interface(1_000_000_000, outputs={"x": Port("kW", ("m",))})


def test_units_that_differ_are_refused() -> None:
    found = problems(["a.x -> b.v"], a=Meter({}, {}, 1, 1), b=Mixer({"v": 1}, {}, 1, 2))
    assert found == ["/: a.x -> b.v: unit 'kW' does not fit '1'"]


class Named(Mixer):
    """Its one output, and its one input, have these labels."""

    def __init__(self, *labels: str, gives: bool = True) -> None:
        port = {"x" if gives else "v": Port("1", labels)}
        self._interface = Interface(1_000_000_000, {} if gives else port, port if gives else {})


def test_elements_in_another_order_are_refused() -> None:
    found = problems(["a.x -> b.v"], a=Named("n1", "n2", "n3"), b=Named("n1", "n3", "n2", gives=False))
    assert found == ["/: a.x -> b.v: 'n2' is element 2 there and 3 here; both need one order"]


def test_elements_of_other_names_are_wired_by_their_places() -> None:
    for labels in (("n1", "n2"), ("m1", "m2"), ("m1", "n2")):
        assert Federation({"a": Named("n1", "n2"), "b": Named(*labels, gives=False)}, [wire("a.x -> b.v")]).units


def test_what_has_another_order_is_not_offered_for_an_input_without_a_wire() -> None:
    found = problems([], a=Named("n1", "n2"), b=Named("n2", "n1", gives=False))
    assert found == ["/federates/b: no wire ends at b.v (2 x 1); no output fits it"]


def test_a_converged_loop_of_two_steps_is_refused() -> None:
    found = problems(
        ["a.x -> b.v", "b.y -> a.u converged"], a=Mixer({"u": 2}, {"x": 2}, 1, 1), b=Mixer({"v": 2}, {"y": 2}, 2, 2)
    )
    assert found == ["/coupling: converged loop of a, b: all must have one step, but: a 1 s, b 2 s"]


def test_what_cannot_repeat_a_step_is_not_iterated_with() -> None:
    hardware = Mixer({"v": 2}, {"y": 2}, 1, 2, blocking=True, repeatable=False)
    found = problems(["a.x -> b.v", "b.y -> a.u converged"], a=Mixer({"u": 2}, {"x": 2}, 1, 1), b=hardware)
    assert found == ["/federates/b: converged loop of a, b: 'b' cannot repeat a step; delay a wire of the loop"]


def test_a_chain_of_thousands_is_put_in_order() -> None:
    federates = {f"f{i}": Mixer({"u": 1} if i < 2999 else {}, {"x": 1}, 1, i) for i in range(3000)}
    federation = Federation(federates, [wire(f"f{i + 1}.x -> f{i}.u") for i in range(2999)])
    assert [unit.name for unit in federation.units] == [f"f{i}" for i in reversed(range(3000))]


def test_an_instant_is_stepped_in_the_order_of_its_wires() -> None:
    federates = {name: Mixer({"u": 1}, {"x": 1}, 1, 1) for name in "dcba"}
    wires = ["a.x -> b.u", "b.x -> c.u", "c.x -> d.u", "d.x -> a.u delayed"]
    federation = Federation(federates, [wire(text) for text in wires])
    assert [unit.name for unit in federation.units] == ["a", "b", "c", "d"]


class Unready(Mixer):
    def keep_in(self, folder: Path) -> None:
        sys.exit(0)

    @property
    def cautions(self) -> list[str]:
        raise RuntimeError("who knows")


def test_what_a_federate_raises_before_its_start_is_told_in_its_name() -> None:
    federation = Federation({"a": Mixer({}, {"y": 1}, 1, 1), "b": Unready({}, {"y": 1}, 1, 1)}, [])
    with pytest.raises(FederateError, match="'b' before the first step: cannot keep its files: SystemExit: 0"):
        federation.keep_in(Path())
    with pytest.raises(FederateError, match="'b' before the first step: has no cautions: RuntimeError: who knows"):
        _ = federation.cautions


def test_cautions_that_are_one_text_are_not_said_letter_by_letter() -> None:
    class Careless(Mixer):
        cautions = "nothing stops it"

    with pytest.raises(FederateError, match=r"'a' before .* 'nothing stops it' is one text, and no list of them"):
        _ = Federation({"a": Careless({}, {"x": 2}, 1, 1)}, []).cautions
